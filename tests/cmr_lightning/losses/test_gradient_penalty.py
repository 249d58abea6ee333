import pytest
import torch
from torch import Tensor, nn

from cmr_lightning.losses import unit_slope_penalty, zero_centred_penalty

from .samples import Linear, Smooth, sample

BATCH = sample()
HOT = torch.eye(3, dtype=torch.float64)


def test_a_linear_discriminator_costs_what_its_slope_says() -> None:
    square = BATCH.weight[0].square().sum().item()
    assert zero_centred_penalty(BATCH.linear, BATCH.images).item() == pytest.approx(square, rel=1e-12)
    unit = Linear(BATCH.weight / square**0.5)
    assert unit_slope_penalty(unit, BATCH.images, BATCH.unpaired).item() < 1e-12


@pytest.mark.parametrize("classed", [False, True])
def test_the_gradient_in_a_weight_is_that_of_the_value_for_the_same_draws(classed: bool) -> None:
    classes = (BATCH.classes, BATCH.unpaired_classes) if classed else None

    def penalty(weight: Tensor) -> Tensor:
        torch.manual_seed(0)

        def discriminate(points: Tensor, classes: Tensor | None) -> Tensor:
            units = (points @ weight.T).sigmoid()
            return units.sum(1) if classes is None else (classes * units).sum(1)

        return unit_slope_penalty(discriminate, BATCH.images, BATCH.unpaired, classes)

    assert torch.autograd.gradcheck(penalty, [BATCH.weight.clone().requires_grad_()])


def test_points_and_classes_get_no_gradient_and_parameters_none_by_the_way() -> None:
    weight = BATCH.weight.clone().requires_grad_()
    given = [t.clone().requires_grad_() for t in (BATCH.images, BATCH.texts, BATCH.classes, BATCH.classes)]
    penalties = [
        zero_centred_penalty(Smooth(weight), given[0]),
        unit_slope_penalty(Smooth(weight), *given[:2], (given[2], given[3])),
    ]
    assert weight.grad is None
    sum(penalties).backward()
    assert weight.grad.any()
    assert all(leaf.grad is None for leaf in given)


def test_a_slope_of_0_has_a_finite_gradient() -> None:
    dead = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 1), nn.Flatten(0)).double()
    nn.init.constant_(dead[0].bias, -100.0)
    penalty = unit_slope_penalty(lambda points, _: dead(points), BATCH.images, BATCH.unpaired)
    penalty.backward()
    assert penalty.item() == pytest.approx(1, abs=1e-5)
    assert all(p.grad is None or p.grad.isfinite().all() for p in dead.parameters())


class Seen:
    """A discriminator that remembers the points and classes it was given."""

    def __call__(self, points: Tensor, classes: Tensor | None) -> Tensor:
        self.points, self.classes = points.detach(), classes
        return points.sum(1)


def test_points_lie_between_images_and_texts_whatever_their_numbers() -> None:
    torch.manual_seed(0)
    seen, texts = Seen(), torch.ones(3, 2)
    unit_slope_penalty(seen, torch.zeros(500, 2), texts)
    assert torch.equal(seen.points[:, 0], seen.points[:, 1])  # one factor a point, not one a number
    assert seen.points.min() >= 0
    assert seen.points.max() <= 1
    assert seen.points.mean().item() == pytest.approx(0.5, abs=0.08)
    unit_slope_penalty(seen, torch.zeros(1, 2), texts)
    assert len(seen.points) == 1


def test_points_of_classes_lie_between_items_of_one_class() -> None:
    seen, image_label, text_label = Seen(), [0, 1, 2, 0, 1, 1], [1, 1, 0, 0, 0, 0, 1, 0]
    image_classes = HOT[image_label]
    image_classes[-1] = 0  # unknown
    unit_slope_penalty(seen, HOT[image_label], HOT[text_label], (image_classes, HOT[text_label]))
    torch.testing.assert_close(seen.points, HOT[[0, 1, 0, 1]])  # the image of class 2 has no text
    torch.testing.assert_close(seen.classes, HOT[[0, 1, 0, 1]])


def test_a_text_is_drawn_by_the_probability_of_being_of_the_same_class_and_mixed_like_the_point() -> None:
    torch.manual_seed(0)
    seen, soft = Seen(), torch.tensor([[0.7, 0.3, 0.0]]).expand(400, 3)
    unit_slope_penalty(seen, torch.zeros(400, 1), torch.ones(3, 1), (soft, torch.eye(3)))
    of_texts = (seen.classes - (1 - seen.points) * soft) / seen.points
    torch.testing.assert_close(of_texts.mean(0), soft[0], rtol=0, atol=0.08)
    torch.testing.assert_close(of_texts, of_texts.round(), rtol=0, atol=1e-3)


def test_nothing_is_punished_where_no_class_is_shared() -> None:
    weight = BATCH.weight.clone().requires_grad_()
    penalty = unit_slope_penalty(Smooth(weight), BATCH.images, BATCH.texts, (HOT[[0] * 6], HOT[[1] * 6]))
    penalty.backward()
    assert penalty.item() == 0
    assert not weight.grad.any()
