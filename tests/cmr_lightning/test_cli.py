"""What a person gets from `fit`, `validate`, `test` and `predict`."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from pytorch_lightning.accelerators import CPUAccelerator, MPSAccelerator

from cmr_lightning.__main__ import main
from cmr_lightning.batch import Batch
from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.experiment import config_files
from cmr_lightning.methods.daml import DAML
from cmr_lightning.parallel.two_player_precision import TwoPlayerPrecision
from datamodules.base import PartName
from datamodules.reading.loaders import Part
from tests.building import Built, write_toy
from tests.toy import Toy

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return write_toy(tmp_path / "toy.yaml")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs, six updates each, that no test may change."""
    folder = tmp_path_factory.mktemp("finished")
    run = folder / "run"
    assert main(["fit", f"--config={write_toy(folder / 'toy.yaml')}", f"--run_dir={run}"]) == 0
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, elsewhere, that a test may change."""
    return shutil.copytree(finished, tmp_path / "moved" / "run")


Complaint = Callable[..., str]


@pytest.fixture
def complaint(capsys: pytest.CaptureFixture[str]) -> Complaint:
    """Runs a command that must fail with exit code 2, and gives what it says on stderr: one line, no traceback."""

    def run_and_read(*arguments: object) -> str:
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ")
        assert said.count("\n") == 1, said
        return said.removeprefix("error: ").strip()

    return run_and_read


def built(tmp_path: Path, *arguments: object) -> Built:
    return Built(["fit", *map(str, arguments), f"--run_dir={tmp_path / 'built'}"])


# Config --------------------------------------------------------------------------------------------------------------


def test_the_progress_bar_can_be_switched_off(toy: Path, tmp_path: Path) -> None:
    cli = built(tmp_path, "--config", toy, "--trainer.enable_progress_bar=false")
    assert cli.trainer.progress_bar_callback is None


def test_of_several_config_files_the_later_wins(toy: Path, tmp_path: Path) -> None:
    (tmp_path / "smaller.yaml").write_text("model: {init_args: {dim: 4}}\ntrainer: {max_epochs: 7}\n")
    (tmp_path / "longer.yaml").write_text("trainer: {max_epochs: 9}\n")
    cli = built(tmp_path, "--config", toy, "--config", tmp_path / "smaller.yaml", "--config", tmp_path / "longer.yaml")
    assert cli.model.dim == 4
    assert cli.trainer.max_epochs == 9
    assert cli.model.discriminator is not None
    assert cli.options.experiment == "toy+smaller+longer"


@pytest.mark.parametrize(("override", "dropout"), [([], 0.1), (["--model.image_encoder.dropout=0.3"], 0.3)])
def test_interpolations_follow_the_command_line(override: list[str], dropout: float, toy: Path, tmp_path: Path) -> None:
    cli = built(tmp_path, f"--config={toy}", *override)
    for encoder in (cli.model.image_encoder, cli.model.text_encoder):
        assert [layer.p for layer in encoder.layers if isinstance(layer, torch.nn.Dropout)] == [dropout]
    assert cli.resolved()["model"]["init_args"]["text_encoder"]["init_args"]["dropout"] == dropout


def test_dotted_overrides_reach_the_model_and_the_config(toy: Path, tmp_path: Path) -> None:
    cli = built(
        tmp_path,
        f"--config={toy}",
        "--model.generator_optimizer.lr=3e-4",
        "--model.weights.adversarial=0",
        "--model.image_encoder.hidden=[7, 5]",
        "--data.batch_size=12",
    )
    generator, _ = cli.model.configure_optimizers()[0]
    assert generator.param_groups[0]["lr"] == 3e-4
    assert cli.model.weights == {**DAML.terms, "adversarial": 0}
    assert [layer.out_features for layer in cli.model.image_encoder.layers if hasattr(layer, "out_features")] == [
        7,
        5,
        8,
    ]
    assert cli.datamodule.batch_size == 12
    resolved = cli.resolved()
    assert resolved["model"]["init_args"]["generator_optimizer"]["init_args"]["lr"] == 3e-4
    assert resolved["model"]["init_args"]["weights"] == {"adversarial": 0}


@pytest.mark.parametrize("precision", ["16", "'16'", "16-mixed"])  # in YAML a number, and two words
def test_fp16_keeps_a_scale_for_each_player_however_it_is_spelt(
    precision: str, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fp16.yaml").write_text(f"trainer: {{precision: {precision}}}\n")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    cli = built(tmp_path, "--config", toy, "--config", tmp_path / "fp16.yaml")
    assert isinstance(cli.trainer.precision_plugin, TwoPlayerPrecision)


@pytest.mark.parametrize("accelerator", ["auto", "gpu", "mps"])
def test_closed_forms_keep_off_apples_gpus(
    accelerator: str, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """These have no float64."""
    monkeypatch.setattr("lightning_fabric.accelerators.mps.MPSAccelerator.is_available", lambda: True)
    (tmp_path / "cca.yaml").write_text("model: {class_path: CCA, init_args: {components: 2}}\ndata: tests.toy.Toy\n")
    settings = [f"--trainer.accelerator={accelerator}"]
    assert isinstance(built(tmp_path, "--config", tmp_path / "cca.yaml", *settings).trainer.accelerator, CPUAccelerator)
    assert isinstance(built(tmp_path, "--config", toy, *settings).trainer.accelerator, MPSAccelerator)


def test_short_class_names_on_the_command_line(toy: Path, tmp_path: Path) -> None:
    cli = built(tmp_path, f"--config={toy}", "--model.generator_optimizer=SGD", "--model.generator_optimizer.lr=0.5")
    assert isinstance(cli.model.configure_optimizers()[0][0], torch.optim.SGD)


def test_print_config_is_yaml_and_builds_nothing(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["fit", f"--config={toy}", "--model.dim=3", "--print_config"])
    assert stop.value.code in (0, None)
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["model"]["init_args"]["dim"] == 3
    assert not (tmp_path / "runs").exists()


def test_config_files_are_found_in_every_spelling() -> None:
    arguments = ["fit", "--config", "a.yaml", "--model.dim=3", "--config=b.yaml", "-c", "c.yaml", "--model.configure=1"]
    assert config_files(arguments) == [Path("a.yaml"), Path("b.yaml"), Path("c.yaml")]


# Runs ----------------------------------------------------------------------------------------------------------------


def test_run_lives_under_experiment_and_seed(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    experiment = tmp_path / "experiments" / "toys" / "daml.yaml"
    experiment.parent.mkdir(parents=True)
    shutil.move(toy, experiment)
    assert Built(["fit", f"--config={experiment}", "--seed_everything=3"]).run.path == Path("runs/toys/daml/seed3")
    assert Built(["fit", f"--config={experiment}", "--experiment=mine"]).run.path == Path("runs/mine/seed0")


def test_fit_leaves_checkpoints_config_metrics_log_and_summary(finished: Path) -> None:
    assert {str(path.relative_to(finished)) for path in finished.rglob("*") if path.is_file()} == {
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "checkpoints/previous.ckpt",
        "config.yaml",
        "fit.json",
        "metrics.csv",
        "run.log",
    }
    summary = json.loads((finished / "fit.json").read_text())
    assert (summary["epochs"], summary["updates"]) == (2, 12)
    assert summary["selection"]["monitor"] == "val/map@all/cos/label/mean"
    assert summary["selection"]["mode"] == "max"
    assert 0 < summary["selection"]["value"] <= 1


def test_resolved_config_says_everything_but_what_was_for_one_call(finished: Path) -> None:
    text = (finished / "config.yaml").read_text()
    assert text.startswith(f"# python -m cmr_lightning test --config {finished / 'config.yaml'}\n")
    config = yaml.safe_load(text)
    assert config["model"]["init_args"]["discriminator_steps"] == 1
    assert config["model"]["init_args"]["text_encoder"]["init_args"]["dropout"] == 0.1
    assert config["experiment"] == "toy"
    assert not {"config", "ckpt_path", "resume", "overwrite"} & set(config)
    assert "spec" not in config["model"]["init_args"]


def test_metrics_file_counts_generator_updates(finished: Path) -> None:
    with (finished / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    score = "val/map@all/cos/label/mean"
    assert [int(row["step"]) for row in rows if row[score]] == [6, 12]
    assert [int(row["step"]) for row in rows if row["train/generator/total"]] == [4, 8, 12]
    assert {"val/map@all/cos/label/i2t", "val/map@all/cos/label/t2i", "train/discriminator/modality"} <= set(rows[0])
    assert {f"train/generator/{term}" for term in DAML.terms} <= set(rows[0])
    best = json.loads((finished / "fit.json").read_text())["selection"]
    assert max(float(row[score]) for row in rows if row[score]) == pytest.approx(best["value"])
    assert any(row["game/gradient_share"] for row in rows)


def test_second_fit_is_refused_and_says_how_to_go_on(toy: Path, run: Path, complaint: Complaint) -> None:
    said = complaint("fit", f"--config={toy}", f"--run_dir={run}")
    assert "finished run" in said
    for way in ("--resume=true", "--overwrite=true", "--run_dir"):
        assert way in said


def test_overwrite_starts_anew(toy: Path, run: Path) -> None:
    (run / "record.json").write_text("{}")
    assert main(["fit", f"--config={toy}", f"--run_dir={run}", "--overwrite=true", "--trainer.max_epochs=1"]) == 0
    assert not (run / "record.json").exists()
    assert json.loads((run / "fit.json").read_text())["updates"] == 6


def test_resume_goes_on_and_equals_the_undisturbed_run(toy: Path, tmp_path: Path, run: Path) -> None:
    """Six epochs at once against two and then four more: same weights, same metrics file. No term depends on the
    length of the training, as the ramp does."""
    options = [f"--config={toy}", "--model.ramp=false"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main(["fit", *options, f"--run_dir={whole}", "--trainer.max_epochs=4"]) == 0
    assert main(["fit", *options, f"--run_dir={parts}", "--trainer.max_epochs=2"]) == 0
    assert main(["fit", *options, f"--run_dir={parts}", "--trainer.max_epochs=4", "--resume=true"]) == 0
    one, other = (torch.load(r / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for r in (whole, parts))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert (whole / "metrics.csv").read_text() == (parts / "metrics.csv").read_text()


def test_resume_without_a_run_is_refused(toy: Path, tmp_path: Path, complaint: Complaint) -> None:
    assert "nothing to resume" in complaint("fit", f"--config={toy}", f"--run_dir={tmp_path / 'no'}", "--resume=true")


def test_resume_and_overwrite_exclude_each_other(toy: Path, run: Path, complaint: Complaint) -> None:
    said = complaint("fit", f"--config={toy}", f"--run_dir={run}", "--resume=true", "--overwrite=true")
    assert "exclude each other" in said
    assert (run / "fit.json").exists()


# Evaluation ----------------------------------------------------------------------------------------------------------


def test_test_needs_the_config_of_the_run_only_though_it_was_moved(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["test", f"--config={run / 'config.yaml'}"]) == 0
    printed = capsys.readouterr().out
    assert "map@all/cos/label" in printed
    assert str(run / "record.json").replace("\n", "")[:20] in printed
    record = json.loads((run / "record.json").read_text())
    assert (record["experiment"], record["method"], record["dataset"], record["seed"]) == ("toy", "DAML", "Toy", 0)
    assert record["protocol"] == "map@all/cos/label"
    assert (run / "ranks.npz").exists()
    assert not (tmp_path / "runs").exists()


def test_test_does_not_complain_that_it_has_no_logger(run: Path, recwarn: pytest.WarningsRecorder) -> None:
    assert main(["test", f"--config={run / 'config.yaml'}"]) == 0
    assert not [warning for warning in recwarn if "no logger" in str(warning.message)]


def test_test_twice_gives_the_same_numbers(run: Path) -> None:
    metrics = []
    for _ in range(2):
        assert main(["test", f"--config={run / 'config.yaml'}"]) == 0
        metrics.append(json.loads((run / "record.json").read_text())["metrics"])
    assert metrics[0] == metrics[1]


def test_validate_finds_the_score_that_chose_the_checkpoint(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", f"--config={run / 'config.yaml'}"]) == 0
    printed = capsys.readouterr().out
    score = json.loads((run / "fit.json").read_text())["selection"]["value"]
    assert "validation part" in printed
    assert f"{score:.4g}" in printed
    assert not (run / "record.json").exists()


def test_predict_writes_the_test_part_into_the_common_space(run: Path) -> None:
    assert main(["predict", f"--config={run / 'config.yaml'}"]) == 0
    with np.load(run / "embeddings.npz") as file:
        assert file["image"].shape == file["text"].shape == (24, 8)
        assert file["owner"].tolist() == list(range(24))
        assert file["image_names"][3] == "test 3"
        assert np.isfinite(file["image"]).all()


def test_test_of_a_given_checkpoint(toy: Path, run: Path, finished: Path, tmp_path: Path) -> None:
    (run / "checkpoints" / "best.ckpt").unlink()
    checkpoint = finished / "checkpoints" / "last.ckpt"
    assert main(["test", f"--config={run / 'config.yaml'}", f"--ckpt_path={checkpoint}"]) == 0
    assert (run / "record.json").exists()


# Loggers -------------------------------------------------------------------------------------------------------------


def test_tensorboard_by_config(toy: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logs = tmp_path / "logs"
    logger = ["--trainer.logger=TensorBoardLogger", f"--trainer.logger.save_dir={logs}"]
    assert main(["fit", f"--config={toy}", f"--run_dir={tmp_path / 'run'}", *logger]) == 0
    (events,) = logs.rglob("events.out.tfevents.*")
    read = EventAccumulator(str(events))
    read.Reload()
    assert [event.step for event in read.Scalars("val/map@all/cos/label/mean")] == [6, 12]
    assert [event.step for event in read.Scalars("train/generator/inter")] == [4, 8, 12]
    assert (tmp_path / "run" / "metrics.csv").exists()


@pytest.mark.slow
def test_wandb_offline_by_config_without_an_account(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    logs = tmp_path / "logs"
    logs.mkdir()
    logger = ["--trainer.logger=WandbLogger", f"--trainer.logger.save_dir={logs}", "--trainer.logger.offline=true"]
    assert main(["fit", f"--config={toy}", f"--run_dir={tmp_path / 'run'}", *logger]) == 0
    assert list((logs / "wandb").glob("offline-run-*/*.wandb"))
    import wandb

    wandb.finish()


# Bad input -----------------------------------------------------------------------------------------------------------


def wikipedia_experiment(folder: Path, root: Path) -> Path:
    path = write_toy(folder / "toy.yaml")
    path.write_text(path.read_text().replace("tests.toy.Toy", f"Wikipedia\n  init_args: {{root: {root}}}"))
    return path


def test_missing_data_folder(tmp_path: Path, complaint: Complaint) -> None:
    config = wikipedia_experiment(tmp_path, tmp_path / "nowhere")
    said = complaint("fit", f"--config={config}", f"--run_dir={tmp_path / 'run'}")
    assert str(tmp_path / "nowhere") in said
    assert "does not exist" in said
    assert not (tmp_path / "run").exists()


@pytest.fixture
def wikipedia(invented_data: Path, tmp_path: Path) -> Path:
    return shutil.copytree(invented_data / "wikipedia", tmp_path / "wikipedia")


def test_truncated_mat_file(wikipedia: Path, tmp_path: Path, complaint: Complaint) -> None:
    mat = wikipedia / "raw_features.mat"
    mat.write_bytes(mat.read_bytes()[:5000])
    config = wikipedia_experiment(tmp_path, wikipedia)
    said = complaint("fit", f"--config={config}", f"--run_dir={tmp_path / 'run'}")
    assert str(mat) in said
    assert "cut short" in said


def test_list_file_of_the_wrong_length(wikipedia: Path, tmp_path: Path, complaint: Complaint) -> None:
    listed = wikipedia / "trainset_txt_img_cat.list"
    listed.write_text("".join(listed.read_text().splitlines(keepends=True)[:-3]))
    config = wikipedia_experiment(tmp_path, wikipedia)
    said = complaint("fit", f"--config={config}", f"--run_dir={tmp_path / 'run'}")
    assert "should have 2173 lines and has 2170" in said


@pytest.mark.parametrize("option", ["--model.class_path=DAMEL", "--model.image_encoder.class_path=FeatureMPL"])
def test_unknown_class(option: str, toy: Path, tmp_path: Path, complaint: Complaint) -> None:
    said = complaint("fit", f"--config={toy}", option, f"--run_dir={tmp_path / 'run'}")
    assert option.partition("=")[2] in said


@pytest.mark.parametrize(
    ("place", "key"),
    [
        ("model: {init_args: {dimension: 3}}", "dimension"),
        ("model: {init_args: {image_encoder: {init_args: {hiden: [3]}}}}", "hiden"),
        ("data: {init_args: {batchsize: 3}}", "batchsize"),
        ("trainer: {max_epoch: 3}", "max_epoch"),
        ("modle: {init_args: {dim: 3}}", "modle"),
    ],
)
def test_unknown_key_in_a_file(place: str, key: str, toy: Path, tmp_path: Path, complaint: Complaint) -> None:
    (tmp_path / "other.yaml").write_text(place + "\n")
    said = complaint("fit", f"--config={toy}", f"--config={tmp_path / 'other.yaml'}", f"--run_dir={tmp_path / 'run'}")
    assert key in said


@pytest.mark.parametrize(
    ("option", "key"),
    [
        ("--model.dimension=3", "dimension"),
        ("--model.generator_optimizer.learning=3", "learning"),
        ("--data.batchsize=3", "batchsize"),
        ("--trainer.max_epoch=3", "max_epoch"),
        ("--modle.dim=3", "modle"),
        ("--model.weights.innter=3", "innter"),
    ],
)
def test_unknown_key_on_the_command_line(
    option: str, key: str, toy: Path, tmp_path: Path, complaint: Complaint
) -> None:
    assert key in complaint("fit", f"--config={toy}", option, f"--run_dir={tmp_path / 'run'}")


@pytest.mark.parametrize(
    ("option", "key"),
    [
        ("--model.dim=abc", "model (DAML).dim: expected int; got abc"),
        ("--data.batch_size=many", "batch_size"),
        ("--trainer.max_epochs=soon", "trainer.max_epochs: expected int; got soon"),
        ("--model.adversary=revesal", "adversary"),
        ("--model.image_encoder.hidden=[a]", "hidden"),
    ],
)
def test_wrong_type(option: str, key: str, toy: Path, tmp_path: Path, complaint: Complaint) -> None:
    said = complaint("fit", f"--config={toy}", option, f"--run_dir={tmp_path / 'run'}")
    assert key in said
    assert option.partition("=")[2].strip("[]") in said


def test_unresolved_interpolation(toy: Path, tmp_path: Path, complaint: Complaint) -> None:
    toy.write_text(toy.read_text().replace("init_args.dropout}", "init_args.drop}"))
    said = complaint("fit", f"--config={toy}", f"--run_dir={tmp_path / 'run'}")
    assert "interpolation" in said
    assert "drop" in said


def test_config_file_that_is_missing_or_no_yaml(tmp_path: Path, complaint: Complaint) -> None:
    assert "nowhere.yaml" in complaint("fit", f"--config={tmp_path / 'nowhere.yaml'}")
    (tmp_path / "broken.yaml").write_text("model: [1, 2\n")
    assert "line 2" in complaint("fit", f"--config={tmp_path / 'broken.yaml'}")


def test_loss_that_diverges_is_named(
    toy: Path, tmp_path: Path, complaint: Complaint, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses_of = DAML.generator_losses

    def not_a_number(model: DAML, batch: Batch, embeddings: Embeddings) -> dict[str, torch.Tensor]:
        losses = losses_of(model, batch, embeddings)
        return {**losses, "inter": losses["inter"] * (float("nan") if model.global_step == 3 else 1)}

    monkeypatch.setattr(DAML, "generator_losses", not_a_number)
    said = complaint("fit", f"--config={toy}", f"--run_dir={tmp_path / 'run'}")
    assert "`inter` (nan)" in said
    assert "after 3 updates" in said


@pytest.mark.parametrize(("command", "part"), [("fit", "train"), ("fit", "val"), ("test", "test")])
def test_class_without_items(
    command: str, part: str, run: Path, tmp_path: Path, complaint: Complaint, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Toy.read

    def without_class_2(data: Toy, name: PartName) -> Part:
        found = read(data, name)
        if name == part:
            found.label[found.label == 2] = 1
        return found

    monkeypatch.setattr(Toy, "read", without_class_2)
    folder = [f"--run_dir={tmp_path / 'new'}"] if command == "fit" else []
    said = complaint(command, f"--config={run / 'config.yaml'}", *folder)
    assert f"no {part} image has the class class 2" in said


def test_checkpoint_of_another_method(toy: Path, run: Path, tmp_path: Path, complaint: Complaint) -> None:
    toy.write_text(
        toy.read_text()
        .replace("DAML", "Triplet")
        .replace("    discriminator:\n      class_path: ModalityClassifier\n", "")
    )
    checkpoint = f"--ckpt_path={run / 'checkpoints' / 'best.ckpt'}"
    said = complaint("test", f"--config={toy}", checkpoint, f"--run_dir={tmp_path / 'new'}")
    assert "DAML" in said
    assert "Triplet" in said


def test_checkpoint_of_another_size(run: Path, complaint: Complaint) -> None:
    said = complaint("test", f"--config={run / 'config.yaml'}", "--model.dim=9")
    assert "classifier.weight has the shape (4, 8) in the checkpoint and (4, 9) in the model" in said


def test_checkpoint_that_is_missing(run: Path, complaint: Complaint) -> None:
    assert "nowhere.ckpt" in complaint("test", f"--config={run / 'config.yaml'}", f"--ckpt_path={run / 'nowhere.ckpt'}")


def test_machine_without_the_accelerator(toy: Path, tmp_path: Path, complaint: Complaint) -> None:
    said = complaint("fit", f"--config={toy}", "--trainer.accelerator=tpu", f"--run_dir={tmp_path / 'run'}")
    assert "`trainer`" in said


def test_test_before_fit(toy: Path, tmp_path: Path, complaint: Complaint) -> None:
    for command in ("test", "validate", "predict"):
        assert "`fit` first" in complaint(command, f"--config={toy}", f"--run_dir={tmp_path / 'run'}")
    assert not (tmp_path / "run").exists()


def test_batch_larger_than_the_data(toy: Path, tmp_path: Path, complaint: Complaint) -> None:
    said = complaint("fit", f"--config={toy}", "--data.batch_size=97", f"--run_dir={tmp_path / 'run'}")
    assert "data.batch_size is 97" in said
