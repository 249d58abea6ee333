"""Kill commands at random moments and give them again, and give two copies of each at once, on one folder.

    python -m tests.kills [--kills 20] [--seed 0] [--only fit test extract benchmark sweep]

Each command runs once undisturbed, then is killed again and again by SIGKILL, which no program can prepare for, and
then begun twice at the same time. What is left must be the same: nothing lost, nothing doubled, nothing mixed.
"""

import argparse
import csv
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch

from cmr_lightning.__main__ import main
from cmr_lightning.evaluation import Record
from cmr_lightning.runs.run import Run
from tests.building import ROOT, write_toy
from tests.cmr_lightning.runs.killing import differences, ended, options
from tests.datamodules.album import write_album

State = dict[str, Any]
Words = list[str]

_COSTS = ("fit_s", "test_s", "process_mib", "gpu_mib")

_EXTRACT = """\
name: tiny
image: {class_path: TimmEncoder, init_args: {model: test_resnet}}
data:
  class_path: tests.datamodules.album.Album
  init_args: {root: album, image: {class_path: Pictures, init_args: {crop: 32, resize: 34}}}
device: cpu
batch_size: 4
"""

_SWEEP = """\
command: [python, -m, cmr_lightning, fit, --config, toy.yaml, --trainer.max_epochs=2, "${args}"]
method: random
metric: {name: val/map@all/cos/label/mean, goal: maximize}
parameters: {model.dim: {values: [4, 8, 16]}}
run_cap: 3
"""


@dataclass(frozen=True)
class Case:
    """A command in a working directory, which is the current one.

    Attributes:
        make: Makes what the command needs.
        words: The command, given what is there already.
        state: What it leaves, without times and places.
    """

    make: Callable[[], None]
    words: Callable[[], Words]
    state: Callable[[], State]


def unfinished() -> list[str]:
    return [str(path) for path in Path().rglob("*.unfinished")]


def trained(run: Run) -> State:
    """What `fit` leaves, but for its checkpoints, which `differences` compares."""
    return {"metrics": run.metrics.read_text(), "selection": run.read_summary()["selection"]}


def fit_again() -> Words:
    run = Run(Path("run"))
    way = "--resume=true" if run.checkpoints() else "--overwrite=true"
    return ["fit", *options(Path(), "run"), *([way] if run.started and not run.finished else [])]


def make_trained() -> None:
    if code := ended(begin(["fit", f"--config={write_toy(Path('toy.yaml'))}", "--run_dir=run"])):
        raise RuntimeError(f"fit ended with {code}")


def measured(run: Run) -> State:
    with np.load(run.ranks) as ranks:
        arrays = {name: array.tolist() for name, array in ranks.items()}
    return {"metrics": Record.read(run.record).metrics, "ranks": arrays, "gallery": run.gallery.read_bytes()}


def make_album() -> None:
    write_album(Path("album"))
    Path("extract.yaml").write_text(_EXTRACT)


def store() -> State:
    return {path.name: path.read_bytes() for path in Path("runs/features/album/tiny/image").iterdir()}


def make_benchmark() -> None:
    write_toy(Path("toy.yaml"))
    Path("small.yaml").write_text("experiments: [toy.yaml]\nseeds: [0, 1, 2]\n")


def board() -> State:
    folder = Path("runs/benchmarks/small")
    with (folder / "report/report.csv").open(newline="") as file:
        lines = [{key: cell for key, cell in line.items() if key not in _COSTS} for line in csv.DictReader(file)]
    records = {str(path): Record.read(path).metrics for path in sorted(folder.rglob("record.json"))}
    return {"lines": lines, "records": records}


def make_sweep() -> None:
    write_toy(Path("toy.yaml"))
    Path("small.yaml").write_text(_SWEEP)


def study() -> State:
    folder = Path("runs/sweeps/small")
    trials = optuna.load_study(study_name=None, storage=f"sqlite:///{folder / 'study.db'}").get_trials()
    known = [(trial.number, trial.params, trial.state.name, trial.values) for trial in trials]
    winner = (folder / "experiments/toy.yaml").read_text()
    return {"trials": known, "runs": sorted(path.name for path in (folder / "trials").iterdir()), "winner": winner}


CASES = {
    "fit": Case(lambda: None, fit_again, lambda: trained(Run(Path("run")))),
    "test": Case(make_trained, lambda: ["test", "--config=run/config.yaml"], lambda: measured(Run(Path("run")))),
    "extract": Case(make_album, lambda: ["extract", "--config=extract.yaml"], store),
    "benchmark": Case(make_benchmark, lambda: ["benchmark", "--config=small.yaml"], board),
    "sweep": Case(make_sweep, lambda: ["sweep", "--config=small.yaml"], study),
}


def begin(words: Words) -> int:
    """Begin a command in a process of its own, forked from this one, which has imported everything."""
    child = os.fork()
    if child == 0:
        log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os._exit(main(words))
    return child


def kill(case: Case, kills: int, duration: float, draw: random.Random) -> int:
    """Kill a command some times, and then let it end; return how many of the kills came before its end."""
    hit = 0
    for _ in range(kills):
        child = begin(case.words())
        time.sleep(draw.uniform(0, 2 * duration / (kills + 1)))  # as it goes on where it was killed
        os.kill(child, signal.SIGKILL)
        hit += ended(child) == -signal.SIGKILL
    code = ended(begin(case.words()))
    if code and not (code == 2 and hit < kills):  # a `fit` that had ended is refused
        raise RuntimeError(f"after {hit} kills it ended with {code}: {Path('log.txt').read_text()[-2000:]}")
    return hit


def at_once(case: Case) -> list[int]:
    """Begin two copies of a command; return how they ended."""
    return sorted(ended(child) for child in [begin(case.words()), begin(case.words())])


def check(name: str, folder: Path, kills: int, seed: int = 0) -> list[str]:
    """Compare what a command leaves when it is killed, and when it is begun twice, with what it leaves otherwise.

    Returns:
        In what they differ; nothing if all is well.
    """
    case, draw, found = CASES[name], random.Random(f"{name} {seed}"), []
    states = {}
    duration, codes = 0.0, [0, 0]
    for way in ("whole", "killed", "twice"):
        place = folder / name / way
        place.mkdir(parents=True)
        os.chdir(place)
        case.make()
        start = time.monotonic()
        if way == "whole":
            codes = [ended(begin(case.words()))]
            duration = time.monotonic() - start
        elif way == "killed":
            hit = kill(case, kills, duration, draw)
            print(f"{name}: {hit} of {kills} kills within {duration:.1f} s", end="; ", flush=True)
        else:
            codes = at_once(case)
        if codes[0] != 0 or codes[-1] not in (0, 2):
            raise RuntimeError(f"{name} {way} ended with {codes}: {Path('log.txt').read_text()[-2000:]}")
        states[way] = json.dumps(case.state(), default=repr)
        found += [f"{way}: {path} is left" for path in unfinished()]
        found += [f"{way}: other results" for _ in range(1) if states[way] != states["whole"]]
        if name == "fit":
            found += [f"{way}: {what}" for what in differences(Run(folder / name / "whole/run"), Run(place / "run"))]
    print(f"two at once ended with {codes}; {'; '.join(found) or 'no difference'}", flush=True)
    return found


def run(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("python -m tests.kills", description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20, help="kills in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    os.environ |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}  # of processes that are not forked from this one
    shares = [
        given.kills // len(given.only) + (place < given.kills % len(given.only)) for place in range(len(given.only))
    ]
    with tempfile.TemporaryDirectory() as folder:
        found = [check(name, Path(folder), kills, given.seed) for name, kills in zip(given.only, shares, strict=True)]
        os.chdir("/")
    return int(any(found))


if __name__ == "__main__":
    sys.argv, words = sys.argv[:1], sys.argv[1:]
    sys.exit(run(words))
