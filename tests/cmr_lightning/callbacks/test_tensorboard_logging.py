from pathlib import Path

import pytest
from PIL import Image

from cmr_lightning.__main__ import main
from cmr_lightning.runs.run import Run
from tests.building import write_toy

pytest.importorskip("tensorboard")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

MAIN = "map@all/cos/label/mean"
SCORE = f"val/{MAIN}"


def fit(folder: Path, *options: str) -> Run:
    """Train the toy experiment in `folder/run`."""
    run = Run(folder / "run")
    assert main(["fit", f"--config={write_toy(folder / 'toy.yaml')}", f"--run_dir={run.path}", *options]) == 0
    return run


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def steps(events: EventAccumulator, tag: str) -> list[int]:
    return [event.step for event in events.Scalars(tag)]


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> tuple[EventAccumulator, Run]:
    """What two epochs, a resumed third and a test logged, and the run."""
    folder = tmp_path_factory.mktemp("tensorboard")
    logger = ["--trainer.logger=TensorBoardLogger", f"--trainer.logger.save_dir={folder / 'logs'}"]
    run = fit(folder, *logger)
    fit(folder, *logger, "--trainer.max_epochs=3", "--resume=true")
    with pytest.MonkeyPatch.context() as patch:
        gallery = "cmr_lightning.callbacks.gallery.draw_gallery"
        patch.setattr(gallery, lambda rows, title, path: Image.new("RGB", (8, 6)).save(path))
        assert main(["test", f"--config={run.config}"]) == 0
    return read(folder / "logs" / "toy" / "seed0"), run


def test_run_is_named_by_experiment_and_seed_and_counts_updates(tested: tuple[EventAccumulator, Run]) -> None:
    events, run = tested
    assert steps(events, SCORE) == [6, 12, 18]
    assert steps(events, "train/generator/inter") == [4, 8, 12, 16]
    assert run.metrics.exists()


def test_test_logs_its_metrics_and_the_gallery_at_the_update_of_the_checkpoint(
    tested: tuple[EventAccumulator, Run],
) -> None:
    events, run = tested
    chosen = run.read_summary()["selection"]
    assert [(event.step, event.value) for event in events.Scalars(f"best/{MAIN}")][-1] == (
        chosen["step"],
        pytest.approx(chosen["value"]),
    )
    assert steps(events, f"test/{MAIN}") == [chosen["step"]]
    (gallery,) = events.Images("test/gallery")
    assert (gallery.width, gallery.height, gallery.step) == (8, 6, chosen["step"])


def test_settings_stand_beside_results(tested: tuple[EventAccumulator, Run]) -> None:
    events, _ = tested
    found = events.PluginTagToContent("hparams")
    start = HParamsPluginData.FromString(found["_hparams_/session_start_info"]).session_start_info.hparams
    assert start["model"].string_value == "DAML"
    assert start["model.dim"].number_value == 8
    assert start["model.generator_optimizer.lr"].number_value == pytest.approx(1e-2)
    infos = HParamsPluginData.FromString(found["_hparams_/experiment"]).experiment.metric_infos
    assert {f"best/{MAIN}", f"test/{MAIN}"} <= {info.name.tag for info in infos} <= set(events.Tags()["scalars"])


def test_run_that_starts_over_hides_what_the_earlier_one_logged(tmp_path: Path) -> None:
    """In its own folder, which `true` chooses; with a name, a version and no settings, if that is wanted."""
    run = fit(tmp_path, "--trainer.logger=true")
    assert steps(read(run.tensorboard), SCORE) == [6, 12]
    given = {"save_dir": tmp_path / "logs", "name": "mine", "version": "first"}
    options = ["--trainer.logger=TensorBoardLogger", *(f"--trainer.logger.{key}={of}" for key, of in given.items())]
    options += ["--trainer.enable_autolog_hparams=false", "--trainer.max_epochs=1", "--overwrite=true"]
    for _ in range(2):
        fit(tmp_path, *options)
    events = read(tmp_path / "logs" / "mine" / "first")
    assert steps(events, SCORE) == [6]
    assert "hparams" not in events.Tags()["scalars"]
    with pytest.raises(KeyError):
        events.PluginTagToContent("hparams")


def test_without_tensorboard_the_error_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("", "X"):
        monkeypatch.setattr(f"lightning_fabric.loggers.tensorboard._TENSORBOARD{package}_AVAILABLE", False)
    toy = write_toy(tmp_path / "toy.yaml")
    assert main(["fit", f"--config={toy}", f"--run_dir={tmp_path / 'run'}", "--trainer.logger=true"]) == 2
    error = capsys.readouterr().err
    assert "tensorboard" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()
