"""The files of a test by which runs are compared: the record of the run, and the ranks of every query."""

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytorch_lightning as pl

from cmr_lightning.callbacks.retrieved import evaluated
from cmr_lightning.embedding_model import EmbeddingModel
from cmr_lightning.evaluation import Record, save_ranks
from cmr_lightning.files.checksum import short_checksum
from cmr_lightning.game import TwoPlayerModel
from cmr_lightning.game.game_log import NO_GAME
from cmr_lightning.runs.memory import larger, peak_memory
from cmr_lightning.runs.provenance import git_revision, hardware, versions
from cmr_lightning.runs.run import Run

_OF_THE_PLAYERS = ("ramp", "discriminator_optimizer", "discriminator_steps", "discriminator_clip")
"""Settings of a model that change nothing for its encoders where what aligns the modalities has no weight."""


class RecordWriter(pl.Callback):
    """Writes `ranks.npz` after `test`, and then `record.json`, which marks the run as finished.

    Args:
        run: The run that is measured.
        output: Folder of the record: that of the run, or another where conditions differ from the run's.
        known: What is known beforehand of the record's `experiment`, `seed`, `config`, `weights`, `changes` and
            `differences`.
    """

    def __init__(self, run: Run, output: Run, **known: Any) -> None:
        self.run = run
        self.output = output
        self.known = known
        self._fitted: dict[str, Any] = {}
        self._started = 0.0

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Read how the training ended, and start the clock.

        Raises:
            UserError: If the training has not ended.
        """
        self._fitted = self.run.read_summary()
        self.output.path.mkdir(parents=True, exist_ok=True)
        self._started = time.monotonic()

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the ranks and the record, on the first process."""
        if not trainer.is_global_zero:
            return
        model, _, measurement = evaluated(pl_module)
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        record = Record(
            **self.known,
            method=type(model).__name__,
            dataset=type(data).__name__,
            split={"name": data.split.name, "checksum": data.split.checksum},
            data_checksum=data.checksum(),
            pictures={part: data.part(part).num_images for part in ("train", "val", "test")},
            regime=data.told,
            protocol=data.protocols[0].id,
            selection=self._fitted["selection"],
            encoders={**model.encoder_names(), "features": data.features},
            unknown_words=data.unknown_words,
            versions=versions(),
            git_revision=git_revision(),
            hardware=hardware(),
            metrics=measurement.metrics,
            num_parameters=sum(p.numel() for p in model.parameters()),
            wall_time={"fit_s": self._fitted["wall_time_s"], "test_s": round(time.monotonic() - self._started, 3)},
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            game=self._game(model),
            peak_memory=larger(self._fitted["peak_memory"], peak_memory()) if "peak_memory" in self._fitted else {},
        )
        save_ranks(self.output.ranks, measurement.ranks)
        record.write(self.output.record)  # before any picture is drawn, which may fail

    def _game(self, model: EmbeddingModel) -> dict[str, Any]:
        """Return the figures at the time of the checkpoint, empty if it has none, and what the run's twins share."""
        if not isinstance(model, TwoPlayerModel):
            return NO_GAME
        if not model.game.figures:
            return {}
        terms = [term for term in model.aligning_terms if term == "alignment" or f"{term}_state" in model.game.figures]
        settings = {term: setting_without(term, self.known["config"]) for term in terms}
        return {**model.game.figures, **{f"{term}_setting": setting for term, setting in settings.items()}}


def setting_without(term: str, config: Mapping[str, Any]) -> str:
    """Return a checksum of the settings of model and data in a resolved config, but for those of a term that aligns.

    Runs that agree in it, in seed and split differ in nothing but this term and its weight: a run where it has none is
    the twin of the others.
    """
    model, data = (dict(config.get(part, {}).get("init_args", {})) for part in ("model", "data"))
    for key in ("weights", "shares", "caps"):
        model[key] = {name: value for name, value in (model.get(key) or {}).items() if name != term}
    kept = {key: model[key] for key in model if key not in _OF_THE_PLAYERS and not key.startswith(term)}
    data.pop("root", None)  # where the files are
    method = config.get("model", {}).get("class_path")
    return short_checksum(json.dumps([method, kept, data], sort_keys=True).encode())
