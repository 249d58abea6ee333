import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cmr_lightning.batch import Batch, Pixels
from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.errors import UserError
from cmr_lightning.game.alignments import ModalityAdversary
from cmr_lightning.retriever import Retriever
from tests.cmr_lightning.game.playing import daml, trainer
from tests.toy import Toy, encoder, toy_model


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"weights": {"innter": 1.0}}, r"names innter, which DAML does not have; its terms are .*, label, alignment\."),
        ({"alignment": None, "weights": {"alignment": 1.0}}, r"DAML without an alignment does not have; .*, label\."),
        ({"shares": {"inter": 0.1}}, r"model\.shares names inter, but is for .*, and DAML has alignment\."),
        (
            {"alignment": None, "caps": {"alignment": 0.1}},
            r"model\.caps names alignment, .* DAML without .* has none\.",
        ),
        ({"fresh_batches": True, "accumulate": 2}, r"model\.fresh_batches .* model\.accumulate .* leave one .* out"),
    ],
)
def test_impossible_setting_is_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        daml(Toy(), **setting)


# What people forget ---------------------------------------------------------------------------------------------------


class WithoutTerms(Retriever):
    def generator_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        return {"gap": embeddings.image.mean(0)}


class Gap(WithoutTerms):
    terms = {"distance": 1.0}  # noqa: RUF012


class Rows(WithoutTerms):
    terms = {"gap": 1.0}  # noqa: RUF012


class Scalar(Gap):
    def generator_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        return {"gap": embeddings.image.mean()}


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (WithoutTerms, "WithoutTerms names no loss terms; set `terms"),
        (Scalar, r"Scalar\.generator_losses computes gap, which is none of the class's `terms`; those are distance"),
        (Rows, r"Rows\.generator_losses computes gap of the shape \(8,\), but a loss is one number"),
    ],
)
def test_what_a_method_lacks_is_named(method: type[Retriever], message: str) -> None:
    data = Toy()
    with pytest.raises(UserError, match=message):
        trainer(max_steps=1).fit(toy_model(method, data), datamodule=data)


def test_an_encoder_that_is_still_a_setting_needs_the_type_of_its_parameter() -> None:
    setting: Any = {"class_path": "FeatureMLP"}
    with pytest.raises(UserError, match=r"`image_encoder: ImageEncoder` from cmr_lightning\.retriever"):
        Rows(Toy().spec, setting, encoder)


class Convolution(nn.Module):
    """An encoder that takes pictures for floats, or scales them first."""

    def __init__(self, source: Pixels, dim: int, scale: bool = False) -> None:
        super().__init__()
        self.scale = scale
        self.layers = nn.Sequential(nn.Conv2d(3, dim, source.size), nn.Flatten())

    def forward(self, pictures: Tensor) -> Tensor:
        return self.layers(pictures.float() / 255 if self.scale else pictures)


class Linear(Convolution):
    def __init__(self, source: Pixels, dim: int) -> None:
        super().__init__(source, dim)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * source.size**2, dim))


PICTURES = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)


@pytest.mark.parametrize("image_encoder", [Convolution, Linear])
def test_an_encoder_is_told_that_pictures_are_bytes(image_encoder: Any) -> None:
    model = Rows(Toy().spec._replace(image=Pixels(4)), image_encoder, encoder, dim=8)
    with pytest.raises(UserError, match=r"uint8 \(2, 3, 4, 4\) of values 0 to 255; .* `pictures\.float\(\) / 255`"):
        model.embed_images(PICTURES)


def test_other_errors_of_an_encoder_stay_what_they_are() -> None:
    spec = Toy().spec._replace(image=Pixels(4))
    model = Rows(spec, lambda source, dim: Convolution(source, dim, scale=True), encoder, dim=8)
    assert model.embed_images(PICTURES).shape == (2, 8)
    with pytest.raises(RuntimeError, match="channels"):
        model.embed_images(PICTURES[:, :2])


def test_points_of_another_size_are_refused() -> None:
    model = Rows(Toy().spec, encoder, lambda source, dim: encoder(source, dim + 1), dim=8)
    with pytest.raises(UserError, match=r"returns points \(5, 9\), but must return \(N, 8\)"):
        model.embed_texts(torch.ones(5, 8))


@pytest.mark.parametrize(
    ("image", "text", "accuracy", "entropy"),
    [(30.0, -30.0, 1, 0), (1e-4, 1e-4, 0.5, math.log(2)), (0.0, 0.0, 0, math.log(2))],
)
def test_state_of_a_discriminator(image: float, text: float, accuracy: float, entropy: float) -> None:
    """A sure one, a fooled one, and one that is undecided, which is never right."""
    model = daml(Toy(), alignment=partial(ModalityAdversary, discriminator=lambda dim: Constant()))
    labels = torch.zeros(4, dtype=torch.long), torch.zeros(2, dtype=torch.long)
    state = model.discriminator_state(Embeddings(torch.full((4, 8), image), torch.full((2, 8), text)), labels)
    assert state["discriminator_accuracy"] == accuracy
    assert state["discriminator_entropy"] == pytest.approx(entropy, abs=1e-6)


class Constant(torch.nn.Module):
    """The first number of a point, as its logit."""

    def forward(self, points: Tensor) -> Tensor:
        return points[:, 0]


def test_a_backend_that_torch_does_not_have_is_refused() -> None:
    with pytest.raises(UserError, match=r"model\.compile is indukter, but torch has .*inductor"):
        daml(Toy(), compile="indukter")


def test_compiled_encoders_train_to_the_same_weights_under_the_same_names() -> None:
    states = []
    for backend in (None, "eager"):
        data = Toy()
        model = daml(data, compile=backend)
        torch.manual_seed(0)
        trainer(max_epochs=2).fit(model, data)
        states.append(model.state_dict())
    assert model.image_encoder._compiled_call_impl is not None
    torch.testing.assert_close(states[0], states[1])
