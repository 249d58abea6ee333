"""What W&B is told, by a server on the loopback address that stands in for theirs."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
import yaml

from cmr_lightning.__main__ import main
from tests.building import ROOT, write_toy
from tests.cmr_lightning.callbacks.wandb_server import ENTITY, PROJECT, SWEEP, WandbServer, wandb_server
from tests.cmr_lightning.sweep.made import write_sweep

SCORE = "val/map@all/cos/label/mean"
STEP = "trainer/global_step"
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_pictures")]


def account(server: WandbServer, folder: Path) -> dict[str, str]:
    """Environment of somebody with an account."""
    return {
        "WANDB_BASE_URL": server.url,
        "WANDB_API_KEY": "x" * 40,
        "WANDB_MODE": "online",
        "WANDB_DIR": str(folder),
        "WANDB_AGENT_REPORT_INTERVAL": "1",
    }


def unwrapped(server: WandbServer, run: str) -> dict[str, Any]:
    """The config of a run as people see it."""
    return {key: part["value"] for key, part in json.loads(server.runs[run]["config"]).items()}


def metrics_defined(server: WandbServer, run: str) -> dict[str, dict[str, Any]]:
    """What was defined of each metric, by its name: W&B sends numbers of fields for their names."""
    return {m["1"]: m for m in unwrapped(server, run)["_wandb"]["m"] if "1" in m}


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
def gallery(monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture in the place of the gallery that `no_pictures` leaves out."""
    from PIL import Image

    monkeypatch.setattr(
        "cmr_lightning.callbacks.gallery.draw_gallery", lambda rows, title, path: Image.new("RGB", (8, 8)).save(path)
    )


@pytest.fixture
def artifacts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """Files and aliases of the models that are logged as artifacts, which the server knows nothing of."""
    logged: list[tuple[str, list[str]]] = []

    def log(run: Any, artifact: Any, aliases: list[str] | None = None) -> None:
        if artifact.type == "model":  # and not a table
            logged.append((artifact.metadata["original_filename"], aliases or []))

    monkeypatch.setattr(wandb.Run, "log_artifact", log)
    return logged


def test_fit_resume_and_test_are_one_run_that_says_everything(
    tmp_path: Path, server: WandbServer, gallery: None, artifacts: list[tuple[str, list[str]]]
) -> None:
    toy, folder = write_toy(tmp_path / "toy.yaml"), tmp_path / "run"
    fit = ["fit", f"--config={toy}", f"--run_dir={folder}", "--trainer.logger=WandbLogger"]
    fit += ["--trainer.logger.log_model=true", "--trainer.callbacks+=WandbWatch", "--trainer.callbacks.log_freq=4"]
    assert main(fit) == 0
    assert artifacts == [("best.ckpt", ["latest", "best"])]
    (run,) = server.runs
    said = server.runs[run]
    assert json.loads((folder / "wandb.json").read_text()) == {"id": run, "project": PROJECT, "entity": ENTITY}
    assert (said["groupName"], said["displayName"]) == ("toy", "toy seed 0")
    assert said["tags"] == ["DAML", "Toy"]
    assert said["exitcode"] == 0
    written = yaml.safe_load((folder / "config.yaml").read_text())
    config = unwrapped(server, run)
    assert config["model"] == written["model"]
    assert config["trainer"]["max_epochs"] == 2
    defined = metrics_defined(server, run)
    assert SCORE in defined
    assert [row[STEP] for row in server.history[run] if SCORE in row] == [6, 12]
    assert [row[STEP] for row in server.history[run] if "train/generator/total" in row] == [4, 8, 12]
    scores = [row[SCORE] for row in server.history[run] if SCORE in row]
    assert server.summary[run][SCORE] == {"max": max(scores)}
    assert any(key.startswith("gradients/") for row in server.history[run] for key in row)
    best = json.loads((folder / "fit.json").read_text())["selection"]["value"]
    assert max(scores) == pytest.approx(best)

    assert main([*fit[:4], "--trainer.max_epochs=3", "--resume=true"]) == 0
    assert main(["test", f"--config={folder / 'config.yaml'}"]) == 0
    assert list(server.runs) == [run]
    assert [row[STEP] for row in server.history[run] if SCORE in row] == [6, 12, 18]
    record = json.loads((folder / "record.json").read_text())
    assert server.summary[run]["test/map@all/cos/label/mean"] == record["metrics"]["map@all/cos/label"]["mean"]
    assert json.loads(server.files["record.json"]) == record
    logged = {key for row in server.history[run] for key in row}
    assert {"test/gallery", "test/metrics", "test/classes"} <= logged
    assert any(name.startswith("media/images/test/gallery") for name in server.files)
    (table,) = [json.loads(of) for name, of in server.files.items() if name.startswith("media/table/test/metrics")]
    assert table["data"] == [[protocol, *values.values()] for protocol, values in record["metrics"].items()]
    curves = {key for key in logged if "Precision by recall" in key}
    assert len(curves) == 2


def test_seeds_are_a_group_and_the_environment_has_its_say(
    tmp_path: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = write_toy(tmp_path / "toy.yaml")
    fit = ["fit", f"--config={toy}", "--trainer.logger=WandbLogger", "--trainer.max_epochs=1"]
    monkeypatch.setenv("WANDB_TAGS", "class_level")
    for seed in range(2):
        assert main([*fit, f"--run_dir={tmp_path / str(seed)}", f"--seed_everything={seed}"]) == 0
    assert {run["groupName"] for run in server.runs.values()} == {"toy"}
    assert {run["displayName"] for run in server.runs.values()} == {"toy seed 0", "toy seed 1"}
    assert all(run["tags"] == ["DAML", "Toy", "class_level"] for run in server.runs.values())
    for variable in ("WANDB_PROJECT", "WANDB_RUN_GROUP", "WANDB_NAME"):
        monkeypatch.setenv(variable, variable.lower())
    assert main([*fit, f"--run_dir={tmp_path / 'named'}"]) == 0
    *_, last = server.runs.values()
    assert (last["project"], last["groupName"], last["displayName"]) == (
        "wandb_project",
        "wandb_run_group",
        "wandb_name",
    )


def write_composed(path: Path) -> Path:
    """A toy experiment of composed retrieval."""
    toy = yaml.safe_load(write_toy(path).read_text())
    parts = {key: toy["model"]["init_args"][key] for key in ("dim", "image_encoder", "text_encoder")}
    parts["text_encoder"] = parts["image_encoder"]
    parts["generator_optimizer"] = toy["model"]["init_args"]["generator_optimizer"]
    toy["model"] = {"class_path": "TIRG", "init_args": parts}
    toy["data"] = {"class_path": "tests.toy.ToyComposed"}
    path.write_text(yaml.safe_dump(toy))
    return path


@pytest.mark.parametrize("kind", ["instance", "composed"])
def test_whatever_is_measured_is_told_under_its_name(
    kind: str, tmp_path: Path, server: WandbServer, gallery: None, artifacts: list[tuple[str, list[str]]]
) -> None:
    toy = (write_toy if kind == "instance" else write_composed)(tmp_path / "toy.yaml")
    options = ["--data.level=instance", "--data.captions=2"] if kind == "instance" else []
    folder = tmp_path / "run"
    fit = ["fit", f"--config={toy}", f"--run_dir={folder}", "--trainer.logger=WandbLogger", "--trainer.max_epochs=1"]
    assert main([*fit, *options]) == 0
    assert main(["test", f"--config={folder / 'config.yaml'}"]) == 0
    (run,) = server.runs
    measured = {key for row in server.history[run] for key in row if key.startswith("val/")}
    assert measured == {name for name in metrics_defined(server, run) if name.startswith("val/")}
    record = json.loads((folder / "record.json").read_text())
    for protocol, values in record["metrics"].items():
        assert {name: server.summary[run][f"test/{protocol}/{name}"] for name in values} == values
    (table,) = [json.loads(of) for name, of in server.files.items() if name.startswith("media/table/test/metrics")]
    told = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert {row.pop("protocol"): {k: v for k, v in row.items() if v is not None} for row in told} == record["metrics"]
    directions = {"i2t", "t2i"} if kind == "instance" else {"c2i"}
    curves = {key.rpartition(" ")[2] for row in server.history[run] for key in row if "Precision by recall" in key}
    assert {direction.removesuffix("_table") for direction in curves} == directions


def test_what_was_logged_offline_is_sent_later(
    tmp_path: Path, server: WandbServer, gallery: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.delenv("WANDB_MODE")
    toy, folder = write_toy(tmp_path / "toy.yaml"), tmp_path / "run"
    fit = ["fit", f"--config={toy}", f"--run_dir={folder}", "--trainer.logger=WandbLogger"]
    fit.append("--trainer.logger.offline=true")
    assert main(fit) == 0
    assert main([*fit, "--trainer.max_epochs=3", "--resume=true"]) == 0
    assert main(["test", f"--config={folder / 'config.yaml'}"]) == 0
    assert not server.operations
    parts = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert len(parts) == 3
    environment = {**os.environ, **account(server, tmp_path)}
    words = [sys.executable, "-m", "wandb", "sync", *map(str, parts)]
    subprocess.run(words, cwd=tmp_path, env=environment, check=True, timeout=120)
    assert list(server.runs) == [json.loads((folder / "wandb.json").read_text())["id"]]
    (run,) = server.runs
    assert [row[STEP] for row in server.history[run] if SCORE in row] == [6, 12, 18]
    record = json.loads((folder / "record.json").read_text())
    assert server.summary[run]["test/map@all/cos/label/mean"] == record["metrics"]["map@all/cos/label"]["mean"]


def test_without_an_account_it_is_said_what_to_do(
    tmp_path: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    wandb.teardown()
    toy = write_toy(tmp_path / "toy.yaml")
    assert main(["fit", f"--config={toy}", f"--run_dir={tmp_path / 'run'}", "--trainer.logger=WandbLogger"]) == 2
    assert "--trainer.logger.offline=true" in capsys.readouterr().err
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_watching_needs_wandb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy = write_toy(tmp_path / "toy.yaml")
    assert main(["fit", f"--config={toy}", f"--run_dir={tmp_path / 'run'}", "--trainer.callbacks+=WandbWatch"]) == 2
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
    values = {"model.generator_optimizer.lr": 0.003, "model.adversary": "entropy"}
    args = {key: {"value": value} for key, value in values.items()}
    with wandb_server() as server:
        server.commands = [
            [{"type": "run", "run_id": "trial1", "program": content["program"], "args": args}],
            [{"type": "exit"}],
        ]
        bin_first = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        paths = {"PATH": bin_first, "PYTHONPATH": str(ROOT)}
        environment = {**os.environ, **account(server, tmp_path), **paths}
        for words in (
            ["sweep", "--project", PROJECT, str(path)],
            ["agent", "--count", "1", f"{ENTITY}/{PROJECT}/{SWEEP}"],
        ):
            subprocess.run(
                [sys.executable, "-m", "wandb", *words], cwd=tmp_path, env=environment, check=True, timeout=300
            )
    assert yaml.safe_load(server.sweep["config"])["parameters"] == content["parameters"]
    assert {"UpsertSweep", "CreateAgent", "Heartbeat", "UpsertBucket"} <= set(server.operations)
    said = server.runs["trial1"]
    assert said["sweep"] == SWEEP
    assert said["exitcode"] == 0
    config = unwrapped(server, "trial1")
    assert {key: config[key] for key in values} == values
    assert config["model"]["init_args"]["generator_optimizer"]["init_args"]["lr"] == 0.003
    assert config["model"]["init_args"]["adversary"] == "entropy"
    assert [row[STEP] for row in server.history["trial1"] if SCORE in row] == [6, 12]
    scores = [row[SCORE] for row in server.history["trial1"] if SCORE in row]
    assert server.summary["trial1"][SCORE] == {"max": max(scores)}
    assert yaml.safe_load((tmp_path / "runs/trial1/config.yaml").read_text())["model"] == config["model"]
