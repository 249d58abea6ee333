"""What the trials of a benchmark choose."""

from pathlib import Path

import pytest

from cmr_lightning.__main__ import main
from cmr_lightning.benchmark import search as searching
from cmr_lightning.benchmark.plan import Benchmark, read_benchmark
from cmr_lightning.benchmark.search import Tried, chosen
from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import Record
from cmr_lightning.runs.planned_run import PlannedRun
from tests.building import write_toy

EXPERIMENT = "experiments/toy/daml.yaml"
SHARES = "[{}, {model.shares.alignment: 0.3}, {model.shares.alignment: 0.5}]"


@pytest.fixture
def benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Benchmark:
    monkeypatch.chdir(tmp_path)
    path = Path(EXPERIMENT)
    path.parent.mkdir(parents=True)
    path.write_text("model: {class_path: DAML, init_args: {shares: {alignment: 0.1}}}")
    Path("b.yaml").write_text(f"experiments: [{EXPERIMENT}]\nsearch: {{seed: 9, settings: {SHARES}}}")
    return read_benchmark(Path("b.yaml"))


def rows(benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, *found: tuple[float, str]) -> dict[str, float | None]:
    """The share and the weight of the rows that are chosen where trials found this."""

    def tried(trial: PlannedRun) -> Tried:
        return Tried(*found[int(trial.run.path.name.removeprefix("trial"))])

    monkeypatch.setattr(searching, "tried", tried)
    assert benchmark.search is not None
    cases = chosen(benchmark, benchmark.search, {})
    return {str(case): case.laid.get("model.shares.alignment") for case in cases}


def test_the_best_is_run_with_its_twin_where_it_acts(benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch) -> None:
    found = rows(benchmark, monkeypatch, (0.2, "idle"), (0.4, "neutral"), (0.3, "closing"))
    assert found == {"toy/searched_daml": 0.3, "toy/searched_daml_twin": 0.3}


def test_where_the_best_does_not_act_the_best_that_acts_is_run_too(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = rows(benchmark, monkeypatch, (0.4, "idle"), (0.2, "neutral"), (0.3, "circling"))
    assert found == {"toy/searched_daml": None, "toy/searched_daml_acting": 0.5, "toy/searched_daml_twin": 0.5}


def test_without_one_that_acts_there_is_no_twin(benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rows(benchmark, monkeypatch, (0.4, "idle"), (0.5, "overrun"), (0.3, "none")) == {"toy/searched_daml": 0.3}


def test_a_row_whose_trials_all_failed_is_named(benchmark: Benchmark) -> None:
    assert benchmark.search is not None
    trials = dict.fromkeys(benchmark.trials(benchmark.search)[0][1], "no memory")
    with pytest.raises(UserError, match="All trials of toy/searched_daml failed: no memory"):
        chosen(benchmark, benchmark.search, trials)


@pytest.mark.slow
def test_trials_are_trained_and_the_rows_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_toy(Path("toy.yaml"))
    regimes = "{few: {data.regime.paired: 20, data.regime.labels: paired}}"
    Path("b.yaml").write_text(
        "experiments: [toy.yaml]\noverrides: {trainer.max_epochs: 1, model.weights.alignment: 0}\n"
        f"regimes: {regimes}\nsearch: {{seed: 9, settings: [{{}}, {{model.dim: 4}}]}}"
    )
    main(["benchmark", "--config", "b.yaml"])
    runs = Path("runs/benchmarks/b")
    assert "2 of 2 trials to do" in capsys.readouterr().out
    assert len(list(runs.glob("search/*/*/trial*/checkpoints/best.ckpt"))) == 2
    assert not list(runs.glob("search/**/record.json"))  # the test part chose nothing
    (record,) = (Record.read(path) for path in runs.glob("few/*/seed0/record.json"))
    assert record.regime["pairs"] == 20
    main(["benchmark", "--config", "b.yaml"])
    again = capsys.readouterr().out
    assert "0 of 2 trials to do" in again
    assert "0 of 1 runs to do" in again
