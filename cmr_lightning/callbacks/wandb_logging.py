"""Logging to Weights & Biases, set up as its users expect; wandb is imported only where it is used."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from cmr_lightning.callbacks.checkpoints import LastCheckpoint
from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import Record
from cmr_lightning.files.json_file import read_json
from cmr_lightning.files.whole_file import write_whole
from cmr_lightning.ranges import Checked, Count
from cmr_lightning.runs.run import Run

_UPDATES = "trainer/global_step"  # Lightning's name of the horizontal axis; it counts the generator's updates


class RunLogger(WandbLogger):
    """The configured `WandbLogger`, for one run.

    What the config leaves open has defaults: the project is `cmr_lightning`, the group is the experiment, so that its
    seeds are together, the name consists of experiment and seed, and the tags are method and data set. W&B's
    environment variables `WANDB_PROJECT`, `WANDB_RUN_GROUP` and `WANDB_NAME` replace these defaults, and `WANDB_TAGS`
    adds tags, such as the name of a benchmark to all its runs. The run's folder keeps the id of its W&B run, so that
    `--resume` and `test` log to the same one. `log_model` keeps the best checkpoint as an artifact, and no other.

    Args:
        run: The run.
        config: Its resolved config.
        settings: The part of it that configures this logger.
        scores: The summary, `max` or `min`, of each validation score.
        resume: Continue the W&B run that the run's folder names.
    """

    def __init__(
        self, run: Run, config: dict[str, Any], settings: Mapping[str, Any], scores: Mapping[str, str], resume: bool
    ) -> None:
        experiment, seed = config["experiment"], config["seed_everything"]
        classes = [config[part]["class_path"].rpartition(".")[2] for part in ("model", "data")]
        defaults = {
            "project": os.environ.get("WANDB_PROJECT", "cmr_lightning"),
            "group": os.environ.get("WANDB_RUN_GROUP", experiment),
            "name": os.environ.get("WANDB_NAME", f"{experiment} seed {seed}"),
            "tags": [*classes, *filter(None, os.environ.get("WANDB_TAGS", "").split(","))],
        }
        given = {key: value for key, value in settings.items() if value is not None}
        kept = resume and run.wandb.exists()
        known = read_json(run.wandb, dict[str, str], "delete it to log to a new run of W&B") if kept else {}
        super().__init__(**{**defaults, **given, **known})
        self.run = run
        self.config = config
        self.scores = scores

    @rank_zero_only
    def connect(self) -> None:
        """Start the W&B run, or continue it.

        Raises:
            UserError: If W&B has no account, or cannot be reached.
        """
        import wandb

        try:
            _ = self.experiment
        except wandb.errors.Error as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise UserError(
                f"W&B does not start: {reason}. Log in by `wandb login`, or log without an account by "
                f"--trainer.logger.offline=true and send it later by `wandb sync`."
            ) from error

    @rank_zero_only
    def begin(self) -> None:
        """Say in the W&B run what it is, and in the run's folder which one it is; see `connect`."""
        self.connect()
        logged = self.experiment
        for name, best in self.scores.items():
            logged.define_metric(name, summary=best, step_metric=_UPDATES)
        if self.config["trainer"]["enable_autolog_hparams"]:
            logged.config.update(self.config, allow_val_change=True)
        known = {key: getattr(logged, key) for key in ("id", "project", "entity")}
        write_whole(self.run.wandb, json.dumps({key: value for key, value in known.items() if value}) + "\n")

    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        """Upload the best checkpoint as an artifact at the end, if `log_model` is set."""
        if not isinstance(checkpoint_callback, LastCheckpoint):
            super().after_save_checkpoint(checkpoint_callback)

    @rank_zero_only
    def report(self) -> None:
        """Log what `test` measured: metrics, curves, scores by class, the gallery, and the record as a file."""
        import wandb

        record = Record.read(self.run.record)
        logged = {"test/gallery": wandb.Image(str(self.run.gallery)), **_tables(self.run, record)}
        self.log_metrics(logged, step=record.selection.get("step"))
        for protocol, directions in record.metrics.items():
            for direction, value in directions.items():
                self.experiment.summary[f"test/{protocol}/{direction}"] = value
        self.experiment.save(str(self.run.record), base_path=str(self.run.path), policy="now")


def _tables(run: Run, record: Record) -> dict[str, Any]:
    """Return the metrics by protocol, the curves of the ranking and the scores by class as W&B's tables and plots."""
    import wandb

    from cmr_lightning.evaluation.examples import Examples
    from cmr_lightning.reports.board import boards, find_runs
    from cmr_lightning.reports.curves import ranking_charts
    from cmr_lightning.reports.per_class import class_scores

    notes: list[str] = []
    (board,) = boards(find_runs(run.path, notes), [])
    columns = list(dict.fromkeys(column for values in record.metrics.values() for column in values))
    rows = [[protocol, *map(values.get, columns)] for protocol, values in record.metrics.items()]
    logged: dict[str, Any] = {"test/metrics": wandb.Table(columns=["protocol", *columns], data=rows)}
    for chart in ranking_charts(board):
        points = [[x, y] for curve in chart.curves for x, y in zip(curve.x, curve.y, strict=True)]
        table = wandb.Table(columns=[chart.x_label, chart.title], data=points)
        logged[f"test/{chart.title}"] = wandb.plot.line(table, chart.x_label, chart.title, title=chart.title)
    by_class = class_scores(board, {run.path: Examples.read(run.examples)}, notes)
    if by_class is not None:
        (scores,) = by_class.scores.values()
        rows = [list(row) for row in zip(by_class.classes, by_class.queries, scores.tolist(), strict=True)]
        logged["test/classes"] = wandb.Table(columns=["class", "queries", record.protocol], data=rows)
    return logged


class WandbWatch(Checked, pl.Callback):
    """Logs histograms of gradients or weights every `log_freq` batches, as `wandb.watch` does."""

    def __init__(self, log: Literal["gradients", "parameters", "all"] = "gradients", log_freq: Count = 100) -> None:
        self.what = log  # Lightning gives every callback a method `log`
        self.log_freq = log_freq
        self._watching = False

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Register the model with W&B before the first batch, when its run has begun."""
        for logger in [] if self._watching else trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.watch(pl_module, log=self.what, log_freq=self.log_freq, log_graph=False)
        self._watching = True


@contextmanager
def finished_at_the_end() -> Iterator[None]:
    """Mark the W&B run that starts inside as finished, or as failed if an error ends it."""
    code = 1
    try:
        yield
        code = 0
    finally:
        wandb: Any = sys.modules.get("wandb")
        if wandb is not None and wandb.run is not None:
            wandb.finish(exit_code=code)
