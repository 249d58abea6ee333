"""Every experiment of the project, as its first line says, on small data in the published form."""

import json
import math
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cmr_lightning.__main__ import main
from cmr_lightning.batch import DataSpec, Features, Pixels, Words
from cmr_lightning.methods import METHODS
from cmr_lightning.prepare.data_sets import published
from tests.building import EXPERIMENTS, ROOT, method_of, read, tiny

NAMES = [f"{path.parent.name}/{path.stem}" for path in EXPERIMENTS]
OF_THE_DATA = {"spec", "source", *DataSpec._fields} | {
    field for form in (Features, Pixels, Words) for field in form.__dataclass_fields__ if field != "turns"
}
"""Keys that the data set sets itself, so that no experiment repeats them; `turns` is SSAL's, too."""


def command_of(experiment: Path) -> list[str]:
    """The arguments of the command in the first line."""
    prefix = "# python -m cmr_lightning "
    first = experiment.read_text().splitlines()[0]
    assert first.startswith(prefix), f"the first line should be the command that runs the file, and is: {first}"
    return shlex.split(first.removeprefix(prefix))


def keys_within(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from keys_within(child)


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=NAMES)
def test_first_line_names_the_file(experiment: Path) -> None:
    command = command_of(experiment)
    assert command[0] == "fit"
    assert str(experiment.relative_to(ROOT)) in command


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=NAMES)
def test_model_repeats_nothing_that_the_data_say(experiment: Path) -> None:
    model = read(experiment)["model"]
    assert method_of(experiment) in METHODS
    assert not OF_THE_DATA & set(keys_within(model.get("init_args", {})))


@pytest.mark.parametrize("dataset", sorted({path.parent.name for path in EXPERIMENTS} & set(published())))
def test_without_data_the_command_that_gets_them_is_named(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CMR_DATA", str(tmp_path))
    experiment = next(path for path in EXPERIMENTS if path.parent.name == dataset)
    assert main(["fit", f"--config={experiment}", f"--run_dir={tmp_path / 'run'}"]) == 2
    error = capsys.readouterr().err
    assert error.endswith(f". `python -m cmr_lightning prepare {dataset}` gets it or says how.\n"), error


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=NAMES)
def test_fits_and_tests(
    experiment: Path, invented_data: Path, no_pictures: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("CMR_DATA", str(invented_data))
    run = tmp_path / "run"
    assert main([*command_of(experiment), f"--run_dir={run}", *tiny(experiment)]) == 0
    assert main(["test", f"--config={run / 'config.yaml'}"]) == 0
    record = json.loads((run / "record.json").read_text())
    assert record["experiment"] == f"{experiment.parent.name}/{experiment.stem}"
    assert record["method"] == method_of(experiment)
    assert all(math.isfinite(value) for by_direction in record["metrics"].values() for value in by_direction.values())
