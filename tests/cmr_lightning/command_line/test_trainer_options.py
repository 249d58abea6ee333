"""Every option of Lightning's trainer works as its users know it, or is refused before there is a folder."""

import contextlib
import csv
import inspect
import io
import logging
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.callbacks import (
    BackboneFinetuning,
    BatchSizeFinder,
    Callback,
    EarlyStopping,
    EMAWeightAveraging,
    GradientAccumulationScheduler,
    LearningRateFinder,
    ModelCheckpoint,
    StochasticWeightAveraging,
    WeightAveraging,
)
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.plugins.io import TorchCheckpointIO

from cmr_lightning.__main__ import main
from cmr_lightning.command_line.trainer_options import check_callbacks, check_options, settle_callbacks
from cmr_lightning.embedding_model import validation_scores
from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import CLASS_LEVEL
from cmr_lightning.experiment import quieten
from cmr_lightning.parallel.strategy import TwoPlayerDDP
from cmr_lightning.runs.run import Run
from tests.building import Built, write_toy

SCORE = "val/map@all/cos/label/mean"
SCORES = {SCORE: "max", **validation_scores(CLASS_LEVEL)}
DEFAULTS = {name: parameter.default for name, parameter in inspect.signature(pl.Trainer).parameters.items()}
pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture(autouse=True)
def same_flags_of_torch() -> Iterator[None]:
    """Lightning sets them for the whole process."""
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = False


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy") / "toy.yaml")


Fit = Callable[..., str]


@pytest.fixture
def refused(experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Fit:
    """Runs `fit` with options that must be refused in one line, without a folder, and returns that line."""

    def fit(*options: str, run: Path | None = None) -> str:
        folder = run or tmp_path / "new"
        assert main(["fit", f"--config={experiment}", f"--run_dir={folder}", *options]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1, error
        assert run is not None or not folder.exists()
        return error

    return fit


# What every argument of the trainer does here -------------------------------------------------------------------------

REFUSED = {
    "gradient_clip_val": (1.0, "model.generator_clip and model.discriminator_clip"),
    "gradient_clip_algorithm": ("value", "model.generator_clip and model.discriminator_clip"),
    "accumulate_grad_batches": (2, "model.accumulate"),
    "limit_val_batches": (1, "all items of a part"),
    "limit_test_batches": (0.5, "all items of a part"),
    "limit_predict_batches": (0, "all items of a part"),
    "overfit_batches": (1, "trainer.limit_train_batches"),
    "enable_checkpointing": (False, "tested by its checkpoints"),
    "barebones": (True, "checkpoints and metrics"),
    "default_root_dir": ("elsewhere", "run_dir"),
    "model_registry": ("models", "the run's folder"),
    "use_distributed_sampler": (False, "share the items out"),
    "reload_dataloaders_every_n_epochs": (1, "the order of the first epoch again"),
}
"""Argument -> a value that is refused, and what the sentence says to do."""

BUILT: dict[str, tuple[list[str], Callable[[Built], bool]]] = {
    "accelerator": (["accelerator=cpu"], lambda cli: isinstance(cli.trainer.accelerator, CPUAccelerator)),
    "strategy": (["strategy=ddp"], lambda cli: isinstance(cli.trainer.strategy, TwoPlayerDDP)),
    "devices": (["devices=2"], lambda cli: cli.trainer.num_devices == 2),
    "num_nodes": (["num_nodes=2"], lambda cli: cli.trainer.strategy.num_nodes == 2),
    "precision": (["precision=bf16-mixed"], lambda cli: cli.trainer.precision == "bf16-mixed"),
    "sync_batchnorm": (["sync_batchnorm=true", "devices=2"], lambda cli: cli.trainer.strategy._layer_sync is not None),
    "plugins": (
        ["plugins=lightning_fabric.plugins.io.TorchCheckpointIO"],
        lambda cli: type(cli.trainer.strategy.checkpoint_io) is TorchCheckpointIO,
    ),
    "logger": (["logger=CSVLogger", "logger.save_dir=logs"], lambda cli: isinstance(cli.loggers.loggers[0], CSVLogger)),
    "benchmark": (["benchmark=true"], lambda cli: torch.backends.cudnn.benchmark),
    "inference_mode": (["inference_mode=false"], lambda cli: not cli.trainer.test_loop.inference_mode),
}
"""Argument -> options, and what they do to the trainer that is built."""


class Watch(Callback):
    """Notes what holds during a training; stops it if told to."""

    seen: dict[str, Any]

    def __init__(self, stop: bool = False) -> None:
        self.stop = stop
        Watch.seen = {"batches": 0, "sanity checks": 0, "validations": []}

    def on_sanity_check_start(self, trainer: pl.Trainer, model: pl.LightningModule) -> None:
        self.seen["sanity checks"] += 1

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        self.seen["batches"] += 1
        self.seen["anomaly"] = torch.is_anomaly_enabled()
        self.seen["deterministic"] = torch.is_deterministic_algorithms_warn_only_enabled()
        trainer.should_stop = self.stop

    def on_validation_end(self, trainer: pl.Trainer, model: pl.LightningModule) -> None:
        self.seen["validations"].append(trainer.global_step)


class Ran(NamedTuple):
    """What is left of a training."""

    seen: dict[str, Any]
    run: Run
    printed: str

    @property
    def summary(self) -> dict[str, Any]:
        return self.run.read_summary()

    def logged(self, column: str) -> list[int]:
        with self.run.metrics.open(newline="") as file:
            return [int(row["step"]) for row in csv.DictReader(file) if row.get(column)]


def train(experiment: Path, run: Run, *options: str, **watch: bool) -> Ran:
    watching = [f"callbacks+={__name__}.Watch", *(f"callbacks.{key}={value}" for key, value in watch.items())]
    chosen = [f"--trainer.{option}" for option in (*watching, *options)]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main(["fit", f"--config={experiment}", f"--run_dir={run.path}", *chosen]) == 0
    return Ran(Watch.seen, run, printed.getvalue())


TRAINED: dict[str, tuple[str, Callable[[Ran], bool]]] = {
    "max_epochs": ("2", lambda ran: ran.summary["epochs"] == 2),
    "limit_train_batches": ("4", lambda ran: ran.seen["batches"] == 8),
    "check_val_every_n_epoch": ("2", lambda ran: min(ran.seen["validations"]) > 4),
    "val_check_interval": ("2", lambda ran: ran.seen["validations"] == [6, 8]),
    "num_sanity_val_steps": ("0", lambda ran: ran.seen["sanity checks"] == 0),
    "log_every_n_steps": ("3", lambda ran: ran.logged("train/generator/total") == [3, 6]),
    "enable_progress_bar": ("true", lambda ran: "fit 8/8 batches" in ran.printed),
    "enable_model_summary": ("true", lambda ran: "Trainable params" in ran.printed),
    "deterministic": ("warn", lambda ran: ran.seen["deterministic"]),
    "detect_anomaly": ("true", lambda ran: ran.seen["anomaly"]),
    "profiler": ("simple", lambda ran: "FIT Profiler Report" in ran.run.log.read_text()),
}
"""Argument -> a value, and what is seen of it in one training with all of them."""

ELSEWHERE = {
    "callbacks": "Watch, of which all trainings here make use",
    "fast_dev_run": "test_trial_run_leaves_nothing",
    "max_steps": "test_ending.py",
    "max_time": "test_ending.py",
    "min_epochs": "test_least_length_holds_against_a_callback_that_stops",
    "min_steps": "test_least_length_holds_against_a_callback_that_stops",
    "enable_autolog_hparams": "test_tensorboard_logging.py",
}
"""Argument -> where it is seen to work."""


def test_no_argument_of_the_trainer_is_without_effect() -> None:
    """An argument that a new Lightning brings is to be put into one of these tables."""
    assert REFUSED.keys() | BUILT.keys() | TRAINED.keys() | ELSEWHERE.keys() == DEFAULTS.keys()


def test_defaults_are_taken() -> None:
    check_options(DEFAULTS)
    check_options({**DEFAULTS, "limit_val_batches": 1.0, "gradient_clip_val": 0})


@pytest.mark.parametrize("name", REFUSED)
def test_useless_option_is_refused_with_what_to_do(name: str) -> None:
    value, remedy = REFUSED[name]
    with pytest.raises(UserError, match=f"^trainer.{name} is {value}, but .*{remedy}.*[.]$"):
        check_options({**DEFAULTS, name: value})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"log_every_n_steps": -1}, "log_every_n_steps is -1"),
        ({"check_val_every_n_epoch": 0}, "check_val_every_n_epoch is 0"),
        ({"num_sanity_val_steps": -2}, "num_sanity_val_steps is -2"),
        ({"val_check_interval": 0}, "val_check_interval is 0"),
        ({"val_check_interval": 0.0}, "val_check_interval is 0"),
        ({"min_epochs": 3, "max_epochs": 2}, "min_epochs is 3, more than trainer.max_epochs, 2"),
        ({"min_steps": 3, "max_steps": 2}, "min_steps is 3, more than trainer.max_steps, 2"),
    ],
)
def test_value_out_of_range(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_options({**DEFAULTS, **options})


@pytest.mark.parametrize("name", BUILT)
def test_option_reaches_the_trainer(
    name: str, experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "9999", "NODE_RANK": "0"}.items():
        monkeypatch.setenv(variable, value)
    options, seen = BUILT[name]
    run = f"--run_dir={tmp_path / 'run'}"
    assert seen(Built(["fit", f"--config={experiment}", run, *(f"--trainer.{option}" for option in options)]))


@pytest.fixture(scope="module")
def trained(experiment: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A training with all options of the table."""
    options = (f"{name}={value}" for name, (value, _) in TRAINED.items())
    return train(experiment, Run(tmp_path_factory.mktemp("trained") / "run"), *options)


@pytest.mark.parametrize("name", TRAINED)
def test_option_is_seen_in_the_training(name: str, trained: Ran) -> None:
    _, seen = TRAINED[name]
    assert seen(trained)


@pytest.mark.parametrize(("least", "updates"), [("min_epochs=2", 12), ("min_steps=8", 8)])
def test_least_length_holds_against_a_callback_that_stops(
    least: str, updates: int, experiment: Path, tmp_path: Path
) -> None:
    ran = train(experiment, Run(tmp_path / "run"), "max_epochs=5", least, stop=True)
    assert ran.summary["updates"] == ran.seen["validations"][-1] == updates


def test_losses_are_logged_never_where_the_interval_is_0(experiment: Path, tmp_path: Path) -> None:
    """As in Lightning; it was a division by zero."""
    ran = train(experiment, Run(tmp_path / "run"), "log_every_n_steps=0", "max_epochs=1")
    assert ran.logged(SCORE) == [6]
    assert not ran.logged("train/generator/total")


def test_profilers_write_into_the_folder_of_the_run(experiment: Path, tmp_path: Path) -> None:
    cli = Built(["fit", f"--config={experiment}", f"--run_dir={tmp_path / 'run'}", "--trainer.logger=true"])
    assert cli.trainer.log_dir == str(tmp_path / "run")


@pytest.mark.parametrize(
    ("source", "level", "shown"),
    [
        ("pytorch_lightning.profilers.profiler", logging.INFO, True),
        ("pytorch_lightning.utilities.rank_zero", logging.INFO, False),
        ("pytorch_lightning.utilities.rank_zero", logging.WARNING, True),
    ],
)
def test_messages_that_were_asked_for_are_shown(source: str, level: int, shown: bool) -> None:
    quieten()
    handler, *_ = logging.getLogger("pytorch_lightning").handlers
    assert bool(handler.filter(logging.LogRecord(source, level, "", 0, "", (), None))) == shown
    assert handler.level <= logging.INFO


# Trial runs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_trial_run_leaves_nothing(
    command: str, experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([command, f"--config={experiment}", "--trainer.fast_dev_run=true", "--trainer.logger=true"]) == 0
    printed = capsys.readouterr().out
    assert f"Tried {command} with 1 batch(es) of each part; nothing was measured or kept." in printed
    assert "map@all" not in printed
    assert list(tmp_path.iterdir()) == []


def test_trial_run_goes_through_as_many_batches_as_it_says(experiment: Path, trained: Ran) -> None:
    """And leaves the run alone that stands in its folder."""
    before = {path: path.stat().st_mtime_ns for path in trained.run.path.rglob("*")}
    options = ["--trainer.fast_dev_run=3", f"--trainer.callbacks+={__name__}.Watch"]
    assert main(["fit", f"--config={experiment}", f"--run_dir={trained.run.path}", *options]) == 0
    assert (Watch.seen["batches"], Watch.seen["validations"]) == (3, [3])
    assert {path: path.stat().st_mtime_ns for path in trained.run.path.rglob("*")} == before


# Refused before there is a folder -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("limit_val_batches=1", "trainer.limit_val_batches is 1"),
        ("max_time=soon", "DD:HH:MM:SS"),
        ("max_time=00:00:00:00", "ends the training before the first validation"),
        ("max_epochs=0", "trainer.max_epochs"),
        ("limit_train_batches=0", "ends the training before the first validation"),
        ("limit_train_batches=0.01", "trainer.limit_train_batches is 0.01, which leaves none of the 6 batches"),
        ("val_check_interval=7", "trainer.val_check_interval is 7, more than the 6 batches of an epoch"),
        ("val_check_interval=1.5", "val_check_interval"),
        ("devices=-1", "`devices`"),
        ("devices=0", "devices"),
        ("num_nodes=2", "trainer.num_nodes is 2, but nothing says which of the machines this is"),
        ("num_nodes=0", "num_nodes"),
        ("strategy=fsdp", "fsdp"),
        ("strategy=ddp_find_unused_parameters_true", "trainer.strategy makes a DDPStrategy"),
        ("strategy=nonsense", "nonsense"),
        ("profiler=nonsense", "profiler"),
        ("precision=transformer-engine", "transformer_engine"),
        ("callbacks+=WandbWatch", "WandbWatch logs to W&B"),
        ("fast_dev_run=-1", "fast_dev_run"),
    ],
)
def test_setting_that_does_not_fit(option: str, said: str, refused: Fit) -> None:
    assert said in refused(f"--trainer.{option}")


def test_several_machines_are_what_the_cluster_has_started(refused: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so at once, where it would wait for processes that never come."""
    started = {"RANK": "0", "WORLD_SIZE": "3", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "GROUP_RANK": "0"}
    for name, value in {**started, "TORCHELASTIC_RUN_ID": "1"}.items():
        monkeypatch.setenv(name, value)
    assert "world size" in refused("--trainer.num_nodes=2", "--trainer.strategy=ddp")


def test_ramp_of_a_training_that_time_alone_ends(refused: Fit) -> None:
    message = refused("--trainer.max_time=00:01:00:00", "--trainer.max_epochs=null")
    assert "model.ramp and model.shares need to know" in message


@pytest.mark.parametrize("package", ["mlflow", "comet_ml"])
def test_logger_that_is_not_installed(package: str, refused: Fit) -> None:
    if find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    logger = {"mlflow": "MLFlowLogger", "comet_ml": "CometLogger"}[package]
    assert "pip install" in refused(f"--trainer.logger={logger}")


def test_callback_that_lacks_a_package(refused: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytorch_lightning.callbacks.device_stats_monitor._PSUTIL_AVAILABLE", False)
    assert "psutil" in refused("--trainer.callbacks+=DeviceStatsMonitor")


def test_refused_training_leaves_the_run_that_it_was_to_overwrite(refused: Fit, trained: Ran, tmp_path: Path) -> None:
    run = Run(shutil.copytree(trained.run.path, tmp_path / "copy"))
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    refused("--trainer.val_check_interval=7", "--overwrite=true", run=run.path)
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


def test_test_on_a_part_of_the_data_is_refused_before_anything_is_written(trained: Ran) -> None:
    assert main(["test", f"--config={trained.run.config}", "--trainer.limit_test_batches=1"]) == 2
    assert not trained.run.record.exists()
    assert not trained.run.ranks.exists()


# Callbacks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("callback", "said"),
    [
        (StochasticWeightAveraging(1e-3), "take WeightAveraging or EMAWeightAveraging"),
        (GradientAccumulationScheduler({0: 2}), "model.accumulate"),
        (LearningRateFinder(), "model.generator_optimizer.lr"),
        (BatchSizeFinder(), "data.batch_size"),
        (BackboneFinetuning(), "TrainingStages"),
        (EarlyStopping("val_loss"), f"val_loss, which is no score of a validation; take {SCORE}, or score"),
        (EarlyStopping("train/generator/total"), "no score of a validation"),
        (EarlyStopping(SCORE), f"takes a better {SCORE} for a worse one; set its mode to max"),
        (EarlyStopping("score"), "set its mode to max"),
        (ModelCheckpoint(monitor="val/recall"), "no score of a validation"),
        (ModelCheckpoint(monitor=SCORE), "set its mode to max"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Callback) else "",
)
def test_callback_that_would_not_do_what_it_should(callback: Callback, said: str) -> None:
    with pytest.raises(UserError, match=f"^trainer.callbacks: {type(callback).__name__} .*{said}"):
        check_callbacks([callback], SCORES, trained=True)


def test_average_over_the_updates_of_a_method_that_makes_none() -> None:
    """It would put the average of nothing in the place of the solution."""
    check_callbacks([EMAWeightAveraging(), WeightAveraging()], SCORES, trained=True)
    with pytest.raises(UserError, match="EMAWeightAveraging averages over updates"):
        check_callbacks([EMAWeightAveraging()], SCORES, trained=False)


def test_watched_scores_are_taken_in_their_direction() -> None:
    best = ModelCheckpoint(monitor=SCORE, mode="max")
    newest = ModelCheckpoint(monitor="step", mode="max", save_top_k=2)
    check_callbacks([EarlyStopping("score", mode="max"), best, newest, ModelCheckpoint()], SCORES, trained=True)
    check_callbacks([EarlyStopping("val/medr/mean")], {"val/medr/mean": "min"}, trained=True)


def test_own_checkpoints_stand_beside_those_of_the_run(experiment: Path, tmp_path: Path) -> None:
    settings = ["monitor=score", "mode=max", "filename=best", "save_last=true"]
    own = ["callbacks+=ModelCheckpoint", *(f"callbacks.{setting}" for setting in settings)]
    run = train(experiment, Run(tmp_path / "run"), *own).run
    assert {path.name for path in run.best.parent.glob("*.ckpt")} == {"best.ckpt", "last.ckpt", "previous.ckpt"}
    assert {path.name for path in run.more_checkpoints.iterdir()} == {"best.ckpt", "last.ckpt"}
    with pytest.raises(UserError, match="among the checkpoints by which the run is tested"):
        settle_callbacks([ModelCheckpoint(dirpath=run.best.parent)], run)


@pytest.mark.parametrize("average", ["WeightAveraging", "EMAWeightAveraging"])
def test_checkpoints_hold_the_average_of_the_weights(average: str, experiment: Path, tmp_path: Path) -> None:
    ran = train(experiment, Run(tmp_path / "run"), f"callbacks+={average}", "max_epochs=1")
    kept = torch.load(ran.run.best, weights_only=True)
    averaged, newest = kept["state_dict"], kept["current_model_state"]
    assert not all(torch.equal(averaged[name], newest[name]) for name in averaged)


def test_timers_and_progress_bars_of_the_user_stand_beside_or_in_place_of_ours(
    experiment: Path, tmp_path: Path
) -> None:
    options = ["--trainer.callbacks+=Timer", "--trainer.callbacks+=RichProgressBar"]
    cli = Built(["fit", f"--config={experiment}", f"--run_dir={tmp_path / 'run'}", *options])
    assert type(cli.trainer.progress_bar_callback).__name__ == "RichProgressBar"
    assert cli.resolved()["trainer"]["callbacks"][0]["init_args"]["interval"] == "step"


@pytest.mark.parametrize(
    "options",
    [["val_check_interval=00:00:00:01"], ["check_val_every_n_epoch=2", "callbacks.check_on_train_epoch_end=true"]],
)
def test_score_is_watched_where_not_every_epoch_ends_with_a_validation(
    options: list[str], experiment: Path, tmp_path: Path
) -> None:
    watching = ["callbacks+=EarlyStopping", "callbacks.monitor=score", "callbacks.mode=max"]
    ran = train(experiment, Run(tmp_path / "run"), *watching, *options, "max_epochs=3")
    assert ran.summary["epochs"] == 3


# Checkpoints by name --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
@pytest.mark.parametrize("name", ["best", "last"])
def test_checkpoint_by_lightnings_name(command: str, name: str, trained: Ran) -> None:
    cli = Built([command, f"--config={trained.run.config}", f"--ckpt_path={name}"])
    assert cli.config_init[command]["ckpt_path"] == str(getattr(trained.run, name))


def test_fit_goes_on_from_last_if_there_is_one(experiment: Path, trained: Ran, tmp_path: Path) -> None:
    new = Run(tmp_path / "new")
    for config, run, found in ((trained.run.config, trained.run, str(trained.run.last)), (experiment, new, None)):
        cli = Built(["fit", f"--config={config}", f"--run_dir={run.path}", "--ckpt_path=last"])
        assert cli.config_init["fit"]["ckpt_path"] == found
    with pytest.raises(UserError, match="--ckpt_path=best is not what `fit` continues from"):
        Built(["fit", f"--config={experiment}", f"--run_dir={trained.run.path}", "--ckpt_path=best"])


def test_checkpoint_by_name_that_is_not_there(trained: Ran, tmp_path: Path) -> None:
    run = Run(shutil.copytree(trained.run.path, tmp_path / "copy"))
    run.last.unlink()
    with pytest.raises(UserError, match="given as --ckpt_path, does not exist"):
        Built(["test", f"--config={run.config}", "--ckpt_path=last"])
