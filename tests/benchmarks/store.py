"""Training steps from a feature store on warm pages against steps from tensors in memory, in turn.

python -m tests.benchmarks.store
"""

from __future__ import annotations

import argparse
import time
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from torch import nn

from cmr_lightning.store import FeatureStore, Manifest, Rows, StoreWriter
from datamodules.inputs.stored_features import StoredRows
from datamodules.reading.loaders import PairLoader, Part


def write_store(folder: Path, count: int, size: int) -> FeatureStore:
    """A finished store of random rows."""
    rows = Rows([str(n) for n in range(count)], ["0"] * count)
    manifest = Manifest("random", "0", "none", "32", rows.checksum(), "float16", (count, size))
    with StoreWriter(folder, rows, manifest) as writer:
        for claimed in writer.claims():
            writer.write(claimed, torch.randn(len(claimed), size))
        writer.finish()
    return FeatureStore(folder)


class Steps:
    """A model of two layers a modality, trained on batches as they come."""

    def __init__(self, size: int) -> None:
        torch.manual_seed(0)
        self.model = nn.ModuleList(
            nn.Sequential(nn.Linear(size, 1024), nn.ReLU(), nn.Linear(1024, 200)) for _ in range(2)
        )
        self.optimizer = torch.optim.Adam(self.model.parameters(), fused=True)

    def seconds(self, part: Part, batch_size: int, steps: int) -> float:
        """Seconds a step, the first ones left out."""
        batches = iter(PairLoader(part, batch_size, seed=0))
        for batch in islice(batches, 3):
            self._step(batch.image, batch.text)
        started = time.perf_counter()
        for batch in islice(batches, steps):
            self._step(batch.image, batch.text)
        return (time.perf_counter() - started) / steps

    def _step(self, image: torch.Tensor, text: torch.Tensor) -> None:
        self.optimizer.zero_grad()
        (self.model[0](image) - self.model[1](text)).square().mean().backward()
        self.optimizer.step()


def main() -> None:
    """Measure in turn, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        store = write_store(Path(folder), options.count, options.size)
        numbers = torch.arange(options.count)
        stored = StoredRows(store, numbers)
        memory = store.read(numbers)  # warms the pages, too
        parts = [
            Part(content, content, torch.zeros(options.count, dtype=torch.int64), numbers, ("",), ("",))
            for content in (memory, stored)
        ]
        steps = Steps(options.size)
        seconds = [
            [steps.seconds(part, options.batch_size, options.steps) for part in parts] for _ in range(options.rounds)
        ]
        for in_memory, from_store in seconds:
            ratio = from_store / in_memory
            print(f"memory {in_memory * 1e3:6.2f} ms   store {from_store * 1e3:6.2f} ms   time x {ratio:.3f}")
        print(f"a step from the store takes {median(b / a for a, b in seconds):.3f} times as long as from memory")


if __name__ == "__main__":
    main()
