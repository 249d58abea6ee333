"""The files of a test by which runs are compared: the record of the run, and the ranks of every query."""

import time
from datetime import UTC, datetime
from typing import Any

import pytorch_lightning as pl

from cmr_lightning.callbacks.retrieved import evaluated
from cmr_lightning.evaluation import Record, save_ranks
from cmr_lightning.game import TwoPlayerModel
from cmr_lightning.game.game_log import NO_GAME
from cmr_lightning.runs.memory import larger, peak_memory
from cmr_lightning.runs.provenance import git_revision, hardware, versions
from cmr_lightning.runs.run import Run


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
            game=model.game.figures if isinstance(model, TwoPlayerModel) else NO_GAME,
            peak_memory=larger(self._fitted["peak_memory"], peak_memory()) if "peak_memory" in self._fitted else {},
        )
        save_ranks(self.output.ranks, measurement.ranks)
        record.write(self.output.record)  # before any picture is drawn, which may fail
