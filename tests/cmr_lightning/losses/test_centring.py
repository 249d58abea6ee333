import torch

from cmr_lightning.losses import centring, class_centring

from .samples import sample

BATCH = sample()


def test_classes_of_other_sizes_have_means_of_their_own() -> None:
    centres = BATCH.weight
    image_label, text_label = torch.tensor([0, 0, 0, 1, 2]), torch.tensor([2, 2, 1, 0])
    hot = torch.eye(3, dtype=torch.float64)
    images, texts = centres[image_label], centres[text_label]
    assert class_centring(images, texts, hot[image_label], hot[text_label]).item() < 1e-12
    assert centring(images, texts).item() > 0.1


def test_items_of_unknown_class_and_classes_of_one_modality_do_not_count() -> None:
    hot = torch.eye(3)
    images, texts = BATCH.images.clone().requires_grad_(), BATCH.texts.clone().requires_grad_()
    image_classes = hot[[0, 0, 2, 2, 2, 0]] * torch.tensor([[1], [1], [1], [1], [1], [0]])
    text_classes = hot[[1, 1, 0, 1, 0, 0]] * torch.tensor([[1], [1], [1], [1], [1], [0]])
    value = class_centring(images, texts, image_classes, text_classes)
    torch.testing.assert_close(value, (images[:2].mean(0) - texts[[2, 4]].mean(0)).square().sum())
    value.backward()
    assert images.grad.any(1).tolist() == [True, True, False, False, False, False]
    assert texts.grad.any(1).tolist() == [False, False, True, False, True, False]


def test_nothing_is_pulled_where_no_class_is_shared() -> None:
    images = BATCH.images.clone().requires_grad_()
    hot = torch.eye(3, dtype=torch.float64)
    value = class_centring(images, BATCH.unpaired, hot[[0] * 6], hot[[1] * 8])
    value.backward()
    assert value.item() == 0
    assert not images.grad.any()


def test_a_class_needs_the_weight_of_half_an_item_and_gets_no_gradient() -> None:
    images, texts = BATCH.images[:2], BATCH.texts[:1]
    for weight, counted in ((0.24, False), (0.26, True)):
        classes = torch.full((2, 1), weight, requires_grad=True)
        value = class_centring(images.clone().requires_grad_(), texts, classes, torch.ones(1, 1))
        value.backward()
        expected = centring(images, texts).item() if counted else 0.0
        torch.testing.assert_close(value.item(), expected)
        assert classes.grad is None
