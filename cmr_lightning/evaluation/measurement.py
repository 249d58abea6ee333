"""From embeddings to metrics: both directions, all protocols, each ranking once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation.metrics import score
from cmr_lightning.evaluation.protocols import Protocol
from cmr_lightning.evaluation.ranks import Ranks, rank
from cmr_lightning.evaluation.relevance import Relevance


@dataclass(frozen=True)
class Measurement:
    """What an evaluation found.

    Attributes:
        metrics: For each protocol id the values `i2t`, `t2i` and their `mean`; for rsum also their `sum`, which is the
            number that the literature reports.
        ranks: The rankings behind them, by names such as `i2t/cos/label`.
    """

    metrics: dict[str, dict[str, float]]
    ranks: dict[str, Ranks]


def measure(
    images: Tensor,
    texts: Tensor,
    keys: Mapping[str, tuple[Tensor, Tensor]],
    protocols: Sequence[Protocol],
    block_elements: int = 2**24,
) -> Measurement:
    """Rank texts for every image and images for every text, and measure under all protocols.

    Args:
        images: Embeddings `(N, D)`, each image once.
        texts: Embeddings `(M, D)`, each text once.
        keys: For each relevance that the protocols name, the keys of the images and of the texts, see `Relevance`.
        protocols: What to measure.
        block_elements: Scores computed at once, see `rank`.

    Raises:
        UserError: Embeddings are not finite, or a protocol asks for a relevance that has no keys.
    """
    ranks: dict[str, Ranks] = {}
    metrics: dict[str, dict[str, float]] = {}
    for protocol in protocols:
        if protocol.relevance not in keys:
            raise UserError(f"{protocol.id} needs {protocol.relevance} keys, which these data do not have.")
        ranking = f"{protocol.distance}/{protocol.relevance}"
        if f"i2t/{ranking}" not in ranks:
            relevance = Relevance(*keys[protocol.relevance])
            ranks[f"i2t/{ranking}"] = rank(images, texts, relevance, protocol.distance, block_elements)
            ranks[f"t2i/{ranking}"] = rank(texts, images, relevance.transposed(), protocol.distance, block_elements)
        i2t, t2i = (score(ranks[f"{direction}/{ranking}"], protocol) for direction in ("i2t", "t2i"))
        metrics[protocol.id] = {"i2t": i2t, "t2i": t2i, "mean": (i2t + t2i) / 2}
        if protocol.metric == "rsum":
            metrics[protocol.id]["sum"] = i2t + t2i
    return Measurement(metrics, ranks)
