"""What holds for every loss, whatever its formula."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from cmr_lightning import losses

from .samples import Sample, sample

TERMS: dict[str, Callable[[Sample], Tensor]] = {
    "intra_class": lambda s: losses.intra_class(s.images, s.same),
    "intra_class, nearest": lambda s: losses.intra_class(s.images, s.same, neighbours=1),
    "inter_class": lambda s: losses.inter_class(s.images, s.same, margin=1.5),
    "inter_class, unbounded": lambda s: losses.inter_class(s.images, s.same, margin=None),
    "inter_class, nearest": lambda s: losses.inter_class(s.images, s.same, margin=1.5, neighbours=2),
    "paired_difference": lambda s: losses.paired_difference(s.images, s.texts),
    "cross_difference": lambda s: losses.cross_difference(s.images, s.texts, s.same),
    "bidirectional_triplet, hardest": lambda s: losses.bidirectional_triplet(s.images, s.texts, ~s.same),
    "bidirectional_triplet, sum": lambda s: losses.bidirectional_triplet(s.images, s.texts, ~s.same, mining="sum"),
    "bidirectional_triplet, mean": lambda s: losses.bidirectional_triplet(s.images, s.texts, ~s.same, reduction="mean"),
    "cross_modal_projection": lambda s: losses.cross_modal_projection(s.images, s.texts, s.same),
    "projection_classification": lambda s: losses.projection_classification(s.images, s.texts, s.weight, s.label),
    "modality_loss": lambda s: losses.modality_loss(s.image_modality, s.text_modality),
    "adversarial_modality, reversal": lambda s: losses.adversarial_modality(
        s.image_modality, s.text_modality, "reversal"
    ),
    "adversarial_modality, flipped": lambda s: losses.adversarial_modality(
        s.image_modality, s.text_modality, "flipped"
    ),
    "adversarial_modality, entropy": lambda s: losses.adversarial_modality(
        s.image_modality, s.text_modality, "entropy"
    ),
    "binary_entropy": lambda s: losses.binary_entropy(s.image_modality).sum(),
    "rotation_loss": lambda s: losses.rotation_loss(s.rotation),
    "adversarial_rotation, reversal": lambda s: losses.adversarial_rotation(s.rotation, "reversal"),
    "adversarial_rotation, flipped": lambda s: losses.adversarial_rotation(s.rotation, "flipped"),
    "adversarial_rotation, entropy": lambda s: losses.adversarial_rotation(s.rotation, "entropy"),
    "label_loss": lambda s: losses.label_loss(s.image_logits, s.label),
    "label_loss, multi-hot": lambda s: losses.label_loss(s.image_logits, s.one_hot),
    "label_calibration": lambda s: losses.label_calibration(s.image_logits, s.text_logits),
    "pairwise_likelihood": lambda s: losses.pairwise_likelihood(s.images, s.texts, s.same),
    "label_regression": lambda s: losses.label_regression(s.image_logits, s.one_hot),
    "pair_distance": lambda s: losses.pair_distance(s.images, s.texts),
    "info_nce": lambda s: losses.info_nce(s.images, s.texts, s.same, scale=10.0),
    "batch_classification": lambda s: losses.batch_classification(s.images, s.texts, ~s.same, scale=3.0),
    "soft_triplet": lambda s: losses.soft_triplet(s.images, s.texts, ~s.same, scale=1.5),
    "invariance_triplet": lambda s: losses.invariance_triplet(s.images, s.texts, s.same, margin=4.0, weight=0.5),
    "jensen_shannon": lambda s: losses.jensen_shannon(s.scores[..., 0], ~s.same),
    "noise_contrastive": lambda s: losses.noise_contrastive(s.scores[..., 0], ~s.same),
    "donsker_varadhan": lambda s: losses.donsker_varadhan(s.scores[..., 0], ~s.same),
    "mutual_information, jsd, local": lambda s: losses.mutual_information(s.scores, ~s.same, "jsd"),
    "mutual_information, nce, local": lambda s: losses.mutual_information(s.scores, ~s.same, "nce"),
    "mutual_information, dv, local": lambda s: losses.mutual_information(s.scores, ~s.same, "dv"),
}

ZERO_FOR_ONE_PAIR = (
    "batch_classification",
    "soft_triplet",
    "intra_class",
    "intra_class, nearest",
    "inter_class",
    "inter_class, unbounded",
    "inter_class, nearest",
    "bidirectional_triplet, hardest",
    "bidirectional_triplet, sum",
    "bidirectional_triplet, mean",
    "cross_modal_projection",
    "info_nce",
    "jensen_shannon",
    "noise_contrastive",
    "donsker_varadhan",
    "mutual_information, jsd, local",
    "mutual_information, nce, local",
    "mutual_information, dv, local",
)

every_term = pytest.mark.parametrize("term", TERMS.values(), ids=TERMS.keys())
half_precisions = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)


def gradients(term: Callable[[Sample], Tensor], batch: Sample) -> tuple[Tensor, dict[str, Tensor]]:
    """The value of a term, and its gradient in every tensor that it reads."""
    batch = batch.with_floats(lambda value: value.clone().requires_grad_())
    value = term(batch)
    value.backward()
    return value.detach(), {name: leaf.grad for name, leaf in batch.floats.items() if leaf.grad is not None}


def fill(value: float) -> Callable[[Tensor], Tensor]:
    return lambda tensor: torch.full_like(tensor, value)


def cycle(*rows: float) -> Callable[[Tensor], Tensor]:
    """Fills row after row with one of the numbers in turn."""

    def fill_rows(tensor: Tensor) -> Tensor:
        values = torch.tensor(rows, dtype=tensor.dtype).repeat(len(tensor))[: len(tensor)]
        return values.view(-1, *[1] * (tensor.ndim - 1)).expand_as(tensor)

    return fill_rows


EXTREMES = {
    "large": fill(1e4),
    "large negative": fill(-1e4),
    "zeros": fill(0.0),
    "mixed rows": cycle(1e4, -1e4, 0.0),
    "mixed signs": lambda tensor: tensor.sign() * 1e4,
    "largest": lambda tensor: tensor.sign() * 65504,
    "tiny": lambda tensor: tensor.sign() * 6e-8,
}


def test_no_public_loss_is_left_out() -> None:
    not_losses = {"AdversarialMode", "Estimator", "Mining", "Reduction", "same_class", "same_image"}
    assert {name.split(",")[0] for name in TERMS} == set(losses.__all__) - not_losses


@every_term
def test_gradient_is_that_of_the_value(term: Callable[[Sample], Tensor]) -> None:
    batch = sample(4)
    names = list(batch.floats)
    leaves = [value.clone().requires_grad_() for value in batch.floats.values()]

    def of_leaves(*values: Tensor) -> Tensor:
        return term(replace(batch, **dict(zip(names, values, strict=True))))

    assert torch.autograd.gradcheck(of_leaves, leaves)


@every_term
def test_order_of_the_batch_is_immaterial(term: Callable[[Sample], Tensor]) -> None:
    batch = sample()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    torch.testing.assert_close(term(batch.permuted(order)), term(batch), rtol=0, atol=1e-12)


@every_term
def test_value_is_a_scalar_in_the_precision_of_its_input(term: Callable[[Sample], Tensor]) -> None:
    value = term(sample())
    assert value.shape == ()
    assert value.dtype == torch.float64


@every_term
@half_precisions
def test_half_precision_input_is_computed_in_float32(term: Callable[[Sample], Tensor], dtype: torch.dtype) -> None:
    batch = sample().with_floats(lambda value: value.to(dtype))
    value = term(batch)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, term(batch.with_floats(lambda value: value.float())), rtol=0, atol=0)


@every_term
@half_precisions
def test_autocast_does_not_lower_the_precision(term: Callable[[Sample], Tensor], dtype: torch.dtype) -> None:
    batch = sample().with_floats(lambda value: value.float())
    with torch.autocast("cpu", dtype):
        value = term(batch)
    torch.testing.assert_close(value, term(batch), rtol=0, atol=0)


@every_term
@half_precisions
@pytest.mark.parametrize("extreme", EXTREMES.values(), ids=EXTREMES.keys())
def test_extreme_input_gives_finite_values_and_gradients(
    term: Callable[[Sample], Tensor], dtype: torch.dtype, extreme: Callable[[Tensor], Tensor]
) -> None:
    value, grads = gradients(term, sample().with_floats(lambda tensor: extreme(tensor).to(dtype)))
    assert value.isfinite()
    assert grads
    for name, grad in grads.items():
        assert grad.dtype == dtype
        assert grad.isfinite().all(), name


@every_term
def test_a_single_pair_gives_finite_values_and_gradients(term: Callable[[Sample], Tensor]) -> None:
    value, grads = gradients(term, sample(1))
    assert value.isfinite()
    assert grads
    assert all(grad.isfinite().all() for grad in grads.values())


@pytest.mark.parametrize("name", ZERO_FOR_ONE_PAIR)
def test_a_single_pair_has_nothing_to_compare(name: str) -> None:
    value, grads = gradients(TERMS[name], sample(1))
    assert abs(value.item()) < 1e-12
    assert all((grad.abs() < 1e-7).all() for grad in grads.values())
