"""Comparison of experiments by the scores of their queries.

Two kinds of randomness are kept apart: the interval of `summary` is over seeds, the tests here are over queries. They
ask how much other queries would have moved a difference, given the trained models, averaged over their seeds.

The unit of a test is one image with its texts, or one text with its images where there are more images: the queries of
a unit resemble each other, so their differences get one common sign. Images and texts are matched by position: text t
of T belongs to image floor(t N / T) of N, which holds where texts are listed in the order of their images, equally many
for each. (Where it does not quite hold, neighbours share a sign instead, which a test of independent queries allows.)
If each image has one text, the units of i2t are the image queries and those of t2i the text queries; in `mean` the two
queries of a pair count one half each. Each composed query is a unit, and there is no mean.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import Protocol, Ranks, Record, per_query
from cmr_lightning.reports.statistics import (
    LEVEL,
    RESAMPLES,
    Floats,
    holm,
    letter_groups,
    letters,
    pairwise_permutation_test,
)

_RESAMPLES_PER_PAIR = 100
"""Keeps the smallest possible p-value at a fifth of `LEVEL` after Holm's correction over all pairs."""


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
        difference: Its metric less that of the reference, a mean over units; None for the reference itself.
        p_value: Of the two-sided test against the reference; None for the reference itself.
        p_holm: The same, adjusted by Holm over all experiments that are compared with the reference in this direction.
    """

    letters: str
    difference: float | None = None
    p_value: float | None = None
    p_holm: float | None = None


def compare(
    experiments: Mapping[str, Sequence[ScoredRun]], reference: str | None = None, seed: int = 0
) -> dict[str, dict[str, Comparison]]:
    """Compare experiments with each other and with a reference, separately in each direction.

    The scores of an experiment are first averaged over its seeds, unit by unit. If it ran on several splits, this is
    done for each split, and the units of all splits are pooled. A query in the test parts of several splits then counts
    several times, so p-values are somewhat too small where test parts overlap.

    Each direction is a family of its own for Holm's correction: of E - 1 tests against the reference, and for the
    letters of E (E - 1) / 2 tests. So an experiment may differ from the reference and yet share a letter with it.

    Args:
        experiments: The runs of each experiment.
        reference: The experiment that the others are compared with; None for letters alone.
        seed: Seed of the random sign flips.

    Returns:
        For each experiment, in the order given, for each direction its comparison.

    Raises:
        UserError: The runs cannot be compared, see `check_comparable`, or the reference is not among them.
    """
    check_comparable({name: [run.record for run in runs] for name, runs in experiments.items()})
    if reference is not None and reference not in experiments:
        raise UserError(f"The reference {reference} is not among the experiments {', '.join(experiments)}.")
    rng = np.random.default_rng(seed)
    columns = next(iter(experiments.values()))[0].scores
    directions = {direction: _compare(experiments, reference, direction, rng) for direction in columns}
    return {name: {direction: directions[direction][name] for direction in columns} for name in experiments}


def _compare(
    experiments: Mapping[str, Sequence[ScoredRun]], reference: str | None, direction: str, rng: np.random.Generator
) -> dict[str, Comparison]:
    names = list(experiments)
    scores = np.stack([_pooled(runs, direction) for runs in experiments.values()])
    means = scores.mean(axis=1)
    resamples = max(RESAMPLES, _RESAMPLES_PER_PAIR * math.comb(len(names), 2))
    p = pairwise_permutation_test(scores, rng, resamples)
    groups = _groups(means, p)
    found = {name: Comparison(letters(groups, row)) for row, name in enumerate(names)}
    if reference is not None:
        against = names.index(reference)
        rows = [row for row in range(len(names)) if row != against]
        for row, p_holm in zip(rows, holm(p[rows, against]).tolist(), strict=True):
            difference = float(means[row] - means[against])
            found[names[row]] = Comparison(found[names[row]].letters, difference, float(p[row, against]), p_holm)
    return found


def _groups(means: Floats, p: Floats) -> list[frozenset[int]]:
    """Group the rows that do not differ significantly, the group of the best row first."""
    order = np.argsort(-means, kind="stable")
    upper = np.triu_indices(len(order), k=1)
    different = np.zeros((len(order), len(order)), dtype=bool)
    different[upper] = holm(p[order][:, order][upper]) <= LEVEL
    return [frozenset(order[list(group)].tolist()) for group in letter_groups(different | different.T)]


def _pooled(runs: Sequence[ScoredRun], direction: str) -> Floats:
    """Average scores over the seeds of each split, and put the splits one after another, `(S U,)`."""
    splits = sorted({run.record.split["checksum"] for run in runs})
    return np.concatenate(
        [np.mean([run.scores[direction] for run in runs if run.record.split["checksum"] == s], axis=0) for s in splits]
    )


def check_comparable(experiments: Mapping[str, Sequence[Record]]) -> None:
    """Refuse to compare runs that were measured under different conditions.

    All runs must agree in data set, main protocol and features, all runs on one split also in the checksum of the data;
    and all experiments must have run on the same splits, once with each seed.

    Raises:
        UserError: They do not agree; the message names two experiments and the difference.
    """
    runs = [(f"{name} (seed {record.seed})", record) for name, records in experiments.items() for record in records]
    _check_equal("data set", [(name, record.dataset) for name, record in runs])
    _check_equal("protocol", [(name, record.protocol) for name, record in runs])
    _check_equal("features", [(name, str(record.encoders["features"])) for name, record in runs])
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
        untested = f"{record.protocol} is no mean over queries, so there is no paired test for it"
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
