import pytest
import torch
from jsonargparse import ArgumentParser
from torch import nn

from cmr_lightning.discriminators import ModalityClassifier


def sizes(classifier: ModalityClassifier) -> list[tuple[int, int]]:
    return [(m.in_features, m.out_features) for m in classifier.modules() if isinstance(m, nn.Linear)]


@pytest.mark.parametrize("items", [1, 5])
@pytest.mark.parametrize("hidden", [(), (7,), (7, 3)])
def test_one_logit_an_item(items: int, hidden: tuple[int, ...]) -> None:
    assert ModalityClassifier(8, hidden)(torch.randn(items, 8)).shape == (items,)


def test_layers_are_as_asked_for() -> None:
    assert sizes(ModalityClassifier(200)) == [(200, 50), (50, 1)]
    assert sizes(ModalityClassifier(8, [6, 4])) == [(8, 6), (6, 4), (4, 1)]
    assert sizes(ModalityClassifier(8, [])) == [(8, 1)]


def test_equals_the_layers_by_hand() -> None:
    classifier = ModalityClassifier(4, (3,))
    first, last = (m for m in classifier.modules() if isinstance(m, nn.Linear))
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


def test_learns_to_tell_two_clouds_apart() -> None:
    torch.manual_seed(0)
    classifier = ModalityClassifier(2)
    images, texts = torch.randn(40, 2) + 2, torch.randn(40, 2) - 2
    optimizer = torch.optim.Adam(classifier.parameters(), lr=0.05)
    for _ in range(30):
        loss = nn.functional.softplus(-classifier(images)).mean() + nn.functional.softplus(classifier(texts)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (classifier(images) > 0).float().mean() > 0.95
    assert (classifier(texts) < 0).float().mean() > 0.95


def test_is_configured_by_its_parameters() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(ModalityClassifier, "discriminator", skip={"dim"})
    config = parser.parse_args(["--discriminator.hidden=[512, 64]", "--discriminator.dropout=0.2"])
    assert sizes(ModalityClassifier(8, **config.discriminator)) == [(8, 512), (512, 64), (64, 1)]
