from pathlib import Path

import pytest

from cmr_lightning.benchmark.plan import Tuning, read_benchmark
from cmr_lightning.errors import UserError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("wikipedia/daml", "wikipedia/cca", "pascal_sentence/daml"):
        file = tmp_path / "experiments" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, text: str) -> Path:
    path = folder / "small.yaml"
    path.write_text(text)
    return path


def test_plan_goes_through_all_experiments_seed_after_seed(folder: Path) -> None:
    plan = read_benchmark(write(folder, "experiments: [experiments/*/*.yaml]\nseeds: [0, 7]")).plan()
    assert [run.name for run in plan] == [
        f"{name} seed {seed}" for seed in (0, 7) for name in ("pascal_sentence/daml", "wikipedia/cca", "wikipedia/daml")
    ]
    assert plan[-1].run.path == Path("runs/benchmarks/small/wikipedia/daml/seed7")
    assert "--seed_everything=7" in plan[-1].fit


def test_each_seed_has_its_split(folder: Path) -> None:
    text = "experiments: [experiments/*/daml.yaml]\nseeds: [0, 1]\nsplits: {pascal_sentence: [3, 4]}\nruns: here"
    pascal0, wikipedia0, pascal1, _ = read_benchmark(write(folder, text)).plan()
    assert pascal0.options == ("--data.init_args.split=3",)
    assert pascal1.options == ("--data.init_args.split=4",)
    assert pascal1.run.path == Path("here/pascal_sentence/daml/seed1-split4")
    assert wikipedia0.options == ()


def test_overrides_become_options(folder: Path) -> None:
    overrides = "{trainer.max_epochs: 5, a: null, b: [1, x], c: no way}"
    text = f"experiments: [experiments/wikipedia/cca.yaml]\noverrides: {overrides}"
    (run,) = read_benchmark(write(folder, text)).plan()
    assert run.options == ("--trainer.max_epochs=5", "--a=null", "--b=[1, x]", "--c=no way")


def test_tuning_is_read(folder: Path) -> None:
    text = "experiments: [x]\ntuning: {trials: 20, sweeps: [sweeps/*.yaml], without: [random]}"
    assert read_benchmark(write(folder, text)).tuning == Tuning(20, ("sweeps/*.yaml",), ("random",))
    assert read_benchmark(write(folder, "experiments: [x]")).tuning is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("experiments: []", "must name `experiments`"),
        ("experiments: [x]\nseed: 1", "no other keys"),
        ("experiments: [x", "not YAML"),
        ("experiments: [x]\nseeds: [0, 1]\nsplits: {wikipedia: [0]}", "1 entries for 2 seeds"),
        ("experiments: [nowhere/*.yaml]", "No experiment matches nowhere"),
        ("experiments: [experiments/wikipedia/none.yaml]", "No experiment matches"),
        ("experiments: [x]\ntuning: {trials: 3}", "`tuning` must say `trials` and `sweeps`"),
        ("experiments: [x]\ntuning: {trials: 3, sweeps: [x], count: 3}", "no other keys than `without`"),
    ],
)
def test_what_is_wrong_is_said(folder: Path, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_benchmark(write(folder, text)).plan()


def test_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no benchmark file"):
        read_benchmark(tmp_path / "none.yaml")
