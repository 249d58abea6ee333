from pathlib import Path

import pytest

from cmr_lightning.benchmark.plan import Benchmark, Case, Tuning, read_benchmark
from cmr_lightning.errors import UserError
from cmr_lightning.experiment import resolved_config
from tests.building import ROOT

ALL = "experiments: [experiments/*/*.yaml]\n"
BENCHMARKS = sorted((ROOT / "experiments" / "benchmarks").glob("*.yaml"))
VARIANT = """
experiments: [experiments/*/*.yaml]
seeds: [0, 1]
overrides: {trainer.max_epochs: 5, model.dim: 64}
variants:
  small:
    experiments/*/daml.yaml: {model.dim: 8}
    experiments/wikipedia/cca.yaml: {model.components: 4}
"""
EXPERIMENTS = {"wikipedia/daml": "dim: 64, margin: 1", "wikipedia/cca": "k: 4", "pascal_sentence/daml": "dim: 64"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Experiments with these settings in the working directory."""
    monkeypatch.chdir(tmp_path)
    for name, settings in EXPERIMENTS.items():
        file = Path("experiments", f"{name}.yaml")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"model: {{class_path: Some, init_args: {{{settings}}}}}")


def read(text: str) -> Benchmark:
    path = Path("small.yaml")
    path.write_text(text)
    return read_benchmark(path)


def test_plan_goes_through_all_experiments_seed_after_seed() -> None:
    plan = read(f"{ALL}seeds: [0, 7]").plan()
    assert [run.name for run in plan] == [
        f"{name} seed {seed}" for seed in (0, 7) for name in ("pascal_sentence/daml", "wikipedia/cca", "wikipedia/daml")
    ]
    assert plan[-1].run.path == Path("runs/benchmarks/small/wikipedia/daml/seed7")
    assert "--seed_everything=7" in plan[-1].fit


def test_each_seed_has_its_split() -> None:
    text = "experiments: [experiments/*/daml.yaml]\nseeds: [0, 1]\nsplits: {pascal_sentence: [3, 4]}\nruns: here"
    pascal0, wikipedia0, pascal1, _ = read(text).plan()
    assert [run.fit[-2] for run in (pascal0, pascal1)] == ["--data.init_args.split=3", "--data.init_args.split=4"]
    assert pascal1.run.path == Path("here/pascal_sentence/daml/seed1-split4")
    assert wikipedia0.split is None


def test_overrides_become_options() -> None:
    overrides = "{trainer.max_epochs: 5, a: null, b: [1, x], c: no way}"
    (run,) = read(f"experiments: [experiments/wikipedia/cca.yaml]\noverrides: {overrides}").plan()
    assert run.options == ("--trainer.max_epochs=5", "--a=null", "--b=[1, x]", "--c=no way")


def test_a_winner_runs_in_the_place_of_its_experiment_and_of_the_variants() -> None:
    written, winner = Path("experiments/wikipedia/daml.yaml"), Path("swept/experiments/wikipedia/daml.yaml")
    text = f"experiments: [{written}]\nvariants: {{small: {{{written}: {{model.dim: 8}}}}}}"
    plan = read(text).plan({written: winner})
    assert [run.name for run in plan] == ["wikipedia/daml seed 0", "wikipedia/daml_small seed 0"]
    assert {run.experiment for run in plan} == {winner}
    assert plan[0].run.path == Path("runs/benchmarks/small/wikipedia/daml/seed0")


def test_tuning_is_read() -> None:
    text = f"{ALL}tuning: {{trials: 20, sweeps: [sweeps/*.yaml], without: [random]}}"
    assert read(text).tuning == Tuning(20, ("sweeps/*.yaml",), ("random",))
    assert read(ALL).tuning is None


def test_a_variant_and_one_of_several_may_be_a_reference() -> None:
    assert read(f"{VARIANT}reference: daml_small").reference == ("daml_small",)
    assert read(f"{VARIANT}reference: [cca, d*]").reference == ("cca", "d*")


def test_a_file_that_two_patterns_match_runs_once() -> None:
    assert len(read("experiments: [experiments/wikipedia/daml.yaml, experiments/*/*.yaml]").plan()) == 3


def test_a_variant_is_a_run_of_its_own_with_its_settings_above_those_of_all() -> None:
    plan = {run.name: run for run in read(VARIANT).plan()}
    assert len(plan) == 2 * (3 + 3)
    plain, small = plan["wikipedia/daml seed 1"], plan["wikipedia/daml_small seed 1"]
    assert plain.options == ("--trainer.max_epochs=5", "--model.dim=64")
    assert small.options == ("--trainer.max_epochs=5", "--model.dim=8")
    assert small.run.path == Path("runs/benchmarks/small/wikipedia/daml_small/seed1")
    assert small.experiment == plain.experiment
    assert "--experiment=wikipedia/daml_small" in small.fit
    assert not any(word.startswith("--experiment=") for word in plain.fit)
    assert "--model.components=4" in plan["wikipedia/cca_small seed 0"].options


def test_variants_are_of_the_experiments_of_the_benchmark_alone() -> None:
    text = "experiments: [experiments/wikipedia/*.yaml]\nvariants: {small: {experiments/*/daml.yaml: {model.dim: 8}}}"
    names = [run.name for run in read(text).plan()]
    assert names == ["wikipedia/cca seed 0", "wikipedia/daml seed 0", "wikipedia/daml_small seed 0"]
    with pytest.raises(UserError, match=r"daml\.yaml, of which small should be a variant, is no experiment here"):
        read(text.replace("*/daml", "pascal_sentence/daml"))


def test_no_two_rows_have_one_name() -> None:
    Path("experiments/wikipedia/daml_small.yaml").touch()
    with pytest.raises(UserError, match="two rows wikipedia/daml_small; give variants names"):
        read(VARIANT)


@pytest.mark.parametrize(
    ("variant", "rows"),
    [
        ("{model.dim: 8}", ["pascal_sentence/daml_small --model.dim=8", "wikipedia/daml_small --model.dim=8"]),
        (
            "{model.dim: 8, model.init_args.margin: 0}",
            ["wikipedia/daml_small --model.dim=8 --model.init_args.margin=0"],
        ),
        (
            "[{model.margin: 0}, {model.dim: 8}, {model.dim: 64}, {model.k: 2}]",
            [
                "pascal_sentence/daml_small --model.dim=8",
                "wikipedia/cca_small --model.k=2",
                "wikipedia/daml_small --model.margin=0",
            ],
        ),
    ],
)
def test_a_variant_is_of_all_experiments_that_have_its_settings(variant: str, rows: list[str]) -> None:
    plan = read(f"{ALL}variants: {{small: {variant}}}").plan()
    assert sorted(" ".join((run.experiment_name, *run.options)) for run in plan if run.row) == rows


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_benchmarks_of_the_project_can_be_planned(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert path.read_text().startswith(f"# python -m cmr_lightning benchmark --config {path.relative_to(ROOT)}")
    benchmark = read_benchmark(path)
    plan = benchmark.plan()
    assert {run.seed for run in plan} == set(benchmark.seeds)
    # one run of each experiment
    for run in {run.experiment: run for run in plan if run.experiment_name.endswith("_no_adversary")}.values():
        weights = resolved_config(run.fit)["model"]["init_args"]["weights"]
        assert {weights[term] for term in ("alignment", "rotation") if term in weights} == {0}, run.name


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
        ("experiments: [x]\ntuning: {trials: 0, sweeps: [x]}", "tuning.trials is 0, but must be a whole number"),
        ("experiments: [x]\ntuning: {trials: many, sweeps: [x]}", "tuning.trials is many"),
        ("experiments: [x]\ntuning: {trials: true, sweeps: [x]}", "tuning.trials is True"),
        ("experiments: [x]\ntuning: {trials: 3, sweeps: x}", "tuning.sweeps is x, but must be a list of texts"),
        ("experiments: [x]\ntuning: {trials: 3, sweeps: [x], without: cca}", "tuning.without is cca"),
        ("experiments: path.yaml", "experiments is path.yaml, but must be a list of texts"),
        ("experiments: [x]\nseeds: []", "seeds is .., but must be a list of different whole numbers"),
        ("experiments: [x]\nseeds: [0, 0]", "seeds is .0, 0., but"),
        ("experiments: [x]\nseeds: [zero]", "seeds is .'zero'., but"),
        ("experiments: [x]\nseeds: [-1]", "seeds is .-1., but"),
        ("experiments: [x]\nseeds: 3", "seeds is 3, but"),
        ("experiments: [x]\nseeds:", "seeds is None, but"),
        ("experiments: [x]\noverrides: [a]", "overrides is .'a'., but must have a `name: value`"),
        ("experiments: [x]\ncluster: [a]", "cluster is .'a'., but"),
        ("experiments: [x]\nsplits: [1]", "splits is .1., but"),
        ("experiments: [x]\nsplits: {wikipedia: 3}", "splits.wikipedia is 3, but must be a list"),
        (f"{ALL}splits: {{pascal-sentence: [0]}}", "pascal-sentence is no folder .* there are pascal_sentence, wiki"),
        (f"{ALL}reference: [cca, tripplet]", "reference tripplet is none of the experiments cca, daml"),
        *[
            (f"experiments: [x]\nvariants: {{small: {variant}}}", r"variants\.small must hold settings, such as {model")
            for variant in ("[a]", "[]", "3", "{experiments/*/*.yaml: 8}")
        ],
        (f"{ALL}variants: {{small: {{model.x: 8}}}}", "small is of no experiment, as none has other values of model.x"),
        ("experiments: [x]\nreference: {cca: 1}", "reference is {'cca': 1}, but must be a list of texts"),
    ],
)
def test_what_is_wrong_is_said_with_the_file(text: str, said: str) -> None:
    with pytest.raises(UserError, match=rf"^small\.yaml.*{said}"):
        read(text)


def test_missing_file_is_said() -> None:
    with pytest.raises(UserError, match="no benchmark file"):
        read_benchmark(Path("none.yaml"))


SEARCH = """
experiments: [experiments/wikipedia/*.yaml]
seeds: [0, 1]
variants: {small: {experiments/wikipedia/daml.yaml: {model.dim: 8}}}
regimes: {whole: {}, few: {experiments/wikipedia/*.yaml: {data.regime.paired: 40}}}
search:
  seed: 9
  settings: [{}, {model.margin: 2, trainer.max_epochs: 3}]
  overrides: {wikipedia: {data.split: tuning}}
"""


def test_rows_run_under_each_regime_in_folders_of_their_own() -> None:
    plan = read(SEARCH).plan()
    assert len(plan) == 2 * 2 * 3
    assert [run.run.path.parts[3] for run in plan[:6]] == ["whole"] * 3 + ["few"] * 3
    assert plan[5].run.path == Path("runs/benchmarks/small/few/wikipedia/searched_daml_small/seed0")
    assert plan[5].experiment_name == "wikipedia/searched_daml_small"
    assert plan[5].options == ("--model.dim=8",)
    assert plan[5].laid == (("data.regime.paired", 40),)


def test_every_row_tries_the_same_settings_as_far_as_it_has_them_and_is_not_tested() -> None:
    benchmark = read(SEARCH)
    assert benchmark.search is not None
    trials = benchmark.trials(benchmark.search)
    assert [str(case) for case, _ in trials] == [
        "wikipedia/searched_cca",
        "wikipedia/searched_daml",
        "wikipedia/searched_daml_small",
    ] * 2
    case, (first, second) = trials[-1]
    assert case.regime == "few"
    assert first.laid == (("data.regime.paired", 40), ("data.split", "tuning"))
    assert ("model.margin", 2) in second.laid  # DAML's file has it, and none has trainer.max_epochs
    assert not any(key == "trainer.max_epochs" for key, _ in second.laid)
    assert not any(key == "model.margin" for trial in trials[0][1] for key, _ in trial.laid)
    assert {(trial.seed, trial.tested) for _, of_case in trials for trial in of_case} == {(9, False)}
    assert second.run.path == Path("runs/benchmarks/small/search/few/wikipedia/searched_daml_small/trial1")


def test_settings_within_what_a_variant_sets_are_its_own() -> None:
    value = {"class_path": "MMD", "init_args": {"space": "unit"}}
    case = Case(Path("experiments/wikipedia/daml.yaml"), "mmd", {"model.margin": value})
    assert case.has("model.margin.space")
    assert not case.has("model.margin.r1")
    assert case.has("model.dim")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("search: {settings: [{}]}", "`search` must say `settings` and `seed`"),
        ("search: {settings: [], seed: 9}", "must be a list of settings"),
        ("search: {settings: [{}], seed: 0}", "must be a whole number that is none of the seeds"),
        ("search: {settings: [{}], seed: 9, overrides: {wikipedia: 3}}", "must have settings below the name"),
        ("regimes: {few: 40}", "regimes.few must hold settings"),
    ],
)
def test_a_wrong_search_or_regime_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(f"{ALL}seeds: [0]\n{text}")
