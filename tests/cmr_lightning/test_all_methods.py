"""What every method must keep to. Methods and their experiments are found, none is named here."""

import copy
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

import cmr_lightning
from cmr_lightning.__main__ import main
from cmr_lightning.batch import Batch, ComposedQuery, Pixels, rows
from cmr_lightning.embedding_model import EmbeddingModel, Embeddings
from cmr_lightning.game.alignments import ModalityAdversary, WassersteinAdversary
from cmr_lightning.game.balance import GradientBalance
from cmr_lightning.methods import METHODS
from cmr_lightning.model import Model
from cmr_lightning.retriever import Retriever
from datamodules import CrossModalData
from datamodules.families.composed_data import ComposedPart
from datamodules.reading.content import take
from tests.building import EXPERIMENTS, ROOT, build, method_of, read, sgd, tiny, trainer, without_dropout

OUTSIDE = ROOT / "tests" / "outside" / "experiments"
RETRIEVERS = [name for name, method in METHODS.items() if issubclass(method, Retriever)]
OF_METHOD = {
    name: [path for path in [*EXPERIMENTS, *OUTSIDE.glob("shapes/*.yaml")] if method_of(path) == name]
    for name in METHODS
}
"""Those of the project, and one with an adversary as a user writes it."""


@pytest.fixture(scope="module", autouse=True)
def data_root(invented_data: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CMR_DATA", str(invented_data))
        yield


@pytest.mark.parametrize("method", METHODS)
def test_method_has_an_experiment(method: str) -> None:
    assert OF_METHOD[method], f"no experiments/<dataset>/*.yaml names {method}"


def experiments_of(method: str) -> list[Path]:
    """The experiments of a method, that with the most of its parts first."""
    if not OF_METHOD[method]:
        pytest.skip(f"{method} has no experiment")
    return sorted(OF_METHOD[method], key=_weighty_terms, reverse=True)


def _weighty_terms(experiment: Path) -> tuple[bool, int]:
    """Whether there is an alignment, and how many terms have a weight."""
    arguments = read(experiment)["model"].get("init_args", {})
    terms = {**getattr(METHODS[method_of(experiment)], "terms", {}), **(arguments.get("weights") or {})}
    return bool(arguments.get("alignment")), sum(weight != 0 for weight in terms.values())


# The game ------------------------------------------------------------------------------------------------------------

Parts = Callable[..., tuple[Retriever, CrossModalData]]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    """Method and data set of the fullest experiment of a method, or of one on Shapes at another level."""
    built: dict[tuple[str, str | None], Any] = {}

    def parts_of(method: str, level: str | None = None) -> tuple[Retriever, CrossModalData]:
        if (method, level) not in built:
            experiments = experiments_of(method)
            if level is not None:
                experiments = [path for path in experiments if read(path)["data"]["class_path"] == "Shapes"]
            if not experiments:
                pytest.skip(f"{method} has no experiment on Shapes, the data set that serves every level")
            options = [] if level is None else [f"--data.level={level}"]
            cli = build(experiments[0], tmp_path_factory.mktemp(method), options)
            simplify(cli.model)
            built[method, level] = cli.model, cli.datamodule
        model, data = built[method, level]
        return copy.deepcopy(model), data

    return parts_of


def simplify(model: Retriever) -> None:
    """Leave out what makes an update depend on more than the losses, their weights and the learning rate."""
    without_dropout(model)
    model.balance, model.caps = GradientBalance({}), {}
    model.generator_optimizer, model.discriminator_optimizer = sgd(0.01), sgd(0.003)  # faster, penalties diverge
    model.schedule = None
    model.accumulate = 1


def fit(model: Retriever, data: CrossModalData, batches: int, callback: pl.Callback) -> None:
    trainer(max_epochs=1, limit_train_batches=batches, callbacks=callback).fit(model, data)


def copies(model: Retriever) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("method", RETRIEVERS)
def test_each_trainable_parameter_is_in_exactly_one_optimizer(method: str, parts: Parts) -> None:
    model, _ = parts(method)
    optimizers, _ = model.configure_optimizers()
    optimized = [id(p) for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
    assert len(optimized) == len(set(optimized))
    assert set(optimized) == {id(p) for p in model.parameters() if p.requires_grad}


class Steps(pl.Callback):
    """What the step of each optimizer sees, and what it changes."""

    def __init__(self) -> None:
        self.gradients: dict[str, set[str]] = {}
        self.moving: dict[str, set[str]] = {}
        self.changes: dict[str, set[str]] = {}
        self._before: tuple[str, dict[str, Tensor]] | None = None

    def on_before_optimizer_step(self, trainer: pl.Trainer, model: Any, optimizer: torch.optim.Optimizer) -> None:
        self._look(model)
        player = ("generator", "discriminator")[trainer.optimizers.index(optimizer)]
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        self.gradients.setdefault(player, set()).update(gradients)
        self.moving.setdefault(player, set()).update(name for name, gradient in gradients.items() if gradient.any())
        self._before = player, copies(model)

    def on_train_batch_end(self, trainer: pl.Trainer, model: Any, *_: Any) -> None:
        self._look(model)
        self._before = None

    def _look(self, model: Retriever) -> None:
        if self._before is not None:
            player, before = self._before
            self.changes.setdefault(player, set()).update(changed(before, copies(model)))


@pytest.mark.parametrize("method", RETRIEVERS)
def test_a_step_reaches_the_parameters_of_its_own_player_only(method: str, parts: Parts) -> None:
    model, data = parts(method)
    steps = Steps()
    fit(model, data, 3, steps)
    names = {id(p): name for name, p in model.named_parameters()}
    players = {player: {names[id(p)] for p in owned} for player, owned in model.players().items() if owned}
    assert set(steps.gradients) == set(players)
    for player, own in players.items():
        assert steps.gradients[player] <= own, f"{player}'s step found gradients of the other player"
        assert steps.changes[player] <= own, f"{player}'s step moved the other player"
    assert any(name.startswith(("image_encoder", "text_encoder")) for name in steps.changes["generator"])
    if "discriminator" in players:
        assert steps.changes["discriminator"] == steps.moving["discriminator"]
        idle = players["discriminator"] - steps.moving["discriminator"]
        assert not idle or isinstance(model.alignment, WassersteinAdversary)  # whose last bias has no gradient


def exact(model: Retriever, losses: dict[str, Tensor]) -> dict[str, Tensor]:
    """The losses that draw no random numbers."""
    drawn = () if model.alignment is None else model.alignment.stochastic_losses
    return {name: loss for name, loss in losses.items() if name.rpartition("/")[2] not in drawn}


class Duel(pl.Callback):
    """The discriminator learns alone for ten batches, then the generator moves once: is it harder for the other?"""

    def __init__(self) -> None:
        self.batches = 0

    def on_train_batch_start(self, trainer: pl.Trainer, model: Any, batch: Batch, batch_idx: int) -> None:
        self.batches += 1
        model.active = {"generator" if self.batches > 10 else "discriminator"}
        self.parameters, self.before = copies(model), self._difficulty(model, batch)

    def on_train_batch_end(self, trainer: pl.Trainer, model: Any, outputs: Any, batch: Batch, batch_idx: int) -> None:
        self.changes, self.after = changed(self.parameters, copies(model)), self._difficulty(model, batch)

    @staticmethod
    def _difficulty(model: Retriever, batch: Batch) -> float:
        """Return what the generator wants to be large: the discriminator's entropy, or its loss."""
        embeddings = model.embed(batch).detach()
        if isinstance(model.alignment, ModalityAdversary) and model.alignment.mode == "entropy":
            return model.discriminator_state(embeddings, (batch.label, batch.label))["discriminator_entropy"].item()
        losses = model.discriminator_losses(batch, embeddings)
        return sum(loss.item() for name, loss in losses.items() if name != "penalty")


@pytest.mark.parametrize("method", RETRIEVERS)
def test_what_aligns_makes_it_harder_for_the_discriminator(method: str, parts: Parts) -> None:
    model, data = parts(method)
    if not model.opponents():
        pytest.skip(f"no experiment of {method} has a discriminator")
    model.ramp = False
    model.weights = {term: float(term in model.aligning_terms) for term in model.weights}
    model.generator_optimizer, model.clip["generator"] = sgd(100.0), 1e-4  # a step of length 0.01
    duel = Duel()
    trainer(max_epochs=-1, max_steps=1, callbacks=[duel]).fit(model, data)
    assert duel.batches == 11
    for encoder in ("image_encoder", "text_encoder"):
        assert any(name.startswith(encoder) for name in duel.changes)
    assert duel.after > duel.before


class OneTermOut(pl.Callback):
    """Batch i sets the weight of term i to 0, and looks at what the generator minimises."""

    def __init__(self, terms: list[str]) -> None:
        self.terms = terms

    def on_train_batch_start(self, trainer: pl.Trainer, model: Any, batch: Batch, batch_idx: int) -> None:
        self.out = self.terms[batch_idx]
        model.weights = {term: float(term in self.terms and term != self.out) for term in model.weights}

    def on_before_backward(self, trainer: pl.Trainer, model: Any, loss: Tensor) -> None:
        if model.stake is not None:  # else it is the discriminator's turn
            others = [model.found[term].item() for term in self.terms if term != self.out]
            assert loss.item() == pytest.approx(sum(others), rel=1e-5), f"{self.out} acts though its weight is 0"


@pytest.mark.parametrize("method", RETRIEVERS)
def test_weight_0_takes_a_term_out(method: str, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = parts(method)
    model.ramp = False
    present_weights = model._present_weights

    def noted(embeddings: Embeddings, losses: dict[str, Tensor]) -> dict[str, float]:
        model.found = {term: loss.detach() + 0.0 for term, loss in losses.items()}
        return present_weights(embeddings, losses)

    monkeypatch.setattr(model, "_present_weights", noted)
    terms = [term for term, weight in model.weights.items() if weight != 0 or term not in model.aligning_terms]
    fit(model, data, len(terms), OneTermOut(terms))


@pytest.mark.parametrize("method", RETRIEVERS)
def test_a_term_without_a_weight_is_computed_or_built_on_demand(method: str, tmp_path: Path) -> None:
    """So that what a training stage gives a weight is either there, or known to be missing."""
    kind = METHODS[method]
    always = next(term for term in kind.terms if term not in kind.built_on_demand)  # a model learns something
    little = json.dumps({term: float(term == always) for term in kind.terms})
    experiment = max(experiments_of(method), key=lambda path: "shapes" in path.parent.name)  # pictures, not features
    cli = build(experiment, tmp_path, [f"--model.init_args.weights={little}"])
    found = all_losses(cli.model, a_batch(cli.datamodule, torch.arange(8)))
    assert {term for term in kind.terms if f"generator/{term}" not in found} == set(kind.built_on_demand)


# The losses ----------------------------------------------------------------------------------------------------------


def a_batch(data: CrossModalData, texts: Tensor) -> Batch:
    part = data.part("train")
    texts, draw = texts % part.num_texts, torch.Generator().manual_seed(0)
    if isinstance(part, ComposedPart):
        targets = part.target[texts]
        ids = part.key(data.protocols[0].relevance)[targets]
        image, source = take(part.image, targets, draw), take(part.starts, part.owner[texts], draw)
        return Batch(image, ComposedQuery(source, take(part.text, texts, draw)), part.label[targets], ids)
    images = part.owner[texts]
    return Batch(take(part.image, images, draw), take(part.text, texts, draw), part.label[images], images)


def in_order(batch: Batch, order: Tensor) -> Batch:
    """The rows of a batch in another order, augmented as they are."""
    text = batch.text
    if isinstance(text, ComposedQuery):
        text = ComposedQuery(text.source[order], rows(text.text, order))
    else:
        text = rows(text, order)
    return Batch(batch.image[order], text, batch.label[order], batch.image_id[order])


def all_losses(model: Retriever, batch: Batch) -> dict[str, Tensor]:
    """The losses of both players, in training mode; whatever is drawn is the same each time."""
    model.train()
    torch.manual_seed(0)
    embeddings = model.embed(batch)
    of_generator = model.all_losses(batch, embeddings)
    of_discriminator = model.discriminator_losses(batch, embeddings.detach())
    return {
        **{f"generator/{name}": loss for name, loss in of_generator.items()},
        **{f"discriminator/{name}": loss for name, loss in of_discriminator.items()},
    }


@pytest.mark.parametrize("method", RETRIEVERS)
def test_losses_do_not_depend_on_the_order_of_a_batch(method: str, parts: Parts) -> None:
    model, data = parts(method)
    batch = a_batch(data, torch.arange(0, 60, 5))
    one = all_losses(model, batch)
    other = all_losses(model, in_order(batch, torch.randperm(12)))
    assert set(one) >= {f"generator/{term}" for term, weight in model.weights.items() if weight != 0}
    for name, loss in one.items():
        assert loss.ndim == 0, f"{name} is no scalar"
    for name, loss in exact(model, one).items():
        assert other[name].item() == pytest.approx(loss.item(), rel=1e-3, abs=1e-5), name


@pytest.mark.parametrize("method", RETRIEVERS)
@pytest.mark.parametrize("crowd", ["one image", "one class"])
@pytest.mark.parametrize("level", [None, "instance"])
def test_a_batch_without_negatives_is_no_trouble(method: str, crowd: str, level: str | None, parts: Parts) -> None:
    """Captions of one image meet in a batch, and so do items of one class, whatever is relevant to what."""
    model, data = parts(method, level)
    batch = a_batch(data, torch.arange(0, 40, 5))
    same = torch.zeros(len(batch.image_id), dtype=torch.long)
    batch = batch._replace(label=batch.label[same])
    if crowd == "one image":
        batch = batch._replace(image=batch.image[same], image_id=batch.image_id[same])
    losses = all_losses(model, batch)
    torch.stack(list(losses.values())).sum().backward()
    for name, loss in losses.items():
        assert loss.isfinite(), name
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or bool(parameter.grad.isfinite().all()), name


# The life of a run ---------------------------------------------------------------------------------------------------


def measured(run: Path) -> dict[str, Any]:
    """Test a run, and return its record."""
    assert main(["test", f"--config={run / 'config.yaml'}"]) == 0
    record = json.loads((run / "record.json").read_text())
    values = [value for directions in record["metrics"].values() for value in directions.values()]
    assert values
    assert all(math.isfinite(value) for value in values)
    return record


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_life_of_a_run(method: str, no_pictures: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`fit`, which does not touch the test part, then more of it, then `test`, which leaves a record; what is loaded
    then embeds as `test` did."""
    experiment, run = experiments_of(method)[-1], tmp_path / "run"
    part = create_autospec(CrossModalData.part, side_effect=CrossModalData.part)
    monkeypatch.setattr(CrossModalData, "part", part)
    measure = create_autospec(EmbeddingModel._measure, side_effect=EmbeddingModel._measure)
    monkeypatch.setattr(EmbeddingModel, "_measure", measure)
    command = ["fit", f"--config={experiment}", f"--run_dir={run}", *tiny(experiment)]
    assert main(command) == 0
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert main([*command, "--trainer.max_epochs=3", "--resume=true"]) == 0
    epochs = 3 if METHODS[method].needs_gradients else 1
    assert json.loads((run / "fit.json").read_text())["epochs"] == epochs
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == epochs - 1
    assert {call.args[1] for call in part.call_args_list} == {"train", "val"}

    record = measured(run)
    assert record["method"] == method
    assert record["experiment"] == f"{experiment.parent.name}/{experiment.stem}"
    tested = measure.call_args.args[0]
    check_loaded(cmr_lightning.load(run), tested.trainer.datamodule, tested.embedded)


def check_loaded(model: Model, data: CrossModalData, embedded: Embeddings) -> None:
    """Give the test part to a model as people have it, or as the features that were published in its place."""
    part, inputs = data.part("test"), data.inputs(model.trained_on.learned)
    images: Any = take(part.image, torch.arange(part.num_images)).numpy()
    if isinstance(model.trained_on.spec.image, Pixels):
        images = [data.picture("test", row) for row in range(part.num_images)]
    texts: Any = part.captions
    if inputs.text is None or not inputs.text.reads_captions:
        texts = take(part.text, torch.arange(part.num_texts)).numpy()
    assert np.array_equal(model.embed_images(images), embedded.image.numpy())
    if model.composed:
        assert np.array_equal(model.embed_queries([images[row] for row in part.owner], texts), embedded.text.numpy())
    else:
        assert np.array_equal(model.embed_texts(texts), embedded.text.numpy())


# On a GPU ------------------------------------------------------------------------------------------------------------

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("method", RETRIEVERS)
def test_gpu_and_cpu_agree_on_losses_and_gradients(method: str, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    model, data = parts(method)
    batch = a_batch(data, torch.arange(0, 60, 5))
    found = {}
    for device in ("cpu", "cuda"):
        there = copy.deepcopy(model).to(device)
        losses = exact(there, all_losses(there, there.transfer_batch_to_device(batch, torch.device(device), 0)))
        torch.stack(list(losses.values())).sum().backward()
        gradients = {name: p.grad for name, p in there.named_parameters() if p.grad is not None}
        found[device] = {name: value.detach().cpu() for name, value in (losses | gradients).items()}
    torch.testing.assert_close(found["cuda"], found["cpu"], rtol=1e-3, atol=1e-4)


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("method", METHODS)
def test_life_on_a_gpu(method: str, precision: str, no_pictures: None, tmp_path: Path) -> None:
    experiment, run = experiments_of(method)[-1], tmp_path / "run"
    on = ["--trainer.accelerator=cuda", "--trainer.devices=1", f"--trainer.precision={precision}"]
    command = ["fit", f"--config={experiment}", f"--run_dir={run}", *tiny(experiment), *on]
    assert main(command) == 0
    assert main([*command, "--trainer.max_epochs=3", "--resume=true"]) == 0
    assert measured(run)["hardware"]["gpus"]
