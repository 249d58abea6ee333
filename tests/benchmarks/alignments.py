"""Time of a training step with each alignment as a multiple of that without any, on the same data and encoders.

    python -m tests.benchmarks.alignments [ROUNDS]

In each round the same model, InfoNCE, trains for a while with each alignment and without any before it; the ratio of
the two medians is taken within the round, and the median of the rounds is printed with the lowest and highest, and the
milliseconds of a step. Data are generated: 1,280-d image features, 1,000-d text features and 20 classes; the encoders
are multi-layer perceptrons with 256 hidden units. Discriminators have 64 hidden units and make three steps to one of
the encoders, critics five.
"""

import logging
import statistics
import sys
from functools import partial

import torch

from cmr_lightning.discriminators import ModalityClassifier
from cmr_lightning.encoders import FeatureMLP
from cmr_lightning.game.alignments import (
    CORAL,
    MMD,
    AlignmentFactory,
    Centring,
    ClassCentring,
    ConditionalAdversary,
    ModalityAdversary,
    Sinkhorn,
    WassersteinAdversary,
)
from cmr_lightning.methods.info_nce import InfoNCE
from tests.benchmarks.invented import Invented
from tests.benchmarks.step_time import StepTimes
from tests.building import trainer

WARM_UP, STEPS = 3, 12
CASES = {"114 pairs, 64 dimensions": (114, 64), "512 pairs, 512 dimensions": (512, 512)}
"""Batch and size of the common space."""

GAME = {"discriminator": partial(ModalityClassifier, hidden=[64]), "mode": "flipped"}
CRITIC = {"discriminator": partial(ModalityClassifier, hidden=[64])}
ALIGNMENTS: dict[str, tuple[AlignmentFactory, int]] = {
    "discriminator": (partial(ModalityAdversary, **GAME), 3),
    "discriminator, R1": (partial(ModalityAdversary, **GAME, r1=1.0), 3),
    "discriminator of product with classes": (partial(ConditionalAdversary, **GAME), 3),
    "discriminator of point beside classes": (partial(ConditionalAdversary, **GAME, condition="concatenation"), 3),
    "critic, gradient penalty": (partial(WassersteinAdversary, **CRITIC), 5),
    "critic of product with classes": (partial(WassersteinAdversary, **CRITIC, classes="labels"), 5),
    "MMD": (MMD, 1),
    "CORAL with means": (CORAL, 1),
    "CORAL without means": (partial(CORAL, means=False), 1),
    "Sinkhorn": (Sinkhorn, 1),
    "centring": (Centring, 1),
    "class centring": (ClassCentring, 1),
}
"""Each alignment, with the steps that its discriminator, if it has one, makes to one of the encoders."""


def median_step(batch: int, dim: int, alignment: AlignmentFactory | None = None, discriminator_steps: int = 1) -> float:
    """Seconds of a step, the first ones left out."""
    data = Invented(batch_size=batch, pairs=10 * batch)
    data.setup("fit")
    encoder, adam = partial(FeatureMLP, hidden=[256]), partial(torch.optim.Adam, lr=1e-3, fused=True)
    model = InfoNCE(
        spec=data.spec,
        image_encoder=encoder,
        text_encoder=encoder,
        dim=dim,
        alignment=alignment,
        generator_optimizer=adam,
        discriminator_optimizer=adam,
        discriminator_steps=discriminator_steps,
        ramp=False,
    )
    times = StepTimes()
    trainer(max_epochs=-1, max_steps=WARM_UP + STEPS, callbacks=[times]).fit(model, data)
    return statistics.median(times.seconds[WARM_UP:])


def main(rounds: int) -> None:
    torch.set_num_threads(1)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    for case, (batch, dim) in CASES.items():
        print(f"training step relative to that without an alignment, {case}: median (lowest to highest), milliseconds")
        for name, (alignment, steps) in ALIGNMENTS.items():
            measured = [(median_step(batch, dim), median_step(batch, dim, alignment, steps)) for _ in range(rounds)]
            ratios = [aligned / none for none, aligned in measured]
            none, aligned = (1000 * statistics.median(column) for column in zip(*measured, strict=True))
            print(
                f"  {name:<40} {statistics.median(ratios):6.2f}  ({min(ratios):.2f} to {max(ratios):.2f})   "
                f"{aligned:7.1f} and {none:.1f} ms",
                flush=True,
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
