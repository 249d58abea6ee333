"""Training steps from a feature store on warm pages against steps from tensors in memory, in turn.

python -m tests.benchmarks.store
"""

import time
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from torch import nn

from cmr_lightning.store import FeatureStore, Rows
from datamodules.inputs.stored_features import StoredRows
from datamodules.reading.loaders import PairLoader, Part
from tests.datamodules.published.stores import write_store

COUNT, SIZE, BATCH = 100_000, 2048, 128
STEPS, ROUNDS = 50, 7


class Steps:
    """A model of two layers a modality, trained on batches as they come."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        layers = (nn.Sequential(nn.Linear(SIZE, 1024), nn.ReLU(), nn.Linear(1024, 200)) for _ in range(2))
        self.model = nn.ModuleList(layers)
        self.optimizer = torch.optim.Adam(self.model.parameters(), fused=True)

    def seconds(self, part: Part) -> float:
        """Seconds a step, the first ones left out."""
        batches = iter(PairLoader(part, BATCH, seed=0))
        for batch in islice(batches, 3):
            self._step(batch.image, batch.text)
        started = time.perf_counter()
        for batch in islice(batches, STEPS):
            self._step(batch.image, batch.text)
        return (time.perf_counter() - started) / STEPS

    def _step(self, image: torch.Tensor, text: torch.Tensor) -> None:
        self.optimizer.zero_grad()
        (self.model[0](image) - self.model[1](text)).square().mean().backward()
        self.optimizer.step()


def main() -> None:
    with TemporaryDirectory() as folder:
        rows = Rows([str(n) for n in range(COUNT)], ["0"] * COUNT)
        write_store(Path(folder), rows, torch.randn(COUNT, SIZE), "float16")
        store, numbers = FeatureStore(Path(folder)), torch.arange(COUNT)
        stored = StoredRows(store, numbers)
        memory = store.read(numbers)  # warms the pages, too
        label = torch.zeros(COUNT, dtype=torch.int64)
        parts = [Part(content, content, label, numbers, ("",), ("",)) for content in (memory, stored)]
        steps = Steps()
        seconds = [[steps.seconds(part) for part in parts] for _ in range(ROUNDS)]
        for in_memory, from_store in seconds:
            ratio = from_store / in_memory
            print(f"memory {in_memory * 1e3:6.2f} ms   store {from_store * 1e3:6.2f} ms   time x {ratio:.3f}")
        print(f"a step from the store takes {median(b / a for a, b in seconds):.3f} times as long as from memory")


if __name__ == "__main__":
    main()
