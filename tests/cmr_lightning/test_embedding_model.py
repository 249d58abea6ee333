from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from cmr_lightning.batch import DataSpec, Items, Text
from cmr_lightning.embedding_model import EmbeddingModel, Embeddings
from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import ECCV, Judgements, Positives, measure
from datamodules.base import PartName
from tests.building import trainer
from tests.toy import IMAGE, TEXT, Toy


class Cut(EmbeddingModel):
    """The first numbers of what comes; counts what it embeds."""

    def __init__(self, spec: DataSpec, dim: int = 5) -> None:
        super().__init__(spec)
        self.scale = torch.nn.Parameter(torch.ones(dim))
        self.seen = {"image": 0, "text": 0}

    def embed_images(self, images: Tensor) -> Tensor:
        return self._cut(images, "image", IMAGE)

    def embed_texts(self, texts: Text) -> Tensor:
        return self._cut(texts, "text", TEXT)

    def _cut(self, items: Tensor, modality: str, size: int) -> Tensor:
        assert items.shape[1] == size
        self.seen[modality] += len(items)
        return items[:, : len(self.scale)] * self.scale


@pytest.mark.parametrize(("level", "captions"), [("label", 1), ("label", 3), ("instance", 3)])
@pytest.mark.parametrize("batch", [5, 1000])
def test_items_are_embedded_once_and_measured_together(level: str, captions: int, batch: int) -> None:
    data = Toy(level=level, captions=captions)
    data.eval_batch_size = batch
    model = Cut(data.spec)
    tester = trainer()
    tester.test(model, data, verbose=False)
    assert model.seen == {"image": 24, "text": 24 * captions}
    part = data.part("test")
    images, texts = part.image[:, :5], part.text[:, :5]
    keys = {"label": (part.label, part.label[part.owner]), "instance": (torch.arange(24), part.owner)}
    expected = measure(images, texts, keys, data.protocols)
    assert torch.equal(model.embedded.image, images)
    assert model.measurement.metrics == expected.metrics
    for protocol, directions in expected.metrics.items():
        logged = {direction: tester.callback_metrics[f"test/{protocol}/{direction}"].item() for direction in directions}
        assert logged == pytest.approx(directions, rel=1e-5)


def test_validation_measures_the_ranking_of_the_main_protocol_only(data: Toy) -> None:
    model = Cut(data.spec)
    trainer(limit_val_batches=None).validate(model, data, verbose=False)
    main = data.protocols[0]
    expected = {p.id for p in data.protocols if (p.distance, p.relevance) == (main.distance, main.relevance)}
    assert set(model.measurement.metrics) == expected
    assert data.parts_read == ["train", "val"]


def test_judgements_of_the_data_are_measured_in_test() -> None:
    class Judged(Toy):
        def relations(self, part: PartName) -> dict[str, Judgements]:
            assert part == "test"
            return {"eccv": judgements}

    judgements = Judgements(Positives.of({1: [1, 2], 5: [0]}, 24), Positives.of({3: [3]}, 24))
    data = Judged(level="instance")
    data.protocols = (*data.protocols, *ECCV)
    model = Cut(data.spec)
    trainer().test(model, data, verbose=False)
    assert model.measurement.ranks["i2t/cos/eccv"].num_queries == 2
    part = data.part("test")
    expected = measure(part.image[:, :5], part.text[:, :5], {}, ECCV, judgements={"eccv": judgements})
    assert {protocol.id: model.measurement.metrics[protocol.id] for protocol in ECCV} == expected.metrics


def test_detached_embeddings_have_no_graph() -> None:
    points = torch.ones(2, 3, requires_grad=True)
    detached = Embeddings(2 * points, 3 * points).detach()
    assert not detached.image.requires_grad
    assert torch.equal(detached.text, 3 * torch.ones(2, 3))


def test_prediction_is_float32_and_chooses_by_loader() -> None:
    model = Cut(Toy().spec).double()
    items = Items(torch.ones(2, TEXT).double(), torch.zeros(2), torch.arange(2), torch.arange(2))
    assert model.predict_step(items, 0, dataloader_idx=1).dtype == torch.float32
    assert model.seen == {"image": 0, "text": 2}


def checkpoint_of(model: EmbeddingModel) -> dict[str, object]:
    checkpoint = {"state_dict": model.state_dict()}
    model.trained_on = {}
    with patch.object(EmbeddingModel, "protocols", Toy().protocols):  # there is no trainer
        model.on_save_checkpoint(checkpoint)
    return checkpoint


def test_checkpoint_must_be_of_the_same_method_and_size() -> None:
    class Other(Cut):
        pass

    spec = Toy().spec
    Cut(spec).on_load_checkpoint(checkpoint_of(Cut(spec)))
    with pytest.raises(UserError, match="weights of Other, but the config names Cut"):
        Cut(spec).on_load_checkpoint(checkpoint_of(Other(spec)))
    with pytest.raises(UserError, match=r"scale has the shape \(6,\) in the checkpoint and \(5,\) in the model"):
        Cut(spec).on_load_checkpoint(checkpoint_of(Cut(spec, dim=6)))
    with pytest.raises(UserError, match="weights of something else"):
        Cut(spec).on_load_checkpoint({"state_dict": {}})


def test_attributes_are_set_as_torch_sets_them() -> None:
    model = Cut(Toy().spec)
    model._current_fx_name = "training_step"
    assert model._current_fx_name == "training_step"
    model._current_fx_name = None
    assert model._current_fx_name is None
    with pytest.raises(TypeError, match="cannot assign"):
        model.scale = "text"
    assert len(list(model.parameters())) == 1
    model.scale = None
    assert not list(model.parameters())
    model._current_fx_name = torch.nn.Parameter(torch.ones(2))
    assert [name for name, _ in model.named_parameters()] == ["_current_fx_name"]


@pytest.mark.parametrize("level", ["label", "instance"])
def test_a_part_of_the_items_is_not_measured(level: str) -> None:
    data = Toy(level=level)
    data.eval_batch_size = 5
    for limits in ({"limit_val_batches": 1}, {"limit_val_batches": 0.5}):
        with pytest.raises(UserError, match=r"but \d+ of 24 images and \d+ of 24 texts were embedded"):
            trainer(**limits).validate(Cut(data.spec), data, verbose=False)
    model = Cut(data.spec)
    trainer(fast_dev_run=True).validate(model, data, verbose=False)
    assert model.measurement is None
    assert model.seen == {"image": 5, "text": 5}
