"""`search`: find the nearest items of every query among the embeddings that `predict` wrote."""

import argparse
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation.ranks import top
from cmr_lightning.files.file_lock import locked_in_turn
from cmr_lightning.files.whole_file import whole_file
from cmr_lightning.model.approximate import ApproximateIndex, recall

_OTHER = {"text": "image", "image": "text"}


def main(arguments: Sequence[str]) -> None:
    """Write `neighbours.npz` beside the embeddings: `neighbours (Q, k)`, rows of the gallery, nearest first.

    Raises:
        UserError: If there are no embeddings, or FAISS is missing or does not understand the index.
    """
    options = _options(arguments)
    queries, gallery, source = _read(options.embeddings, options.queries)
    k = min(options.k, len(gallery) - (source is not None))
    if options.index is None:
        found, seconds = _exact(queries, gallery, source, options.distance, k)
        print(f"Searched {len(gallery):,} items exactly, {1000 * seconds / len(queries):.3g} ms a query.")
    else:
        found = _approximate(queries, gallery, source, options, k)
    path = options.embeddings.with_name("neighbours.npz")
    with locked_in_turn(path.with_name(f".{path.name}.lock")), whole_file(path) as file:
        np.savez(file, neighbours=found)
    print(f"Wrote {path}: the {k} nearest of {len(gallery):,} for {len(queries):,} queries.")


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m cmr_lightning search",
        description="Find the nearest items of every query; writes neighbours.npz beside the embeddings.",
    )
    parser.add_argument("embeddings", type=Path, help="embeddings.npz, as `predict` writes it")
    parser.add_argument("--queries", choices=_OTHER, default="text", help="modality of the queries (default: text)")
    parser.add_argument("--k", type=int, default=10, help="number of items for each query (default: 10)")
    parser.add_argument("--distance", choices=("cos", "l2"), default="cos", help="distance (default: cos)")
    parser.add_argument("--index", help="approximate index of FAISS, such as HNSW32 or IVF4096,Flat (default: exact)")
    parser.add_argument("--parameters", default="", help="parameters of the index, such as efSearch=128 or nprobe=32")
    parser.add_argument("--sample", type=int, default=1000, help="queries also searched exactly (default: 1000)")
    options = parser.parse_args(arguments[1:])
    if options.k < 1 or options.sample < 1:
        raise UserError("--k and --sample must be at least 1.")
    return options


def _read(path: Path, queries: str) -> tuple[NDArray, NDArray, NDArray | None]:
    """Read queries `(Q, D)`, gallery `(G, D)` and, for composed queries, the gallery row that each must skip `(Q,)`."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = archive[queries], archive[_OTHER[queries]]
            source = archive["source"] if queries == "text" and "source" in archive else None
    except FileNotFoundError:
        raise UserError(f"There is no file {path}; `predict --config RUN/config.yaml` writes one.") from None
    except (EOFError, OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} holds no embeddings; write some by `predict --config RUN/config.yaml`.") from error
    asking, asked = found
    if any(a.ndim != 2 or a.dtype.kind not in "iuf" for a in found) or asking.shape[1] != asked.shape[1]:
        raise UserError(
            f"{path} should hold rows of equal length, and holds {queries} of shape {asking.shape}, "
            f"{asking.dtype}, and {_OTHER[queries]} of shape {asked.shape}, {asked.dtype}."
        )
    if not all(len(embeddings) and np.isfinite(embeddings).all() for embeddings in found):
        raise UserError(f"{path} holds embeddings that are not finite, or none at all.")
    return *found, source


def _exact(queries: NDArray, gallery: NDArray, source: NDArray | None, distance: str, k: int) -> tuple[NDArray, float]:
    start = time.perf_counter()
    excluded = None if source is None else torch.from_numpy(source)
    found = top(torch.from_numpy(queries), torch.from_numpy(gallery), distance, k, excluded=excluded).numpy()
    return found, time.perf_counter() - start


def _approximate(queries: NDArray, gallery: NDArray, source: NDArray | None, options: Any, k: int) -> NDArray:
    """Return positions in the gallery, `(Q, k)`, and print time and recall of the index."""
    start = time.perf_counter()
    index = ApproximateIndex(gallery, options.distance, options.index, options.parameters)
    built = time.perf_counter()
    found = index.top(queries, k) if source is None else drop_item(source, index.top(queries, k + 1))
    seconds = time.perf_counter() - built
    sample = np.sort(np.random.default_rng(0).permutation(len(queries))[: options.sample])
    skipped = None if source is None else source[sample]
    exact, exact_seconds = _exact(queries[sample], gallery, skipped, options.distance, k)
    print(
        f"Built {options.index} of {len(gallery):,} items in {built - start:.3g} s, and searched it in "
        f"{1000 * seconds / len(queries):.3g} ms a query; the exact search takes "
        f"{1000 * exact_seconds / len(sample):.3g} ms."
    )
    print(f"It finds {recall(found[sample], exact):.2%} of the {k} nearest, measured on {len(sample):,} queries.")
    return found


def drop_item(item: NDArray, found: NDArray) -> NDArray:
    """Drop one item `(Q,)` from the results `(Q, k + 1)` of each query, or the last where it is not among them.

    Examples:
        >>> drop_item(np.array([7, 8]), np.array([[7, 1, 2], [3, 4, 5]])).tolist()
        [[1, 2], [3, 4]]
    """
    order = np.argsort(found == item[:, None], axis=1, kind="stable")
    return np.take_along_axis(found, order, axis=1)[:, :-1]
