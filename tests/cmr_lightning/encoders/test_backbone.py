"""Frozen backbones and backbones with a learning rate of their own, in real training."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import OneCycleLR, StepLR

from cmr_lightning.encoders import TimmEncoder, WordRNN
from cmr_lightning.encoders.backbone import layers_of
from cmr_lightning.errors import UserError
from cmr_lightning.game import Stage, TrainingStages
from cmr_lightning.methods.info_nce import InfoNCE
from datamodules.shapes import Shapes
from tests.building import trainer
from tests.cmr_lightning.encoders.tiny_bert import tiny_bert

RATE = 0.01
ADAM = partial(Adam, lr=RATE)


@pytest.fixture(scope="module")
def shapes() -> Shapes:
    return Shapes(num_train=32, num_val=20, num_test=20, picture_size=32, batch_size=8, epoch_of="images")


def model(data: Shapes, generator_optimizer: Any = ADAM, schedule: Any = None, **image: Any) -> InfoNCE:
    torch.manual_seed(0)
    encoders = {
        "image_encoder": partial(TimmEncoder, model="test_resnet", **image),
        "text_encoder": partial(WordRNN, embedding=8, hidden=8),
    }
    return InfoNCE(spec=data.spec, dim=8, generator_optimizer=generator_optimizer, schedule=schedule, **encoders)


def state(of: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in of.state_dict().items()}


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def rates(optimizer: torch.optim.Optimizer) -> dict[float, float]:
    return {group["lr_scale"]: group["lr"] for group in optimizer.param_groups}


def test_frozen_backbone_does_not_move_in_training(shapes: Shapes) -> None:
    frozen = model(shapes, frozen=True)
    before = state(frozen.image_encoder)
    trainer(max_epochs=2, limit_val_batches=1.0, num_sanity_val_steps=0).fit(frozen, shapes)
    assert moved(before, state(frozen.image_encoder)) == {"projection.weight", "projection.bias"}
    assert not any(module.training for module in frozen.image_encoder.backbone.modules())


def test_frozen_backbone_keeps_no_graph(shapes: Shapes) -> None:
    encoder = model(shapes, frozen=True).image_encoder.train()
    seen = []
    encoder.projection.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].requires_grad))
    assert encoder(torch.zeros(2, 3, 32, 32, dtype=torch.uint8)).requires_grad
    assert seen == [False]


def test_backbone_that_is_not_frozen_moves_with_its_statistics(shapes: Shapes) -> None:
    free = model(shapes)
    before = state(free.image_encoder)
    trainer(max_epochs=1).fit(free, shapes)
    assert {"backbone.conv1.0.weight", "backbone.bn1.running_mean"} <= moved(before, state(free.image_encoder))


def test_every_parameter_is_in_one_group_with_its_rate(shapes: Shapes) -> None:
    slow = model(shapes, backbone_lr_scale=0.1)
    (optimizer,), _ = slow.configure_optimizers()
    rate = {p: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(rate) == len(list(slow.parameters()))
    for name, parameter in slow.named_parameters():
        expected = 0.1 * RATE if name.startswith("image_encoder.backbone") else RATE
        assert rate[parameter] == pytest.approx(expected), name
    assert len(model(shapes).configure_optimizers()[0][0].param_groups) == 1


def test_a_step_of_the_backbone_is_as_many_times_smaller(shapes: Shapes) -> None:
    steps = []
    for scale in (1.0, 0.25):
        fitted = model(shapes, partial(SGD, lr=RATE), backbone_lr_scale=scale)
        before = state(fitted)
        trainer(max_steps=1).fit(fitted, shapes)
        steps.append({name: state(fitted)[name] - before[name] for name, _ in fitted.named_parameters()})
    for name, step in steps[0].items():
        factor = 0.25 if name.startswith("image_encoder.backbone") else 1.0
        assert torch.allclose(steps[1][name], factor * step, atol=1e-6), name


def test_schedule_that_undoes_the_scales_is_refused(shapes: Shapes) -> None:
    schedule = partial(OneCycleLR, max_lr=0.1, total_steps=10)
    model(shapes, schedule=schedule).configure_optimizers()
    with pytest.raises(UserError, match=r"model\.schedule gives all parameters one learning rate"):
        model(shapes, schedule=schedule, backbone_lr_scale=0.1).configure_optimizers()


class Rates(pl.Callback):
    def __init__(self) -> None:
        self.seen: list[dict[float, float]] = []

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.is_last_batch:
            self.seen.append(rates(trainer.optimizers[0]))


def test_stages_keep_the_scales(shapes: Shapes) -> None:
    stages = TrainingStages([Stage("own rate", 1, generator_lr=0.004), Stage("configured")])
    seen = Rates()
    trainer(max_epochs=2, callbacks=[stages, seen]).fit(model(shapes, backbone_lr_scale=0.1), shapes)
    assert seen.seen == [pytest.approx({1.0: 0.004, 0.1: 0.0004}), pytest.approx({1.0: RATE, 0.1: RATE / 10})]


def test_resumed_run_equals_the_undisturbed_one(shapes: Shapes, tmp_path: Path) -> None:
    settings = {"schedule": partial(StepLR, step_size=1, gamma=0.5), "backbone_lr_scale": 0.1}

    def run(*callbacks: pl.Callback, **resume: Any) -> tuple[InfoNCE, pl.Trainer]:
        fitted = model(shapes, **settings)
        fit = trainer(max_epochs=2, enable_checkpointing=bool(callbacks), callbacks=[*callbacks])
        pl.seed_everything(3, verbose=False)  # the order of the pairs
        fit.fit(fitted, shapes, **resume)
        return fitted, fit

    at_six = ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, every_n_train_steps=6)
    whole, _ = run(at_six)
    resumed, second = run(ckpt_path=tmp_path / "step=6.ckpt", weights_only=True)
    assert not moved(state(whole), state(resumed))
    assert rates(second.optimizers[0]) == pytest.approx({1.0: RATE / 4, 0.1: RATE / 40})


def test_layers_learn_the_slower_the_nearer_to_the_input(shapes: Shapes) -> None:
    decayed = model(shapes, partial(SGD, lr=RATE), backbone_layer_decay=0.5)
    optimizer = decayed.configure_optimizers()[0][0]
    rate = {parameter: group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    backbone = decayed.image_encoder.backbone
    assert rate[decayed.image_encoder.projection.weight] == RATE
    last = [rate[parameter] for parameter in backbone.layer4.parameters()]
    first = [rate[parameter] for parameter in backbone.layer1.parameters()]
    assert rate[next(backbone.conv1.parameters())] < max(first) < max(last) <= RATE
    assert all(RATE / r in {1, 2, 4, 8, 16, 32} for r in rate.values())


def test_layers_of_a_text_transformer_are_counted_from_its_embeddings() -> None:
    from transformers import AutoModel

    layers = layers_of(AutoModel.from_pretrained(tiny_bert()))
    assert {name.split(".")[0]: layer for name, layer in layers.items() if "encoder" not in name}["embeddings"] == 0
    numbers = sorted({layer for name, layer in layers.items() if name.startswith("encoder.layer.")})
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("backbone_lr_scale", 0, "is 0, but should be greater than 0"),
        ("backbone_layer_decay", 0, "is 0, but should be greater than 0"),
        ("backbone_layer_decay", 1.1, "is 1.1, but should be less than or equal to 1"),
    ],
)
def test_rates_out_of_range_are_refused(option: str, value: float, says: str, shapes: Shapes) -> None:
    with pytest.raises(UserError, match=f"{option} .*{says}"):
        model(shapes, **{option: value})
