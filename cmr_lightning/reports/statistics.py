"""What differences between runs are worth: intervals over seeds, paired tests over queries, runs that tie.

Two kinds of chance are kept apart. The interval of `summary` is over seeds: how much another training run would move
the number. The tests of `compare` are over queries: how much other queries would have moved the difference, given the
methods as they were trained, averaged over their seeds.

The unit of a test is one image with its texts, or one text with its images where these are more: the queries of a unit
are alike, so their differences get one common sign. Images and texts are matched by position: text t of T belongs to
image floor(t N / T) of N, which is so where texts are listed in the order of their images, equally many for each.
(Where it is not quite so, neighbours are tied together instead, which a test of independent queries allows.) If each
image has one text, the units of i2t are the image queries and those of t2i the text queries; in `mean` the two queries
of a pair count one half each. A composed query is a unit by itself, and there is no mean.
"""

from __future__ import annotations

import math
import string
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import Protocol, Record

if TYPE_CHECKING:
    from cmr_lightning.evaluation import Ranks

LEVEL = 0.05
"""Runs are told apart, and intervals miss, with at most this probability of error."""

ROUNDS = 10_000
"""Random sign flips of a test: the standard error of a p-value of 0.05 is then 0.002."""

_ROUNDS_PER_PAIR = 100
"""Keeps the smallest possible p-value at a fifth of `LEVEL` after Holm's correction over all pairs."""

_BLOCK = 2**22
"""Signs drawn at once: about 40 MB."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Summary:
    """A metric over the runs of an experiment.

    Attributes:
        n: Number of runs.
        mean: Their mean.
        std: Their standard deviation, with n - 1; None for one run.
        interval: Ends of the 95 % interval of the mean; None for one run.
    """

    n: int
    mean: float
    std: float | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class ScoredRun:
    """A run and its main metric by unit, see the head of this file.

    Attributes:
        record: The record of the run.
        scores: For each of the protocol's columns the values of the units, `(U,)`; their mean is that in the record.
    """

    record: Record
    scores: dict[str, Floats]


@dataclass(frozen=True)
class Comparison:
    """An experiment among others, in one direction.

    Attributes:
        summary: The metric over its runs.
        letters: Experiments that share a letter cannot be told apart at 5 %, see `indistinguishable`.
        difference: Its metric less that of the reference, a mean over units; None for the reference itself.
        p_value: Of the two-sided test that there is no difference; None for the reference itself.
        p_holm: The same, corrected by Holm over all experiments that are compared with the reference in this direction.
    """

    summary: Summary
    letters: str
    difference: float | None = None
    p_value: float | None = None
    p_holm: float | None = None


def summary(values: Sequence[float]) -> Summary:
    """Mean, standard deviation, and the interval of the mean by Student's t with n - 1 degrees of freedom.

    The interval takes the runs for independent. Runs on several random splits share training data, so that theirs is
    somewhat too short (Nadeau and Bengio, "Inference for the generalization error", Machine Learning 52, 2003).
    """
    n, mean = len(values), float(np.mean(values))
    if n == 1:
        return Summary(n, mean)
    std = float(np.std(values, ddof=1))
    half = float(stats.t.ppf(1 - LEVEL / 2, n - 1)) * std / math.sqrt(n)
    return Summary(n, mean, std, (mean - half, mean + half))


def paired_randomisation(a: ArrayLike, b: ArrayLike, rng: np.random.Generator, rounds: int = ROUNDS) -> float:
    """The p-value of a two-sided paired randomisation test of equal means.

    If two systems do not differ, each query's two scores could as well be exchanged, which flips the sign of their
    difference. The p-value is the share of sign flips whose mean difference is at least as far from 0 as the one found
    (Smucker, Allan and Carterette, "A comparison of statistical significance tests for information retrieval
    evaluation", CIKM 2007). All 2**Q flips are tried where they are no more than `rounds`. Otherwise `rounds` random
    ones are, and the one found counts as one of them, so that no p-value is 0 (Phipson and Smyth, "Permutation p-values
    should never be zero", 2010).

    Args:
        a: Scores of one system, `(Q,)`, averaged over its seeds.
        b: Scores of the other system on the same queries, `(Q,)`.
        rng: Where random signs come from.
        rounds: Number of random sign flips.
    """
    return float(pairwise_randomisation(np.stack([a, b]), rng, rounds)[0, 1])


def pairwise_randomisation(scores: Floats, rng: np.random.Generator, rounds: int = ROUNDS) -> Floats:
    """The p-values of `paired_randomisation` for all pairs of E systems, which share the sign flips.

    Args:
        scores: Scores of each system on the same queries, `(E, Q)`.
        rng: Where random signs come from.
        rounds: Number of random sign flips.

    Returns:
        Symmetric `(E, E)`, with 1 on the diagonal.
    """
    exact = scores.shape[1] <= math.log2(rounds)
    # A flipped sum of differences is a difference of flipped sums, so a product with E columns serves all pairs.
    centred = (scores - scores.mean(axis=0)).T
    total = centred.sum(axis=0)
    found = np.abs(total[:, None] - total)
    found -= 1e-10 * np.abs(centred).sum(axis=0).max()  # sums that are equal but for rounding count as equal
    as_far, drawn = np.zeros(found.shape, dtype=np.int64), 0
    for chosen in _all_subsets(len(centred)) if exact else _random_subsets(len(centred), rng, rounds):
        sums = 2 * (chosen.astype(np.float64) @ centred) - total
        for i in range(len(found)):
            as_far[i, i:] += (np.abs(sums[:, i, None] - sums[:, i:]) >= found[i, i:]).sum(axis=0)
        drawn += len(chosen)
    p = np.triu(as_far / drawn if exact else (as_far + 1) / (drawn + 1))
    return np.maximum(p, p.T)


def holm(p_values: ArrayLike) -> Floats:
    """Holm's step-down correction of the p-values of a family of n tests, `(n,)`.

    Who rejects those up to x then rejects any true hypothesis of the family with probability x at most. The k-th
    smallest is multiplied by n - k + 1, and is no less than any smaller one (Holm, "A simple sequentially rejective
    multiple test procedure", Scandinavian Journal of Statistics 6, 1979).
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)
    corrected = np.empty_like(p)
    corrected[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    return corrected


def indistinguishable(different: NDArray[np.bool_]) -> list[frozenset[int]]:
    """The largest groups of systems within which no two were found to differ.

    Two systems share a group if and only if they were not found to differ; one may be in several groups. With a letter
    for each group this is the compact letter display, found by insertion and absorption (Piepho, "An algorithm for a
    letter-based representation of all-pairwise comparisons", Journal of Computational and Graphical Statistics 13,
    2004; without its sweeping, which only drops members that other groups make redundant).

    Args:
        different: Whether two systems were found to differ, symmetric `(E, E)`, systems in order, best first.

    Returns:
        Groups of positions, the one with the best system first.
    """
    groups = [frozenset(range(len(different)))]
    for i, j in np.argwhere(np.triu(different)).tolist():
        parts = {part for group in groups for part in ((group - {i}, group - {j}) if {i, j} <= group else (group,))}
        groups = [part for part in parts if not any(part < other for other in parts)]
    return sorted(groups, key=sorted)


def letters(groups: Sequence[frozenset[int]], system: int) -> str:
    """The letters of the groups that a system is in: a to z, A to Z, and from there on with dots in front."""
    alphabet = string.ascii_letters
    names = ["." * (k // len(alphabet)) + alphabet[k % len(alphabet)] for k in range(len(groups))]
    return "".join(name for name, group in zip(names, groups, strict=True) if system in group)


def check_comparable(experiments: Mapping[str, Sequence[Record]]) -> None:
    """Refuse to compare what was not measured alike.

    All runs must agree in data set, main protocol and features, all runs on one split also in the checksum of the data;
    and all experiments must have run on the same splits, once with each seed.

    Args:
        experiments: The records of each experiment.

    Raises:
        UserError: They do not agree; the message names two experiments and what differs.
    """
    runs = [(f"{name} (seed {record.seed})", record) for name, records in experiments.items() for record in records]
    first, expected = runs[0]
    first_on = {record.split["checksum"]: (name, record) for name, record in reversed(runs)}
    for name, record in runs:
        for what, value in _CONDITIONS.items():
            if value(record) != value(expected):
                raise _refusal(first, value(expected), name, value(record), what)
        other, with_split = first_on[record.split["checksum"]]
        if record.data_checksum != with_split.data_checksum:
            raise _refusal(other, with_split.data_checksum, name, record.data_checksum, "data (checksum)")
    first = next(iter(experiments))
    for name, records in experiments.items():
        if _splits(records) != _splits(experiments[first]):
            raise _refusal(first, ", ".join(_splits(experiments[first])), name, ", ".join(_splits(records)), "split")
        (seed, split), count = Counter((r.seed, r.split["name"]) for r in records).most_common(1)[0]
        if count > 1:
            raise UserError(f"{name} has {count} runs with seed {seed} on split {split}; leave all but one out.")


def score_run(record: Record, ranks: Mapping[str, Ranks]) -> ScoredRun:
    """The main metric of a run by unit, from the ranks of its queries; recall and rsum in percent.

    Args:
        record: The record of the run.
        ranks: What `load_ranks` reads from the file beside it.

    Raises:
        UserError: The metric is no mean over queries (`median-rank`, `map@K-hits-nonempty`), or the ranks are not
            those that the record was made from.
    """
    protocol = Protocol.parse(record.protocol)
    if protocol.metric == "median-rank" or protocol.normaliser == "hits-nonempty":
        raise UserError(
            f"{record.protocol} is no mean over queries, so there is no paired test for it; choose another protocol as "
            f"the main one of {record.dataset}."
        )
    queries = {direction: _queries(record, ranks, direction) for direction in protocol.directions}
    units = [min(map(len, fold)) for fold in zip(*queries.values(), strict=True)]
    scores = {direction: _by_unit(folds, units) for direction, folds in queries.items()}
    if len(scores) > 1:
        scores["mean"] = np.mean(list(scores.values()), axis=0)
    for direction, values in scores.items():
        recorded = record.metrics[record.protocol][direction]
        if not math.isclose(values.mean(), recorded, rel_tol=1e-6, abs_tol=1e-9):
            raise UserError(
                f"The ranks of {_run(record)} give {direction} {values.mean():.6g} under {record.protocol} and its "
                f"record says {recorded:.6g}; run `test` again."
            )
    return ScoredRun(record, scores)


def compare(
    experiments: Mapping[str, Sequence[ScoredRun]], reference: str | None = None, seed: int = 0
) -> dict[str, dict[str, Comparison]]:
    """Compare experiments with each other and with a reference, in each direction by itself.

    The scores of an experiment are first averaged over its seeds, unit by unit. Where it ran on several splits, that is
    done for each split, and the units of all splits are then pooled: a difference belongs to a split and a unit. A
    query that is in the test parts of several splits is thus taken for several, so that p-values are somewhat too small
    where test parts overlap.

    Each direction is a family of its own for Holm's correction: of E - 1 tests against the reference, and for the
    letters of E (E - 1) / 2 tests. So an experiment may differ from the reference and yet share a letter with it.

    Args:
        experiments: The runs of each experiment.
        reference: The experiment that the others are compared with; None for letters alone.
        seed: Of the random sign flips: the same runs and seed give the same numbers.

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
    p = pairwise_randomisation(scores, rng, max(ROUNDS, _ROUNDS_PER_PAIR * math.comb(len(names), 2)))
    groups = _groups(means, p)
    tested = [name for name in names if reference is not None and name != reference]
    against = {name: float(p[names.index(name), names.index(str(reference))]) for name in tested}
    corrected = dict(zip(tested, holm(list(against.values())).tolist(), strict=True))
    return {
        name: Comparison(
            summary([run.record.metrics[run.record.protocol][direction] for run in experiments[name]]),
            letters(groups, row),
            float(means[row] - means[names.index(str(reference))]) if name in against else None,
            against.get(name),
            corrected.get(name),
        )
        for row, name in enumerate(names)
    }


def _groups(means: Floats, p: Floats) -> list[frozenset[int]]:
    """Groups of rows that cannot be told apart, that of the best row first."""
    order = np.argsort(-means, kind="stable")
    upper = np.triu_indices(len(order), k=1)
    different = np.zeros((len(order), len(order)), dtype=bool)
    different[upper] = holm(p[order][:, order][upper]) <= LEVEL
    return [frozenset(order[list(group)].tolist()) for group in indistinguishable(different | different.T)]


def _pooled(runs: Sequence[ScoredRun], direction: str) -> Floats:
    """Scores averaged over the seeds of each split, those of one split behind those of another, `(S U,)`."""
    splits = sorted({run.record.split["checksum"] for run in runs})
    return np.concatenate(
        [np.mean([run.scores[direction] for run in runs if run.record.split["checksum"] == s], axis=0) for s in splits]
    )


def _queries(record: Record, ranks: Mapping[str, Ranks], direction: str) -> list[Floats]:
    """The main metric of each query in a direction, `(Q,)`, for each fold."""
    from cmr_lightning.evaluation.metrics import per_query  # here, so that `summary` does not wait for torch

    protocol = Protocol.parse(record.protocol)
    names = protocol.rankings(direction)
    if missing := [name for name in names if name not in ranks]:
        raise UserError(f"The ranks of {_run(record)} lack {', '.join(missing)}; run `test` again.")
    return [protocol.scale * per_query(ranks[name], protocol) for name in names]


def _by_unit(folds: Sequence[Floats], units: Sequence[int]) -> Floats:
    """Sums over the queries of each unit, scaled so that their mean is the mean of the folds' means, `(U,)`.

    Args:
        folds: Values of the queries of each fold.
        units: How many units the queries of each fold make.
    """
    sums = []
    for values, n in zip(folds, units, strict=True):
        unit = np.arange(len(values)) * n // len(values)
        sums.append(np.bincount(unit, weights=values, minlength=n) / len(values))
    return np.concatenate(sums) * (sum(units) / len(units))


def _all_subsets(n: int) -> Iterator[NDArray[np.int64]]:
    """Every subset of n things, as 0 and 1, in blocks `(b, n)`."""
    step = max(1, _BLOCK // n)
    for start in range(0, 2**n, step):
        yield np.arange(start, min(start + step, 2**n))[:, None] >> np.arange(n) & 1


def _random_subsets(n: int, rng: np.random.Generator, rounds: int) -> Iterator[NDArray[np.uint8]]:
    """Random subsets of n things, as 0 and 1, in blocks `(b, n)`."""
    step = max(1, _BLOCK // n)
    for start in range(0, rounds, step):
        octets = rng.integers(256, size=(min(step, rounds - start), -(-n // 8)), dtype=np.uint8)
        yield np.unpackbits(octets, axis=1, count=n)


_CONDITIONS: dict[str, Callable[[Record], str]] = {
    "data set": lambda record: record.dataset,
    "protocol": lambda record: record.protocol,
    "features": lambda record: str(record.encoders["features"]),
}
"""What all runs of a comparison must agree in."""


def _splits(records: Sequence[Record]) -> list[str]:
    return sorted({f"{record.split['name']} ({record.split['checksum']})" for record in records})


def _refusal(one: str, ones: str, other: str, others: str, what: str) -> UserError:
    return UserError(
        f"{one} and {other} cannot be compared, as they differ in {what}: {ones} against {others}; compare only what "
        f"agrees in it."
    )


def _run(record: Record) -> str:
    return f"{record.experiment}, seed {record.seed}, split {record.split['name']}"
