"""What holds for every alignment, adversarial or not."""

from inspect import isabstract
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from cmr_lightning.errors import UserError
from cmr_lightning.game import alignments
from cmr_lightning.game.alignments import (
    CORAL,
    MMD,
    Adversary,
    Alignment,
    Centring,
    ClassCentring,
    ConditionalAdversary,
    ModalityAdversary,
    Sinkhorn,
    WassersteinAdversary,
)

DIM, CLASSES = 8, 3

BLIND: list[tuple[type[Alignment], dict[str, Any]]] = [
    (MMD, {}),
    (CORAL, {}),
    (CORAL, {"means": False}),
    (Sinkhorn, {}),
    (Centring, {}),
    (ModalityAdversary, {}),
    (WassersteinAdversary, {}),
]
TOLD: list[tuple[type[Alignment], dict[str, Any]]] = [
    (ClassCentring, {}),
    (ConditionalAdversary, {}),
    (ConditionalAdversary, {"condition": "concatenation", "r1": 1.0}),
    (WassersteinAdversary, {"classes": "labels"}),
]


def of(cases: list[tuple[type[Alignment], dict[str, Any]]]) -> pytest.MarkDecorator:
    names = [" ".join([cls.__name__, *(f"{key}={value}" for key, value in options.items())]) for cls, options in cases]
    return pytest.mark.parametrize(("cls", "options"), cases, ids=names)


every_alignment = of(BLIND + TOLD)
without_a_game = of([case for case in BLIND + TOLD if not issubclass(case[0], Adversary)])


def points(rows: int, seed: int, shift: float = 0.0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(rows, DIM, generator=draw) + shift


def made(cls: type[Alignment], options: dict[str, Any], **settings: Any) -> Alignment:
    torch.manual_seed(0)
    return cls(dim=DIM, num_classes=CLASSES, **options, **settings)  # type: ignore[call-arg]


def classes(rows: int) -> Tensor:
    """Classes in turn, of the last item unknown where there are several."""
    hot = one_hot(torch.arange(rows) % CLASSES, CLASSES).float()
    hot[3:][-1:] = 0
    return hot


def value(alignment: Alignment, images: Tensor, texts: Tensor, order: tuple[Any, Any] = (slice(None),) * 2) -> Tensor:
    of_images, of_texts = order
    told = classes(len(images))[of_images], classes(len(texts))[of_texts]
    placed = alignment.placed(images[of_images]), alignment.placed(texts[of_texts])
    return alignment(*placed, told if alignment.class_source else None)


def test_none_is_left_out() -> None:
    public = [getattr(alignments, name) for name in alignments.__all__]
    concrete = {x for x in public if isinstance(x, type) and issubclass(x, Alignment) and not isabstract(x)}
    assert {cls for cls, _ in BLIND + TOLD} == concrete


@every_alignment
@pytest.mark.parametrize("space", ["raw", "unit"])
@pytest.mark.parametrize(("images", "texts"), [(6, 6), (6, 9), (9, 6), (1, 1), (1, 6), (6, 1)])
def test_it_is_a_finite_number_whose_gradient_reaches_both_modalities(
    cls: type[Alignment], options: dict[str, Any], space: str, images: int, texts: int
) -> None:
    given = points(images, 1).requires_grad_(), points(texts, 2, shift=0.5).requires_grad_()
    term = value(made(cls, options, space=space), *given)
    assert term.shape == ()
    assert term.isfinite()
    for leaf, of_modality in zip(given, torch.autograd.grad(term, given), strict=True):
        assert of_modality.isfinite().all()
        assert of_modality.any() or (len(leaf) == 1 and options == {"means": False})  # one item has no covariance


@every_alignment
@pytest.mark.parametrize("space", ["raw", "unit"])
@pytest.mark.parametrize("places", [(0.0, 0.0), (0.3, 0.3), (0.3, -0.8)])
def test_collapsed_modalities_give_finite_gradients(
    cls: type[Alignment], options: dict[str, Any], space: str, places: tuple[float, float]
) -> None:
    given = [torch.full((rows, DIM), place, requires_grad=True) for rows, place in zip((6, 9), places, strict=True)]
    term = value(made(cls, options, space=space), *given)
    assert term.isfinite()
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(term, given))


@every_alignment
def test_the_order_of_items_is_immaterial(cls: type[Alignment], options: dict[str, Any]) -> None:
    alignment, images, texts = made(cls, options), points(6, 1), points(9, 2)
    orders = torch.tensor([3, 0, 5, 1, 4, 2]), torch.tensor([8, 3, 0, 7, 5, 1, 6, 4, 2])
    torch.testing.assert_close(value(alignment, images, texts, orders), value(alignment, images, texts))


@every_alignment
def test_lengths_are_seen_in_the_raw_space_alone(cls: type[Alignment], options: dict[str, Any]) -> None:
    images, texts = points(6, 1), points(9, 2)
    longer = images * torch.arange(2.0, 8.0)[:, None]
    for space, seen in (("raw", True), ("unit", False)):
        alignment = made(cls, options, space=space)
        assert torch.allclose(value(alignment, longer, texts), value(alignment, images, texts)) is not seen


@without_a_game
def test_half_precision_and_autocast_are_computed_in_float32(cls: type[Alignment], options: dict[str, Any]) -> None:
    alignment, images, texts = made(cls, options), points(6, 1).bfloat16().float(), points(9, 2).bfloat16().float()
    expected = value(alignment, images, texts)
    assert torch.equal(value(alignment, images.bfloat16(), texts.bfloat16()), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(value(alignment, images, texts), expected)


@without_a_game
def test_equal_modalities_are_at_the_minimum(cls: type[Alignment], options: dict[str, Any]) -> None:
    alignment, images = made(cls, options), points(9, 1).double()
    texts = images.clone().requires_grad_()
    term = value(alignment, images, texts)
    (gradient,) = torch.autograd.grad(term, texts)
    assert abs(term.item()) < 1e-12
    assert gradient.abs().max() < 1e-12
    assert value(alignment, images, points(9, 2).double()).item() > 1e-3


@without_a_game
def test_modalities_apart_are_pulled_together_unless_means_are_left_out(
    cls: type[Alignment], options: dict[str, Any]
) -> None:
    images, texts = points(6, 1).requires_grad_(), points(9, 2, shift=2.0).requires_grad_()
    gradients = torch.autograd.grad(value(made(cls, options), images, texts), (images, texts))
    towards_texts, towards_images = (-gradient.sum().item() for gradient in gradients)
    if options == {"means": False}:
        assert abs(towards_texts) < 1e-5
    else:
        assert towards_texts > 0.01
    assert towards_images == pytest.approx(-towards_texts, rel=1e-3, abs=1e-4)


@of(TOLD)
def test_classes_that_the_data_lacks_are_refused(cls: type[Alignment], options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"{cls.__name__}.* without classes"):
        cls(dim=DIM, num_classes=0, **options)  # type: ignore[call-arg]


def test_class_centring_needs_classes() -> None:
    with pytest.raises(UserError, match="no classes"):
        made(ClassCentring, {})(points(6, 1), points(9, 2))


@of(BLIND)
def test_those_that_take_no_classes_need_none(cls: type[Alignment], options: dict[str, Any]) -> None:
    alignment = cls(dim=DIM, num_classes=0, **options)  # type: ignore[call-arg]
    assert alignment.class_source is None
    assert alignment(points(6, 1), points(9, 2)).isfinite()
