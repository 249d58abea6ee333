from typing import Any

import pytest
import torch
from jsonargparse import ArgumentParser
from torch import nn

from cmr_lightning.discriminators import ModalityClassifier, RotationClassifier


def linears(classifier: nn.Module) -> list[nn.Linear]:
    return [module for module in classifier.modules() if isinstance(module, nn.Linear)]


def sizes(classifier: nn.Module) -> list[tuple[int, int]]:
    return [(layer.in_features, layer.out_features) for layer in linears(classifier)]


@pytest.mark.parametrize("items", [1, 5])
@pytest.mark.parametrize("hidden", [(), (7,), (7, 3)])
def test_one_logit_an_item_or_an_angle(items: int, hidden: tuple[int, ...]) -> None:
    embeddings = torch.randn(items, 8)
    assert ModalityClassifier(8, hidden)(embeddings).shape == (items,)
    assert RotationClassifier(8, hidden)(embeddings).shape == (items, 4)
    assert RotationClassifier(8, hidden, angles=2)(embeddings).shape == (items, 2)


def test_turned_images_are_classified_one_by_one() -> None:
    classifier = RotationClassifier(8, (6,))
    turned = torch.randn(3, 4, 8)
    logits = classifier(turned)
    assert logits.shape == (3, 4, 4)
    torch.testing.assert_close(logits[:, 2], classifier(turned[:, 2]))


def test_layers_are_as_asked_for() -> None:
    assert sizes(ModalityClassifier(200)) == [(200, 50), (50, 1)]
    assert sizes(ModalityClassifier(8, [6, 4])) == [(8, 6), (6, 4), (4, 1)]
    assert sizes(ModalityClassifier(8, [])) == [(8, 1)]
    assert sizes(RotationClassifier(200)) == [(200, 50), (50, 4)]
    assert sizes(RotationClassifier(8, [], angles=3)) == [(8, 3)]


def test_equals_the_layers_by_hand() -> None:
    classifier = ModalityClassifier(4, (3,))
    first, last = linears(classifier)
    embeddings = torch.randn(6, 4)
    expected = (embeddings @ first.weight.T + first.bias).relu() @ last.weight[0] + last.bias
    torch.testing.assert_close(classifier(embeddings), expected)


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    classifier = ModalityClassifier(4, (100,), dropout=0.5)
    embeddings = torch.randn(6, 4)
    assert not torch.equal(classifier(embeddings), classifier(embeddings))
    classifier.eval()
    assert torch.equal(classifier(embeddings), classifier(embeddings))


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        (ModalityClassifier, ["--of.hidden=[512, 64]", "--of.dropout=0.2"], [(8, 512), (512, 64), (64, 1)]),
        (RotationClassifier, ["--of.hidden=[16]", "--of.angles=4"], [(8, 16), (16, 4)]),
    ],
)
def test_is_configured_by_its_parameters(kind: Any, options: list[str], expected: list[tuple[int, int]]) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, "of", skip={"dim"})
    assert sizes(kind(8, **parser.parse_args(options).of)) == expected
