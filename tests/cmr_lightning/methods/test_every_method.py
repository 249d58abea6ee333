"""Each term of a method: which loss it is, of which pairs, and which parameters it reaches."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot
from torch.optim import Adam

from cmr_lightning import losses
from cmr_lightning.discriminators import ConcatCritic, DotProductCritic
from cmr_lightning.errors import UserError
from cmr_lightning.game.alignments import ModalityAdversary
from cmr_lightning.methods import METHODS
from cmr_lightning.methods.acmr import ACMR
from cmr_lightning.methods.cmpl import CMPL, targets
from cmr_lightning.methods.daml import DAML
from cmr_lightning.methods.dscmr import DSCMR
from cmr_lightning.methods.info_max import InfoMax
from cmr_lightning.methods.info_nce import InfoNCE
from cmr_lightning.methods.itmeetsal import ITMeetsAL
from cmr_lightning.methods.miite import MIITE
from cmr_lightning.methods.triplet import Triplet
from cmr_lightning.methods.vsepp import VSEpp
from tests.building import trainer
from tests.cmr_lightning.methods.reach import ENCODERS, first_batch, reached, toy_method
from tests.cmr_lightning.methods.reach import losses as terms_of
from tests.toy import CLASSES, Toy


@dataclass(frozen=True)
class Sight:
    """What a term is computed from: embeddings, the pairs that belong together, and the classes of both kinds."""

    model: Any
    pair: tuple[Tensor, Tensor]
    related: Tensor
    label: Tensor
    group: Tensor

    def both(self, loss: Callable[..., Tensor], *arguments: Any) -> Tensor:
        return loss(self.pair[0], *arguments) + loss(self.pair[1], *arguments)

    def classified(self, loss: Callable[[Tensor, Tensor], Tensor], target: Tensor) -> Tensor:
        return self.both(lambda points: loss(self.model.classifier(points), target))

    def modality(self, mode: losses.AdversarialMode) -> Tensor:
        return losses.adversarial_modality(*map(self.model.alignment.discriminator, self.pair), mode)

    def triplet(
        self,
        margin: float,
        mining: losses.Mining,
        reduction: losses.Reduction,
        positives: losses.Positives | None = None,
    ) -> Tensor:
        usual: losses.Positives = "class" if self.model.spec.relevance == "label" else "own"
        return losses.bidirectional_triplet(
            *self.pair, ~self.related, margin, mining, reduction, positives=positives or usual
        )

    def kl(self, images: Tensor, texts: Tensor) -> Tensor:
        return losses.cross_modal_projection(images, texts, self.related)

    def information(self, estimator: losses.Estimator) -> Tensor:
        images, texts = self.pair
        return losses.mutual_information(self.model.text_image(texts, images), ~self.related, estimator)


Expected = Callable[[Sight], Tensor]
Case = tuple[Any, dict[str, Any], dict[str, Expected]]
FLIPPED = partial(ModalityAdversary, mode="flipped")
DOT, CONCAT = partial(DotProductCritic, units=16), partial(ConcatCritic, hidden=16)


def case(method: Any, settings: dict[str, Any], **terms: Expected) -> Case:
    """A method with its settings, and what its terms should be."""
    return method, settings, terms


def info_max(critic: Callable[..., torch.nn.Module], estimator: losses.Estimator = "jsd") -> Case:
    return case(
        InfoMax,
        {"critic": critic, "estimator": estimator},
        triplet=lambda at: at.triplet(0.2, "hardest", "mean"),
        text_image=lambda at: at.information(estimator),
    )


TERMS = [
    case(
        ACMR,
        {"alignment": FLIPPED},
        label=lambda at: at.classified(losses.label_loss, at.label),
        pair=lambda at: losses.invariance_triplet(*at.pair, at.related, 1.0, 0.05),
        alignment=lambda at: at.modality("flipped"),
    ),
    case(
        ACMR,
        {"margin": 10.0, "negatives": 0.5},
        pair=lambda at: losses.invariance_triplet(*at.pair, at.related, 10.0, 0.5),
    ),
    case(
        CMPL,
        {},
        cmpm=lambda at: at.kl(*at.pair),
        cmpc=lambda at: losses.projection_classification(*at.pair, at.model.classifier.weight, at.group),
    ),
    case(
        DAML,
        {},
        intra=lambda at: at.both(losses.intra_class, at.related),
        inter=lambda at: at.both(losses.inter_class, at.related, 1.0),
        pair=lambda at: losses.paired_difference(*at.pair),
        label=lambda at: at.classified(losses.label_loss, at.label),
        alignment=lambda at: at.modality("reversal"),
    ),
    case(
        DAML,
        {"margin": None, "neighbours": 2, "pairing": "class"},
        intra=lambda at: at.both(losses.intra_class, at.related, 2),
        inter=lambda at: at.both(losses.inter_class, at.related, None, 2),
        pair=lambda at: losses.cross_difference(*at.pair, at.related),
    ),
    case(
        DSCMR,
        {"width": 12},
        label=lambda at: at.classified(losses.label_regression, one_hot(at.label, CLASSES).float()),
        likelihood=lambda at: losses.pairwise_likelihood(*at.pair, at.related),
        pair=lambda at: losses.pair_distance(*at.pair),
    ),
    info_max(CONCAT),
    info_max(DOT),
    info_max(DOT, "nce"),
    info_max(DOT, "dv"),
    case(InfoNCE, {"temperature": 0.1}, info_nce=lambda at: losses.info_nce(*at.pair, at.related, 10.0)),
    case(
        ITMeetsAL,
        {},
        kl=lambda at: at.kl(*at.pair) + at.both(lambda points: at.kl(points, points)) / 2,
        triplet=lambda at: at.triplet(0.2, "hardest", "mean"),
        label=lambda at: at.classified(losses.label_loss, at.group),
        calibration=lambda at: losses.label_calibration(*map(at.model.classifier, at.pair), 4.0),
        alignment=lambda at: at.modality("entropy"),
    ),
    case(
        ITMeetsAL,
        {"kl_intra": False, "positives": "own", "label_form": "cmpc", "mining": "sum", "margin": 0.5, "temperature": 2},
        kl=lambda at: at.kl(*at.pair),
        triplet=lambda at: at.triplet(0.5, "sum", "mean", "own"),
        label=lambda at: losses.projection_classification(*at.pair, at.model.classifier.weight, at.group),
        calibration=lambda at: losses.label_calibration(*map(at.model.classifier, at.pair), 2.0),
    ),
    case(
        MIITE,
        {"alignment": FLIPPED},
        triplet=lambda at: at.triplet(0.2, "hardest", "mean"),
        alignment=lambda at: replace(at, pair=(normalize(at.pair[0]), normalize(at.pair[1]))).modality("flipped"),
    ),
    case(Triplet, {}, triplet=lambda at: at.triplet(0.2, "hardest", "mean")),
    case(Triplet, {"positives": "own"}, triplet=lambda at: at.triplet(0.2, "hardest", "mean", "own")),
    case(Triplet, {"positives": "class"}, triplet=lambda at: at.triplet(0.2, "hardest", "mean", "class")),
    case(Triplet, {"margin": 0.3, "mining": "sum"}, triplet=lambda at: at.triplet(0.3, "sum", "mean")),
    case(VSEpp, {}, triplet=lambda at: at.triplet(0.2, "hardest", "sum")),
    case(VSEpp, {"mining": "sum", "margin": 0.5}, triplet=lambda at: at.triplet(0.5, "sum", "sum")),
]

BEYOND = {
    "label": {"classifier"},
    "cmpc": {"classifier"},
    "calibration": {"classifier"},
    "info_nce": {"growth"},
    "text_image": {"text_image"},
}
"""What terms reach beside the encoders."""


@pytest.mark.parametrize("level", ["label", "instance"])
@pytest.mark.parametrize(
    ("method", "settings", "term", "expected"),
    [
        pytest.param(method, settings, term, expected, id=f"{method.__name__}-{place}-{term}")
        for place, (method, settings, terms) in enumerate(TERMS)
        for term, expected in terms.items()
    ],
)
def test_a_term_is_its_loss_and_reaches_its_parameters(
    method: Any, settings: dict[str, Any], term: str, expected: Expected, level: str
) -> None:
    data = Toy(num_train=20, captions=3, level=level)
    model, batch = toy_method(method, data, **settings), first_batch(data)
    group = batch.label if level == "label" else batch.image_id
    related = group[:, None] == group[None, :]
    assert related.sum() > len(group)  # others than the own pair belong together, too
    at = Sight(model, model.embed(batch).pair, related, batch.label, group)
    torch.testing.assert_close(terms_of(model, batch)[term], expected(at), rtol=1e-5, atol=1e-6)
    parts = ENCODERS | BEYOND.get(term, set()) | ({"common"} if method is DSCMR else set())
    assert reached(model, batch, term) == parts


def test_every_term_of_these_methods_is_in_the_table() -> None:
    found: dict[str, set[str]] = {}
    for method, _, terms in TERMS:
        found.setdefault(method.__name__, set()).update(terms)
    for name, terms in found.items():
        assert terms | {"text_map"} >= set(METHODS[name].terms), name  # InfoMax's needs pictures


@pytest.mark.parametrize("method", [CMPL, ITMeetsAL])
@pytest.mark.parametrize(("level", "classes"), [("label", CLASSES), ("instance", 96)])
def test_classes_are_the_labels_or_the_training_images(method: Any, level: str, classes: int) -> None:
    model = toy_method(method, Toy(captions=2, level=level))
    assert model.classifier.weight.shape == (classes, 8)
    assert model.classifier.bias is None


@pytest.mark.parametrize(
    ("method", "settings", "term"),
    [
        (ACMR, {}, "label"),
        (CMPL, {}, "cmpc"),
        (DAML, {}, "label"),
        (DSCMR, {"width": 12}, "label"),
        (ITMeetsAL, {}, "label"),
        (ITMeetsAL, {"label_form": "cmpc"}, "label"),
    ],
)
def test_items_with_several_labels_are_a_part_of_each(method: Any, settings: dict[str, Any], term: str) -> None:
    data = Toy(multi_label=True)
    target = targets(first_batch(data), data.spec)
    assert torch.allclose(target.sum(1), torch.ones(len(target)))
    assert set(target.unique().tolist()) == {0.0, 0.5, 1.0}
    assert reached(toy_method(method, data, **settings), first_batch(data), term) >= ENCODERS | {"classifier"}


@pytest.mark.parametrize("method", [ACMR, DSCMR])
@pytest.mark.parametrize("multi_label", [False, True])
def test_supervised_methods_learn(method: Any, multi_label: bool) -> None:
    data = Toy(multi_label=multi_label)
    model = toy_method(method, data, generator_optimizer=partial(Adam, lr=1e-2)).train()
    trainer(max_epochs=8, limit_val_batches=1.0).fit(model, data)
    assert model.measurement.metrics["map@all/cos/label"]["mean"] > 0.7


@pytest.mark.parametrize("method", [CMPL, DSCMR, InfoNCE, Triplet, VSEpp])
def test_some_play_against_an_adversary_only_if_asked_to(method: Any) -> None:
    model = toy_method(method, Toy())
    assert "alignment" not in model.weights
    assert len(model.configure_optimizers()[0]) == 1
    with pytest.raises(UserError, match=r"names alignment, which \w+ without an alignment does not have"):
        toy_method(method, Toy(), weights={"alignment": 1.0})
    model = toy_method(method, Toy(), weights={"alignment": 0.1}, alignment=partial(ModalityAdversary, mode="entropy"))
    discriminator = model.alignment.discriminator
    before = [p.detach().clone() for p in discriminator.parameters()]
    trainer(max_epochs=1).fit(model.train(), Toy())
    assert not any(torch.equal(a, b) for a, b in zip(before, discriminator.parameters(), strict=True))


def test_default_weights_of_dscmr_and_daml() -> None:
    assert DSCMR.terms == {"label": 1.0, "likelihood": 1e-3, "pair": 1e-1}
    assert DAML.terms == {"intra": 1.0, "inter": 1.0, "pair": 1.0, "label": 0.0}
    assert toy_method(DAML, Toy()).weights == {**DAML.terms, "alignment": 1.0}


def test_without_the_critic_info_max_is_the_triplet_loss_to_the_last_bit() -> None:
    torch.manual_seed(0)
    with_critic = toy_method(InfoMax, Toy(level="instance"), weights={"text_image": 0.0}).train()
    plain = toy_method(Triplet, Toy(level="instance")).train()
    plain.load_state_dict(with_critic.state_dict(), strict=False)
    for model in (with_critic, plain):
        torch.manual_seed(0)
        trainer(max_epochs=1).fit(model, Toy(level="instance"))
    for name, value in plain.state_dict().items():
        assert torch.equal(value, with_critic.state_dict()[name])


def test_network_of_dscmr_is_that_of_the_published_code() -> None:
    model = toy_method(DSCMR, Toy(), width=12)
    assert (model.common.in_features, model.common.out_features) == (12, 8)
    batch = first_batch(Toy())
    for points, encoder, content in zip(
        model.embed(batch).pair, (model.image_encoder, model.text_encoder), (batch.image, batch.text), strict=True
    ):
        expected = encoder(content).clamp(min=0) @ model.common.weight.T + model.common.bias
        torch.testing.assert_close(points, expected)
