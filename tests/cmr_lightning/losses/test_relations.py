import pytest
import torch

from cmr_lightning.losses.relations import match_distribution, mean_over_pairs, own_pairs, same_class, same_image


def test_class_indices_are_compared() -> None:
    relation = same_class(torch.tensor([0, 1, 2]), torch.tensor([1, 0]))
    assert relation.tolist() == [[False, True], [True, False], [False, False]]


def test_multi_hot_items_share_a_class_where_they_share_one_label() -> None:
    labels = torch.tensor([[1, 0, 1], [0, 1, 1], [0, 1, 0], [0, 0, 0]])
    expected = [[bool(set(a) & set(b)) for b in ({0, 2}, {1, 2}, {1}, ())] for a in ({0, 2}, {1, 2}, {1}, ())]
    assert same_class(labels, labels).tolist() == expected
    assert same_class(labels.float(), labels[:2].float()).tolist() == [row[:2] for row in expected]


def test_one_hot_labels_agree_with_indices() -> None:
    label = torch.tensor([0, 2, 1, 2, 0])
    hot = torch.nn.functional.one_hot(label, 3)
    assert torch.equal(same_class(hot, hot), same_class(label, label))


def test_texts_of_one_image_are_the_same_image() -> None:
    expected = [[False, True], [False, True], [True, False]]
    assert same_image(torch.tensor([7, 7, 9]), torch.tensor([9, 7])).tolist() == expected


def test_own_pairs_are_the_diagonal() -> None:
    assert own_pairs(torch.zeros(2, 2)).tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize("matches", [1, 2, 5])
def test_rows_of_the_match_distribution_sum_to_one(matches: int) -> None:
    ids = torch.arange(4).repeat_interleave(matches)
    distribution = match_distribution(same_image(ids, ids), torch.float64)
    torch.testing.assert_close(distribution.sum(1), torch.ones(len(ids), dtype=torch.float64), rtol=0, atol=1e-15)
    assert (distribution > 0).sum(1).tolist() == [matches] * len(ids)
    assert distribution.max().item() == pytest.approx(1 / matches, abs=1e-15)


def test_an_item_without_any_match_matches_its_own_partner() -> None:
    nothing = torch.zeros(3, 3, dtype=torch.bool)
    assert torch.equal(match_distribution(nothing, torch.float32), torch.eye(3))


def test_mean_over_pairs_is_of_rows_then_of_rows_that_have_any() -> None:
    values = torch.tensor([[1.0, 3.0, 100.0], [5.0, 7.0, 9.0], [11.0, 100.0, 100.0]])
    chosen = torch.tensor([[True, True, False], [False, False, False], [True, False, False]])
    assert mean_over_pairs(values, chosen).item() == (2 + 11) / 2


def test_mean_over_no_pairs_is_zero_without_gradient() -> None:
    values = torch.full((2, 2), 5.0, requires_grad=True)
    mean = mean_over_pairs(values, torch.zeros(2, 2, dtype=torch.bool))
    mean.backward()
    assert mean.item() == 0
    assert values.grad is not None
    assert torch.equal(values.grad, torch.zeros(2, 2))
