from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from cmr_lightning.discriminators import ModalityClassifier
from cmr_lightning.encoders import FeatureMLP
from cmr_lightning.errors import UserError
from cmr_lightning.methods.dscmr import DSCMR
from tests.cmr_lightning.methods.reach import ENCODERS, first_batch, reached
from tests.toy import CLASSES, IMAGE, TEXT, Toy, encoder

GENERATOR = ENCODERS | {"common"}


def dscmr(data: Toy, **kwargs: Any) -> DSCMR:
    torch.manual_seed(0)
    return DSCMR(spec=data.spec, image_encoder=encoder, text_encoder=encoder, **{"dim": 8, "width": 12, **kwargs})


@pytest.mark.parametrize(
    ("term", "parts"),
    [
        ("label", GENERATOR | {"classifier"}),
        ("likelihood", GENERATOR),
        ("pair", GENERATOR),
        ("adversarial", GENERATOR),
    ],
)
def test_each_term_reaches_its_part_of_the_generator(term: str, parts: set[str]) -> None:
    data = Toy()
    model = dscmr(data, discriminator=ModalityClassifier, weights={"adversarial": 1.0})
    assert reached(model, first_batch(data), term) == parts


def test_network_is_that_of_the_published_code() -> None:
    data = Toy()

    def linear(source: object, dim: int) -> FeatureMLP:
        return FeatureMLP(source, dim, hidden=())  # type: ignore[arg-type]

    model = DSCMR(spec=data.spec, image_encoder=linear, text_encoder=linear, dim=8, width=12)
    sizes = {name: (m.in_features, m.out_features) for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    assert sizes == {
        "image_encoder.layers.0": (IMAGE, 12),
        "text_encoder.layers.0": (TEXT, 12),
        "common": (12, 8),
        "classifier": (8, CLASSES),
    }
    images = torch.randn(5, IMAGE)
    expected = model.image_encoder(images).clamp(min=0) @ model.common.weight.T + model.common.bias
    torch.testing.assert_close(model.embed_images(images), expected)


def test_both_modalities_end_in_the_same_layer() -> None:
    data = Toy()
    model = dscmr(data)
    with torch.no_grad():
        model.common.weight.zero_()
        model.common.bias.fill_(3.0)
    images, texts = model.embed(first_batch(data)).pair
    assert (images == 3).all()
    assert (texts == 3).all()


def test_plays_without_adversary_by_default() -> None:
    model = dscmr(Toy())
    assert model.discriminator is None
    assert model.weights == {"label": 1.0, "likelihood": 1e-3, "pair": 1e-1, "adversarial": 0.0}
    assert len(model.configure_optimizers()[0]) == 1


def test_adversary_is_a_weight_and_a_discriminator() -> None:
    data = Toy()
    with pytest.raises(UserError, match=r"model\.discriminator"):
        dscmr(data, weights={"adversarial": 0.1})
    model = dscmr(data, discriminator=ModalityClassifier, adversary="entropy", weights={"adversarial": 0.1})
    assert model.discriminator is not None
    before = [p.detach().clone() for p in model.discriminator.parameters()]
    fit(model, data, epochs=1)
    assert not any(torch.equal(a, b) for a, b in zip(before, model.discriminator.parameters(), strict=True))


@pytest.mark.parametrize("multi_label", [False, True])
def test_learns(multi_label: bool) -> None:
    data = Toy(multi_label=multi_label)
    model = dscmr(data, generator_optimizer=lambda p: torch.optim.Adam(p, lr=1e-2))
    fit(model, data, epochs=8)
    assert model.measurement is not None
    assert model.measurement.metrics["map@all/cos/label"]["mean"] > 0.7


def fit(model: DSCMR, data: Toy, epochs: int) -> None:
    pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(model, data)
