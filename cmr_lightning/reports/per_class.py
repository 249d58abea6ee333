"""Scores by class: which classes a method finds, and which it does not."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation.examples import Examples
from cmr_lightning.reports.board import Board
from cmr_lightning.reports.evidence import Evidence


@dataclass(frozen=True)
class ClassScores:
    """The main metric of the queries of each class, the mean over directions, averaged over runs.

    A composed query belongs to the classes of its source.

    Attributes:
        queries: Queries of each class in one run.
        scores: For each experiment its scores, NaN for a class without queries.
    """

    classes: tuple[str, ...]
    queries: tuple[int, ...]
    scores: Mapping[str, NDArray[np.float64]]

    @property
    def largest(self) -> float:
        """The largest score of all."""
        return max(float(np.nanmax(scores)) for scores in self.scores.values()) or 1.0


def class_scores(board: Board, examples: Mapping[Path, Examples], notes: list[str]) -> ClassScores | None:
    """Score the classes by all runs with examples, given by their folders; None without at least two classes.

    `notes` collects a sentence about each run whose labels do not fit its ranks, or those of the others.
    """
    scores: dict[str, NDArray[np.float64]] = {}
    classes: tuple[str, ...] = ()
    queries: tuple[int, ...] = ()
    for row in board.rows:
        of_runs = []
        for run in row.runs:
            labelled = examples.get(run.folder.path)
            if labelled is None or run.evidence is None or len(labelled.classes) < 2:
                continue
            try:
                if classes and labelled.classes != classes:
                    raise UserError("its classes are others than those of the runs before.")
                found, count = _of_run(run.evidence, labelled)
            except UserError as error:
                notes.append(f"{run.folder.path} has no scores by class: {error}")
                continue
            classes, queries = labelled.classes, queries or tuple(count.tolist())
            of_runs.append(found)
        if of_runs:
            scores[row.experiment] = np.mean(of_runs, axis=0)
    return ClassScores(classes, queries, scores) if scores else None


def _of_run(evidence: Evidence, examples: Examples) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Compute score and number of queries of each class, `(C,)` each."""
    means, total = [], np.zeros(len(examples.classes), dtype=np.int64)
    for direction, values in evidence.queries.items():
        rows = examples.asking.get(direction, np.arange(0))
        labels = examples.label[rows if direction == "i2t" else examples.owner[rows]]
        member = labels.astype(bool) if labels.ndim == 2 else labels[:, None] == np.arange(len(examples.classes))
        if len(member) != len(values):
            raise UserError(f"its labels are of {len(member)} queries, its ranks of {len(values)}.")
        count = member.sum(axis=0)
        means.append(np.divide(values @ member, count, out=np.full(len(count), np.nan), where=count > 0))
        total += count
    return np.mean(means, axis=0), total
