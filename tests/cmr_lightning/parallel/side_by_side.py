"""The same trainings in one process and in two with half of the batch each.

In float64, because in float32 they agree only until a rectifier or a hinge falls on the other side of zero.

    python -m tests.cmr_lightning.parallel.side_by_side FOLDER

Three processes are forked from one that has built everything: `alone`, and `0` and `1`, which train together over
gloo. Each writes what it observed in each training to `FOLDER/<training>.<process>.pt`.
"""

import logging
import os
import socket
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import TorchElasticEnvironment
from torch import Tensor

from cmr_lightning.encoders import FeatureMLP
from cmr_lightning.game import AdversarialDiagnostics, Stage, TrainingStages, TwoPlayerModel
from cmr_lightning.game.alignments import ConditionalAdversary, WassersteinAdversary
from cmr_lightning.losses import unit_slope_penalty
from cmr_lightning.methods import METHODS
from cmr_lightning.methods.daml import DAML
from cmr_lightning.retriever import Retriever
from datamodules.reading.regime import Regime
from tests.building import EXPERIMENTS, build, method_of, sgd, trainer, without_dropout
from tests.toy import Toy

UPDATES = 20
LOOK_AT = (0, UPDATES - 1)
BATCH = 8


class Observer(pl.Callback):
    """Keeps the losses of all updates and the gradients of the first and the last."""

    def __init__(self) -> None:
        self.losses: list[dict[str, float]] = []
        self.gradients: dict[str, Tensor] = {}

    def on_before_optimizer_step(self, trainer: pl.Trainer, model: Any, optimizer: torch.optim.Optimizer) -> None:
        if trainer.global_step in LOOK_AT:
            own = {id(p) for group in optimizer.param_groups for p in group["params"]}
            self.gradients |= {
                f"{trainer.global_step} {name}": p.grad.clone()
                for name, p in model.named_parameters()
                if id(p) in own and p.grad is not None
            }

    def on_train_batch_end(self, trainer: pl.Trainer, model: Any, *_: Any) -> None:
        sums = model.losses.state_dict() if isinstance(model, TwoPlayerModel) else {}
        self.losses.append({name: total / count for name, (total, count) in sums.items()})


def train(model: Any, data: Any, together: int, **settings: Any) -> dict[str, Any]:
    """Train and validate, and return what was observed."""
    data.batch_size = BATCH // together
    observer = Observer()
    parallel = {"strategy": "ddp", "devices": together, "plugins": [TorchElasticEnvironment()]} if together > 1 else {}
    callbacks = [observer, AdversarialDiagnostics(every_n_updates=5), *settings.pop("callbacks", [])]
    epochs = -1 if isinstance(model, Retriever) else 1
    limits = {"max_epochs": epochs, "max_steps": UPDATES, "limit_val_batches": 1.0, "num_sanity_val_steps": 0}
    exact = {"precision": "64-true", "log_every_n_steps": 10**6}
    fit = trainer(**{**limits, **settings}, callbacks=callbacks, **exact, **parallel)
    fit.fit(model, data)
    fit.validate(model, data, verbose=False)
    return {
        "losses": observer.losses,
        "gradients": observer.gradients,
        "weights": {name: value.clone() for name, value in model.state_dict().items()},
        "shares": dict(model.balance.weights) if isinstance(model, TwoPlayerModel) else {},
        "metrics": model.measurement.metrics,
        "game": model.game.figures if isinstance(model, TwoPlayerModel) else {},
        "ranks": {
            name: [torch.from_numpy(getattr(ranks, array)) for array in ("offsets", "above", "size", "relevant")]
            for name, ranks in model.measurement.ranks.items()
        },
    }


def of_experiments(folder: Path) -> dict[str, Callable[[int], dict[str, Any]]]:
    """Each method in its experiment on Shapes, or another, built before the processes fork.

    The validation parts on Shapes have 41 pictures, so that their shares are uneven.
    """
    last_wins = sorted(EXPERIMENTS, key=lambda path: (path.parent.name != "shapes", path.stem), reverse=True)
    paths = {method_of(path): path for path in last_wins}
    trainings = {}
    for name in METHODS:
        sizes = ["--data.num_val=41", "--data.num_train=88"] if paths[name].parent.name == "shapes" else []
        cli = build(paths[name], folder / name, sizes)
        if isinstance(cli.model, Retriever):
            without_dropout(cli.model)
            # with larger steps the early, steep terms multiply rounding errors by ten an update
            cli.model.generator_optimizer = cli.model.discriminator_optimizer = sgd(0.003)
            cli.model.schedule, cli.model.accumulate = None, 1
        trainings[name] = lambda together, cli=cli: train(cli.model, cli.datamodule, together)
    return trainings


def normalised(source: Any, dim: int) -> FeatureMLP:
    return FeatureMLP(source, dim, hidden=(16,), activation="tanh", input_norm="standardize")


def toy(
    together: int, train_settings: dict[str, Any] | None = None, data: Toy | None = None, **settings: Any
) -> dict[str, Any]:
    """DAML on the toy data, with encoders that standardise features over the batch."""
    data = data or Toy(num_train=83)
    pl.seed_everything(1, verbose=False)
    parts = {"image_encoder": normalised, "text_encoder": normalised, "dim": 8}
    optimizers = {"generator_optimizer": sgd(0.1), "discriminator_optimizer": sgd(0.1)}
    model = DAML(spec=data.spec, **{**parts, **optimizers, **settings})
    return train(model, data, together, **(train_settings or {}))


def staged(together: int) -> dict[str, Any]:
    """A frozen encoder, then the discriminator alone, then everybody."""
    stages = [
        Stage("texts", epochs=1, players=["generator"], frozen=["image_encoder"]),
        Stage("judge", epochs=1, players=["discriminator"]),
        Stage("game"),
    ]
    return toy(together, {"callbacks": [TrainingStages(stages)], "max_epochs": 4, "max_steps": -1})


def of_a_share(together: int) -> dict[str, Any]:
    """Against an adversary that is told predicted classes, with a share of the gradient and batches of its own."""
    adversary = partial(ConditionalAdversary, classes="predicted", r1=1.0)
    game = {"fresh_batches": True, "discriminator_steps": 3, "shares": {"alignment": 0.2}, "caps": {"alignment": 0.25}}
    return toy(together, alignment=adversary, **game)


def of_few_pairs(together: int) -> dict[str, Any]:
    """With a quarter of the pairs and their labels, and all other items for the adversary alone."""
    few = Regime(paired=21, labels="paired", seed=0)
    return toy(together, data=Toy(num_train=83, regime=few), alignment=ConditionalAdversary)


def against_a_critic(together: int) -> dict[str, Any]:
    """With the same random points between the modalities in all processes."""

    def penalty(*arguments: Any) -> Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return unit_slope_penalty(*arguments)

    critic = {"alignment": partial(WassersteinAdversary, classes="labels", space="unit"), "discriminator_steps": 2}
    with patch("cmr_lightning.game.alignments.adversaries.unit_slope_penalty", penalty):
        return toy(together, discriminator_optimizer=sgd(0.01), **critic)


OTHERS: dict[str, Callable[[int], dict[str, Any]]] = {
    "accumulating": lambda together: toy(together, discriminator_steps=2, accumulate=3, generator_clip=0.05),
    "adam": lambda together: toy(together, generator_optimizer=torch.optim.Adam),
    "staged": staged,
    "of a share": of_a_share,
    "of few pairs": of_few_pairs,
    "against a critic": against_a_critic,
}
"""Trainings of one method in other ways."""


def run(trainings: dict[str, Callable[[int], dict[str, Any]]], folder: Path, process: str, port: int) -> None:
    together = 1 if process == "alone" else 2
    if together > 1:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        os.environ |= {"RANK": process, "LOCAL_RANK": process, "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "tests"}
    for name, training in trainings.items():
        torch.save(training(together), folder / f"{name}.{process}.pt")


def main(folder: Path) -> int:
    """Build, fork and wait; return 0 if all processes succeeded."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    trainings = {**of_experiments(folder), **OTHERS}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for process in ("alone", "0", "1"):
        children.append(os.fork())
        if children[-1] == 0:
            run(trainings, folder, process, port)
            os._exit(0)
    return max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)


if __name__ == "__main__":
    sys.argv, arguments = sys.argv[:1], sys.argv[1:]
    sys.exit(main(Path(arguments[0])))
