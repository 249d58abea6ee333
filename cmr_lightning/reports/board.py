"""The leaderboard: which runs share a table, and the row of each experiment."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from statistics import mean

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import Protocol, Record
from cmr_lightning.reports.claims import Claim, agreeing
from cmr_lightning.reports.comparison import Comparison, Comparisons, compare, overlap
from cmr_lightning.reports.difference import Difference
from cmr_lightning.reports.evidence import Evidence, evidence_of
from cmr_lightning.reports.row_game import RowGame, row_games
from cmr_lightning.reports.statistics import LEVEL, Summary, summary
from cmr_lightning.runs.memory import larger
from cmr_lightning.runs.run import Run, records_below


@dataclass(frozen=True)
class MeasuredRun:
    """A run that `test` has measured; without evidence if its ranks are missing or do not fit the record."""

    folder: Run
    record: Record
    evidence: Evidence | None

    def value(self, direction: str) -> float:
        """Return the main metric in one direction."""
        return self.record.metrics[self.record.protocol][direction]

    @property
    def case(self) -> tuple[int, str]:
        """Seed and checksum of the split: runs of two experiments are paired if these are equal."""
        return self.record.seed, self.record.split["checksum"]


@dataclass(frozen=True)
class Conditions:
    """The conditions that all numbers in one table share; of each split its name, checksum and checksum of the data.

    Attributes:
        regime: What was told of the training part, in words; empty where all was.
    """

    dataset: str
    protocol: str
    features: str
    splits: tuple[tuple[str, str, str], ...]
    regime: str = ""


@dataclass(frozen=True)
class PublishedResult:
    """A published number with the same conditions as ours, and by how much ours is larger in each direction."""

    claim: Claim
    differences: dict[str, float]


@dataclass(frozen=True)
class Row:
    """One experiment in a table, with its runs by seed.

    Attributes:
        comparisons: By direction, if it could be compared.
        published: Published numbers with the same protocol and features.
        splits: Number of splits of the table.
        game: Whether its adversary acted; None if a run has no figures of it.
    """

    experiment: str
    runs: tuple[MeasuredRun, ...]
    comparisons: Mapping[str, Comparison] | None = None
    published: tuple[PublishedResult, ...] = ()
    splits: int = 1
    game: RowGame | None = None

    @property
    def record(self) -> Record:
        """The record of the first run, for what all runs share."""
        return self.runs[0].record

    @property
    def conditions(self) -> Conditions:
        """The conditions under which its runs were measured."""
        splits = {(r.record.split["name"], r.record.split["checksum"], r.record.data_checksum) for r in self.runs}
        record = self.record
        features, regime = str(record.encoders["features"]), regime_of(record)
        return Conditions(record.dataset, record.protocol, features, tuple(sorted(splits)), regime)

    @property
    def mean(self) -> float:
        """The main metric, averaged over directions and runs."""
        return mean(run.value("mean") for run in self.runs)

    @property
    def encoder(self) -> str | None:
        """Names of the encoders; None for a method without encoders, such as `Random`."""
        image, text = self.record.encoders["image"], self.record.encoders["text"]
        if image == text:
            return None if image == self.record.method else image
        return f"{image} + {text}"

    @property
    def summaries(self) -> dict[str, Summary]:
        """The main metric over the runs, by direction; without an interval if several runs share one of the splits."""
        columns = Protocol.parse(self.record.protocol).columns
        splits = len(self.conditions.splits)
        shared = overlap([run.record for run in self.runs]) if splits in (1, len(self.runs)) else None
        return {direction: summary([run.value(direction) for run in self.runs], shared) for direction in columns}

    @property
    def game_word(self) -> str:
        """The state of its game in one word; `–` where there is none, or it is not known."""
        return "–" if self.game is None else self.game.word

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
        """The peak memory of all runs, see `Record.peak_memory`; empty if any run lacks it."""
        measured = [run.record.peak_memory for run in self.runs]
        return reduce(larger, measured) if all(measured) else {}

    @property
    def seeds(self) -> str:
        """Seeds of the runs, and the number of splits if the table has more."""
        seeds = ", ".join(str(run.record.seed) for run in self.runs)
        have = len({run.record.split["checksum"] for run in self.runs})
        return seeds if have == self.splits else f"{seeds} ({have} of {self.splits} splits)"

    @property
    def selection(self) -> str:
        """How the checkpoints were chosen, such as `epochs 3–7, best on validation`."""
        epochs = sorted({run.record.selection["epoch"] + 1 for run in self.runs if "epoch" in run.record.selection})
        span = "" if not epochs else f"epoch {epochs[0]}" if len(epochs) == 1 else f"epochs {epochs[0]}–{epochs[-1]}"
        main = f"val/{self.record.protocol}/mean"
        monitors = sorted({str(run.record.selection.get("monitor", "chosen otherwise")) for run in self.runs})
        by = "best on validation" if monitors == [main] else f"by {', '.join(monitors)}"
        return f"{span}, {by}" if span else by

    def mark(self, direction: str) -> str:
        """Return ▲ if significantly better than the reference, ▼ if worse, = if neither; empty without a test."""
        comparison = self.comparisons and self.comparisons[direction]
        if not comparison or comparison.p_holm is None or comparison.difference is None:
            return ""
        if comparison.p_holm > LEVEL:
            return "="
        return "▲" if comparison.difference.mean > 0 else "▼"


@dataclass(frozen=True)
class Board:
    """A leaderboard: experiments that may be compared, best first.

    Attributes:
        reference: The experiment that the others are compared with.
        refusal: Why they, or some of them, were not compared, if so.
        other_claims: Published numbers of its methods on its data set under other conditions.
        typical: How much noise separates two of them, see `Comparisons.typical`; None if none were compared.
    """

    conditions: Conditions
    rows: tuple[Row, ...]
    reference: str | None
    refusal: str | None
    other_claims: tuple[Claim, ...]
    typical: Difference | None = None

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


def find_runs(folder: Path, notes: list[str]) -> list[MeasuredRun]:
    """Read every run with a record at or below a folder.

    `notes` collects which runs are left out, as their records are damaged, and why the ranks of others cannot be used.

    Raises:
        UserError: There is none.
    """
    runs = []
    for path in records_below(folder):
        run, evidence = Run(path.parent), None
        try:
            record = Record.read(path)
        except UserError as error:
            notes.append(f"{run.path} is left out: {error}")
            continue
        try:
            evidence = evidence_of(run, record)
        except UserError as error:
            notes.append(f"{run.path} has no comparison, curves of its ranking and scores by class: {error}")
        runs.append(MeasuredRun(run, record, evidence))
    return runs


def boards(runs: Sequence[MeasuredRun], claims: Sequence[Claim], references: Sequence[str] = ()) -> list[Board]:
    """Arrange runs in leaderboards.

    Runs of one experiment are one row, whatever their seeds and splits. Experiments share a table if they agree in data
    set, splits, main protocol, features and regime. Experiments that lack some runs of a table are shown in it but not
    tested.

    Each table takes the first of the `references` that it has, given by their names or the last parts of them; the
    others are compared with it.

    Raises:
        UserError: No run is of a reference.
    """
    for reference in references:
        if not any(_is_called(run.record.experiment, reference) for run in runs):
            known = ", ".join(sorted({run.record.experiment for run in runs}))
            raise UserError(f"No run is of the reference {reference}; the experiments are {known}.")
    experiments: dict[tuple[str, ...], list[MeasuredRun]] = defaultdict(list)
    for run in runs:
        record = run.record
        encoders = [str(record.encoders[key]) for key in ("image", "text", "features")]
        conditions = (record.dataset, record.protocol, regime_of(record), *encoders)
        experiments[record.experiment, record.method, *conditions].append(run)
    tables: dict[Conditions, list[Row]] = defaultdict(list)
    for of_experiment in experiments.values():
        ordered = sorted(of_experiment, key=lambda run: (run.record.seed, run.record.split["name"]))
        row = Row(ordered[0].record.experiment, tuple(ordered))
        tables[row.conditions].append(row)
    _merge_incomplete(tables)
    order = sorted(tables, key=lambda c: (c.dataset, c.protocol, c.features, c.splits, c.regime))
    return [_board(conditions, tables[conditions], claims, references) for conditions in order]


def regime_of(record: Record) -> str:
    """Return what was told of the training part of a run, in words; empty where all was."""
    return str(record.regime.get("words", ""))


def _is_called(experiment: str, name: str) -> bool:
    return name in (experiment, experiment.rpartition("/")[2])


def _merge_incomplete(tables: dict[Conditions, list[Row]]) -> None:
    """Move tables that lack splits into a table that has them, if that one has runs with the same seeds and splits.

    Runs with other seeds belong to another benchmark, and keep their table.
    """

    def cases(conditions: Conditions) -> set[tuple[int, str]]:
        return {run.case for row in tables[conditions] for run in row.runs}

    for part in sorted(tables, key=lambda conditions: len(conditions.splits)):
        wholes = [
            whole
            for whole in tables
            if replace(whole, splits=part.splits) == part
            and set(part.splits) < set(whole.splits)
            and cases(part) <= cases(whole)
        ]
        if wholes:
            tables[max(wholes, key=lambda conditions: len(conditions.splits))] += tables.pop(part)


def _board(
    conditions: Conditions, experiments: Sequence[Row], claims: Sequence[Claim], references: Sequence[str]
) -> Board:
    best_first = Protocol.parse(conditions.protocol).higher_is_better
    rows = _with_distinct_names(sorted(experiments, key=lambda row: row.mean, reverse=best_first))
    called = (row.experiment for name in references for row in rows if _is_called(row.record.experiment, name))
    reference = next(called, None)
    splits = len(conditions.splits)
    compared, refusal = _compare_complete(rows, reference, splits)
    games = row_games({row.experiment: [run.record for run in row.runs] for row in rows})
    rows = [replace(row, game=games.get(row.experiment)) for row in rows]
    finished = tuple(
        replace(row, comparisons=compared.rows.get(row.experiment), published=_published(row, claims), splits=splits)
        for row in rows
    )
    methods = {row.record.method for row in rows}
    shown = [published.claim for row in finished for published in row.published]
    others = [c for c in claims if c.dataset == conditions.dataset and c.method in methods and c not in shown]
    return Board(conditions, finished, reference, refusal, tuple(others), compared.typical)


def _with_distinct_names(rows: Sequence[Row]) -> list[Row]:
    """Add method and encoders to the name of an experiment that occurs twice, with another method or encoders."""
    count = Counter(row.experiment for row in rows)

    def full(row: Row) -> str:
        encoders = row.record.encoders
        return f"{row.experiment} ({row.record.method}, {encoders['image']} + {encoders['text']})"

    return [row if count[row.experiment] == 1 else replace(row, experiment=full(row)) for row in rows]


def _compare_complete(rows: Sequence[Row], reference: str | None, splits: int) -> tuple[Comparisons, str | None]:
    """Compare the experiments that have all splits, all ranks and several seeds; say why there are none, or not all."""
    have = {row.experiment: len(row.conditions.splits) for row in rows}
    lacking = ", ".join(f"{name} ({count} of {splits} splits)" for name, count in have.items() if count < splits)
    refusals = [f"{lacking}, as tests need all splits; finish the missing runs and report again."] if lacking else []
    scored = {
        row.experiment: [run.evidence.scored for run in row.runs if run.evidence is not None]
        for row in rows
        if have[row.experiment] == splits and all(run.evidence is not None for run in row.runs)
    }
    compared = Comparisons({}, None)
    if len(scored) > 1:
        try:
            compared = compare(scored, reference if reference in scored else None)
            refusals += _of_one_seed([name for name, runs in scored.items() if len(runs) == 1], len(rows))
        except UserError as error:
            refusals.append(str(error))
    return compared, " ".join(refusals) or None


def _of_one_seed(names: Sequence[str], of: int) -> list[str]:
    """Say that experiments with one seed were not tested, and how to run more; empty if there are none."""
    if not names:
        return []
    who = "each experiment" if len(names) == of else ", ".join(names)
    return [
        f"{who} has one seed, and one seed says nothing about others; list more in the benchmark's file, as "
        f"`seeds: [0, 1, 2, 3, 4]`, run it again, and report again."
    ]


def _published(row: Row, claims: Sequence[Claim]) -> tuple[PublishedResult, ...]:
    found = []
    for claim in agreeing(claims, row.record):
        ours = {d: mean(run.record.metrics[claim.protocol][d] for run in row.runs) for d in claim.values}
        found.append(PublishedResult(claim, {d: ours[d] - value for d, value in claim.values.items()}))
    return tuple(found)
