"""Time and memory of exact ranks, as multiples of what nobody can do without.

    python -m tests.benchmarks.ranking [ROUNDS]

The floor of a ranking is its matrix product in blocks of queries, and the cheapest sort that could give the ranks: of
the int32 keys of as many numbers, by NumPy, which sorts on one core. Ours computes products in float64, so that equal
embeddings tie; so there are two floors, in float32 and in float64. All are measured in turn, each round in another
order, as what ran before leaves the memory in another state, and the medians of the ratios are printed, for one thread
and for as many as there are. The next lines are the peak memory that a ranking adds, measured in processes of their
own, as the gallery grows fiftyfold in a file that is mapped into memory (Linux alone tells it); and, for a small case
that they can do at all, the time of other libraries.
"""

import statistics
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import cycle, islice, permutations
from multiprocessing import get_context
from pathlib import Path
from timeit import timeit

import numpy as np
import torch
from torch import Tensor

from cmr_lightning.evaluation.metrics import score
from cmr_lightning.evaluation.protocols import Protocol
from cmr_lightning.evaluation.ranks import rank
from cmr_lightning.evaluation.relevance import Relevance

DIM = 256
CASES = {
    "MSCOCO 5K, texts to images": (25_000, 5_000, "instance"),
    "MSCOCO 5K, images to texts": (5_000, 25_000, "instance"),
    "NUS-WIDE, one label": (2_000, 200_000, "label"),
    "NUS-WIDE, several labels": (2_000, 200_000, "labels"),
}
BLOCK = 2**24


def embeddings(rows: int, seed: int) -> Tensor:
    return torch.randn(rows, DIM, generator=torch.Generator().manual_seed(seed))


def relevance(queries: int, gallery: int, kind: str) -> Relevance:
    """Five texts to an image, ten classes, or 21 of which an item has two on average: a fifth is relevant then."""
    if kind == "labels":
        generator = torch.Generator().manual_seed(2)
        return Relevance(*(torch.rand(n, 21, generator=generator) < 0.1 for n in (queries, gallery)))
    if kind == "label":
        return Relevance(torch.arange(queries) % 10, torch.arange(gallery) % 10)
    short = min(queries, gallery)
    return Relevance(torch.arange(queries) * short // queries, torch.arange(gallery) * short // gallery)


def product_and_sort(queries: Tensor, gallery: Tensor) -> None:
    """The floor, in the precision of the embeddings; any int32 numbers will do as keys, the bits of products too."""
    for block in queries.split(max(1, BLOCK // len(gallery))):
        keys = (block @ gallery.T).view(torch.int32)[:, : len(gallery)].numpy()
        keys.sort(axis=1)


def in_turn(queries: Tensor, gallery: Tensor, relevant: Relevance, order: Sequence[int]) -> tuple[float, float, float]:
    """The time of a ranking as a multiple of the floors in float32 and in float64, and in seconds."""
    works: list[Callable[[], object]] = [
        lambda: product_and_sort(queries, gallery),
        lambda: product_and_sort(queries.double(), gallery.double()),
        lambda: rank(queries, gallery, relevant, "cos"),
    ]
    took = {work: timeit(works[work], number=1) for work in order}
    single, double, ours = (took[work] for work in range(3))
    return ours / single, ours / double, ours


def added_memory(gallery: int) -> float:
    """Most MiB that ranking a mapped gallery adds to a fresh process, without the pages of the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gallery.npy"
        np.save(path, embeddings(gallery, 1).numpy())
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
            return processes.submit(added_here, path).result()


def added_here(path: Path) -> float:
    """The same of this process."""
    mapped = torch.from_numpy(np.load(path, mmap_mode="c"))
    queries, relevant = embeddings(200, 0), relevance(200, len(mapped), "instance")
    before, peak = own_memory(), [0.0]
    threading.Thread(target=watch, args=(peak,), daemon=True).start()
    rank(queries, mapped, relevant, "cos", 2**20)
    return peak[0] - before


def own_memory() -> float:
    """Resident memory of this process that belongs to no file, in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024


def watch(peak: list[float]) -> None:
    """Keep the largest `own_memory` in `peak`."""
    while True:
        peak[0] = max(peak[0], own_memory())
        time.sleep(0.002)


def others() -> dict[str, Callable[[], object]]:
    """The mean average precision of 500 queries among 5,000 items by us and by others."""
    from ranx import Qrels, Run, evaluate
    from sklearn.metrics import average_precision_score
    from torchmetrics.retrieval import RetrievalMAP

    queries, gallery = embeddings(500, 0), embeddings(5_000, 1)
    relevant = relevance(500, 5_000, "label")
    normalise = torch.nn.functional.normalize
    scores = normalise(queries) @ normalise(gallery).T + 1  # torchmetrics counts only positive scores
    hits = relevant.block(slice(None))
    index = torch.arange(500)[:, None].expand_as(scores)

    def by_ranx() -> float:
        qrels = {str(q): {str(g): 1 for g in hits[q].nonzero().flatten().tolist()} for q in range(500)}
        run = {str(q): {str(g): s for g, s in enumerate(scores[q].tolist())} for q in range(500)}
        return float(evaluate(Qrels(qrels), Run(run), "map"))

    return {
        "ours": lambda: score(rank(queries, gallery, relevant, "cos"), Protocol("map", "label")),
        "torchmetrics": lambda: RetrievalMAP()(scores.flatten(), hits.flatten(), indexes=index.flatten()).item(),
        "scikit-learn": lambda: np.mean(list(map(average_precision_score, hits.numpy(), scores.numpy()))),
        "ranx": by_ranx,
    }


def main(rounds: int) -> None:
    warnings.simplefilter("ignore")
    for threads in sorted({1, torch.get_num_threads()}):
        torch.set_num_threads(threads)
        print(f"ranking by {threads} thread(s), relative to product + sort in float32, in float64, and in seconds")
        for name, (queries, gallery, kind) in CASES.items():
            case = embeddings(queries, 0), embeddings(gallery, 1), relevance(queries, gallery, kind)
            measured = [in_turn(*case, order) for order in islice(cycle(permutations(range(3))), rounds)]
            single, double, took = (statistics.median(column) for column in zip(*measured, strict=True))
            print(f"{name:<28} {single:5.2f} {double:6.2f}   {took:6.1f} s", flush=True)
    for gallery in (20_000, 200_000, 1_000_000):
        print(f"memory added by 200 queries in a mapped gallery of {gallery:,}: {added_memory(gallery):.0f} MiB")
    torch.set_num_threads(1)
    for name, way in others().items():
        way()  # ranx compiles
        print(f"{name:<14} mAP {way():.6f}   {timeit(way, number=1):7.2f} s", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 6)
