"""Commands that start from a checkpoint: their settings and data beside those of the training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.utilities.rank_zero import rank_zero_only

from cmr_lightning.batch import DataSpec
from cmr_lightning.experiment import ExperimentCLI
from cmr_lightning.runs.checkpoint_files import Trained, newest_checkpoint
from cmr_lightning.runs.comparison import Change, changes_in_use, changes_on_resume
from cmr_lightning.runs.conditions import conditions_of, place_of_results
from cmr_lightning.runs.run import Run
from datamodules import CrossModalData, TrainedOn
from datamodules.trained_on import Use

_USES: dict[str | None, Use] = {"fit": "resume", "validate": "val"}


class TrainedCLI(ExperimentCLI):
    """Compares settings and data with those of the training whose checkpoint a command starts from, if it does.

    Attributes:
        changed: Settings that are others now, with their values before and now.
        differences: How the data were in the training where they are others now.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self.changed: dict[str, Change] = {}
        self.differences: dict[str, str] = {}
        self._trained: Trained | None = None
        super().__init__(arguments)  # runs the command

    @property
    def trained(self) -> Trained:
        """The checkpoint that the command starts from."""
        if self._trained is None:
            raise RuntimeError("A training that begins has no checkpoint.")
        return self._trained

    @property
    def changes_before(self) -> list[dict[str, Any]]:
        """Settings that were changed when the training was resumed before."""
        return [] if self._trained is None else self._trained.changes

    def compare_settings(self, run: Run) -> None:
        """Compare the settings with those of the training.

        Raises:
            UserError: If the command may not use others, or the checkpoint is missing or damaged.
        """
        given = self.options.ckpt_path
        if self.subcommand != "fit":
            self._trained = Trained.read(Path(given or run.best))
            self.changed = changes_in_use(self.trained.config, self.resolved())
        elif self.options.resume or given:
            self._trained = Trained.read(Path(given)) if given else Trained.of(*newest_checkpoint(run))
            self.changed = changes_on_resume(self.trained.config, self.resolved())
        for key, (before, now) in self.changed.items():
            _note(f"{key} was {before} in the training and is {now}")

    def spec_of(self, data: CrossModalData) -> DataSpec:
        """Return what the model was built for, and let the data serve that; see `CrossModalData.take_over`."""
        if self._trained is not None:
            trained_on = TrainedOn.from_plain(self._trained.trained_on)
            self.differences = data.take_over(trained_on, _USES.get(self.subcommand, "test"))
            for what, before in self.differences.items():
                _note(f"the {what} is not that of the training, which had {before}")
        return data.spec

    def place_of_results(self, run: Run) -> Run:
        """Choose the folder for what the command writes: the run's own, or one for other conditions than the run's."""
        data = self.datamodule
        conditions = conditions_of(self.trained.fingerprint, data.split.checksum, data.checksum(), self.resolved())
        own = self.trained.path.absolute() == run.best.absolute() and not self.changed
        folder = place_of_results(run, conditions, own)
        if folder != run:
            _note(f"these are not the run's own weights, data and settings; the results go to {folder.path}")
        return folder


@rank_zero_only
def _note(message: str) -> None:
    print(f"note: {message}", flush=True)
