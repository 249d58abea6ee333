from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cmr_lightning.callbacks.examples_writer import examples_of
from cmr_lightning.callbacks.gallery import RetrievalGallery, Tile
from cmr_lightning.callbacks.retrieved import first_results
from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.evaluation import Protocol, measure_composed, per_query
from cmr_lightning.evaluation.examples import Examples
from cmr_lightning.methods.random import Random
from cmr_lightning.runs.run import Run
from datamodules.shapes_composed import ShapesComposed
from tests.building import trainer
from tests.toy import ToyComposed

GREEN, RED, GREY, BLUE = "#2e8b57", "#c0504d", "#4a4a4a", "#3a6ea5"


def embedded(part) -> Embeddings:
    draw = torch.Generator().manual_seed(0)
    return Embeddings(torch.randn(part.num_images, 8, generator=draw), torch.randn(part.num_texts, 8, generator=draw))


@pytest.mark.parametrize("relevance", ["target", "caption"])
def test_right_results_of_composed_queries_are_those_of_the_measurement(relevance: str) -> None:
    data = ToyComposed(relevance=relevance)
    part, main = data.part("test"), data.protocols[0]
    everything = torch.arange(part.num_texts)
    found, right = first_results(part, embedded(part), main, "c2i", everything, 10)
    assert found.shape == right.shape == (72, 10)
    assert not (found == part.owner[:, None]).any()
    ranks = measure_composed(*embedded(part), part.compositions, [main]).ranks[f"c2i/cos/{relevance}"]
    for k in (1, 5, 10):
        assert right[:, :k].any(1).tolist() == (per_query(ranks, Protocol("recall", relevance, k=k)) == 1).tolist()


def test_in_folds_results_are_of_the_fold_of_the_source() -> None:
    part = ToyComposed().part("test")
    fold = torch.arange(part.num_images) // 4 % 3  # a source with its targets
    folded, main = replace(part, fold=fold), Protocol("recall", "target", k=5, folds=3)
    found, right = first_results(folded, embedded(part), main, "c2i", torch.arange(72), 99)
    assert found.shape == (72, 31)  # 96 images in three folds, less the source
    assert (fold[found] == fold[part.owner][:, None]).all()
    assert right.sum(1).tolist() == [1] * 72


def test_examples_of_composed_queries_keep_sources_and_targets(tmp_path: Path) -> None:
    data = ShapesComposed(num_train=2, num_val=1, num_test=6, modifications=4)
    part = data.part("test")
    vectors = embedded(part)
    measurement = measure_composed(*vectors, part.compositions, data.protocols)
    examples_of(data, vectors, measurement).write(tmp_path / "examples.npz")
    kept = Examples.read(tmp_path / "examples.npz")
    assert set(kept.answered) == set(kept.asking) == {"c2i"}
    answered = kept.answered["c2i"]
    assert answered.target.tolist() == part.target[answered.query].tolist()
    assert kept.owner.tolist() == part.owner.tolist()
    shown = {*answered.found.ravel(), *answered.target, *part.owner[answered.query].tolist()}
    assert set(kept.pictures) == set(kept.names) == shown
    assert kept.captions[3] == part.captions[3]


def test_a_gallery_row_is_source_text_results_and_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[list[Tile]] = []
    monkeypatch.setattr("cmr_lightning.callbacks.gallery.draw_gallery", lambda found, title, path: rows.extend(found))
    data = ShapesComposed(num_train=2, num_val=1, num_test=6, modifications=4)
    gallery = RetrievalGallery(Run(tmp_path), queries=3, results=29)
    trainer(callbacks=[gallery]).test(Random(data.spec), data, verbose=False)
    assert [len(row) for row in rows] == [2 + 29 + 1] * 3
    captions = data.part("test").captions
    for row in rows:
        source, text, *results, target = row
        assert (source.colour, text.colour, target.colour) == (GREY, GREY, BLUE)
        assert source.picture is not None
        assert text.text in captions
        assert [tile.heading for tile in results] == [str(place) for place in range(1, 30)]
        green = [tile for tile in results if tile.colour == GREEN]
        assert any((tile.picture == target.picture).all() for tile in green)
        assert not any((tile.picture == source.picture).all() for tile in results)
