"""What a person gets from `fit`, `validate`, `test` and `predict`."""

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from pytorch_lightning.accelerators import CPUAccelerator, MPSAccelerator

from cmr_lightning.__main__ import main
from cmr_lightning.files.config_files import config_files
from cmr_lightning.game.alignments import ModalityAdversary
from cmr_lightning.methods.daml import DAML
from cmr_lightning.parallel.two_player_precision import TwoPlayerPrecision
from datamodules.base import PartName
from datamodules.reading.loaders import Part
from tests.building import Built, write_toy
from tests.toy import Toy

SCORE = "val/map@all/cos/label/mean"
pytestmark = pytest.mark.usefixtures("no_pictures")


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
    """Runs a command that must fail with exit code 2, and returns its error: one line, no traceback."""

    def run_and_read(*arguments: object) -> str:
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1, error
        return error.removeprefix("error: ").strip()

    return run_and_read


@pytest.fixture
def fit_complaint(toy: Path, tmp_path: Path, complaint: Complaint) -> Complaint:
    """The same for `fit` of the toy experiment in a new folder."""
    return lambda *options: complaint("fit", f"--config={toy}", f"--run_dir={tmp_path / 'new'}", *options)


@pytest.fixture
def built(toy: Path, tmp_path: Path) -> Callable[..., Built]:
    """Builds the parts of the toy experiment, or of another, with options."""
    run = f"--run_dir={tmp_path / 'built'}"
    return lambda *options, config=toy: Built(["fit", f"--config={config}", run, *options])


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


# Config --------------------------------------------------------------------------------------------------------------


def test_the_progress_bar_can_be_switched_off(built: Callable[..., Built]) -> None:
    assert built("--trainer.enable_progress_bar=false").trainer.progress_bar_callback is None


def test_of_several_config_files_the_later_wins(tmp_path: Path, built: Callable[..., Built]) -> None:
    (tmp_path / "smaller.yaml").write_text("model: {init_args: {dim: 4}}\ntrainer: {max_epochs: 7}\n")
    (tmp_path / "longer.yaml").write_text("trainer: {max_epochs: 9}\n")
    cli = built(f"--config={tmp_path / 'smaller.yaml'}", f"--config={tmp_path / 'longer.yaml'}")
    assert (cli.model.dim, cli.trainer.max_epochs) == (4, 9)
    assert isinstance(cli.model.alignment, ModalityAdversary)
    assert cli.options.experiment == "toy+smaller+longer"


@pytest.mark.parametrize(("override", "dropout"), [([], 0.1), (["--model.image_encoder.dropout=0.3"], 0.3)])
def test_interpolations_follow_overrides(override: list[str], dropout: float, built: Callable[..., Built]) -> None:
    cli = built(*override)
    for encoder in (cli.model.image_encoder, cli.model.text_encoder):
        assert [layer.p for layer in encoder.layers if isinstance(layer, torch.nn.Dropout)] == [dropout]
    assert cli.resolved()["model"]["init_args"]["text_encoder"]["init_args"]["dropout"] == dropout


def test_dotted_overrides_reach_the_model_and_the_config(built: Callable[..., Built]) -> None:
    of_model = ("generator_optimizer.lr=3e-4", "weights.alignment=0", "image_encoder.hidden=[7, 5]")
    cli = built(*(f"--model.{option}" for option in of_model), "--data.batch_size=12")
    generator, _ = cli.model.configure_optimizers()[0]
    assert generator.param_groups[0]["lr"] == 3e-4
    assert cli.model.weights == {**DAML.terms, "alignment": 0}
    sizes = [layer.out_features for layer in cli.model.image_encoder.layers if hasattr(layer, "out_features")]
    assert sizes == [7, 5, 8]
    assert cli.datamodule.batch_size == 12
    resolved = cli.resolved()["model"]["init_args"]
    assert resolved["generator_optimizer"]["init_args"]["lr"] == 3e-4
    assert resolved["weights"] == {"alignment": 0}


@pytest.mark.parametrize(
    ("options", "name", "settings"),
    [
        (["--model.alignment=MMD", "--model.alignment.space=unit"], "MMD", {"space": "unit"}),
        (
            ["--model.alignment=ConditionalAdversary", "--model.alignment.discriminator.hidden=[4]"],
            "ConditionalAdversary",
            {"classes": "labels", "condition": "product", "r1": 0},
        ),
    ],
)
def test_an_alignment_is_named_shortly(
    options: list[str], name: str, settings: dict[str, Any], built: Callable[..., Built]
) -> None:
    cli = built(*options)
    resolved = cli.resolved()["model"]["init_args"]["alignment"]
    assert resolved["class_path"] == f"cmr_lightning.game.alignments.{name}"
    assert settings.items() <= resolved["init_args"].items()
    assert type(cli.model.alignment).__name__ == name


@pytest.mark.parametrize("precision", ["16", "'16'", "16-mixed"])  # in YAML a number, and two words
def test_fp16_keeps_a_scale_for_each_player_however_it_is_spelt(
    precision: str, tmp_path: Path, built: Callable[..., Built], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fp16.yaml").write_text(f"trainer: {{precision: {precision}}}\n")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    cli = built(f"--config={tmp_path / 'fp16.yaml'}")
    assert isinstance(cli.trainer.precision_plugin, TwoPlayerPrecision)


@pytest.mark.parametrize("accelerator", ["auto", "gpu", "mps"])
def test_closed_forms_keep_off_apples_gpus(
    accelerator: str, tmp_path: Path, built: Callable[..., Built], monkeypatch: pytest.MonkeyPatch
) -> None:
    """These have no float64."""
    monkeypatch.setattr("lightning_fabric.accelerators.mps.MPSAccelerator.is_available", lambda: True)
    cca, option = tmp_path / "cca.yaml", f"--trainer.accelerator={accelerator}"
    cca.write_text("model: {class_path: CCA, init_args: {components: 2}}\ndata: tests.toy.Toy\n")
    assert isinstance(built(option, config=cca).trainer.accelerator, CPUAccelerator)
    assert isinstance(built(option).trainer.accelerator, MPSAccelerator)


def test_short_class_names_on_the_command_line(built: Callable[..., Built]) -> None:
    cli = built("--model.generator_optimizer=SGD", "--model.generator_optimizer.lr=0.5")
    assert isinstance(cli.model.configure_optimizers()[0][0], torch.optim.SGD)


def test_print_config_builds_nothing(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["fit", f"--config={toy}", "--model.dim=3", "--print_config"])
    assert stop.value.code in (0, None)
    assert yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]["dim"] == 3
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
    checkpoints = {f"checkpoints/{name}.ckpt" for name in ("best", "last", "previous")}
    files = {"config.yaml", "fit.json", "metrics.csv", "run.lock", "run.log", "trained_on.json"} | checkpoints
    assert {str(path.relative_to(finished)) for path in finished.rglob("*") if path.is_file()} == files
    summary = read_json(finished / "fit.json")
    assert (summary["epochs"], summary["updates"]) == (2, 12)
    assert (summary["selection"]["monitor"], summary["selection"]["mode"]) == (SCORE, "max")
    assert 0 < summary["selection"]["value"] <= 1


def test_resolved_config_says_everything_but_what_was_for_one_call(finished: Path) -> None:
    text = (finished / "config.yaml").read_text()
    assert text.startswith(f"# python -m cmr_lightning test --config {finished / 'config.yaml'}\n")
    config = yaml.safe_load(text)
    model = config["model"]["init_args"]
    assert model["discriminator_steps"] == 1
    assert model["text_encoder"]["init_args"]["dropout"] == 0.1
    assert "spec" not in model
    assert config["experiment"] == "toy"
    assert not {"config", "ckpt_path", "resume", "overwrite"} & set(config)


def test_metrics_file_counts_generator_updates(finished: Path) -> None:
    rows = list(csv.DictReader((finished / "metrics.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows if row[SCORE]] == [6, 12]
    assert [int(row["step"]) for row in rows if row["train/generator/total"]] == [4, 8, 12]
    assert {"val/map@all/cos/label/i2t", "val/map@all/cos/label/t2i", "train/discriminator/modality"} <= set(rows[0])
    assert {f"train/generator/{term}" for term in DAML.terms} <= set(rows[0])
    best = read_json(finished / "fit.json")["selection"]
    assert max(float(row[SCORE]) for row in rows if row[SCORE]) == pytest.approx(best["value"])
    assert any(row["game/gradient_share"] for row in rows)


def test_overwrite_starts_again(toy: Path, run: Path) -> None:
    (run / "record.json").write_text("{}")
    assert main(["fit", f"--config={toy}", f"--run_dir={run}", "--overwrite=true", "--trainer.max_epochs=1"]) == 0
    assert not (run / "record.json").exists()
    assert read_json(run / "fit.json")["updates"] == 6


def test_resumed_run_equals_the_undisturbed_one(toy: Path, tmp_path: Path) -> None:
    """Four epochs at once against two and then two more: same weights, same metrics file. No term depends on the
    length of the training, as the ramp does."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder, epochs, *resume in ((whole, 4), (parts, 2), (parts, 4, "--resume=true")):
        options = [f"--run_dir={folder}", f"--trainer.max_epochs={epochs}", "--model.ramp=false", *resume]
        assert main(["fit", f"--config={toy}", *options]) == 0
    one, other = (torch.load(r / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for r in (whole, parts))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert (whole / "metrics.csv").read_text() == (parts / "metrics.csv").read_text()


def test_second_fit_in_a_folder_is_refused(toy: Path, run: Path, complaint: Complaint) -> None:
    error = complaint("fit", f"--config={toy}", f"--run_dir={run}")
    assert all(part in error for part in ("finished run", "--resume=true", "--overwrite=true", "--run_dir"))
    assert (run / "fit.json").exists()


# Evaluation ----------------------------------------------------------------------------------------------------------


def test_test_needs_the_config_of_the_run_only_though_it_was_moved(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], recwarn: Any
) -> None:
    """And gives the same numbers each time."""
    monkeypatch.chdir(tmp_path)
    assert main(["test", f"--config={run / 'config.yaml'}"]) == 0
    printed = capsys.readouterr().out
    assert "map@all/cos/label" in printed
    assert str(run / "record.json") in printed
    record = read_json(run / "record.json")
    assert (record["experiment"], record["method"], record["dataset"], record["seed"]) == ("toy", "DAML", "Toy", 0)
    assert record["protocol"] == "map@all/cos/label"
    assert (run / "ranks.npz").exists()
    assert not (tmp_path / "runs").exists()
    assert not [warning for warning in recwarn if "no logger" in str(warning.message)]
    assert main(["test", f"--config={run / 'config.yaml'}"]) == 0
    assert read_json(run / "record.json")["metrics"] == record["metrics"]


def test_validate_finds_the_score_that_chose_the_checkpoint(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", f"--config={run / 'config.yaml'}"]) == 0
    printed = capsys.readouterr().out
    assert "validation part" in printed
    assert f"{read_json(run / 'fit.json')['selection']['value']:.4g}" in printed
    assert not (run / "record.json").exists()


def test_predict_writes_the_test_part_into_the_common_space(run: Path) -> None:
    assert main(["predict", f"--config={run / 'config.yaml'}"]) == 0
    with np.load(run / "embeddings.npz") as file:
        assert file["image"].shape == file["text"].shape == (24, 8)
        assert np.isfinite(file["image"]).all()


def test_test_of_a_given_checkpoint(run: Path, finished: Path) -> None:
    (run / "checkpoints" / "best.ckpt").unlink()
    checkpoint = finished / "checkpoints" / "last.ckpt"
    assert main(["test", f"--config={run / 'config.yaml'}", f"--ckpt_path={checkpoint}"]) == 0
    (record,) = (run / "other_conditions").glob("*/record.json")
    assert read_json(record)["weights"]
    assert not (run / "record.json").exists()


# Bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "parts"),
    [
        # unknown classes
        ("--model.class_path=DAMEL", ["model: there is no class 'DAMEL'; give the name of one of this package, or a"]),
        ("--model.image_encoder.class_path=FeatureMPL", ["FeatureMPL"]),
        # unknown keys
        ("--model.dimension=3", ["there is no option 'dimension'"]),
        ("--model.generator_optimizer.learning=3", ["learning"]),
        ("--data.batchsize=3", ["batchsize"]),
        ("--trainer.max_epoch=3", ["max_epoch"]),
        ("--modle.dim=3", ["modle"]),
        ("--model.weights.innter=3", ["innter"]),
        # wrong values
        ("--model.dim=abc", ["model (DAML).dim: should be a valid integer, ", "; got abc"]),
        ("--data.batch_size=many", ["batch_size", "many"]),
        ("--data.batch_size=97", ["data.batch_size is 97"]),
        ("--trainer.max_epochs=soon", ["trainer.max_epochs: expected int; got soon"]),
        ("--model.alignment.mode=revesal", ["alignment.mode: expected one of 'reversal', ", "; got revesal"]),
        (
            "--model.image_encoder.hidden=[a]",
            ["model (DAML).image_encoder.hidden: should be a valid integer, ", "; got a"],
        ),
        ("--trainer.accelerator=tpu", ["`trainer`"]),
        ("--resume=true", ["nothing to resume"]),
        ("--ckpt_path=nowhere.ckpt", ["nowhere.ckpt"]),
    ],
)
def test_wrong_option(option: str, parts: list[str], fit_complaint: Complaint) -> None:
    error = fit_complaint(option)
    assert all(part in error for part in parts), error


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("model: {init_args: {dimension: 3}}", "dimension"),
        ("model: {init_args: {image_encoder: {init_args: {hiden: [3]}}}}", "hiden"),
        ("data: {init_args: {batchsize: 3}}", "batchsize"),
        ("trainer: {max_epoch: 3}", "max_epoch"),
        ("modle: {init_args: {dim: 3}}", "modle"),
        ("model: [1, 2", "line 2"),
        (None, "other.yaml"),
        (
            "model: {init_args: {dim: '${model.init_args.drop}'}}",
            "The interpolation model.init_args.dim: ${model.init_args.drop} in ",
        ),
    ],
)
def test_wrong_file(content: str | None, part: str, tmp_path: Path, fit_complaint: Complaint) -> None:
    if content is not None:
        (tmp_path / "other.yaml").write_text(content + "\n")
    assert part in fit_complaint(f"--config={tmp_path / 'other.yaml'}")


@pytest.mark.parametrize(
    ("damage", "parts"),
    [
        (shutil.rmtree, ["wikipedia", "does not exist"]),
        (lambda folder: os.truncate(folder / "raw_features.mat", 5000), ["raw_features.mat", "cut short"]),
    ],
)
def test_damaged_data(
    damage: Callable[[Path], None], parts: list[str], invented_data: Path, tmp_path: Path, fit_complaint: Complaint
) -> None:
    folder = shutil.copytree(invented_data / "wikipedia", tmp_path / "wikipedia")
    damage(folder)
    error = fit_complaint("--data=Wikipedia", f"--data.root={folder}")
    assert all(part in error for part in parts), error
    assert not (tmp_path / "new").exists()


REFUSED = [
    (["--seed_everything=-5"], "seed_everything: should be greater than or equal to 0; got -5"),
    (["--seed_everything=4294967296"], "seed_everything: should be less than 4294967296"),
    (["--seed_everything=false"], "seed_everything"),
    (["--model.accumulate=-1"], "model (DAML).accumulate: should be greater than or equal to 1; got -1"),
    (["--model.generator_clip=0"], "model (DAML).generator_clip: should be greater than 0; got 0"),
    (["--model.ramp=null"], "model (DAML).ramp: expected bool; got None"),
    (["--model.dim=null"], "model (DAML).dim: should be a valid integer; got None"),
    (["--model.weights={'inter': 1.0e+30}"], "weights: should be less than or equal to 1000000; got 1e+30"),
    (["--model.alignment.discriminator.hidden=[0]"], "discriminator.hidden: should be greater than or equal to 1"),
    (["--data=Shapes", "--data.picture_size=null"], "data (Shapes).picture_size: should be a valid integer; got None"),
    (["--data=Shapes", "--data.batch_size=-1"], "data (Shapes).batch_size: should be greater than or equal to 1"),
    (["--trainer.devices=-1"], "`devices`"),
    (["--trainer.devices=0"], "devices"),
    (["--trainer.max_epochs=0"], "max_epochs"),
    (["--trainer.max_steps=0"], "max_steps"),
    (["--model.generator_optimizer.lr=-1"], "model.generator_optimizer cannot be used as it is set"),
    (["--model.generator_optimizer.lr=.inf"], "model.generator_optimizer.init_args.lr is inf"),
    (["--model.schedule=StepLR", "--model.schedule.step_size=0"], "model.schedule cannot be used"),
    (["--data.batch_size=97"], "data.batch_size is 97"),
]


@pytest.mark.parametrize(("options", "part"), REFUSED)
def test_a_refused_start_leaves_no_folder(
    options: list[str], part: str, fit_complaint: Complaint, tmp_path: Path
) -> None:
    assert part in fit_complaint(*options)
    assert not (tmp_path / "new").exists()


def test_a_refused_start_does_not_touch_the_run_that_it_was_to_replace(
    toy: Path, run: Path, complaint: Complaint
) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    late = "--model.generator_optimizer.lr=-1"
    assert "generator_optimizer" in complaint("fit", f"--config={toy}", f"--run_dir={run}", "--overwrite=true", late)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_messages_from_before_the_folder_are_in_its_log(toy: Path, tmp_path: Path, built: Callable[..., Built]) -> None:
    command = ["fit", f"--config={toy}", f"--run_dir={tmp_path / 'run'}", "--trainer.callbacks+=TrainingStages"]
    stages = "[{'name': 'first', 'epochs': 1}, {'name': 'second', 'epochs': 1}, {'name': 'third'}]"
    assert main([*command, f"--trainer.callbacks.stages={stages}"]) == 0
    assert "never reached: third" in (tmp_path / "run" / "run.log").read_text()


def test_the_traceback_of_a_fault_is_in_the_log_of_the_run(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("a fault")

    monkeypatch.setattr(DAML, "generator_losses", fail)
    assert main(["fit", f"--config={toy}", f"--run_dir={tmp_path / 'run'}"]) == 1
    first, second = capsys.readouterr().err.splitlines()[-2:]
    assert first.startswith("error: KeyError: 'a fault' (at ")
    assert second.endswith(f"It is also in {tmp_path / 'run' / 'run.log'}.")
    log = (tmp_path / "run" / "run.log").read_text()
    assert "Traceback (most recent call last)" in log
    assert "in generator_losses" in log or "in fail" in log


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
    assert f"no {part} image has the class class 2" in complaint(command, f"--config={run / 'config.yaml'}", *folder)


def test_checkpoint_of_another_method(toy: Path, run: Path, tmp_path: Path, complaint: Complaint) -> None:
    toy.write_text(toy.read_text().replace("DAML", "Triplet"))
    checkpoint = run / "checkpoints" / "best.ckpt"
    error = complaint("test", f"--config={toy}", f"--ckpt_path={checkpoint}", f"--run_dir={tmp_path / 'new'}")
    assert "model was cmr_lightning.methods.DAML and is cmr_lightning.methods.Triplet" in error


@pytest.mark.parametrize("command", ["test", "validate", "predict"])
def test_evaluation_before_fit(command: str, toy: Path, tmp_path: Path, complaint: Complaint) -> None:
    assert "`fit` first" in complaint(command, f"--config={toy}", f"--run_dir={tmp_path / 'run'}")
    assert not (tmp_path / "run").exists()
