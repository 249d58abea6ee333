from functools import partial

import pytest
import torch

from cmr_lightning.losses import batch_classification, cross_modal_projection, info_nce, same_image, soft_triplet

from .loops import mean, scaled
from .samples import sample


@pytest.mark.parametrize("loss", [partial(info_nce, scale=10.0), cross_modal_projection], ids=["info_nce", "cmpm"])
def test_texts_of_one_image_are_never_negatives(loss) -> None:
    ids = torch.tensor([0, 0])
    images, texts = torch.eye(2).requires_grad_(), torch.ones(2, 2, requires_grad=True)
    loss(images, texts, same_image(ids, ids)).backward()
    torch.testing.assert_close(images.grad, torch.zeros(2, 2))
    torch.testing.assert_close(texts.grad, torch.zeros(2, 2))


@pytest.mark.parametrize("loss", [info_nce, batch_classification, soft_triplet])
def test_a_learned_scale_gets_a_gradient(loss) -> None:
    batch = sample()
    scale = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: loss(batch.images, batch.texts, batch.negatives, s), [scale])


def test_three_random_strangers_are_expected_to_cost_the_same() -> None:
    """What TIRG's code does: three strangers of each anchor, drawn again each time."""
    batch, scale = sample(), 1.5
    items = torch.tensor([scaled(row, scale) for rows in (batch.images, batch.texts) for row in rows.tolist()])
    distances = torch.cdist(items, items).square()
    pair = torch.arange(12) % 6
    draw = torch.Generator().manual_seed(0)
    costs = []
    for _ in range(2000):
        for anchor in range(12):
            strangers = (pair != pair[anchor]).nonzero().flatten()
            drawn = strangers[torch.randperm(len(strangers), generator=draw)[:3]]
            margins = distances[anchor, (anchor + 6) % 12] - distances[anchor, drawn]
            costs.append(torch.nn.functional.softplus(margins).mean().item())
    assert soft_triplet(batch.images, batch.texts, ~torch.eye(6, dtype=torch.bool), scale).item() == pytest.approx(
        mean(costs), rel=0.01
    )
