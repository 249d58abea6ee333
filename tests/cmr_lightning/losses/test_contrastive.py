import math

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from cmr_lightning.losses import info_nce, same_image

from .samples import cosine, mean, sample, softmax


def test_equals_a_loop() -> None:
    batch = sample()
    images, texts, scale = batch.images.tolist(), batch.texts.tolist(), 7.0
    match = batch.same.clone()
    match[0, 3] = True  # a match need not be symmetric
    total = 0.0
    for queries, gallery, matches in ((images, texts, match), (texts, images, match.T)):
        for i, query in enumerate(queries):
            p = softmax([scale * cosine(query, item) for item in gallery])
            total += mean([-math.log(p[j]) for j in range(6) if matches[i, j]])
    assert info_nce(batch.images, batch.texts, match, scale).item() == pytest.approx(total / 12, abs=1e-9)


def test_unique_ids_give_the_plain_diagonal_cross_entropy() -> None:
    batch = sample()
    logits = 14.0 * normalize(batch.images) @ normalize(batch.texts).T
    diagonal = torch.arange(6)
    plain = (cross_entropy(logits, diagonal) + cross_entropy(logits.T, diagonal)) / 2
    ids = torch.tensor([10, 11, 12, 13, 14, 15])
    torch.testing.assert_close(
        info_nce(batch.images, batch.texts, same_image(ids, ids), 14.0), plain, rtol=0, atol=1e-12
    )


def test_texts_of_one_image_are_never_negatives() -> None:
    ids = torch.tensor([0, 0])
    images = torch.ones(2, 2, requires_grad=True)
    texts = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    info_nce(images, texts, same_image(ids, ids), 10.0).backward()
    torch.testing.assert_close(images.grad, torch.zeros(2, 2))
    torch.testing.assert_close(texts.grad, torch.zeros(2, 2))


def test_a_learned_scale_gets_a_gradient() -> None:
    batch = sample()
    log_scale = torch.tensor(math.log(10.0), dtype=torch.float64, requires_grad=True)

    def loss(value: torch.Tensor) -> torch.Tensor:
        return info_nce(batch.images, batch.texts, batch.same, value.exp())

    assert torch.autograd.gradcheck(loss, [log_scale])
    assert loss(log_scale).item() == pytest.approx(
        info_nce(batch.images, batch.texts, batch.same, 10.0).item(), abs=1e-9
    )
