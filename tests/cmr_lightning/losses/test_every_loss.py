"""What holds for every loss, whatever its formula."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor

from cmr_lightning import losses

from . import loops
from .samples import RELATIONS, Sample, sample


@dataclass(frozen=True)
class Term:
    """A loss with what it reads of a sample, what of that gets no gradient, and its settings."""

    name: str
    reads: str
    settings: dict[str, Any] = field(default_factory=dict)
    detached: str = ""

    def __call__(self, batch: Sample) -> Tensor:
        value = getattr(losses, self.name)(*(getattr(batch, name) for name in self.reads.split()), **self.settings)
        return value.sum() if self.name in ("binary_entropy", "class_product") else value

    def by_loop(self, batch: Sample) -> float:
        read = (getattr(batch, name).tolist() for name in self.reads.split())
        return getattr(loops, self.name)(*read, **self.settings)

    def __str__(self) -> str:
        return ", ".join([self.name, self.reads, *(f"{key}={value}" for key, value in self.settings.items())])


def varied(name: str, reads: str, key: str, *values: Any) -> list[Term]:
    return [Term(name, reads, {key: value}) for value in values]


MODES = ("reversal", "flipped", "entropy")
ESTIMATORS = ("jsd", "nce", "dv")

TERMS = [
    *varied("intra_class", "images same", "neighbours", None, 1, 2, 50),
    *varied("inter_class", "images same", "margin", None, 1.0, 2.5),
    *(Term("inter_class", "images same", {"margin": m, "neighbours": k}) for m in (None, 1.5) for k in (1, 3, 50)),
    Term("paired_difference", "images texts"),
    Term("cross_difference", "images texts match"),
    Term("pair_distance", "images texts"),
    *varied("bidirectional_triplet", "images texts negatives", "margin", 0.2, 0.7),
    *varied("bidirectional_triplet", "images texts negatives", "mining", "hardest", "sum"),
    Term("bidirectional_triplet", "images texts negatives", {"reduction": "mean", "mining": "sum", "margin": 0.7}),
    *(
        Term("bidirectional_triplet", "images texts negatives", {"positives": "class", "margin": m, "mining": mining})
        for m in (0.2, 1.5)  # with 1.5 all triplets count
        for mining in ("hardest", "sum")
    ),
    *(
        Term("invariance_triplet", "images texts same", {"margin": m, "weight": w})
        for m in (1.0, 4.0)
        for w in (0, 0.5)
    ),
    Term("info_nce", "images texts match", {"scale": 7.0}),
    Term("batch_classification", "images texts negatives", {"scale": 3.0}),
    Term("soft_triplet", "images texts negatives", {"scale": 1.5}),
    Term("pairwise_likelihood", "images texts same"),
    *(Term("label_loss", f"image_logits {label}") for label in ("label", "one_hot", "multi_hot")),
    *varied("label_calibration", "image_logits text_logits", "temperature", 1.0, 4.0),
    *(Term("label_regression", f"image_logits {label}") for label in ("one_hot", "multi_hot")),
    Term("cross_modal_projection", "images texts match"),
    Term("projection_classification", "images texts weight label"),
    Term("modality_loss", "image_modality text_modality"),
    *varied("adversarial_modality", "image_modality text_modality", "mode", *MODES),
    Term("binary_entropy", "image_modality"),
    Term("rotation_loss", "rotation"),
    *varied("adversarial_rotation", "rotation", "mode", *MODES),
    *(Term(name, "scores negatives") for name in ("jensen_shannon", "noise_contrastive", "donsker_varadhan")),
    *varied("mutual_information", "scores negatives", "estimator", *ESTIMATORS),
    *varied("mutual_information", "local_scores negatives", "estimator", *ESTIMATORS),
    *varied("maximum_mean_discrepancy", "images unpaired", "unbiased", False, True),
    *varied("coral", "images unpaired", "means", False, True),
    *varied("sinkhorn_divergence", "images unpaired", "smoothing", 0.5, 1.0),
    *(Term(name, "images texts") for name in ("maximum_mean_discrepancy", "centring")),
    Term("centring", "images unpaired"),
    Term("class_centring", "images unpaired classes unpaired_classes"),
    *(Term("class_product", classed) for classed in ("images one_hot", "unpaired unpaired_classes")),
    Term("zero_centred_penalty", "smooth images", detached="images"),
    Term("unit_slope_penalty", "linear images unpaired", detached="images unpaired"),
]

every_term = pytest.mark.parametrize("term", TERMS, ids=str)
half_precisions = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
related = pytest.mark.parametrize("term", [t for t in TERMS if set(RELATIONS) & set(t.reads.split())], ids=str)

COMPARING = ("intra_class", "inter_class", "bidirectional_triplet", "info_nce", "batch_classification", "soft_triplet")
COMPARING += ("cross_modal_projection", "jensen_shannon", "noise_contrastive", "donsker_varadhan", "mutual_information")
"""Terms that are 0 where a batch holds nothing to compare a pair with."""

GROWING = ("coral", "centring", "class_centring", "zero_centred_penalty", "unit_slope_penalty")
"""Terms whose gradient grows with what they read, so that half precision holds it no longer than that is small."""

HELD = {"maximum_mean_discrepancy": "mmd.median_distance", "sinkhorn_divergence": "sinkhorn.mean_cost"}
"""Functions that compute a scale from the points, which is a constant as far as the gradient is concerned."""


def finite_gradients(term: Term, batch: Sample) -> tuple[Tensor, dict[str, Tensor]]:
    """The value of a term, and its gradient in every tensor that it reads, all of them finite."""
    batch = batch.with_floats(lambda value: value.clone().requires_grad_())
    value = term(batch)
    value.backward()
    found = {name: leaf.grad for name, leaf in batch.floats.items() if leaf.grad is not None}
    assert value.isfinite()
    assert found
    for name, gradient in found.items():
        assert gradient.isfinite().all(), name
    return value.detach(), found


def hold_scale(term: Term, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the scale of a term stay what it is for the points that come first."""
    if term.name not in HELD:
        return
    path, found = f"cmr_lightning.losses.{HELD[term.name]}", []
    module, _, name = path.rpartition(".")
    compute = getattr(import_module(module), name)

    def held(matrix: Tensor) -> Tensor:
        if not found:
            found.append(compute(matrix))
        return found[0]

    monkeypatch.setattr(path, held)


def fill(value: float) -> Callable[[Tensor], Tensor]:
    return lambda tensor: torch.full_like(tensor, value)


def mixed_rows(tensor: Tensor) -> Tensor:
    """Fill row after row with a large number, its opposite and zero in turn."""
    values = torch.tensor([1e4, -1e4, 0.0], dtype=tensor.dtype).repeat(len(tensor))[: len(tensor)]
    return values.view(-1, *[1] * (tensor.ndim - 1)).expand_as(tensor)


EXTREMES = {
    "large": fill(1e4),
    "large negative": fill(-1e4),
    "zeros": fill(0.0),
    "mixed rows": mixed_rows,
    "mixed signs": lambda tensor: tensor.sign() * 1e4,
    "largest": lambda tensor: tensor.sign() * 65504,
    "tiny": lambda tensor: tensor.sign() * 6e-8,
}


def test_no_public_loss_is_left_out() -> None:
    not_losses = {"AdversarialMode", "Estimator", "Mining", "Positives", "Reduction"}
    not_losses |= {"same_class", "same_image"}
    assert {term.name for term in TERMS} == set(losses.__all__) - not_losses


@every_term
def test_value_is_that_of_the_loop(term: Term) -> None:
    value = term(sample())
    assert value.shape == ()
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(term.by_loop(sample()), abs=1e-9)


@every_term
def test_gradient_is_that_of_the_value(term: Term, monkeypatch: pytest.MonkeyPatch) -> None:
    hold_scale(term, monkeypatch)
    batch = sample(4)
    names = sorted(batch.floats.keys() & {*term.reads.split(), "weight"} - {*term.detached.split()})
    leaves = [batch.floats[name].clone().requires_grad_() for name in names]

    def of_leaves(*values: Tensor) -> Tensor:
        return term(replace(batch, **dict(zip(names, values, strict=True))))

    assert torch.autograd.gradcheck(of_leaves, leaves)


@every_term
def test_order_of_the_batch_is_immaterial(term: Term) -> None:
    batch = sample()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    torch.testing.assert_close(term(batch.permuted(order)), term(batch), rtol=0, atol=1e-12)


@related
def test_an_item_is_always_its_own_match_and_never_its_own_negative(term: Term) -> None:
    own = torch.eye(6, dtype=torch.bool)
    claimed, denied = sample().with_relations(lambda r: r | own), sample().with_relations(lambda r: r & ~own)
    assert torch.equal(term(claimed), term(denied))


@related
@pytest.mark.parametrize("everything", [True, False])
def test_batches_where_all_or_none_are_related_give_finite_gradients(term: Term, everything: bool) -> None:
    finite_gradients(term, sample().with_relations(lambda r: torch.full_like(r, everything)))


@every_term
@half_precisions
def test_half_precision_is_computed_in_float32(term: Term, dtype: torch.dtype) -> None:
    single = sample().with_floats(lambda value: value.float())
    half = single.with_floats(lambda value: value.to(dtype))
    value = term(half)
    assert value.dtype == torch.float32
    assert torch.equal(value, term(half.with_floats(lambda value: value.float())))
    with torch.autocast("cpu", dtype):
        inside = term(single)
    assert torch.equal(inside, term(single))


@every_term
@half_precisions
@pytest.mark.parametrize("extreme", EXTREMES.values(), ids=EXTREMES.keys())
def test_extreme_input_gives_finite_values_and_gradients(
    term: Term, dtype: torch.dtype, extreme: Callable[[Tensor], Tensor]
) -> None:
    batch, kept = sample().with_floats(lambda tensor: extreme(tensor).to(dtype)), dtype
    if term.name in GROWING:
        batch, kept = batch.with_floats(Tensor.float), torch.float32
    _, grads = finite_gradients(term, batch)
    assert {grad.dtype for grad in grads.values()} == {kept}


@every_term
def test_a_single_pair_gives_finite_values_and_gradients_and_has_nothing_to_compare(term: Term) -> None:
    value, grads = finite_gradients(term, sample(1))
    if term.name in COMPARING:
        assert abs(value.item()) < 1e-12
        assert all((grad.abs() < 1e-7).all() for grad in grads.values())


@pytest.mark.parametrize("term", [t for t in TERMS if "negatives" in t.reads or t.name == "inter_class"], ids=str)
def test_nothing_is_pushed_away_where_nothing_is_negative(term: Term) -> None:
    batch = sample()
    batch = replace(batch, same=torch.ones_like(batch.same), negatives=torch.zeros_like(batch.negatives))
    value, grads = finite_gradients(term, batch)
    assert abs(value.item()) < 1e-12
    assert not any(grad.any() for grad in grads.values())


@pytest.mark.parametrize(
    "term",
    [
        Term("pair_distance", "images texts"),
        Term("label_regression", "image_logits text_logits"),
        Term("invariance_triplet", "images texts same", {"margin": 0.0, "weight": 1.0}),
    ],
    ids=str,
)
def test_a_distance_of_zero_has_a_gradient_of_zero(term: Term) -> None:
    batch = sample()
    value, grads = finite_gradients(term, replace(batch, texts=batch.images, text_logits=batch.image_logits))
    assert value.item() == 0
    assert not any(grad.any() for grad in grads.values())
