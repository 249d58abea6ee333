"""Comparison of experiments, so that it holds for other seeds and other queries; `difference` has the test.

Which runs are set against which: with several splits, the means on each split. On one split, the runs of one method and
a variant of it are paired by seed, if both ran with the same seeds: these start from the same weights and see the same
batches, and over the committed boards their scores correlate by .8. Those of different methods share no more than the
number of their seed and correlate by .1, so to pair them would cost half of the degrees of freedom for nothing.

The unit of a test is one image with its texts, or one text with its images where there are more images: the queries of
a unit resemble each other, so they are not counted as several. Images and texts are matched by position: text t of T
belongs to image floor(t N / T) of N, which holds where texts are listed in the order of their images, equally many for
each. (Where it does not quite hold, neighbours are averaged instead, which a test of independent queries allows.) If
each image has one text, the units of i2t are the image queries and those of t2i the text queries; in `mean` the two
queries of a pair count one half each. Each composed query is a unit, and there is no mean.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import Protocol, Ranks, Record, per_query
from cmr_lightning.reports.difference import Difference, over_splits, paired, typical, unpaired
from cmr_lightning.reports.statistics import LEVEL, Floats, holm, letter_groups, letters


@dataclass(frozen=True)
class ScoredRun:
    """A run and, for each of the protocol's columns, its main metric by unit, `(U,)`, with the mean of the record."""

    record: Record
    scores: dict[str, Floats]


@dataclass(frozen=True)
class Comparison:
    """An experiment among others, in one direction.

    Attributes:
        letters: Experiments that share a letter do not differ significantly, see `letter_groups`.
        difference: Its metric less that of the reference; None for the reference itself.
        p_holm: The p-value of the difference, adjusted by Holm over all experiments that are compared with the
            reference in this direction; None for the reference itself.
    """

    letters: str
    difference: Difference | None = None
    p_holm: float | None = None


@dataclass(frozen=True)
class Comparisons:
    """Experiments compared with each other.

    Attributes:
        rows: For each experiment that has several runs, in the order given, for each direction its comparison.
        typical: What separates two of them in the last direction but for noise, see `difference.typical`.
    """

    rows: Mapping[str, Mapping[str, Comparison]]
    typical: Difference | None


def compare(experiments: Mapping[str, Sequence[ScoredRun]], reference: str | None = None) -> Comparisons:
    """Compare experiments with each other and with a reference, separately in each direction.

    Each direction is a family of its own for Holm's correction: of E - 1 tests against the reference, and for the
    letters of E (E - 1) / 2 tests. So an experiment may differ from the reference and yet share a letter with it.

    One run says nothing about other seeds, so an experiment with one is left out, and there is nothing to compare with
    it.

    Args:
        experiments: The runs of each experiment.
        reference: The experiment that the others are compared with; None for letters alone.

    Raises:
        UserError: The runs cannot be compared, see `check_comparable` and `differences`, or the reference is not among
            them.
    """
    check_comparable({name: [run.record for run in runs] for name, runs in experiments.items()})
    if reference is not None and reference not in experiments:
        raise UserError(f"The reference {reference} is not among the experiments {', '.join(experiments)}.")
    several = {name: runs for name, runs in experiments.items() if len(runs) > 1}
    pairs = {(a, b): differences(several[a], several[b]) for a, b in combinations(several, 2)}
    if not pairs:
        return Comparisons({}, None)
    columns = list(next(iter(several.values()))[0].scores)
    directions = {}
    for column in columns:
        means = {name: float(_by_split(runs, column).mean()) for name, runs in several.items()}
        directions[column] = _compare(means, {pair: found[column] for pair, found in pairs.items()}, reference)
    rows = {name: {column: directions[column][name] for column in columns} for name in several}
    return Comparisons(rows, typical([found[columns[-1]] for found in pairs.values()]))


def differences(ours: Sequence[ScoredRun], theirs: Sequence[ScoredRun]) -> dict[str, Difference]:
    """Subtract the scores of two experiments that can be compared, in each direction.

    Raises:
        UserError: There is a single unit; or there are several splits, and it is not known how much they overlap.
    """
    columns, record = ours[0].scores, ours[0].record
    if min(map(len, columns.values())) < 2:
        raise UserError(f"{record.experiment} has one query, which says nothing about others; test on more.")
    shared = overlap([run.record for run in (*ours, *theirs)])
    if shared is None:
        both = f"{record.experiment} or {theirs[0].record.experiment}"
        raise UserError(f"The records of {both} do not say how many pictures each part has; run `test` again.")
    if len({run.record.split["checksum"] for run in ours}) > 1:
        return {
            column: over_splits(_by_split(ours, column) - _by_split(theirs, column), len(scores), shared)
            for column, scores in columns.items()
        }
    alike = _method_and_seeds(ours) == _method_and_seeds(theirs)
    subtract = paired if alike else unpaired
    return {column: subtract(_by_seed(ours, column), _by_seed(theirs, column)) for column in columns}


def overlap(records: Sequence[Record]) -> float | None:
    """Return test pictures by training pictures of runs on several splits; 0 for one split, None if not recorded."""
    if len({record.split["checksum"] for record in records}) == 1:
        return 0.0
    if not all(record.pictures for record in records):
        return None
    return max(record.pictures["test"] / record.pictures["train"] for record in records)


def _method_and_seeds(runs: Sequence[ScoredRun]) -> tuple[str, list[int]]:
    return runs[0].record.method, sorted(run.record.seed for run in runs)


def _by_seed(runs: Sequence[ScoredRun], column: str) -> Floats:
    """Stack the scores of runs on one split, `(S, U)`."""
    return np.stack([run.scores[column] for run in sorted(runs, key=lambda run: run.record.seed)])


def _by_split(runs: Sequence[ScoredRun], column: str) -> Floats:
    """Average the scores of the runs on each of S splits, `(S,)`, the splits in the order of their checksums."""
    means: dict[str, list[float]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.record.split["checksum"]):
        means[run.record.split["checksum"]].append(float(run.scores[column].mean()))
    return np.array([np.mean(of_split) for of_split in means.values()])


def _compare(
    means: Mapping[str, float], pairs: Mapping[tuple[str, str], Difference], reference: str | None
) -> dict[str, Comparison]:
    """Compare experiments by their means and the differences of all pairs of them, in one direction."""
    names = list(means)
    p = np.ones((len(names), len(names)))
    for (a, b), found in pairs.items():
        row, column = names.index(a), names.index(b)
        p[row, column] = p[column, row] = found.p_value
    groups = _groups(np.array(list(means.values())), p)
    compared = {name: Comparison(letters(groups, row)) for row, name in enumerate(names)}
    if reference is not None and reference in means:
        against = names.index(reference)
        rows = [row for row in range(len(names)) if row != against]
        for row, p_holm in zip(rows, holm(p[rows, against]).tolist(), strict=True):
            name = names[row]
            found = pairs[name, reference] if row < against else -pairs[reference, name]
            compared[name] = replace(compared[name], difference=found, p_holm=p_holm)
    return compared


def _groups(means: Floats, p: Floats) -> list[frozenset[int]]:
    """Group the rows that do not differ significantly, the group of the best row first."""
    order = np.argsort(-means, kind="stable")
    upper = np.triu_indices(len(order), k=1)
    different = np.zeros((len(order), len(order)), dtype=bool)
    different[upper] = holm(p[order][:, order][upper]) <= LEVEL
    return [frozenset(order[list(group)].tolist()) for group in letter_groups(different | different.T)]


def check_comparable(experiments: Mapping[str, Sequence[Record]]) -> None:
    """Refuse to compare runs that were measured under different conditions.

    All runs must agree in data set, main protocol, features and training regime, all runs on one split also in the
    checksum of the data; and all experiments must have run on the same splits, once with each seed.

    Raises:
        UserError: They do not agree; the message names two experiments and the difference.
    """
    runs = [(f"{name} (seed {record.seed})", record) for name, records in experiments.items() for record in records]
    _check_equal("data set", [(name, record.dataset) for name, record in runs])
    _check_equal("protocol", [(name, record.protocol) for name, record in runs])
    _check_equal("features", [(name, str(record.encoders["features"])) for name, record in runs])
    _check_equal("training regime", [(name, str(record.regime.get("words", "none"))) for name, record in runs])
    for split in dict.fromkeys(record.split["checksum"] for _, record in runs):
        on_split = [(name, record.data_checksum) for name, record in runs if record.split["checksum"] == split]
        _check_equal("data (checksum)", on_split)
    splits = {
        name: sorted({f"{record.split['name']} ({record.split['checksum']})" for record in records})
        for name, records in experiments.items()
    }
    _check_equal("split", [(name, ", ".join(of_experiment)) for name, of_experiment in splits.items()])
    for name, records in experiments.items():
        (seed, split), count = Counter((r.seed, r.split["name"]) for r in records).most_common(1)[0]
        if count > 1:
            raise UserError(f"{name} has {count} runs with seed {seed} on split {split}; leave all but one out.")


def _check_equal(what: str, values: Sequence[tuple[str, str]]) -> None:
    (first, expected), *others = values
    for name, value in others:
        if value != expected:
            differ = f"{first} and {name} cannot be compared, as they differ in {what}: {expected} against {value}"
            raise UserError(f"{differ}; compare only what agrees in it.")


def score_run(record: Record, ranks: Mapping[str, Ranks]) -> ScoredRun:
    """Compute the main metric of a run by unit from its record and ranks; recall and rsum in percent.

    Raises:
        UserError: The metric is no mean over queries (`median-rank`, `map@K-hits-nonempty`), or the ranks are not
            those that the record was made from.
    """
    protocol = Protocol.parse(record.protocol)
    if protocol.metric == "median-rank" or protocol.normaliser == "hits-nonempty":
        untested = f"{record.protocol} is no mean over queries, so there is no test for it"
        raise UserError(f"{untested}; choose another protocol as the main one of {record.dataset}.")
    run = f"{record.experiment}, seed {record.seed}, split {record.split['name']}"
    if missing := [name for d in protocol.directions for name in protocol.rankings(d) if name not in ranks]:
        raise UserError(f"The ranks of {run} lack {', '.join(missing)}; run `test` again.")
    queries = {
        direction: [protocol.scale * per_query(ranks[name], protocol) for name in protocol.rankings(direction)]
        for direction in protocol.directions
    }
    units = [min(map(len, fold)) for fold in zip(*queries.values(), strict=True)]
    scores = {direction: _by_unit(folds, units) for direction, folds in queries.items()}
    if len(scores) > 1:
        scores["mean"] = np.mean(list(scores.values()), axis=0)
    for direction, values in scores.items():
        recorded = record.metrics[record.protocol][direction]
        if not math.isclose(values.mean(), recorded, rel_tol=1e-6, abs_tol=1e-9):
            found = f"{direction} {values.mean():.6g} under {record.protocol}"
            raise UserError(f"The ranks of {run} give {found} and its record says {recorded:.6g}; run `test` again.")
    return ScoredRun(record, scores)


def _by_unit(folds: Sequence[Floats], units: Sequence[int]) -> Floats:
    """Sum the queries of each unit, scaled so that the mean over units is the mean of the folds' means, `(U,)`."""
    sums = []
    for values, n in zip(folds, units, strict=True):
        unit = np.arange(len(values)) * n // len(values)
        sums.append(np.bincount(unit, weights=values, minlength=n) / len(values))
    return np.concatenate(sums) * (sum(units) / len(units))
