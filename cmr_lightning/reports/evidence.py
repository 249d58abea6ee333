"""Excerpts of the ranks of a run; ranks are read once, as those of many runs may not fit into memory."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np
from numpy.typing import NDArray

from cmr_lightning.evaluation import Protocol, Ranks, Record, load_ranks, per_query
from cmr_lightning.reports.comparison import ScoredRun, score_run
from cmr_lightning.runs.run import Run

RECALL_LEVELS = np.linspace(0.05, 1, 20)
CUTOFFS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclass(frozen=True)
class Evidence:
    """Excerpt of the ranks of a run, each part by direction.

    Attributes:
        scored: The main metric by unit, for comparisons.
        queries: The main metric of each query, `(Q,)`.
        precision: Precision by recall.
        recall: Recall by cut-off.
    """

    scored: ScoredRun
    queries: Mapping[str, NDArray[np.float64]]
    precision: Mapping[str, Mapping[float, float]]
    recall: Mapping[str, Mapping[float, float]]


def evidence_of(run: Run, record: Record) -> Evidence:
    """Read the ranks of a run.

    Raises:
        UserError: The file is missing or does not belong to the record, or the metric cannot be compared.
    """
    ranks, protocol = load_ranks(run.ranks), Protocol.parse(record.protocol)
    scored = score_run(record, ranks)
    folds = {direction: [ranks[name] for name in protocol.rankings(direction)] for direction in protocol.directions}
    return Evidence(
        scored,
        {d: protocol.scale * np.concatenate([per_query(fold, protocol) for fold in of]) for d, of in folds.items()},
        {direction: _averaged(precision_by_recall, of) for direction, of in folds.items()},
        {direction: _averaged(recall_by_cutoff, of) for direction, of in folds.items()},
    )


def precision_by_recall(ranks: Ranks) -> dict[float, float]:
    """Compute the precision at each of `RECALL_LEVELS`, not interpolated, averaged over queries.

    At level r this is the precision down to the place of the ceil(r R)-th of a query's R relevant items; inside a group
    of equal scores, down to its expected place.
    """
    found = np.cumsum(ranks.relevant, dtype=np.int64)
    before = np.concatenate(([0], found))[ranks.offsets[:-1]]
    answered = ranks.num_relevant > 0
    wanted = np.ceil(RECALL_LEVELS * ranks.num_relevant[answered, None] - 1e-9).astype(np.int64)
    group = np.searchsorted(found, before[answered, None] + wanted)
    inside = before[answered, None] + wanted - (found[group] - ranks.relevant[group])
    place = ranks.above[group] + inside * (ranks.size[group] + 1) / (ranks.relevant[group] + 1)
    precision = (wanted / place).sum(axis=0) / ranks.num_queries
    return dict(zip(RECALL_LEVELS.tolist(), precision.tolist(), strict=True))


def recall_by_cutoff(ranks: Ranks) -> dict[float, float]:
    """Compute the percentage of queries with a relevant item in the first K places, for `CUTOFFS` up to the gallery."""
    cutoffs = [k for k in CUTOFFS if k <= ranks.gallery_size]
    return {k: 100 * float(per_query(ranks, Protocol("recall", "instance", k=k)).mean()) for k in cutoffs}


def _averaged(curve: Callable[[Ranks], dict[float, float]], folds: Sequence[Ranks]) -> dict[float, float]:
    """Average a curve over folds, where all of them have a value."""
    lines = [curve(ranks) for ranks in folds]
    return {x: mean(line[x] for line in lines) for x in lines[0] if all(x in line for line in lines)}
