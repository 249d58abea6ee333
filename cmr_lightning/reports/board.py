"""The leaderboard: which runs may stand in one table, and what each experiment's row says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from statistics import mean

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import Protocol, Record
from cmr_lightning.reports.claims import Claim, agreeing
from cmr_lightning.reports.evidence import Evidence, evidence_of
from cmr_lightning.reports.statistics import LEVEL, Comparison, Summary, compare, summary
from cmr_lightning.runs.memory import larger
from cmr_lightning.runs.run import Run


@dataclass(frozen=True)
class MeasuredRun:
    """A run that `test` has measured.

    Attributes:
        run: Its folder.
        record: Its record.
        evidence: What its ranks say; None where they are missing or say no more than the record.
    """

    run: Run
    record: Record
    evidence: Evidence | None

    def value(self, direction: str) -> float:
        """The main metric in one direction."""
        return self.record.metrics[self.record.protocol][direction]


@dataclass(frozen=True)
class Conditions:
    """What must agree for numbers to stand in one table.

    Attributes:
        dataset: The data set.
        splits: Name, checksum and checksum of the data of each split.
        protocol: The main protocol.
        features: What the encoders were fed with.
    """

    dataset: str
    splits: tuple[tuple[str, str, str], ...]
    protocol: str
    features: str


@dataclass(frozen=True)
class PublishedResult:
    """A published number that ours may be subtracted from, and by how much ours is larger in each direction."""

    claim: Claim
    differences: dict[str, float]


@dataclass(frozen=True)
class Row:
    """One experiment in a table.

    Attributes:
        experiment: Its name.
        runs: Its runs, by seed.
        comparisons: By direction, where it could be compared.
        published: Published numbers that agree in protocol and features.
        splits: Number of splits of the table.
    """

    experiment: str
    runs: tuple[MeasuredRun, ...]
    comparisons: Mapping[str, Comparison] | None = None
    published: tuple[PublishedResult, ...] = ()
    splits: int = 1

    @property
    def record(self) -> Record:
        """The record of the first run, for what all runs share."""
        return self.runs[0].record

    @property
    def encoder(self) -> str | None:
        """Names of the encoders; None for a method that brings no encoders, such as `Random`."""
        image, text = self.record.encoders["image"], self.record.encoders["text"]
        if image == text:
            return None if image == self.record.method else image
        return f"{image} + {text}"

    @property
    def summaries(self) -> dict[str, Summary]:
        """The main metric over the runs, by direction."""
        columns = Protocol.parse(self.record.protocol).columns
        return {direction: summary([run.value(direction) for run in self.runs]) for direction in columns}

    @property
    def fit_seconds(self) -> float:
        """Mean duration of the training."""
        return mean(run.record.wall_time["fit_s"] for run in self.runs)

    @property
    def test_seconds(self) -> float:
        """Mean duration of the test."""
        return mean(run.record.wall_time["test_s"] for run in self.runs)

    @property
    def peak_memory(self) -> dict[str, int]:
        """The most memory that a run took, see `Record.peak_memory`; empty if it was not measured in all."""
        measured = [run.record.peak_memory for run in self.runs]
        return reduce(larger, measured) if all(measured) else {}

    @property
    def seeds(self) -> str:
        """Seeds of the runs, and how many of the table's splits they have if not all."""
        seeds = ", ".join(str(run.record.seed) for run in self.runs)
        have = len({run.record.split["checksum"] for run in self.runs})
        return seeds if have == self.splits else f"{seeds} ({have} of {self.splits} splits)"

    @property
    def selection(self) -> str:
        """How the weights of the runs were chosen."""
        epochs = sorted({run.record.selection["epoch"] + 1 for run in self.runs if "epoch" in run.record.selection})
        span = "" if not epochs else f"epoch {epochs[0]}" if len(epochs) == 1 else f"epochs {epochs[0]}–{epochs[-1]}"
        main = f"val/{self.record.protocol}/mean"
        monitors = sorted({str(run.record.selection.get("monitor", "chosen otherwise")) for run in self.runs})
        by = "best on validation" if monitors == [main] else f"by {', '.join(monitors)}"
        return f"{span}, {by}" if span else by

    def mark(self, direction: str) -> str:
        """▲ if found better than the reference at 5 %, ▼ if found worse, = if neither; empty without a test."""
        comparison = self.comparisons and self.comparisons[direction]
        if not comparison or comparison.p_holm is None or comparison.difference is None:
            return ""
        if comparison.p_holm > LEVEL:
            return "="
        return "▲" if comparison.difference > 0 else "▼"


@dataclass(frozen=True)
class Board:
    """Experiments that may be compared, best first.

    Attributes:
        conditions: What they agree in.
        rows: The experiments.
        reference: The experiment that the others are compared with.
        refusal: Why they, or some of them, were not compared, if so.
        other_claims: Published numbers of its methods on its data set that ours may not be subtracted from.
    """

    conditions: Conditions
    rows: tuple[Row, ...]
    reference: str | None
    refusal: str | None
    other_claims: tuple[Claim, ...]

    @property
    def protocol(self) -> Protocol:
        """The main protocol."""
        return Protocol.parse(self.conditions.protocol)

    @property
    def encoders(self) -> dict[str | None, list[Row]]:
        """Rows by encoder, that of the best row first, methods without encoders last."""
        groups: dict[str | None, list[Row]] = defaultdict(list)
        for row in self.rows:
            groups[row.encoder].append(row)
        return dict(sorted(groups.items(), key=lambda item: item[0] is None))


@dataclass
class Notes:
    """Sentences about what is missing, each once, in the order in which it was noticed."""

    sentences: list[str] = field(default_factory=list)

    def add(self, sentence: str) -> None:
        """Keep a sentence."""
        if sentence not in self.sentences:
            self.sentences.append(sentence)


def find_runs(folder: Path, notes: Notes) -> list[MeasuredRun]:
    """Every run with a record at or below a folder.

    Args:
        folder: The folder.
        notes: Where to say which ranks are of no use.

    Raises:
        UserError: If there is none, or a record is broken.
    """
    name = Run(folder).record.name
    paths = sorted(folder.rglob(name))
    if not paths:
        raise UserError(f"{folder} holds no {name}; run `test` on its runs first.")
    return [_read_run(Run(path.parent), notes) for path in paths]


def _read_run(run: Run, notes: Notes) -> MeasuredRun:
    record = Record.read(run.record)
    try:
        return MeasuredRun(run, record, evidence_of(run, record))
    except UserError as error:
        notes.add(f"{run.path} has no comparison, curves of its ranking and scores by class: {error}")
        return MeasuredRun(run, record, None)


def boards(runs: Sequence[MeasuredRun], claims: Sequence[Claim], references: Sequence[str] = ()) -> list[Board]:
    """Put runs into tables.

    Runs of one experiment are one row, whatever their seeds and splits; experiments share a table if they agree in data
    set, splits, main protocol and features. Those that only lack some of the runs of a table stand in it, untested.

    Args:
        runs: All runs.
        claims: Published numbers.
        references: Experiments that the others are compared with, by their names or the last parts of them; each table
            takes the first that it has.

    Raises:
        UserError: If no run is of a reference.
    """
    for reference in references:
        if not any(_is_called(run.record.experiment, reference) for run in runs):
            known = ", ".join(sorted({run.record.experiment for run in runs}))
            raise UserError(f"No run is of the reference {reference}; the experiments are {known}.")
    experiments: dict[tuple[str, ...], list[MeasuredRun]] = defaultdict(list)
    for run in runs:
        record = run.record
        encoders = (str(record.encoders["image"]), str(record.encoders["text"]))
        key = (record.experiment, record.method, record.dataset, record.protocol, str(record.encoders["features"]))
        experiments[(*key, *encoders)].append(run)
    tables: dict[Conditions, list[list[MeasuredRun]]] = defaultdict(list)
    for of_experiment in experiments.values():
        tables[_conditions(of_experiment)].append(of_experiment)
    _join(tables)
    return [
        _board(conditions, tables[conditions], claims, references)
        for conditions in sorted(tables, key=lambda c: (c.dataset, c.protocol, c.features, c.splits))
    ]


def _is_called(experiment: str, name: str) -> bool:
    return name in (experiment, experiment.rpartition("/")[2])


def _conditions(runs: Sequence[MeasuredRun]) -> Conditions:
    record = runs[0].record
    splits = {(r.record.split["name"], r.record.split["checksum"], r.record.data_checksum) for r in runs}
    return Conditions(record.dataset, tuple(sorted(splits)), record.protocol, str(record.encoders["features"]))


def _join(tables: dict[Conditions, list[list[MeasuredRun]]]) -> None:
    """Put experiments that lack splits to those that have them: where each of their runs has its like, seed and split.

    Runs with other seeds are no part of the same benchmark, and keep their table.
    """
    for part in sorted(tables, key=lambda conditions: len(conditions.splits)):
        wholes = [
            whole
            for whole in tables
            if replace(whole, splits=part.splits) == part
            and set(part.splits) < set(whole.splits)
            and _cases(tables[part]) <= _cases(tables[whole])
        ]
        if wholes:
            tables[max(wholes, key=lambda conditions: len(conditions.splits))] += tables.pop(part)


def _cases(experiments: Sequence[list[MeasuredRun]]) -> set[tuple[int, str]]:
    return {(run.record.seed, run.record.split["checksum"]) for of in experiments for run in of}


def _board(
    conditions: Conditions,
    experiments: Sequence[list[MeasuredRun]],
    claims: Sequence[Claim],
    references: Sequence[str],
) -> Board:
    best_first = Protocol.parse(conditions.protocol).higher_is_better
    ordered = sorted(experiments, key=lambda of: mean(run.value("mean") for run in of), reverse=best_first)
    names = _distinct_names(ordered)
    called = [
        name
        for reference in references
        for name, of in zip(names, ordered, strict=True)
        if _is_called(of[0].record.experiment, reference)
    ]
    against = called[0] if called else None
    splits = len(conditions.splits)
    compared, refusal = _compared(dict(zip(names, ordered, strict=True)), against, splits)
    rows = tuple(
        Row(name, tuple(sorted(of, key=_order)), compared.get(name), tuple(_published(of, claims)), splits)
        for name, of in zip(names, ordered, strict=True)
    )
    methods = {row.record.method for row in rows}
    subtracted = [published.claim for row in rows for published in row.published]
    others = [c for c in claims if c.dataset == conditions.dataset and c.method in methods and c not in subtracted]
    return Board(conditions, rows, against, refusal, tuple(others))


def _order(run: MeasuredRun) -> tuple[int, str]:
    return run.record.seed, run.record.split["name"]


def _distinct_names(experiments: Sequence[list[MeasuredRun]]) -> list[str]:
    """Names of experiments; where one is there twice, with other encoders or another method, these are added."""
    names = [of[0].record.experiment for of in experiments]
    return [
        name
        if names.count(name) == 1
        else f"{name} ({of[0].record.method}, {of[0].record.encoders['image']} + {of[0].record.encoders['text']})"
        for name, of in zip(names, experiments, strict=True)
    ]


def _compared(
    experiments: Mapping[str, Sequence[MeasuredRun]], reference: str | None, splits: int
) -> tuple[Mapping[str, Mapping[str, Comparison]], str | None]:
    """Comparisons of those experiments that have all splits and all ranks, and why there are none or not all."""
    have = {name: len(_conditions(runs).splits) for name, runs in experiments.items()}
    lacking = [f"{name} ({count} of {splits} splits)" for name, count in have.items() if count < splits]
    finish = f"{', '.join(lacking)}, as tests need all splits; finish the missing runs and report again."
    refusal = finish if lacking else None
    scored = {
        name: [run.evidence.scored for run in runs if run.evidence is not None]
        for name, runs in experiments.items()
        if have[name] == splits and all(run.evidence is not None for run in runs)
    }
    if len(scored) < 2:
        return {}, refusal
    try:
        return compare(scored, reference if reference in scored else None), refusal
    except UserError as error:
        return {}, " ".join(filter(None, [refusal, str(error)]))


def _published(runs: Sequence[MeasuredRun], claims: Sequence[Claim]) -> list[PublishedResult]:
    found = []
    for claim in agreeing(claims, runs[0].record):
        ours = {d: mean(run.record.metrics[claim.protocol][d] for run in runs) for d in claim.values}
        found.append(PublishedResult(claim, {d: ours[d] - value for d, value in claim.values.items()}))
    return found
