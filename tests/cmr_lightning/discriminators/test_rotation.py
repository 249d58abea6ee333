import pytest
import torch
from jsonargparse import ArgumentParser
from torch import nn

from cmr_lightning.discriminators import RotationClassifier


def sizes(classifier: RotationClassifier) -> list[tuple[int, int]]:
    return [(m.in_features, m.out_features) for m in classifier.modules() if isinstance(m, nn.Linear)]


@pytest.mark.parametrize("items", [1, 5])
def test_one_logit_an_angle(items: int) -> None:
    assert RotationClassifier(8)(torch.randn(items, 8)).shape == (items, 4)
    assert RotationClassifier(8, angles=2)(torch.randn(items, 8)).shape == (items, 2)


def test_turned_images_are_classified_one_by_one() -> None:
    classifier = RotationClassifier(8, (6,))
    turned = torch.randn(3, 4, 8)
    logits = classifier(turned)
    assert logits.shape == (3, 4, 4)
    torch.testing.assert_close(logits[:, 2], classifier(turned[:, 2]))


def test_layers_are_as_asked_for() -> None:
    assert sizes(RotationClassifier(200)) == [(200, 50), (50, 4)]
    assert sizes(RotationClassifier(8, [], angles=3)) == [(8, 3)]


def test_is_configured_by_its_parameters() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(RotationClassifier, "rotation", skip={"dim"})
    config = parser.parse_args(["--rotation.hidden=[16]", "--rotation.angles=4"])
    assert sizes(RotationClassifier(8, **config.rotation)) == [(8, 16), (16, 4)]
