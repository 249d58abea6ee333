"""A sweep of the toy experiment, and a stand-in for the process of its trials."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from cmr_lightning.runs.planned_run import PlannedRun
from cmr_lightning.runs.pool import Outcome
from cmr_lightning.runs.settings import put
from cmr_lightning.sweep.file import options
from tests.building import write_toy

METRIC = "val/map@all/cos/label/mean"
EPOCHS = 8

SWEEP: dict[str, Any] = {
    "program": "cmr_lightning",
    "command": ["${env}", "${interpreter}", "-m", "${program}", "fit", "--config=toy.yaml", "${args}"],
    "method": "bayes",
    "metric": {"name": METRIC, "goal": "maximize"},
    "parameters": {
        "model.generator_optimizer.lr": {"distribution": "log_uniform_values", "min": 1.0e-4, "max": 1.0e-1},
        "model.alignment.mode": {"values": ["reversal", "entropy"]},
    },
}


def write_sweep(folder: Path, **changes: Any) -> Path:
    """The toy experiment in `folder`, and a sweep of it."""
    toy = write_toy(folder / "toy.yaml")
    adversary = "{class_path: ModalityAdversary"
    toy.write_text(toy.read_text().replace(adversary, f"{adversary}, init_args: {{mode: reversal}}"))
    words = [word.replace("toy.yaml", str(toy)) for word in SWEEP["command"]]
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump({**SWEEP, "command": words, **changes}))
    return path


def resolve(arguments: Sequence[str]) -> dict[str, Any]:
    """Instead of the command line's parser, which takes half a second: the experiment with the options in it."""
    given = list(options([word for word in arguments if word != "fit"]))
    config = yaml.safe_load(Path(dict(given)["config"]).read_text())
    for key, value in given:
        if key != "config":
            put(config, key, yaml.safe_load(value))
    return {"seed_everything": 0, **config}


def pretend(monkeypatch: pytest.MonkeyPatch) -> Pretence:
    """Let trials only pretend to train, and what comes before and behind them take no time."""
    pretence = Pretence()
    monkeypatch.setattr("cmr_lightning.sweep.running.execute", pretence)
    monkeypatch.setattr("cmr_lightning.sweep.run_sweep.resolved_config", resolve)
    monkeypatch.setattr("cmr_lightning.sweep.winner.resolved_config", resolve)
    monkeypatch.setattr("cmr_lightning.sweep.run_sweep.scores_in_validation", lambda data: [METRIC])
    monkeypatch.setattr("cmr_lightning.sweep.run_sweep.save_pictures", lambda study, metric, folder: [])
    return pretence


class Pretence:
    """Instead of training: a score that grows by the epoch and is best at a learning rate of 0.01."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.interrupt_at: int | None = None
        self.failing: set[int] = set()

    def __call__(
        self, planned: PlannedRun, missing: Any, environment: dict[str, str], ends: Callable[[], bool], tell: Any
    ) -> Outcome:
        number = int(planned.run.path.name)
        self.started.append(number)
        if number in self.failing:
            return Outcome(planned, 1.0, "the GPU is taken")
        planned.run.path.mkdir(parents=True, exist_ok=True)
        rate = float(dict(options(planned.options))["model.generator_optimizer.lr"])
        best = 1 - abs(math.log10(rate) + 2) / 4
        for epoch in range(1, EPOCHS + 1):
            rows = "".join(f"{e - 1},{best * (1 - 0.5**e)}\n" for e in range(1, epoch + 1))
            planned.run.metrics.write_text(f"step,{METRIC}\n{rows}")
            if self.interrupt_at == number and epoch == 4:
                self.interrupt_at = None
                raise KeyboardInterrupt
            if ends():
                return Outcome(planned, float(epoch), stopped=True)
        return Outcome(planned, float(EPOCHS))
