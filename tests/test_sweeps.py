"""Every sweep of the project, `experiments/sweeps/<dataset>_<method>.yaml`, as our command and W&B's agent read it."""

import shlex
from inspect import signature
from itertools import takewhile
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml

from cmr_lightning.benchmark.plan import read_benchmark
from cmr_lightning.benchmark.tuning import sweeps_of
from cmr_lightning.experiment import resolved_config
from cmr_lightning.methods import METHODS
from cmr_lightning.retriever import Retriever
from cmr_lightning.runs.settings import look_up
from cmr_lightning.sweep.file import read_sweep
from cmr_lightning.sweep.run_sweep import check
from tests.building import EXPERIMENTS, ROOT, method_of

SWEEPS = sorted((ROOT / "experiments/sweeps").glob("*.yaml"))
TUNED = [path for path in sorted((ROOT / "experiments/benchmarks").glob("*.yaml")) if "tuning:" in path.read_text()]
ADVERSARIAL = [
    name
    for name, method in METHODS.items()
    if issubclass(method, Retriever) and signature(method).parameters.get("alignment") is not None
]


@pytest.fixture(params=SWEEPS, ids=lambda path: path.stem)
def sweep(request: pytest.FixtureRequest, invented_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("CMR_DATA", str(invented_data))
    return request.param


def experiment_of(path: Path) -> Path:
    return read_sweep(path).experiment


@pytest.mark.parametrize("dataset", ["wikipedia", "pascal_sentence"])
def test_every_adversarial_method_has_one(dataset: str) -> None:
    swept = {f"{experiment_of(path)}" for path in SWEEPS}
    wanted = {f"experiments/{dataset}/{name.lower()}.yaml" for name in ADVERSARIAL}
    there = wanted & {str(path.relative_to(ROOT)) for path in EXPERIMENTS}
    assert len(there) >= 5
    assert there - {f"experiments/{dataset}/ssal.yaml"} <= swept, "of SSAL without turned images, which is ACMR, none"


def test_is_named_after_its_experiment_and_says_how_it_is_run(sweep: Path) -> None:
    experiment = experiment_of(sweep)
    assert sweep.stem == f"{experiment.parent.name}_{experiment.stem}"
    first, second = sweep.read_text().splitlines()[:2]
    name = sweep.relative_to(ROOT)
    assert shlex.split(first) == ["#", *f"python -m cmr_lightning sweep --config {name} --count 20".split()]
    assert f"wandb sweep {name}" in second


def test_every_key_and_value_is_one_that_the_experiment_takes(sweep: Path) -> None:
    found = read_sweep(sweep)
    written = check(found)
    assert found.maximize
    for parameter in found.parameters:
        if parameter.drawn is not None:
            committed = look_up(written, parameter.key)
            assert parameter.value(parameter.place(committed)) == committed, (
                "the experiment as it is written is a trial"
            )


def test_early_termination_leaves_every_trial_a_chance(sweep: Path) -> None:
    found = read_sweep(sweep)
    early = found.early_terminate
    assert early is not None
    trainer = yaml.safe_load(found.experiment.read_text())["trainer"]
    assert max(3, epochs_before_both_move(trainer) + 1) <= early.min_iter < trainer["max_epochs"]


def epochs_before_both_move(trainer: dict[str, Any]) -> int:
    stages = [stage for callback in trainer.get("callbacks", []) for stage in callback["init_args"].get("stages", [])]
    alone = takewhile(lambda stage: len(stage.get("players", ("generator", "discriminator"))) == 1, stages)
    return sum(stage["epochs"] for stage in alone)


def test_the_agent_of_wandb_makes_a_command_of_ours(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With W&B's own code, in its own way of filling the macros in."""
    macros = pytest.importorskip("wandb.sdk.launch.sweeps.utils")
    monkeypatch.setenv("WANDB_RUN_ID", "trial1")
    content = yaml.safe_load(sweep.read_text())
    study = optuna.create_study()
    drawn = study.ask({p.key: p.drawn for p in read_sweep(sweep).parameters if p.drawn is not None})
    values = {p.key: p.value(drawn.params.get(p.key)) for p in read_sweep(sweep).parameters}
    args = {key: {"value": value} for key, value in values.items()}
    filled = {**macros.create_sweep_command_args({"args": args}), "program": [content["program"]], "env": ["env"]}
    filled["interpreter"] = ["python"]
    command: Any = macros.create_sweep_command(content["command"])
    words = [word for part in command for word in filled.get(part[2:-1], [part])]
    assert words[:6] == ["env", "python", "-m", "cmr_lightning", "fit", f"--config={experiment_of(sweep)}"]
    config = resolved_config(words[4:])
    assert {key: look_up(config, key) for key in values} == values
    assert config["trainer"]["logger"]["class_path"].endswith("WandbLogger")
    assert config["run_dir"] == f"runs/wandb/{sweep.stem}/trial1", "each trial has a folder of its own"


@pytest.mark.parametrize("path", TUNED, ids=lambda path: path.stem)
def test_a_tuned_benchmark_searches_for_every_method_that_has_settings(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    benchmark = read_benchmark(path)
    assert benchmark.tuning is not None
    searched = sweeps_of(benchmark, benchmark.tuning)
    trained = {file for file in benchmark.files if issubclass(METHODS[method_of(file)], Retriever)}
    assert set(searched) == trained
