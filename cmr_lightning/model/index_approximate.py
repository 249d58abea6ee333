"""An approximate index beside the points of an index, and the share of the nearest items that it finds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cmr_lightning.files.file_lock import locked
from cmr_lightning.model.approximate import ApproximateIndex, recall
from cmr_lightning.model.index import Index
from cmr_lightning.model.index_files import APPROXIMATE, KINDS, Approximate, Kind

_K = 10
_QUERIES = 1000


def add_approximate(folder: Path, description: str, parameters: str) -> dict[Kind, Approximate]:
    """Write an approximate index of the pictures and of the texts, and measure both against the exact search.

    Queries are the items of the other kind where there are any, as people search pictures by texts, which lie farther
    from pictures than these from each other. An index that was measured among pictures alone would promise too much.

    Args:
        folder: Folder of the index.
        description: Argument of FAISS's `index_factory`, see `ApproximateIndex`.
        parameters: How much of it is searched, see there.

    Raises:
        UserError: If there is no index, or FAISS is missing or does not understand these.
    """
    with locked(folder / ".lock"):
        index = Index(folder)
        made: dict[Kind, Approximate] = {}
        for kind in KINDS:
            if kind in index.manifest.galleries:
                built = ApproximateIndex(index.points(kind), index.manifest.distance, description, parameters)
                made[kind] = _measured(index, kind, built, description, parameters)
                built.write(folder / kind / APPROXIMATE)
        galleries = {kind: replace(index.manifest.galleries[kind], approximate=made[kind]) for kind in made}
        replace(index.manifest, galleries=galleries).write(folder)
    return made


def _measured(index: Index, kind: Kind, built: ApproximateIndex, description: str, parameters: str) -> Approximate:
    others = [other for other in KINDS if other != kind and other in index.manifest.galleries]
    asking = others[0] if others else kind
    queries = _sample(index, asking)
    k = min(_K, index.manifest.galleries[kind].count)
    _, exact = index.nearest(queries, k, kind, exactly=True)
    share = recall(built.top(queries, k), exact)
    return Approximate(description, parameters, share, k, f"{len(queries):,} of its {asking}")


def _sample(index: Index, kind: Kind) -> NDArray[np.float32]:
    points = index.points(kind)
    rows = np.random.default_rng(0).choice(len(points), min(len(points), _QUERIES), replace=False)
    return points[np.sort(rows)]
