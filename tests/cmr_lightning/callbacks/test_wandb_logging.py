"""What is sent to W&B, received by a server on the loopback address that stands in for theirs."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import wandb
import yaml
from PIL import Image

from cmr_lightning.__main__ import main
from cmr_lightning.runs.settings import look_up
from tests.building import ROOT, write_toy
from tests.cmr_lightning.callbacks.wandb_server import ENTITY, PROJECT, SWEEP, WandbServer, wandb_server
from tests.cmr_lightning.sweep.made import write_sweep

SCORE = "val/map@all/cos/label/mean"
STEP = "trainer/global_step"
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_gallery")]


def account(server: WandbServer, folder: Path) -> dict[str, str]:
    """Environment of somebody with an account."""
    names = {"BASE_URL": server.url, "API_KEY": "x" * 40, "MODE": "online", "DIR": str(folder)}
    return {f"WANDB_{name}": value for name, value in {**names, "AGENT_REPORT_INTERVAL": "1"}.items()}


def fit(folder: Path, *options: str) -> int:
    """Train the toy experiment in `folder/run`, or where the options say."""
    toy = folder / "toy.yaml"
    if not toy.exists():
        write_toy(toy)
    return main(["fit", f"--config={toy}", f"--run_dir={folder / 'run'}", "--trainer.logger=WandbLogger", *options])


def measured(folder: Path) -> dict[str, Any]:
    """Test the run in `folder/run`, and return its record."""
    assert main(["test", f"--config={folder / 'run' / 'config.yaml'}"]) == 0
    return json.loads((folder / "run" / "record.json").read_text())


def run_wandb(words: list[str], folder: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "wandb", *words]
    subprocess.run(command, cwd=folder, env={**os.environ, **environment}, check=True, timeout=300)


def unwrapped(server: WandbServer, run: str) -> dict[str, Any]:
    """The config of a run as people see it."""
    return {key: part["value"] for key, part in json.loads(server.runs[run]["config"]).items()}


def logged(server: WandbServer, run: str) -> set[str]:
    return {key for row in server.history[run] for key in row}


def steps(server: WandbServer, run: str, key: str) -> list[int]:
    return [row[STEP] for row in server.history[run] if key in row]


def check_report(server: WandbServer, run: str, record: dict[str, Any], directions: set[str]) -> None:
    """What `test` measured is logged under its names, and each validation score has a definition."""
    # W&B sends numbers for the names of fields; 1 is the name of a metric.
    defined = {metric["1"] for metric in unwrapped(server, run)["_wandb"]["m"] if "1" in metric}
    assert {name for name in defined if name.startswith("val/")} == {
        key for key in logged(server, run) if key.startswith("val/")
    }
    assert json.loads(server.files["record.json"]) == record
    for protocol, values in record["metrics"].items():
        assert {name: server.summary[run][f"test/{protocol}/{name}"] for name in values} == values
    (table,) = [json.loads(of) for name, of in server.files.items() if name.startswith("media/table/test/metrics")]
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert {row.pop("protocol"): {k: v for k, v in row.items() if v is not None} for row in rows} == record["metrics"]
    curves = {key.rpartition(" ")[2] for key in logged(server, run) if "Precision by recall" in key}
    assert {direction.removesuffix("_table") for direction in curves} == directions


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    with wandb_server() as server:
        for name, value in account(server, tmp_path).items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        for name in ("RUN_ID", "SWEEP_ID", "PROJECT", "RUN_GROUP", "NAME", "TAGS"):
            monkeypatch.delenv(f"WANDB_{name}", raising=False)
        wandb.teardown()
        yield server
        wandb.teardown()


@pytest.fixture
def small_gallery(monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture in the place of the gallery, which takes most of the time of a test."""
    drawn = "cmr_lightning.callbacks.gallery.draw_gallery"
    monkeypatch.setattr(drawn, lambda rows, title, path: Image.new("RGB", (8, 8)).save(path))


@pytest.fixture
def artifacts(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Is called with artifacts, which the server knows nothing of."""
    log = Mock()
    monkeypatch.setattr(wandb.Run, "log_artifact", log)
    return log


def test_fit_resume_and_test_are_one_run_that_says_all(tmp_path: Path, server: WandbServer, artifacts: Mock) -> None:
    watch = ["--trainer.callbacks+=WandbWatch", "--trainer.callbacks.log_freq=4"]
    assert fit(tmp_path, "--trainer.logger.log_model=true", *watch) == 0
    (model,) = [call for call in artifacts.call_args_list if call.args[0].type == "model"]
    assert model.args[0].metadata["original_filename"] == "best.ckpt"
    assert model.kwargs["aliases"] == ["latest", "best"]
    (run,) = server.runs
    folder, sent = tmp_path / "run", server.runs[run]
    assert json.loads((folder / "wandb.json").read_text()) == {"id": run, "project": PROJECT, "entity": ENTITY}
    assert (sent["groupName"], sent["displayName"], sent["tags"]) == ("toy", "toy seed 0", ["DAML", "Toy"])
    assert sent["exitcode"] == 0
    config = unwrapped(server, run)
    assert config["model"] == yaml.safe_load((folder / "config.yaml").read_text())["model"]
    assert config["trainer"]["max_epochs"] == 2
    assert steps(server, run, SCORE) == [6, 12]
    assert steps(server, run, "train/generator/total") == [4, 8, 12]
    scores = [row[SCORE] for row in server.history[run] if SCORE in row]
    assert server.summary[run][SCORE] == {"max": max(scores)}
    assert max(scores) == pytest.approx(json.loads((folder / "fit.json").read_text())["selection"]["value"])
    assert any(key.startswith("gradients/") for key in logged(server, run))

    assert fit(tmp_path, "--trainer.max_epochs=3", "--resume=true") == 0
    record = measured(tmp_path)
    assert list(server.runs) == [run]
    assert steps(server, run, SCORE) == [6, 12, 18]
    check_report(server, run, record, {"i2t", "t2i"})
    assert {"test/gallery", "test/classes"} <= logged(server, run)
    assert any(name.startswith("media/images/test/gallery") for name in server.files)


def test_names_and_the_environment(tmp_path: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_TAGS", "class_level")
    for seed in range(2):
        options = [f"--run_dir={tmp_path / str(seed)}", f"--seed_everything={seed}"]
        assert fit(tmp_path, "--trainer.max_epochs=1", *options) == 0
    assert {run["groupName"] for run in server.runs.values()} == {"toy"}
    assert {run["displayName"] for run in server.runs.values()} == {"toy seed 0", "toy seed 1"}
    assert all(run["tags"] == ["DAML", "Toy", "class_level"] for run in server.runs.values())
    for variable in ("WANDB_PROJECT", "WANDB_RUN_GROUP", "WANDB_NAME"):
        monkeypatch.setenv(variable, variable.lower())
    assert fit(tmp_path, "--trainer.max_epochs=1", f"--run_dir={tmp_path / 'named'}") == 0
    *_, last = server.runs.values()
    names = ["wandb_project", "wandb_run_group", "wandb_name"]
    assert [last["project"], last["groupName"], last["displayName"]] == names


def write_composed(path: Path) -> None:
    toy = yaml.safe_load(write_toy(path).read_text())
    parts = {key: toy["model"]["init_args"][key] for key in ("dim", "image_encoder", "generator_optimizer")}
    toy["model"] = {"class_path": "TIRG", "init_args": {**parts, "text_encoder": parts["image_encoder"]}}
    toy["data"] = {"class_path": "tests.toy.ToyComposed"}
    path.write_text(yaml.safe_dump(toy))


@pytest.mark.usefixtures("artifacts")
@pytest.mark.parametrize("kind", ["instance", "composed"])
def test_whatever_is_measured_is_reported_under_its_name(kind: str, tmp_path: Path, server: WandbServer) -> None:
    if kind == "composed":
        write_composed(tmp_path / "toy.yaml")
    options = ["--data.level=instance", "--data.captions=2"] if kind == "instance" else []
    assert fit(tmp_path, "--trainer.max_epochs=1", *options) == 0
    record = measured(tmp_path)
    (run,) = server.runs
    check_report(server, run, record, {"i2t", "t2i"} if kind == "instance" else {"c2i"})


def test_offline_logs_are_sent_later(tmp_path: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "MODE"):
        monkeypatch.delenv(f"WANDB_{name}")
    offline = "--trainer.logger.offline=true"
    assert fit(tmp_path, offline) == 0
    assert fit(tmp_path, offline, "--trainer.max_epochs=3", "--resume=true") == 0
    record = measured(tmp_path)
    assert not server.operations
    parts = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert len(parts) == 3
    run_wandb(["sync", *map(str, parts)], tmp_path, account(server, tmp_path))
    assert list(server.runs) == [json.loads((tmp_path / "run" / "wandb.json").read_text())["id"]]
    (run,) = server.runs
    assert steps(server, run, SCORE) == [6, 12, 18]
    assert server.summary[run]["test/map@all/cos/label/mean"] == record["metrics"]["map@all/cos/label"]["mean"]


def test_without_an_account(tmp_path: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """The error names the ways out."""
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    wandb.teardown()
    assert fit(tmp_path) == 2
    assert "--trainer.logger.offline=true" in capsys.readouterr().err
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_watching_needs_wandb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(tmp_path, "--trainer.logger=false", "--trainer.callbacks+=WandbWatch") == 2
    assert "WandbWatch logs to W&B" in capsys.readouterr().err


def test_no_module_imports_wandb_before_it_is_used() -> None:
    for path in (ROOT / "cmr_lightning").rglob("*.py"):
        first = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert not [node for node in first if "wandb" in ast.unparse(node).split()[1].split(".")[0]], path


def test_wandb_sweep_and_agent_start_our_command_which_reports_to_the_server(tmp_path: Path) -> None:
    path = write_sweep(tmp_path)
    content = yaml.safe_load(path.read_text())
    ours = ["--trainer.logger=WandbLogger", "--trainer.max_epochs=2", "--run_dir=runs/${oc.env:WANDB_RUN_ID}"]
    content["command"] = [*content["command"][:-1], *ours, "${args}"]
    path.write_text(yaml.safe_dump(content))
    values = {"model.generator_optimizer.lr": 0.003, "model.alignment.mode": "entropy"}
    args = {key: {"value": value} for key, value in values.items()}
    with wandb_server() as server:
        trial = {"type": "run", "run_id": "trial1", "program": content["program"], "args": args}
        server.commands = [[trial], [{"type": "exit"}]]
        paths = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
        agent = ["agent", "--count", "1", f"{ENTITY}/{PROJECT}/{SWEEP}"]
        for words in (["sweep", "--project", PROJECT, str(path)], agent):
            run_wandb(words, tmp_path, {**account(server, tmp_path), **paths})
    assert yaml.safe_load(server.sweep["config"])["parameters"] == content["parameters"]
    assert {"UpsertSweep", "CreateAgent", "Heartbeat", "UpsertBucket"} <= set(server.operations)
    assert (server.runs["trial1"]["sweep"], server.runs["trial1"]["exitcode"]) == (SWEEP, 0)
    config = unwrapped(server, "trial1")
    assert {key: config[key] for key in values} == values
    assert {key: look_up(config, key) for key in values} == values
    assert steps(server, "trial1", SCORE) == [6, 12]
    scores = [row[SCORE] for row in server.history["trial1"] if SCORE in row]
    assert server.summary["trial1"][SCORE] == {"max": max(scores)}
    assert yaml.safe_load((tmp_path / "runs/trial1/config.yaml").read_text())["model"] == config["model"]
