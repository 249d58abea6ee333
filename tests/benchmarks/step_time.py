"""Time of a training step of every method as a multiple of Triplet's, on the same data with the same encoders.

    python -m tests.benchmarks.step_time [ROUNDS]

In each round every method trains for a while and Triplet before it; the ratio of the two medians is taken within the
round, and the median of the rounds is printed. Data are generated: 1,280-d image features and 1,000-d text features, as
large as those of common benchmarks; the encoders are multi-layer perceptrons with 1,024 hidden units, the batch has 128
pairs, and the discriminator makes one step.
"""

import logging
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from cmr_lightning.methods import METHODS
from tests.benchmarks.invented import encoder_options
from tests.building import EXPERIMENTS, Built, method_of, trainer

BATCH = 128
WARM_UP, STEPS = 5, 30
ENCODER = {"hidden": "[1024]", "activation": "relu", "input_norm": "standardize", "dropout": "0.0"}


class StepTimes(pl.Callback):
    """Seconds from the start of each batch to its end."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        self.start = time.perf_counter()

    def on_train_batch_end(self, *_: Any) -> None:
        self.seconds.append(time.perf_counter() - self.start)


def options(experiment: Path) -> list[str]:
    """Overrides that give all methods the same data and encoders."""
    data = ["--data=tests.benchmarks.invented.Invented", f"--data.init_args.batch_size={BATCH}"]
    return ["fit", f"--config={experiment}", *data, "--model.init_args.dim=200", *encoder_options(**ENCODER)]


def median_step(experiment: Path) -> float:
    built = Built([*options(experiment), "--run_dir=unused", "--trainer.accelerator=cpu"])
    times = StepTimes()
    fit = trainer(max_epochs=100, limit_train_batches=WARM_UP + STEPS, max_steps=WARM_UP + STEPS, callbacks=[times])
    fit.fit(built.model, built.datamodule)
    return statistics.median(times.seconds[WARM_UP:])


def main(rounds: int) -> None:
    torch.set_num_threads(1)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    pascal = [path for path in EXPERIMENTS if path.parent.name == "pascal_sentence" and "_clip" not in path.stem]
    first = {method_of(path): path for path in reversed(pascal)}
    trained = {method: path for method, path in sorted(first.items()) if METHODS[method].needs_gradients}
    ratios: dict[str, list[float]] = {name: [] for name in trained if name != "Triplet"}
    for _ in range(rounds):
        for name in ratios:
            triplet = median_step(trained["Triplet"])
            ratios[name].append(median_step(trained[name]) / triplet)
    print(f"training step relative to Triplet, median (lowest to highest) of {rounds} rounds")
    for name, values in sorted(ratios.items(), key=lambda item: statistics.median(item[1])):
        print(f"{name:<12} {statistics.median(values):5.2f}  ({min(values):.2f} to {max(values):.2f})")


if __name__ == "__main__":
    program, *rounds = sys.argv
    sys.argv = [program]  # the command line that builds the models warns of arguments that it is not given
    main(int(rounds[0]) if rounds else 5)
