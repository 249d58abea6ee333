import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cmr_lightning.callbacks.examples_writer import ExamplesWriter, principal_components, thumbnails
from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import per_query
from cmr_lightning.evaluation.examples import Examples
from cmr_lightning.methods.chance import Random
from cmr_lightning.runs.run import Run
from datamodules.shapes import Shapes
from datamodules.shapes_composed import ShapesComposed
from tests.building import trainer
from tests.toy import Toy


def evaluated(data, folder: Path) -> tuple[Random, Examples]:
    model = Random(data.spec)
    trainer(callbacks=[ExamplesWriter(Run(folder))]).test(model, data, verbose=False)
    return model, Examples.read(Run(folder).examples)


@pytest.mark.parametrize("level", ["label", "instance"])
def test_right_results_and_scores_are_those_of_the_measurement(level: str, tmp_path: Path) -> None:
    data = Toy(level=level, captions=2)
    model, examples = evaluated(data, tmp_path)
    part, main = data.part("test"), data.protocols[0]
    assert examples.pictures == {}
    for direction in ("i2t", "t2i"):
        answered = examples.answered[direction]
        assert answered.found.shape == answered.right.shape == (len(answered.query), 5)
        for query, found, right in zip(answered.query, answered.found, answered.right, strict=True):
            asking = query if direction == "i2t" else part.owner[query]
            images = part.owner[found] if direction == "i2t" else torch.tensor(found)
            expected = part.label[images] == part.label[asking] if level == "label" else images == asking
            assert right.tolist() == expected.tolist()
        scale = 100 if level == "instance" else 1
        scores = scale * per_query(model.measurement.ranks[f"{direction}/{main.ranking}"], main)
        assert answered.score == pytest.approx(scores[answered.query], rel=1e-5)
        assert examples.asking[direction].tolist() == list(range(len(scores)))
    assert set(examples.captions) >= set(examples.answered["i2t"].found.ravel().tolist())
    assert all(examples.captions[row] == part.captions[row] for row in examples.captions)


def test_pictures_of_all_images_that_occur_are_kept_small(tmp_path: Path) -> None:
    data = Shapes(num_train=20, num_val=20, num_test=40, picture_size=128)
    _, examples = evaluated(data, tmp_path)
    occurring = {*examples.answered["i2t"].query.tolist(), *examples.answered["t2i"].found.ravel().tolist()}
    assert set(examples.pictures) == set(examples.names) == occurring
    with Image.open(io.BytesIO(examples.pictures[0])) as picture:
        assert (picture.format, picture.size) == ("JPEG", (96, 96))
        shown = np.asarray(picture.convert("RGB")).astype(float).mean(axis=(0, 1))
    assert shown == pytest.approx(data.picture("test", 0).astype(float).mean(axis=(0, 1)), abs=6)
    assert Run(tmp_path).examples.stat().st_size < 1_500_000


def test_thumbnails_shrink_until_they_fit() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (20, 120, 120, 3), dtype=np.uint8)
    limit = 60_000
    jpegs = thumbnails(dict(enumerate(noise)), limit)
    assert sum(map(len, jpegs.values())) <= limit
    with Image.open(io.BytesIO(jpegs[0])) as picture:
        assert picture.width < 96
    assert thumbnails({}) == {}


def test_principal_components_keep_distances_that_lie_in_few_dimensions() -> None:
    flat = torch.randn(30, 3) @ torch.randn(3, 50)
    points = principal_components(flat[:10], flat[10:], "l2")
    assert {name: p.shape for name, p in points.items()} == {"image": (10, 30), "text": (20, 30)}
    reduced = torch.tensor(np.concatenate(list(points.values())).astype(np.float32))
    ratio = torch.pdist(flat) / torch.pdist(reduced)
    assert ratio.std() / ratio.mean() < 0.01


def test_items_of_several_classes_keep_all_of_them(tmp_path: Path) -> None:
    data = Toy(multi_label=True)
    _, examples = evaluated(data, tmp_path)
    label = data.part("test").label
    for image in range(len(label)):
        assert examples.classes_of(image) == label[image].nonzero().flatten().tolist()
    answered = examples.answered["t2i"]
    shared = (label[answered.query][:, None] * label[answered.found]).sum(-1) > 0
    assert answered.right.tolist() == shared.tolist()


def test_composed_queries_keep_sources_and_targets(tmp_path: Path) -> None:
    data = ShapesComposed(num_train=2, num_val=1, num_test=6, modifications=4)
    part = data.part("test")
    _, kept = evaluated(data, tmp_path)
    assert set(kept.answered) == set(kept.asking) == {"c2i"}
    answered = kept.answered["c2i"]
    assert answered.target.tolist() == part.target[answered.query].tolist()
    assert kept.owner.tolist() == part.owner.tolist()
    shown = {*answered.found.ravel(), *answered.target, *part.owner[answered.query].tolist()}
    assert set(kept.pictures) == set(kept.names) == shown
    assert kept.captions[3] == part.captions[3]


@pytest.mark.parametrize("write", [np.savez, np.save, None], ids=["another archive", "an array", "nothing"])
def test_missing_file_or_one_of_something_else_is_refused(write: Callable[..., None] | None, tmp_path: Path) -> None:
    if write:
        with (tmp_path / "examples.npz").open("wb") as file:
            write(file, np.zeros(3))
    with pytest.raises(UserError, match="not a file of examples" if write else "no file of examples"):
        Examples.read(tmp_path / "examples.npz")
