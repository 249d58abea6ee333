"""Ablations: an experiment beside a variant of it, such as `wikipedia/daml` and `wikipedia/daml_no_adversary`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from cmr_lightning.errors import UserError
from cmr_lightning.reports.board import Board, Conditions, MeasuredRun, Row
from cmr_lightning.reports.comparison import differences
from cmr_lightning.reports.difference import Difference

SAME = "the same weights"
SAME_MEANS = (
    f"Where it says {SAME}, the checkpoints of a pair were chosen before the two differ: nothing is measured there."
)
NO_INTERVAL_MEANS = "Without an interval, there is one seed, or the ranks were not at hand when the records were kept."


@dataclass(frozen=True)
class KeptDifference:
    """What was computed from the ranks of an ablation, which are not kept: by direction, method less variant."""

    conditions: Conditions
    experiment: str
    variant: str
    directions: dict[str, Difference]


@dataclass(frozen=True)
class Ablation:
    """A method and a variant of it, with their runs paired by seed and split."""

    method: Row
    variant: Row
    pairs: Sequence[tuple[MeasuredRun, MeasuredRun]]

    @property
    def identical(self) -> int:
        """Number of pairs with the same weights: they agree in every metric, as no two trainings do by chance."""
        return sum(one.record.metrics == other.record.metrics for one, other in self.pairs)

    @property
    def removed(self) -> str:
        """The part of the variant's name that the method's lacks, as `no adversary`."""
        return suffix(self.variant, self.method.experiment)

    @property
    def measured(self) -> dict[str, Difference]:
        """Their differences by direction; empty for one pair, or if the ranks of a run are not at hand."""
        ours, theirs = ([run.evidence for run in runs] for runs in zip(*self.pairs, strict=True))
        scored = [[evidence.scored for evidence in runs if evidence is not None] for runs in (ours, theirs)]
        if len(self.pairs) == 1 or min(map(len, scored)) < len(self.pairs):
            return {}
        return differences(*scored)

    def gain(self, direction: str, scale: int, kept: Mapping[str, Difference]) -> str:
        """Format the mean difference, with its interval if it was kept; `scale` is that of the protocol.

        Raises:
            UserError: What was kept does not belong to these records.
        """
        if self.identical == len(self.pairs):
            return SAME
        found = mean(one.value(direction) - other.value(direction) for one, other in self.pairs)
        ends = kept[direction].interval if kept else ()
        if kept and not math.isclose(found, kept[direction].mean, abs_tol=1e-5 * scale):
            names = f"{self.method.experiment} and {self.variant.experiment}"
            raise UserError(f"The difference that was kept of {names} is not that of their records; keep them again.")
        digits = 2 if scale == 100 else 4
        shown, *limits = (f"{value:+z.{digits}f}".replace("-", "−") for value in (found, *ends))
        return f"{shown} [{', '.join(limits)}]" if limits else shown


def ablations(board: Board) -> list[Ablation]:
    """Pair the runs of each variant on a board with those of the experiment whose name is the longest part of its."""
    rows = {row.experiment: row for row in board.rows}
    found = []
    for name, of_variant in sorted(bases(board.rows).items()):
        variants = {run.case: run for run in rows[name].runs}
        method = rows[of_variant[-1]]
        pairs = [(run, variants[run.case]) for run in method.runs if run.case in variants]
        if pairs:
            found.append(Ablation(method, rows[name], pairs))
    return found


def bases(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Find the experiments that each variant varies, the shortest name first, by their methods and names.

    `wikipedia/daml_no_adversary` is a variant of `wikipedia/daml`.
    """
    methods = {row.experiment: row.record.method for row in rows}
    found = {
        name: [base for base in methods if name.startswith(f"{base}_") and methods[base] == method]
        for name, method in methods.items()
    }
    return {name: sorted(of_variant, key=len) for name, of_variant in found.items() if of_variant}


def suffix(variant: Row, base: str) -> str:
    """Return what the name of a variant has more than that of its base, in words."""
    return variant.experiment.removeprefix(f"{base}_").replace("_", " ")
