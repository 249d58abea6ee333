"""Speed of training by the command line's own trainer, logging on, relative to a loop written by hand.

    python -m tests.benchmarks.training [ROUNDS]

Both train ACMR's networks with its losses by fused Adam on the same generated features, one discriminator step to an
update. The loop has no checks, no callbacks and no logs; the trainer has all that `fit` has: diagnostics of the game,
`metrics.csv`, progress, checks for finite values. In each round both train in turn, and the median of the ratios is
printed, with the lowest and highest: 1 would be no loss at all. Checkpoints are left out of both.
"""

import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from cmr_lightning.batch import Batch
from cmr_lightning.game.turns import frozen
from cmr_lightning.losses import modality_loss
from datamodules.reading.loaders import Part
from tests.benchmarks.invented import encoder_options
from tests.building import ROOT, Built

PAIRS, BATCH = 6400, 64
WARM_UP = 10
EXPERIMENT = ROOT / "experiments" / "pascal_sentence" / "acmr.yaml"
CASES = {
    "ACMR's size: 4096 and 3000 features, 1024 hidden": (4096, 3000, 1024, 256, 100),
    "tiny: 32 and 16 features, 16 hidden": (32, 16, 16, 8, 400),
}
"""Image features, text features, hidden units, size of the common space, updates."""


class Clock(pl.Callback):
    """Seconds of an update, after the first ones."""

    def on_train_batch_start(self, trainer: pl.Trainer, model: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == WARM_UP:
            self.start = time.perf_counter()

    def on_train_end(self, trainer: pl.Trainer, model: Any) -> None:
        self.seconds = (time.perf_counter() - self.start) / (trainer.global_step - WARM_UP)


def built(case: tuple[int, int, int, int, int], folder: Path) -> Built:
    """The parts as `fit` builds them."""
    image, text, hidden, dim, updates = case
    data = {"image": image, "text": text, "pairs": PAIRS, "batch_size": BATCH}
    return Built(
        [
            "fit",
            f"--config={EXPERIMENT}",
            f"--run_dir={folder}",
            "--overwrite=true",
            "--data=tests.benchmarks.invented.Invented",
            *(f"--data.init_args.{key}={value}" for key, value in data.items()),
            f"--model.init_args.dim={dim}",
            *encoder_options(hidden=f"[{hidden}]", input_norm="none", dropout=0.0),
            "--trainer.accelerator=cpu",
            "--trainer.max_epochs=-1",
            f"--trainer.max_steps={updates}",
            "--trainer.num_sanity_val_steps=0",
            "--model.init_args.ramp=false",
        ]
    )


def by_trainer(parts: Built) -> float:
    """Seconds of an update of the trainer."""
    clock = Clock()
    parts.trainer.callbacks = [c for c in parts.trainer.callbacks if not isinstance(c, pl.callbacks.ModelCheckpoint)]
    parts.trainer.callbacks.append(clock)
    parts.trainer.limit_val_batches = 0
    parts.trainer.fit(parts.model, parts.datamodule)
    return clock.seconds


def batches(part: Part) -> Iterator[Batch]:
    while True:
        for rows in torch.randperm(PAIRS).split(BATCH):
            yield Batch(part.image[rows], part.text[rows], part.label[rows], rows)


def by_hand(parts: Built, updates: int) -> float:
    """Seconds of an update of a loop without anything around it."""
    model, discriminator = parts.model, parts.model.alignment.discriminator
    players = model.players()
    generator_optimizer = model.generator_optimizer(players["generator"])
    discriminator_optimizer = model.discriminator_optimizer(players["discriminator"])
    start = 0.0
    for update, batch in zip(range(updates), batches(parts.datamodule.part("train")), strict=False):
        if update == WARM_UP:
            start = time.perf_counter()
        embeddings = model.embed(batch)
        discriminator_optimizer.zero_grad()
        modality_loss(discriminator(embeddings.image.detach()), discriminator(embeddings.text.detach())).backward()
        discriminator_optimizer.step()
        with frozen(discriminator):
            losses = model.all_losses(batch, embeddings)
        generator_optimizer.zero_grad()
        sum(model.weights[name] * loss for name, loss in losses.items()).backward()
        generator_optimizer.step()
    return (time.perf_counter() - start) / (updates - WARM_UP)


def main(rounds: int) -> None:
    torch.set_num_threads(1)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    print("speed of the trainer relative to the loop by hand, median (lowest to highest)")
    with tempfile.TemporaryDirectory() as folder:
        for name, case in CASES.items():
            pairs = []
            for _ in range(rounds):
                hand = by_hand(built(case, Path(folder) / "hand"), case[-1])
                pairs.append((hand, by_trainer(built(case, Path(folder) / "run"))))
            ratios = [hand / trainer for hand, trainer in pairs]
            hand, trainer = (1000 * statistics.median(column) for column in zip(*pairs, strict=True))
            print(
                f"{name:<50} {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})   "
                f"{hand:.2f} and {trainer:.2f} ms",
                flush=True,
            )


if __name__ == "__main__":
    program, *rounds = sys.argv
    sys.argv = [program]  # the command line that builds the models warns of arguments that it is not given
    main(int(rounds[0]) if rounds else 5)
