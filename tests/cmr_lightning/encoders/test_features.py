from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from cmr_lightning.batch import Features
from cmr_lightning.encoders import FeatureMLP


def test_tanh_output_is_bounded() -> None:
    features = 1e3 * torch.randn(50, 12)
    assert FeatureMLP(Features(12), 3, output_activation="tanh")(features).abs().max() <= 1
    assert FeatureMLP(Features(12), 3)(features).abs().max() > 1


@pytest.mark.parametrize(("activation", "layer"), [("relu", nn.ReLU), ("tanh", nn.Tanh), ("gelu", nn.GELU)])
@pytest.mark.parametrize("hidden", [(), (7,), (7, 5)])
def test_layers_lead_from_the_features_to_the_common_space(
    hidden: tuple[int, ...], activation: Any, layer: type[nn.Module]
) -> None:
    encoder = FeatureMLP(Features(12), 3, hidden=hidden, activation=activation)
    linears = [m.weight.shape for m in encoder.layers if isinstance(m, nn.Linear)]
    assert linears == [(after, before) for before, after in pairwise([12, *hidden, 3])]
    assert [type(m) for m in encoder.layers] == [nn.Linear, *(layer, nn.Linear) * len(hidden)]
    assert encoder(torch.randn(4, 12)).shape == (4, 3)


def test_unit_length_ignores_the_length_of_features() -> None:
    encoder = FeatureMLP(Features(12), 3, input_norm="l2")
    features = torch.randn(4, 12)
    assert torch.allclose(encoder(features), encoder(7 * features), atol=1e-6)


def test_standardizing_ignores_scale_and_shift_of_features() -> None:
    features = torch.randn(64, 12)
    outputs = []
    for scale, shift in ((1.0, 0.0), (100.0, -30.0)):
        torch.manual_seed(0)
        encoder = FeatureMLP(Features(12), 3, input_norm="standardize")
        for _ in range(200):
            encoder(scale * features + shift)
        outputs.append(encoder.eval()(scale * features + shift))
    assert torch.allclose(*outputs, atol=1e-2)


def test_dropout_acts_in_training_only() -> None:
    encoder = FeatureMLP(Features(12), 3, dropout=0.5)
    features = torch.randn(4, 12)
    assert not torch.equal(encoder(features), encoder(features))
    encoder.eval()
    assert torch.equal(encoder(features), encoder(features))
