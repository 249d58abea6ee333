"""How often tests find a difference between methods that are equal in law, and how often one that is there.

python -m tests.benchmarks.null_simulations

Scores are y_sq = seed_s + query_q + interaction_q + cell_sq, normal, of 300 queries; query_q is shared by the methods,
the others are not. The seed deviations are those of the committed results: .003 of most methods on fixed features, .014
of InfoNCE and Triplet, .05 of CMPL on Shapes. A test that holds its level rejects 5 % or less.
"""

from collections.abc import Callable, Iterable
from itertools import combinations
from statistics import median

import numpy as np
from scipy import stats

from cmr_lightning.reports.difference import Difference, over_splits, paired, unpaired
from cmr_lightning.reports.statistics import LEVEL, Floats, holm

SIMULATIONS, BOARDS, METHODS = 1000, 300, 12
QUERIES, INTERACTION, CELL = 300, 0.05, 0.12
DEVIATIONS, SEEDS = (0.003, 0.014, 0.05), (3, 5, 10)
SPLIT = 0.03
"""Deviation over splits, which is shared by all methods on a split."""

ITEMS, TRAINED_ON, TESTED_ON = 1000, 800, 100


def scores(
    rng: np.random.Generator,
    methods: int,
    seeds: int,
    deviation: float,
    own_splits: bool = False,
    queries: int = QUERIES,
) -> Floats:
    """Draw the scores of methods that are equal in law, `(M, S, Q)`; seeds have the same queries or a split each."""
    each = (seeds if own_splits else 1, queries)
    by_query = rng.normal(0, 0.2, (1, *each)) + rng.normal(0, INTERACTION, (methods, *each))
    by_seed = rng.normal(0, deviation, (methods, seeds, 1)) + own_splits * rng.normal(0, SPLIT, (1, seeds, 1))
    return by_query + by_seed + rng.normal(0, CELL, (methods, seeds, queries))


def over_queries(one: Floats, other: Floats) -> float:
    """Test the queries' means over seeds, as if the trained models were all there could be."""
    return float(stats.ttest_rel(one.mean(axis=0), other.mean(axis=0)).pvalue)


def over_seeds(one: Floats, other: Floats) -> float:
    """Test the seeds' means over queries, as if these queries were all there could be."""
    return float(stats.ttest_rel(one.mean(axis=1), other.mean(axis=1)).pvalue)


def satterthwaite(found: Difference) -> float:
    """Test a difference by one t, as is common for two parts of variance."""
    seed, query = found.seed_variance / found.seeds, found.query_variance
    df = (seed + query) ** 2 / (seed**2 / found.seed_df + query**2 / (found.queries - 1))
    return float(2 * stats.t.sf(abs(found.mean) / np.sqrt(seed + query), df))


def over_own_splits(one: Floats, other: Floats, overlap: float = 0.0) -> Difference:
    return over_splits((one - other).mean(axis=1), one.shape[1], overlap)


def learned(rng: np.random.Generator, splits: int) -> tuple[Floats, Floats]:
    """Train two equal methods on random splits of one data set: least squares on features of their own.

    Returns:
        For each whether a test item's class of 20 was recognised, `(S, Q)`.
    """
    label = np.arange(ITEMS) % 20
    centres = 0.3 * rng.normal(size=(20, 30))
    features = [centres[label] + rng.normal(size=(ITEMS, 30)) for _ in range(2)]
    found = np.zeros((2, splits, TESTED_ON))
    for split in range(splits):
        order = rng.permutation(ITEMS)
        test, train = order[:TESTED_ON], order[TESTED_ON : TESTED_ON + TRAINED_ON]
        for method, x in enumerate(features):
            weights = rng.exponential(size=TRAINED_ON)  # what a seed makes of the same items
            covariance = (x[train].T * weights) @ x[train] + 10 * np.eye(30)
            classifier = np.linalg.solve(covariance, (x[train].T * weights) @ np.eye(20)[label[train]])
            found[method, split] = (x[test] @ classifier).argmax(axis=1) == label[test]
    return found[0], found[1]


def rejections(p_values: Iterable[list[float]]) -> Floats:
    """Return the share of simulations in which each of several tests rejects."""
    return (np.array(list(p_values)) <= LEVEL).mean(axis=0)


def row(name: str, shares: Floats) -> None:
    print(f"| {name} | " + " | ".join(f"{share:.3f}".removeprefix("0") for share in shares) + " |", flush=True)


def header(title: str, *columns: str) -> None:
    print(f"\n{title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")


def one_split(rng: np.random.Generator) -> None:
    tests: list[Callable[[Floats, Floats], float]] = [
        over_queries,
        over_seeds,
        lambda one, other: satterthwaite(paired(one, other)),
        lambda one, other: satterthwaite(unpaired(one, other)),
        lambda one, other: paired(one, other).p_value,
        lambda one, other: unpaired(one, other).p_value,
    ]
    names = ("queries", "seeds", "Satterthwaite, paired", "Satterthwaite, unpaired", "paired", "unpaired")
    header("Two equal methods on one split", "seeds, deviation", *names)
    for seeds in SEEDS:
        for deviation in DEVIATIONS:
            drawn = (scores(rng, 2, seeds, deviation) for _ in range(SIMULATIONS))
            row(f"{seeds}, {deviation}", rejections([test(*pair) for test in tests] for pair in drawn))


def own_splits(rng: np.random.Generator) -> None:
    header(
        "Two equal methods, each seed with new items", "splits, deviation", "queries pooled", "over splits", "unpaired"
    )
    for seeds in SEEDS:
        for deviation in DEVIATIONS:
            drawn = (scores(rng, 2, seeds, deviation, own_splits=True) for _ in range(SIMULATIONS))
            p_values = (
                [
                    over_queries(one.reshape(1, -1), other.reshape(1, -1)),
                    over_own_splits(one, other).p_value,
                    float(stats.ttest_ind(one.mean(axis=1), other.mean(axis=1), equal_var=False).pvalue),
                ]
                for one, other in drawn
            )
            row(f"{seeds}, {deviation}", rejections(p_values))


def overlapping_splits(rng: np.random.Generator) -> None:
    parts = f"{TRAINED_ON} of {ITEMS} items trained on, {TESTED_ON} tested on"
    header(f"Two equal methods on random splits, {parts}", "splits", "as if independent", "over splits")
    for splits in (5, 10):
        drawn = (learned(rng, splits) for _ in range(SIMULATIONS))
        both = (0.0, TESTED_ON / TRAINED_ON)
        row(f"{splits}", rejections([over_own_splits(*pair, overlap).p_value for overlap in both] for pair in drawn))


def boards(rng: np.random.Generator) -> None:
    title = f"Boards of {METHODS} equal methods: share of them with any significant difference after Holm's correction"
    header(title, "seeds, deviation", "Satterthwaite, paired", "Satterthwaite, unpaired", "paired", "unpaired")
    for seeds in SEEDS:
        drawn = (scores(rng, METHODS, seeds, 0.014) for _ in range(BOARDS))
        row(f"{seeds}, 0.014", rejections(map(smallest, drawn)))


def smallest(board: Floats) -> list[float]:
    """Return the smallest adjusted p-value of all pairs of a board, by each of four tests."""
    as_pairs, apart = ([test(*pair) for pair in combinations(board, 2)] for test in (paired, unpaired))
    families = [[satterthwaite(found) for found in of] for of in (as_pairs, apart)]
    families += [[found.p_value for found in of] for of in (as_pairs, apart)]
    return [holm(family).min() for family in families]


def planted(rng: np.random.Generator) -> None:
    header("A difference of .02 at a seed deviation of .01", "seeds", "paired", "computed", "unpaired", "computed")
    seed_variance, query_variance = 2 * (0.01**2 + CELL**2 / QUERIES), 2 * INTERACTION**2 / QUERIES
    for seeds in SEEDS:
        drawn = [scores(rng, 2, seeds, 0.01) for _ in range(SIMULATIONS)]
        shares = []
        for test in (paired, unpaired):
            found = [test(one + 0.02, other) for one, other in drawn]
            df = median(difference.seed_df for difference in found)
            computed = Difference(0.0, seeds, seed_variance, df, QUERIES, query_variance).power(0.02)
            shares += [rejections([difference.p_value] for difference in found)[0], computed]
        row(f"{seeds}", np.array(shares))


def main() -> None:
    rng = np.random.default_rng(0)
    print(f"Share of {SIMULATIONS} simulations that reject at {LEVEL}; the standard error of .05 is .007.")
    for part in (one_split, own_splits, overlapping_splits, boards, planted):
        part(rng)


if __name__ == "__main__":
    main()
