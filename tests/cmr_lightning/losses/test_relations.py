import torch

from cmr_lightning.losses import same_class, same_image


def test_class_indices_are_compared() -> None:
    relation = same_class(torch.tensor([0, 1, 2]), torch.tensor([1, 0]))
    assert relation.tolist() == [[False, True], [True, False], [False, False]]


def test_multi_hot_items_share_a_class_where_they_share_one_label() -> None:
    labels = torch.tensor([[1, 0, 1], [0, 1, 1], [0, 1, 0], [0, 0, 0]])
    expected = [[bool(set(a) & set(b)) for b in ({0, 2}, {1, 2}, {1}, ())] for a in ({0, 2}, {1, 2}, {1}, ())]
    assert same_class(labels, labels).tolist() == expected
    assert same_class(labels.float(), labels[:2].float()).tolist() == [row[:2] for row in expected]


def test_texts_of_one_image_are_the_same_image() -> None:
    expected = [[False, True], [False, True], [True, False]]
    assert same_image(torch.tensor([7, 7, 9]), torch.tensor([9, 7])).tolist() == expected
