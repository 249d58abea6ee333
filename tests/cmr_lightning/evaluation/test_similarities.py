import pytest
import torch

from cmr_lightning.evaluation.similarities import similarities


def case(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries and items, some of them equal, opposite, or zero."""
    generator = torch.Generator().manual_seed(seed)
    queries, gallery = (torch.randn(n, 7, generator=generator) for n in (9, 40))
    gallery[:3], gallery[3:6], gallery[6], queries[8] = queries[:3], -queries[:3], 0, 0
    return queries, gallery


def whole(queries: torch.Tensor, gallery: torch.Tensor, distance: str, block_elements: int = 10**6) -> torch.Tensor:
    """All blocks together."""
    return torch.cat([block.clone() for _, block in similarities(queries, gallery, distance, block_elements)])


def test_similarities_are_whole_numbers_of_steps():
    queries, gallery = (embeddings.double() for embeddings in case())
    cosine = torch.nn.functional.cosine_similarity(queries[:, None], gallery[None], dim=2)
    farthest = queries.norm(dim=1, keepdim=True) + gallery.norm(dim=1).max()
    closeness = 1 - (queries[:, None] - gallery[None]).square().sum(dim=2) / farthest.square()
    for distance, expected in (("cos", 2**29 * (1 + cosine)), ("l2", 2**30 * closeness)):
        assert torch.equal(whole(*case(), distance), (expected.round() - 1).clamp(min=0).int())


@pytest.mark.parametrize("distance", ["cos", "l2"])
def test_the_ends_of_the_range(distance):
    point = torch.tensor([[3.0, 4.0]])
    assert whole(point, torch.cat([point, -point]), distance).tolist() == [[2**30 - 1, 0]]
    assert whole(0 * point, 0 * point, distance).tolist() == [[2**29 - 1 if distance == "cos" else 2**30 - 1]]


@pytest.mark.parametrize("distance", ["cos", "l2"])
@pytest.mark.parametrize("block_elements", [1, 80, 200])
def test_blocks_follow_on_one_another(distance, block_elements):
    queries, gallery = case(2)
    rows = [rows for rows, _ in similarities(queries, gallery, distance, block_elements, slice(2, 9))]
    assert [row for part in rows for row in range(9)[part]] == list(range(2, 9))
    assert torch.equal(whole(queries, gallery, distance, block_elements), whole(queries, gallery, distance))
