"""What `test` leaves behind for later comparison: the record of the run and the ranks of every query."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytorch_lightning as pl

from cmr_lightning.embedding_model import EmbeddingModel
from cmr_lightning.evaluation import Record, save_ranks
from cmr_lightning.runs.memory import larger, peak_memory
from cmr_lightning.runs.provenance import git_revision, hardware, versions
from cmr_lightning.runs.run import Run


class RecordWriter(pl.Callback):
    """Writes `ranks.npz` after `test`, and `record.json` when everybody else has written: with it a run is finished.

    Args:
        run: The run.
        experiment: Name of the experiment.
        seed: Seed of the run.
        config: The resolved config.
    """

    def __init__(self, run: Run, experiment: str, seed: int, config: dict[str, Any]) -> None:
        self.run = run
        self.experiment = experiment
        self.seed = seed
        self.config = config
        self._fitted: dict[str, Any] = {}
        self._started = 0.0
        self._record: Record | None = None

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look how the training ended, and start the clock.

        Raises:
            UserError: If the training did not come to its end.
        """
        self._fitted = self.run.read_summary()
        self._started = time.monotonic()

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note what was found, on the first process."""
        if not (trainer.is_global_zero and isinstance(pl_module, EmbeddingModel)):
            return
        assert pl_module.measurement is not None
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        self._record = Record(
            experiment=self.experiment,
            method=type(pl_module).__name__,
            dataset=type(data).__name__,
            split={"name": data.split.name, "checksum": data.split.checksum},
            data_checksum=data.checksum(),
            protocol=data.protocols[0].id,
            seed=self.seed,
            selection=self._fitted["selection"],
            encoders={**pl_module.encoder_names(), "features": data.features},
            versions=versions(),
            git_revision=git_revision(),
            hardware=hardware(),
            metrics=pl_module.measurement.metrics,
            num_parameters=sum(p.numel() for p in pl_module.parameters()),
            wall_time={"fit_s": self._fitted["wall_time_s"], "test_s": round(time.monotonic() - self._started, 3)},
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            config=self.config,
            peak_memory=_peak_of_both(self._fitted),
        )
        save_ranks(self.run.ranks, pl_module.measurement.ranks)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Write what was noted."""
        if self._record is not None:
            self._record.write(self.run.record)


def _peak_of_both(fitted: dict[str, Any]) -> dict[str, int]:
    """Peak of training and test; empty if that of the training is not known."""
    return larger(fitted["peak_memory"], peak_memory()) if "peak_memory" in fitted else {}
