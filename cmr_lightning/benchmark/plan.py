"""The plan of a benchmark file: which experiment runs with which seed, on which split, in which folder."""

import fnmatch
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache, partial
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cmr_lightning.errors import UserError
from cmr_lightning.files.names import check_name, check_path
from cmr_lightning.files.yaml_file import read_yaml
from cmr_lightning.runs.planned_run import SEARCHED, PlannedRun
from cmr_lightning.runs.run import Run
from cmr_lightning.runs.run_of_command import experiment_name
from cmr_lightning.runs.settings import as_options, look_up


@dataclass(frozen=True)
class Tuning:
    """The part `tuning` of a benchmark: each experiment runs with the best setting of a sweep, all of equal length.

    Attributes:
        trials: Trials of each sweep.
        sweeps: Files or patterns such as `experiments/sweeps/wikipedia_*.yaml`.
        without: File names or patterns of experiments that have nothing to search for, such as `random`.
    """

    trials: int
    sweeps: tuple[str, ...]
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    """Settings of a variant: for the experiments of a pattern or, without one, all whose files have other values."""

    values: dict[str, Any]
    pattern: str | None = None


@dataclass(frozen=True)
class Search:
    """The part `search` of a benchmark: settings that every row tries on validation before it runs with the best.

    Attributes:
        settings: What is tried: settings by their dotted names. A row leaves out what it does not have.
        seed: Seed of the trials, of none of the runs.
        overrides: Settings of the trials by the folder of the experiments, such as a split that no test part touches.
    """

    settings: tuple[dict[str, Any], ...]
    seed: int
    overrides: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """A row of a benchmark under one regime.

    Attributes:
        file: The experiment.
        variant: The variant's name, if it is one.
        settings: What the variant sets.
        regime: The regime's name, if the benchmark has any.
        laid: What the regime and a search set.
        prefix: What stands before the experiment's name.
    """

    file: Path
    variant: str | None
    settings: dict[str, Any]
    regime: str | None = None
    laid: dict[str, Any] = field(default_factory=dict)
    prefix: str = ""

    def __str__(self) -> str:
        folder, slash, name = experiment_name([self.file]).rpartition("/")
        name = f"{folder}{slash}{self.prefix}{name}"
        return name if self.variant is None else check_name(f"{name}_{self.variant}", "variant")

    def named(self, suffix: str, settings: Mapping[str, Any]) -> "Case":
        """Return a row beside this one, with other settings, and a suffix at its name."""
        variant = "_".join(part for part in (self.variant, suffix) if part) or None
        return replace(self, variant=variant, laid={**self.laid, **settings})

    def has(self, key: str) -> bool:
        """Tell whether the row has a setting of that name, in what is set or else in its file."""
        for name, value in self.settings.items():
            if key == name or key.startswith(f"{name}."):
                return key == name or look_up(value, key.removeprefix(f"{name}.")) is not None
        return look_up(_written(self.file), key) is not None


@dataclass(frozen=True)
class Benchmark:
    """A file `experiments/benchmarks/<name>.yaml`.

    Attributes:
        experiments: Files or patterns such as `experiments/wikipedia/*.yaml`.
        seeds: Seeds of every experiment.
        splits: For data sets with several splits, by the folder of their experiments, the split on which each seed
            runs, in the order of the seeds: the spread is then over seeds and splits.
        overrides: Settings of all experiments by their dotted names, e.g. `trainer.max_epochs: 5`.
        variants: Some of these experiments once more with other settings, as rows of their own. In the file, below a
            variant's name stand its settings, e.g. `no_adversary: {model.weights.alignment: 0}` for
            `wikipedia/daml_no_adversary`, of all experiments that have other values of them; a list of such settings,
            of which each experiment takes the first that fits; or patterns of experiments with settings below them,
            e.g. `{experiments/*/daml.yaml: {model.weights.alignment: 0}}`.
        regimes: Settings under which these run, each in boards of its own, by the regime's name, e.g.
            `forty_pairs: {data.regime.paired: 40}`, or patterns of the experiments that do with settings below them;
            none for one board.
        reference: The experiments that others are compared with, by their files' names or patterns, such as `triplet`;
            a list where boards have different ones, of which each takes the first that it has.
        runs: Folder of the runs; `runs/benchmarks/<name>` if None.
        cluster: Settings of the cluster's engine by submitit's names, such as `timeout_min` and `slurm_partition`.
        tuning: How the settings of the experiments are searched for; None to run them as they are written.
        search: What every row, variants and regimes included, tries before; None to run them as they are written.
    """

    experiments: tuple[str, ...]
    seeds: tuple[int, ...]
    splits: dict[str, list[Any]]
    overrides: dict[str, Any]
    variants: dict[str, list[Settings]]
    regimes: dict[str, list[Settings]]
    reference: tuple[str, ...]
    runs: Path
    cluster: dict[str, Any]
    tuning: Tuning | None
    search: Search | None

    @property
    def files(self) -> list[Path]:
        """The experiments' files, each once.

        Raises:
            UserError: If a pattern matches none.
        """
        return list(dict.fromkeys(file for pattern in self.experiments for file in matching(pattern)))

    def cases(self) -> list[Case]:
        """List the rows under each regime.

        Raises:
            UserError: If a pattern matches no file, a variant none of the experiments, a variant is called like an
                experiment or another variant, or splits or a reference are of no experiment.
        """
        files = self.files
        folders = sorted({file.parent.name for file in files})
        if unknown := [f"splits.{folder}" for folder in self.splits if folder not in folders]:
            raise UserError(f"{', '.join(unknown)} is no folder of the experiments; there are {', '.join(folders)}.")
        prefix = SEARCHED if self.search else ""
        cases = [Case(file, None, {}, prefix=prefix) for file in files]
        cases += [
            Case(file, name, values, prefix=prefix)
            for name in self.variants
            for file, values in self._variant(name, files)
        ]
        self._check_names([str(case) for case in cases])
        if not self.regimes:
            return cases
        return [case for name, regime in self.regimes.items() for case in _under(name, regime, cases)]

    def plan(
        self, tuned: Mapping[Path, Path] = MappingProxyType({}), cases: Sequence[Case] | None = None
    ) -> list[PlannedRun]:
        """List every run, seed after seed, so that a benchmark that is stopped early has compared all methods.

        Args:
            tuned: Files that take the places of experiments, and are called like them.
            cases: What to run; by default `cases()`.

        Raises:
            UserError: If there can be no plan, see `cases`.
        """
        plan = []
        cases = self.cases() if cases is None else cases
        for number, seed in enumerate(self.seeds):
            for case in cases:
                folder = case.file.parent.name
                split = self.splits[folder][number] if folder in self.splits else None
                name = f"seed{seed}" + ("" if split is None else f"-split{split}".replace("/", "-"))
                check_name(name, "folder of a run")
                plan.append(self._planned(case, name, seed, self.runs, tuned, split))
        return plan

    def trials(self, search: Search) -> list[tuple[Case, list[PlannedRun]]]:
        """List the trials of each row, which are not tested."""
        rows = []
        for case in self.cases():
            overrides = search.overrides.get(case.file.parent.name, {})
            trials = [case.named("", {**of_row(case, tried), **overrides}) for tried in search.settings]
            names = [f"trial{number}" for number in range(len(trials))]
            planned = map(partial(self._planned, seed=search.seed, folder=self.runs / "search"), trials, names)
            rows.append((case, [replace(trial, tested=False) for trial in planned]))
        return rows

    def _planned(
        self,
        case: Case,
        name: str,
        seed: int,
        folder: Path,
        tuned: Mapping[Path, Path] = MappingProxyType({}),
        split: Any = None,
    ) -> PlannedRun:
        run = Run(folder / (case.regime or "") / str(case) / name)
        options, laid = tuple(as_options({**self.overrides, **case.settings})), tuple(case.laid.items())
        row = str(case) if case.variant or case.prefix else None
        return PlannedRun(tuned.get(case.file, case.file), seed, options, run, row, split, laid=laid)

    def _variant(self, name: str, files: Sequence[Path]) -> Iterator[tuple[Path, dict[str, Any]]]:
        found: set[Path] = set()
        for settings in self.variants[name]:
            if settings.pattern is None:
                chosen = [file for file in files if file not in found and _changes(settings.values, file)]
            else:
                chosen = [file for file in matching(settings.pattern) if file in files]
                if not chosen:
                    raise UserError(f"{settings.pattern}, of which {name} should be a variant, is no experiment here.")
            found.update(chosen)
            yield from ((file, settings.values) for file in chosen)
        if not found:
            keys = ", ".join(key for settings in self.variants[name] for key in settings.values)
            raise UserError(f"The variant {name} is of no experiment, as none has other values of {keys} in its file.")

    def _check_names(self, names: Sequence[str]) -> None:
        if twice := [name for name, times in Counter(names).items() if times > 1]:
            raise UserError(f"There would be two rows {', '.join(twice)}; give variants names that are not taken.")
        stems = sorted({name.rpartition("/")[2] for name in names})
        if unknown := [pattern for pattern in self.reference if not fnmatch.filter(stems, pattern)]:
            raise UserError(f"The reference {', '.join(unknown)} is none of the experiments {', '.join(stems)}.")


def _under(name: str, regime: Sequence[Settings], cases: Sequence[Case]) -> list[Case]:
    """List the rows that run under a regime, each with the first of its settings that are meant for it.

    Raises:
        UserError: If these are meant for no row.
    """
    files = [None if settings.pattern is None else matching(settings.pattern) for settings in regime]
    rows = []
    for case in cases:
        meant = (s.values for s, of in zip(regime, files, strict=True) if of is None or case.file in of)
        rows += [replace(case, laid=values, regime=name) for values in islice(meant, 1)]
    if not rows:
        raise UserError(f"No experiment runs under the regime {name}.")
    return rows


def of_row(case: Case, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out of settings what a row does not have."""
    return {key: value for key, value in settings.items() if case.has(key)}


def read_benchmark(path: Path) -> Benchmark:
    """Read and check a benchmark file.

    Raises:
        UserError: If the file is missing, a key is unknown, missing or not of the right form, or there can be no plan.
    """
    content = read_yaml(path, "benchmark file")
    try:
        benchmark = _benchmark(path, content)
        benchmark.plan()
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return benchmark


def _benchmark(path: Path, content: Any) -> Benchmark:
    known = [entry.name for entry in fields(Benchmark)]
    if not isinstance(content, dict) or not content.get("experiments") or set(content) - set(known):
        raise UserError(f"the file must name `experiments`, and may have no other keys than {', '.join(known)}.")
    seeds = _checked_seeds(content.get("seeds", [0]))
    reference = content.get("reference") or []
    return Benchmark(
        experiments=_texts("experiments", content["experiments"]),
        seeds=seeds,
        splits=_checked_splits(_settings("splits", content), len(seeds)),
        overrides=_settings("overrides", content),
        variants=_checked_variants("variants", _settings("variants", content)),
        regimes=_checked_variants("regimes", _settings("regimes", content)),
        reference=_texts("reference", [reference] if isinstance(reference, str) else reference),
        runs=check_path(content.get("runs") or Path("runs/benchmarks", check_name(path.stem, "benchmark")), "`runs`"),
        cluster=_settings("cluster", content),
        tuning=_tuning(content.get("tuning")),
        search=_search(content.get("search"), seeds),
    )


def _tuning(content: Any) -> Tuning | None:
    if content is None:
        return None
    known = [entry.name for entry in fields(Tuning)]
    if not isinstance(content, dict) or not {"trials", "sweeps"} <= set(content) <= set(known):
        raise UserError("`tuning` must say `trials` and `sweeps`, and may have no other keys than `without`.")
    trials = content["trials"]
    if type(trials) is not int or trials < 1:
        raise UserError(f"tuning.trials is {trials}, but must be a whole number of at least 1.")
    without = _texts("tuning.without", content.get("without") or [])
    return Tuning(trials, _texts("tuning.sweeps", content["sweeps"]), without)


def _search(content: Any, seeds: Sequence[int]) -> Search | None:
    if content is None:
        return None
    known = [entry.name for entry in fields(Search)]
    if not isinstance(content, dict) or not {"settings", "seed"} <= set(content) <= set(known):
        raise UserError(f"`search` must say `settings` and `seed`, and may have no other keys than {', '.join(known)}.")
    settings, overrides = content["settings"], _settings("overrides", content)
    if not settings or not isinstance(settings, list) or not all(isinstance(tried, dict) for tried in settings):
        raise UserError("search.settings must be a list of settings, such as [{}, {model.shares.alignment: 0.03}].")
    if type(content["seed"]) is not int or content["seed"] in seeds or content["seed"] < 0:
        raise UserError(f"search.seed is {content['seed']}, but must be a whole number that is none of the seeds.")
    if not all(isinstance(values, dict) for values in overrides.values()):
        raise UserError("search.overrides must have settings below the name of a folder of experiments.")
    return Search(tuple(settings), content["seed"], overrides)


def _checked_seeds(seeds: Any) -> tuple[int, ...]:
    whole = isinstance(seeds, list) and all(type(seed) is int and seed >= 0 for seed in seeds)
    if not whole or not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"seeds is {seeds}, but must be a list of different whole numbers, such as [0, 1, 2].")
    return tuple(seeds)


def _checked_splits(splits: dict[str, Any], seeds: int) -> dict[str, list[Any]]:
    for folder, values in splits.items():
        if not isinstance(values, list):
            raise UserError(f"splits.{folder} is {values}, but must be a list of splits, one for each seed.")
        if len(values) != seeds:
            raise UserError(f"splits.{folder} has {len(values)} entries for {seeds} seeds; name one for each seed.")
    return splits


def _checked_variants(key: str, content: dict[str, Any]) -> dict[str, list[Settings]]:
    """Check the forms that `Benchmark.variants` describes; what ends in `.yaml` is a pattern of experiments."""
    variants = {}
    for name, value in content.items():
        if isinstance(value, dict) and value and all(str(key).endswith(".yaml") for key in value):
            variants[name] = [Settings(values, pattern) for pattern, values in value.items()]
        else:
            variants[name] = [Settings(values) for values in (value if isinstance(value, list) else [value])]
        if not variants[name] or not all(isinstance(settings.values, dict) for settings in variants[name]):
            raise UserError(
                f"{key}.{name} must hold settings, such as {{model.weights.alignment: 0}}, a list of such "
                f"settings, or experiments and below them settings, such as {{experiments/wikipedia/daml.yaml: "
                f"{{model.weights.alignment: 0}}}}."
            )
    return variants


def _settings(key: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """Read the names and values below a key; none if it is absent."""
    settings = content.get(key) or {}
    if not isinstance(settings, dict):
        raise UserError(f"{key} is {settings}, but must have a `name: value` in each line.")
    return settings


def _texts(key: str, texts: Any) -> tuple[str, ...]:
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UserError(f"{key} is {texts}, but must be a list of texts, such as [one, another].")
    return tuple(texts)


def matching(pattern: str) -> Sequence[Path]:
    """Find the files that a pattern names, relative to the working directory.

    Raises:
        UserError: If there is none.

    Examples:
        >>> matching("/no.yaml")
        Traceback (most recent call last):
        cmr_lightning.errors.UserError: No experiment matches /no.yaml; patterns are relative to the working directory.
    """
    root = Path(pattern).anchor
    files = [file for file in sorted(Path(root).glob(str(Path(pattern).relative_to(root)))) if file.is_file()]
    if not files:
        raise UserError(f"No experiment matches {pattern}; patterns are relative to the working directory.")
    return files


def _changes(settings: dict[str, Any], file: Path) -> bool:
    """Return True if an experiment's file has a value for each of these settings, but not the same ones."""
    experiment = _written(file)
    written = {key: look_up(experiment, key) for key in settings}
    return None not in written.values() and written != settings


def _written(file: Path) -> Any:
    """Read an experiment's file, once for all rows and settings."""
    return _read(file.resolve(), file.stat().st_mtime_ns)


@cache
def _read(file: Path, modified: int) -> Any:
    return read_yaml(file, "experiment")
