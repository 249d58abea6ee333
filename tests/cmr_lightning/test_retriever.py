import math
from typing import Any

import pytest
import torch
from torch import Tensor

from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.errors import UserError
from tests.cmr_lightning.game.playing import daml, trainer
from tests.toy import Toy


@pytest.mark.parametrize(
    ("setting", "message"),
    [({"weights": {"innter": 1.0}}, "innter"), ({"discriminator": None}, r"model\.discriminator")],
    ids=["unknown weight", "adversarial weight without adversary"],
)
def test_impossible_setting_is_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        daml(Toy(), **setting)


@pytest.mark.parametrize(
    ("image", "text", "accuracy", "entropy"),
    [(30.0, -30.0, 1, 0), (1e-4, 1e-4, 0.5, math.log(2)), (0.0, 0.0, 0, math.log(2))],
)
def test_state_of_a_discriminator(image: float, text: float, accuracy: float, entropy: float) -> None:
    """A sure one, a fooled one, and one that is undecided, which is never right."""
    model = daml(Toy(), discriminator=lambda dim: Constant())
    state = model.discriminator_state(Embeddings(torch.full((4, 8), image), torch.full((4, 8), text)))
    assert state["discriminator_accuracy"] == accuracy
    assert state["discriminator_entropy"] == pytest.approx(entropy, abs=1e-6)


class Constant(torch.nn.Module):
    """The first number of a point, as its logit."""

    def forward(self, points: Tensor) -> Tensor:
        return points[:, 0]


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
