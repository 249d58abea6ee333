from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from cmr_lightning.batch import Batch
from cmr_lightning.discriminators import RotationClassifier
from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.errors import UserError
from cmr_lightning.game import AdversarialDiagnostics
from cmr_lightning.game.diagnostics import gradient_share
from cmr_lightning.losses import rotation_loss
from cmr_lightning.methods.acmr import ACMR
from cmr_lightning.methods.ssal import SSAL, quarter_turns
from datamodules.shapes import Shapes
from tests.building import trainer
from tests.cmr_lightning.methods.reach import ENCODERS, first_batch, losses, picture_method, reached, toy_method
from tests.toy import Toy


@pytest.fixture(scope="module")
def shapes() -> Shapes:
    return Shapes(num_train=60, num_val=20, num_test=20, picture_size=32, batch_size=60, epoch_of="images")


def ssal(data: Shapes, **kwargs: Any) -> SSAL:
    return picture_method(SSAL, data, "test_convnext", **kwargs)


class Seen:
    """How many rows each pass of an encoder had."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.rows: list[int] = []
        module.register_forward_hook(lambda _, __, output: self.rows.append(len(output)))


@pytest.mark.parametrize(
    ("term", "parts"),
    [
        ("label", {*ENCODERS, "classifier"}),
        ("pair", ENCODERS),
        ("alignment", ENCODERS),
        ("rotation", {"image_encoder"}),
    ],
)
def test_each_term_reaches_its_part_of_the_generator(shapes: Shapes, term: str, parts: set[str]) -> None:
    assert reached(ssal(shapes), first_batch(shapes), term) == parts


@pytest.mark.parametrize(("term", "head"), [("modality", "alignment.discriminator"), ("rotation", "rotation_head")])
def test_each_head_learns_from_its_own_loss(shapes: Shapes, term: str, head: str) -> None:
    model = ssal(shapes)
    batch = first_batch(shapes)
    model.discriminator_losses(batch, model.embed(batch).detach())[term].backward()
    moved = {n.rsplit(".", 3)[0] for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved == {head}


def test_four_quarter_turns_are_none() -> None:
    pictures = torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8)
    upright, once, twice, thrice = quarter_turns(pictures)
    assert torch.equal(upright, pictures)
    for before, after in ((upright, once), (once, twice), (twice, thrice), (thrice, upright)):
        assert torch.equal(quarter_turns(before)[1], after)
        assert not torch.equal(before, after)
    assert once[0, 0, 0, 0] == pictures[0, 0, 0, -1]  # counter-clockwise: the right edge comes up


def test_turned_images_are_embedded_after_the_upright_ones(shapes: Shapes) -> None:
    model = ssal(shapes).eval()
    seen = Seen(model.image_encoder)
    batch = first_batch(shapes)
    embeddings = model.embed(batch)
    assert seen.rows == [60, 180]
    assert embeddings.extra["turned"].shape == (60, 3, 16)
    for turns, embedded in enumerate([embeddings.image, *embeddings.extra["turned"].unbind(1)]):
        alone = model.embed_images(torch.rot90(batch.image, turns, dims=(2, 3)))
        torch.testing.assert_close(embedded, alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("term", ["alignment", "rotation"])
def test_share_of_a_head_is_the_same_with_the_batch_of_all_processes(shapes: Shapes, term: str) -> None:
    model, batch = ssal(shapes).eval(), first_batch(shapes)
    own = model.embed(batch)
    cut_apart = own.with_tensors([t.detach().requires_grad_() for t in own.tensors().values()])  # as gathering does

    def share(embeddings: Embeddings, *others: str) -> float:
        terms = model.all_losses(batch, embeddings)
        points = list(embeddings.tensors().values())
        return gradient_share(points, terms[term], [terms[name] for name in others]).item()

    assert 0 < share(own, "pair") < 1
    assert share(cut_apart, "pair") == pytest.approx(share(own, "pair"))
    assert share(cut_apart) == 1


def test_rotation_head_learns_and_the_projector_unteaches_it(shapes: Shapes) -> None:
    model = ssal(shapes)
    batch, head = first_batch(shapes), model.rotation_head
    assert head is not None

    def state() -> tuple[float, float]:
        with torch.no_grad():
            embeddings = model.embed(batch)
            rows = head(torch.cat([embeddings.image[:, None], embeddings.extra["turned"]], dim=1))
        right = rows.argmax(2) == torch.arange(4)
        return right.float().mean().item(), rotation_loss(rows).item()

    embeddings = model.embed(batch).detach()
    teacher = torch.optim.Adam(head.parameters(), lr=1e-2)
    for _ in range(80):
        teacher.zero_grad()
        model.discriminator_losses(batch, embeddings)["rotation"].backward()
        teacher.step()
    taught, low = state()
    assert taught > 0.6

    projector = torch.optim.Adam(model.players()["generator"], lr=1e-3)
    for _ in range(5):
        projector.zero_grad()
        losses(model, batch)["rotation"].backward()
        projector.step()
    untaught, high = state()
    assert untaught < (taught + 0.25) / 2
    assert high > low


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_turned_images_touch_the_encoders_through_their_own_term_alone(shapes: Shapes, weight: float) -> None:
    """Without its weight nothing else changes; with it the running statistics are still those of upright images."""
    ended = []
    for settings in ({"turns": False}, {"weights": {"rotation": weight}}):
        model = picture_method(SSAL, shapes, **settings)
        heads = [parameter.detach().clone() for parameter in model.players()["discriminator"]]
        torch.manual_seed(0)
        trainer(max_steps=2 if weight == 0 else 1).fit(model, shapes)
        assert not any(map(torch.equal, heads, model.players()["discriminator"]))  # they play, or watch
        ended.append(model)
    without, turned = (dict(model.named_buffers() if weight else model.state_dict()) for model in ended)
    assert any(name.endswith("running_mean") for name in without)
    assert all(torch.equal(turned[name], value) for name, value in without.items())
    assert ended[1].image_encoder.backbone.bn1.track_running_stats


def test_without_turns_the_rest_is_there(data: Toy) -> None:
    model, batch = toy_method(SSAL, data, turns=False), first_batch(data)
    assert set(losses(model, batch)) == {"label", "pair", "alignment"}
    assert set(model.discriminator_losses(batch, model.embed(batch).detach())) == {"modality"}
    assert not any(isinstance(module, RotationClassifier) for module in model.modules())
    trainer(max_epochs=1).fit(model, data)


def test_without_turns_no_picture_is_turned(shapes: Shapes) -> None:
    model = ssal(shapes, turns=False)
    seen = Seen(model.image_encoder)
    model.embed(first_batch(shapes))
    assert seen.rows == [60]


def test_accumulated_batches_keep_their_turned_images() -> None:
    data = Shapes(num_train=40, num_val=20, num_test=20, picture_size=32, batch_size=20, epoch_of="images")
    model = ssal(data, accumulate=2)
    unwatched = model.discriminator_losses
    terms: list[set[str]] = []

    def watched(batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        found = unwatched(batch, embeddings)
        terms.append(set(found))
        return found

    model.discriminator_losses = watched  # type: ignore[method-assign]
    trainer(max_epochs=1, callbacks=[AdversarialDiagnostics(every_n_updates=1)]).fit(model, data)
    assert model.global_step == 1
    assert terms == [{"modality", "rotation"}] * 2


def test_the_rotation_head_plays_without_the_modality_head(shapes: Shapes) -> None:
    model = ssal(shapes, alignment=None, rotation_mode="flipped")
    batch = first_batch(shapes)
    assert set(losses(model, batch)) == {"label", "pair", "rotation"}
    assert set(model.discriminator_losses(batch, model.embed(batch).detach())) == {"rotation"}
    assert model.players()["discriminator"] == list(model.rotation_head.parameters())  # type: ignore[union-attr]


def test_a_rotation_head_needs_pictures() -> None:
    with pytest.raises(UserError, match=r"needs pictures.*model\.turns=false"):
        toy_method(SSAL, Toy())


@pytest.mark.parametrize(("key", "value"), [("weights", 0.1), ("shares", 0.2)])
def test_without_turns_there_is_no_rotation_term(key: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"model\.{key}.*rotation"):
        toy_method(SSAL, Toy(), turns=False, **{key: {"rotation": value}})


def test_without_turns_it_is_acmr_to_the_last_bit() -> None:
    models = [toy_method(ACMR, Toy()), toy_method(SSAL, Toy(), turns=False)]
    for model in models:
        torch.manual_seed(0)
        trainer(max_epochs=1).fit(model.train(), Toy())
    acmr, ssal_without = (model.state_dict() for model in models)
    assert acmr.keys() == ssal_without.keys()
    assert all(torch.equal(value, ssal_without[name]) for name, value in acmr.items())


def test_a_rotation_head_tells_the_four_turns(shapes: Shapes) -> None:
    with pytest.raises(UserError, match=r"model\.rotation_discriminator tells 3 angles apart"):
        ssal(shapes, rotation_discriminator=partial(RotationClassifier, angles=3))
