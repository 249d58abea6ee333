"""Logging to TensorBoard: runs that can be told apart, and compared by their settings and results."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from cmr_lightning.evaluation import Protocol, Record
from cmr_lightning.runs.run import Run
from cmr_lightning.runs.settings import dotted

_UNNAMED = "lightning_logs"  # the name that Lightning gives to experiments without one


class RunBoard(TensorBoardLogger):
    """The configured `TensorBoardLogger`, for one run.

    Where the config names neither, the name is the experiment and the version the seed. The tab HPARAMS shows settings
    by their dotted names beside the best validation score, `best/<protocol id>/mean`, and what was measured by `test`,
    `test/<protocol id>/mean`. `test` adds the gallery to the images.

    Args:
        run: The run.
        config: Its resolved config.
        settings: What the config says of this logger.
        protocols: Protocols of the data, the main one first.
        updates: Updates that were made before; of what an earlier run of that name logged, TensorBoard hides the later
            ones. None to hide nothing.
    """

    def __init__(
        self,
        run: Run,
        config: Mapping[str, Any],
        settings: Mapping[str, Any],
        protocols: Sequence[Protocol],
        updates: int | None,
    ) -> None:
        names = {"name": config["experiment"], "version": f"seed{config['seed_everything']}"}
        given = {key: value for key, value in settings.items() if value is not None and value != _UNNAMED}
        hiding = {} if updates is None else {"purge_step": updates + 1 if updates else 0}
        super().__init__(**{**names, **hiding, **given, "default_hp_metric": False})
        self.run = run
        self.hparams = dotted(config)
        self.wanted = config["trainer"]["enable_autolog_hparams"]
        self.best = f"best/{protocols[0].id}/mean"
        self.results = [self.best, *(f"test/{protocol.id}/mean" for protocol in protocols)]

    @rank_zero_only
    def begin(self) -> None:
        """Write the settings, unless they are not wanted, and name the results, which come later."""
        from torch.utils.tensorboard.summary import hparams  # needs tensorboard

        if self.wanted:
            for summary in hparams(self.hparams, dict.fromkeys(self.results, 0)):
                self.experiment._get_file_writer().add_summary(summary)

    @rank_zero_only
    def end(self, selection: Mapping[str, Any]) -> None:
        """Log the best validation score."""
        self.log_metrics({self.best: selection["value"]}, step=selection["step"])
        self.finalize("success")

    @rank_zero_only
    def report(self) -> None:
        """Log what `test` measured, and the gallery."""
        record = Record.read(self.run.record)
        step = record.selection.get("step")
        self.log_metrics(tested(record), step=step)
        if self.run.gallery.exists():
            with Image.open(self.run.gallery) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            self.experiment.add_image("test/gallery", pixels, step, dataformats="HWC")
        self.finalize("success")


def tested(record: Record) -> dict[str, float]:
    """Name what a test measured as loggers show it."""
    return {
        f"test/{protocol}/{direction}": value
        for protocol, directions in record.metrics.items()
        for direction, value in directions.items()
    }
