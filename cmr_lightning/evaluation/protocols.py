"""Names for metrics: what exactly a number in a table means.

The literature calls six formulas mAP or mAP@50; on some rankings they are more than a factor of ten apart. Therefore a
protocol id of three parts, `metric/distance/relevance`, names a number: `map@50-hits/l2/label`,
`recall@1/cos/instance`. A fourth part marks a mean over folds of the images, as in `recall@1/cos/instance/5fold`. Two
numbers are comparable if their ids are equal, and never otherwise.

Images query texts and texts query images, in the directions `i2t` and `t2i`. Composed retrieval has one direction,
`c2i`: an image with a text that describes a modification queries the other images.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

from cmr_lightning.errors import UserError

RelevanceKind = Literal["label", "instance", "cxc", "eccv", "target", "caption", "adjective", "noun"]

METRICS = ("map", "map-at-r", "precision", "r-precision", "recall", "median-rank", "rsum")
METRICS_AT_K = ("precision", "recall")
NORMALISERS = ("hits", "hits-nonempty", "total", "min", "first")
DISTANCES = ("cos", "l2")
RELEVANCES = get_args(RelevanceKind)
COMPOSED_RELEVANCES = ("target", "caption", "adjective", "noun")
RECALL_CUTOFFS = (1, 5, 10)
"""The cut-offs of rsum (VSE++)."""


@dataclass(frozen=True)
class Protocol:
    """One way to measure a ranking.

    Let R be the number of relevant items in the gallery, h_r the number of them in the first r places, P_r = h_r / r,
    and S_K the sum of P_r over the relevant items in the first K places. The average precision of a query is

    - `map@all`: S_N / R, over the whole gallery (DSCMR, JFSE);
    - `map@K-hits`: S_K / h_K, and 0 where h_K = 0 (ACMR);
    - `map@K-hits-nonempty`: the same, without the queries that have h_K = 0 (MAN's multi-label code);
    - `map@K-total`: S_K / R (trec_eval);
    - `map@K-min`: S_K / min(R, K) (ml_metrics);
    - `map@K-first`: the mean of P_r over the first min(R, K) relevant items, however deep they are (DCMH).

    `map-at-r` is S_R / R, so the list of each query ends at place R (Musgrave et al. 2020, ECCV Caption),
    `precision@K` is h_K / K, `r-precision` h_R / R, `recall@K` the share of queries with h_K > 0 in percent (what VSE++
    calls R@K), `median-rank` the median rank of the first relevant item, and `rsum` = recall@1 + recall@5 + recall@10.

    Attributes:
        metric: One of `METRICS`.
        relevance: The relation between a query and its relevant items: a shared `label`, the same image (`instance`),
            or human judgements on MSCOCO, from Crisscrossed Captions (`cxc`, Parekh et al. 2021) or ECCV Caption
            (`eccv`, Chun et al. 2022), where only judged items are queries. Relevant to a composed query is its
            `target` alone, or every image that shares with the target its `caption`, or the `adjective` or `noun` of
            its caption (MIT-States).
        distance: Ranks the gallery: `cos`, the cosine, or `l2`, the Euclidean distance of the raw embeddings.
        k: Cut-off of `map` (None for the whole gallery), `precision` and `recall`; None for the others.
        normaliser: Divisor of the sum of precisions: for `map` with a cut-off one of `NORMALISERS`, else None.
        folds: Number of blocks of consecutive images, each with its own texts, over which the metric is averaged; None
            ranks all items at once. Five folds of MSCOCO's 5,000 test images are the 1K protocol (VSE++). In composed
            retrieval the data set defines the folds, such as the three categories of FashionIQ.

    Raises:
        UserError: The parts do not make a protocol.

    Examples:
        >>> Protocol("map", "label", "l2", k=50, normaliser="hits").id
        'map@50-hits/l2/label'
        >>> Protocol.parse("recall@1/cos/instance/5fold").rankings("i2t")[0]
        'i2t/cos/instance/5fold/1'
    """

    metric: str
    relevance: RelevanceKind
    distance: str = "cos"
    k: int | None = None
    normaliser: str | None = None
    folds: int | None = None

    def __post_init__(self) -> None:
        for part, known in (("metric", METRICS), ("relevance", RELEVANCES), ("distance", DISTANCES)):
            if getattr(self, part) not in known:
                raise UserError(f"{getattr(self, part)!r} is not a known {part}; choose one of {', '.join(known)}.")
        if self.k is not None and self.k < 1:
            raise UserError(f"The cut-off of {self.metric} must be 1 or more, not {self.k}.")
        if self.metric in METRICS_AT_K and self.k is None:
            raise UserError(f"{self.metric} needs a cut-off k, as in {self.metric}@10.")
        if self.metric not in (*METRICS_AT_K, "map") and self.k is not None:
            raise UserError(f"{self.metric} has no cut-off, but k is {self.k}.")
        normalised = self.metric == "map" and self.k is not None
        if normalised and self.normaliser not in NORMALISERS:
            raise UserError(f"map@{self.k} needs a normaliser, one of {', '.join(NORMALISERS)}: they differ widely.")
        if not normalised and self.normaliser is not None:
            raise UserError(f"{self._metric_name} has no normaliser, but it is {self.normaliser!r}.")
        if self.folds is not None and self.folds < 2:
            raise UserError(f"There must be 2 folds or more, not {self.folds}.")
        if self.metric == "rsum" and len(self.directions) == 1:
            raise UserError("rsum adds two directions, but composed queries have one; choose recall@K.")
        if self.folds is not None and self.relevance in ("cxc", "eccv"):
            raise UserError(f"{self.relevance} judges items of different folds, so it cannot be measured in folds.")

    @property
    def id(self) -> str:
        """Name under which numbers are stored and compared, such as `map@all/cos/label`."""
        return f"{self._metric_name}/{self.ranking}"

    @property
    def ranking(self) -> str:
        """Name of the ranking, which all protocols that measure it share, such as `cos/label`."""
        folds = "" if self.folds is None else f"/{self.folds}fold"
        return f"{self.distance}/{self.relevance}{folds}"

    @property
    def directions(self) -> tuple[str, ...]:
        """The directions of retrieval: `i2t` and `t2i`, or `c2i` for composed queries."""
        return ("c2i",) if self.relevance in COMPOSED_RELEVANCES else ("i2t", "t2i")

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of a table: the directions, and the mean of two of them. The last column orders the rows."""
        return self.directions if len(self.directions) == 1 else (*self.directions, "mean")

    def rankings(self, direction: str) -> list[str]:
        """Return the names of the ranks in one of the `directions`, one for each fold."""
        name = f"{direction}/{self.ranking}"
        return [name] if self.folds is None else [f"{name}/{fold}" for fold in range(1, self.folds + 1)]

    @property
    def scale(self) -> int:
        """Factor between the value of a query and the metric: recall and rsum are in percent."""
        return 100 if self.metric in ("recall", "rsum") else 1

    @property
    def higher_is_better(self) -> bool:
        """False for ranks, True for everything else."""
        return self.metric != "median-rank"

    @classmethod
    def parse(cls, protocol_id: str) -> Protocol:
        """Return the protocol with an id.

        Raises:
            UserError: No protocol has this id; the message lists the nearest ones.
        """
        reason = "it is not of the form metric/distance/relevance or metric/distance/relevance/<number>fold."
        if match := _ID.fullmatch(protocol_id):
            metric, cut, normaliser, distance, relevance, fold = match.groups()
            k, folds = None if cut in (None, "all") else int(cut), int(fold) if fold else None
            try:
                protocol = cls(metric, cast(RelevanceKind, relevance), distance, k, normaliser, folds)
            except UserError as error:
                reason = str(error)
            else:
                if protocol.id == protocol_id:
                    return protocol
                reason = f"{protocol.id} may be meant."
        known = sorted({replace(protocol, distance=d).id for protocol in CUSTOMARY for d in DISTANCES})
        nearest = difflib.get_close_matches(protocol_id, known, n=3, cutoff=0)
        raise UserError(f"Unknown protocol {protocol_id!r}: {reason} The nearest known ones are {', '.join(nearest)}.")

    @property
    def _metric_name(self) -> str:
        if self.metric == "map":
            return "map@all" if self.k is None else f"map@{self.k}-{self.normaliser}"
        return self.metric if self.k is None else f"{self.metric}@{self.k}"


_ID = re.compile(r"([a-z-]+)(?:@(all|[0-9]+)(?:-([a-z-]+))?)?/([^/]+)/([^/]+)(?:/([0-9]+)fold)?")

CLASS_LEVEL = (
    Protocol("map", "label"),
    *(Protocol("map", "label", k=50, normaliser=normaliser) for normaliser in NORMALISERS),
    Protocol("map", "label", "l2"),
    Protocol("map", "label", "l2", k=50, normaliser="hits"),
    *(Protocol("precision", "label", k=k) for k in (1, 10, 50)),
    Protocol("r-precision", "label"),
)
"""Protocols of class-level data; the first one is the main protocol."""

INSTANCE_LEVEL = (
    Protocol("rsum", "instance"),
    *(Protocol("recall", "instance", k=k) for k in RECALL_CUTOFFS),
    Protocol("median-rank", "instance"),
)
"""Protocols of instance-level data; the first one is the main protocol."""

LABELLED_PAIRS = CLASS_LEVEL + INSTANCE_LEVEL
"""Protocols of class-level data whose images have texts of their own, of which a test finds both."""

FIVE_FOLD = tuple(replace(protocol, folds=5) for protocol in INSTANCE_LEVEL)
"""The same as means over five folds; on MSCOCO's test part the 1K protocol."""

CXC = tuple(Protocol("recall", "cxc", k=k) for k in RECALL_CUTOFFS)
"""Protocols of Crisscrossed Captions, in the form of ECCV Caption's code."""

ECCV = (Protocol("map-at-r", "eccv"), Protocol("r-precision", "eccv"), Protocol("recall", "eccv", k=1))
"""Protocols of ECCV Caption."""

COMPOSED_CUTOFFS = (1, 5, 10, 50, 100)
"""The cut-offs that tables of composed retrieval report."""

COMPOSED_TARGET = tuple(Protocol("recall", "target", k=k) for k in COMPOSED_CUTOFFS)
"""Protocols of composed retrieval of the target itself; the first one is the main protocol."""

COMPOSED_CAPTION = tuple(Protocol("recall", "caption", k=k) for k in COMPOSED_CUTOFFS)
"""Protocols of composed retrieval where every image with the target's caption is relevant (TIRG)."""

CUSTOMARY = CLASS_LEVEL + INSTANCE_LEVEL + FIVE_FOLD + CXC + ECCV + COMPOSED_TARGET + COMPOSED_CAPTION
"""Protocols that are measured by default."""
