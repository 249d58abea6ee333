"""The commands `index` and `search`, one after the other, with a model that was trained for a moment."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import cmr_lightning
from cmr_lightning.__main__ import main
from cmr_lightning.encoders import TimmEncoder, WordRNN
from cmr_lightning.errors import UserError
from cmr_lightning.methods import TIRG
from cmr_lightning.model import Index, Model
from cmr_lightning.model.loading import trained_data
from cmr_lightning.model.search_queries import Query, embed
from datamodules import ShapesComposed
from tests.building import ROOT
from tests.cmr_lightning.model.colours import paint

SIZES = ["--data.num_train=40", "--data.num_val=20", "--data.num_test=20", "--data.batch_size=20"]


def train(experiment: str, run: Path, *options: str) -> Path:
    config = ROOT / "experiments" / experiment
    assert main(["fit", f"--config={config}", *SIZES, f"--run_dir={run}", "--trainer.max_epochs=1", *options]) == 0
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train("shapes/info_nce.yaml", tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture(scope="module")
def part(run: Path) -> Path:
    """An index of the test part."""
    assert main(["index", str(run), "--part=test", f"--output={run.parent / 'part'}"]) == 0
    return run.parent / "part"


@pytest.fixture
def found(capsys: pytest.CaptureFixture[str]) -> Callable[..., list[dict[str, Any]]]:
    def search(*arguments: str | Path) -> list[dict[str, Any]]:
        capsys.readouterr()
        assert main(["search", *map(str, arguments), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return search


def test_a_part_is_found_by_its_texts(run: Path, part: Path, found: Callable[..., list[dict[str, Any]]]) -> None:
    assert repr(Index(part)) == "Index(20 images, 100 texts, 128 numbers, cos)"
    with_text = found(part, "a large red circle", "--k=3")
    assert [one["rank"] for one in with_text[0]["results"]] == [1, 2, 3]
    model = cmr_lightning.load(run)
    index = model.index(trained_data(run), part)
    (expected,) = Index(part).search(model.embed_texts(["a large red circle"]), 3)
    assert [one["id"] for one in with_text[0]["results"]] == [one.item.id for one in expected]
    own = expected[0].item.caption.splitlines()[0]
    assert found(part, own, "--find=texts", "--k=1")[0]["results"][0]["captions"] == [own]
    assert repr(index) == repr(Index(part))


def test_a_folder_in_the_terminal_and_on_a_page(
    run: Path, tmp_path: Path, said: Callable[[], str], found: Callable[..., list[dict[str, Any]]]
) -> None:
    pictures = tmp_path / "pictures"
    for name in ("red.png", "green.jpg", "blue.png"):
        paint(pictures / name, Path(name).stem)
    (pictures / "<b>.png").write_text("no picture")
    said()
    assert main(["index", str(run), str(pictures), f"--output={tmp_path / 'index'}"]) == 0
    assert "holds 3 images: 3 embedded, 0 known, 0 dropped, 1 damaged and left out" in said()
    (answer,) = found(tmp_path / "index", pictures / "red.png")
    assert {one["id"] for one in answer["results"]} == {"green.jpg", "blue.png"}
    (pictures / "blue.png").unlink()
    (tmp_path / "queries.txt").write_text(f"a <i>red</i> circle\n{pictures / 'red.png'}\n")
    page = tmp_path / "page.html"
    assert main(["search", str(tmp_path / "index"), f"--file={tmp_path / 'queries.txt'}", f"--html={page}"]) == 0
    assert "blue.png (its file is gone)" in said()
    content = page.read_text()
    assert "a &lt;i&gt;red&lt;/i&gt; circle" in content
    assert content.count("<li class") == 5
    assert content.count('src="data:image/jpeg;base64,') == 6
    assert "http" not in content


def test_a_composed_model_takes_pictures_with_texts(tmp_path: Path) -> None:
    data = ShapesComposed(num_train=12, num_val=6, num_test=4, modifications=5)
    model = Model.of(
        TIRG(spec=data.spec, image_encoder=partial(TimmEncoder, model="test_resnet"), text_encoder=WordRNN), data
    )
    for name in ("red", "green", "blue"):
        paint(tmp_path / "pictures" / f"{name}.png", name)
    index = model.index(tmp_path / "pictures", tmp_path / "index")
    queries = [Query("make it red", tmp_path / "pictures" / "blue.png"), Query(image=tmp_path / "pictures" / "red.png")]
    points = embed(queries, model)
    np.testing.assert_array_equal(points[:1], model.embed_queries([queries[0].image], [queries[0].text]))
    np.testing.assert_array_equal(points[1:], model.embed_images([queries[1].image]))
    assert {one.item.id for one in index.search(points[:1])[0]} == {"red.png", "green.png", "blue.png"}
    assert repr(model.index(data, tmp_path / "part")) == f"Index({4 * 6} images, {model.dim} numbers, cos)"
    with pytest.raises(UserError, match="TIRG answers a picture with a text that says what to change; give both"):
        embed([Query("make it red")], model)


def test_errors_are_one_sentence(run: Path, part: Path, tmp_path: Path, said: Callable[[], str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "none.jpg").write_text("no picture")
    paint(tmp_path / "red.png", "red")
    places = {}
    for name, key, value in (
        ("moved", "path", str(tmp_path / "nowhere")),
        ("memory", "path", ""),
        ("other", "checksum", "beef"),
    ):
        places[name] = shutil.copytree(part, tmp_path / name)
        content = json.loads((part / "index.json").read_text())
        content["model"][key] = value
        (places[name] / "index.json").write_text(json.dumps(content))
    for arguments, message in (
        (["index", run, tmp_path / "empty", "--output=x"], "There are no pictures in the folder"),
        (["index", run, "--output=x"], "Give a folder or a table to index, or --part"),
        (["index", run, "--part=test", "--output=x", "--faiss-parameters=nprobe=3"], "give --faiss as well"),
        (["index", run, "--part=test", f"--output={places['other']}"], "is the index of another model"),
        (["search", places["other"], "a dog"], "is the index of another model"),
        (["search", places["moved"], "a dog"], "is no longer at"),
        (["search", places["memory"], "a dog"], "was made by a model that was in memory only; give one as --model"),
        (["search", part, "a dog", "--k=0"], "--k is 0, but should be at least 1"),
        (["search", part], "There is no query"),
        (["search", part, " "], "The text of a query is empty"),
        (["search", part, "--image=gone.png"], "There is no picture gone.png"),
        (["search", part, tmp_path / "none.jpg"], "none.jpg cannot be read as a picture"),
        (["search", part, "a dog", "--text=a cat"], "comes beside another query of its kind"),
        (["search", part, "a dog", f"--image={tmp_path / 'red.png'}"], "give a text or a picture, not both"),
        (["search", tmp_path, "a dog"], "is no index"),
    ):
        said()
        assert main([str(argument) for argument in arguments]) == 2, arguments
        assert message in said()


def test_pictures_are_embedded_as_by_the_model(run: Path, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for number in range(3):
        Image.fromarray(draw.integers(0, 256, (60, 90, 3), dtype=np.uint8)).save(
            tmp_path / "pictures" / f"{number}.png"
        )
    model = cmr_lightning.load(run)
    points = model.index(tmp_path / "pictures", tmp_path / "index").points("images")[:]
    np.testing.assert_array_equal(points, unit(model.embed_images(sorted((tmp_path / "pictures").iterdir()))))


def unit(points: np.ndarray) -> np.ndarray:
    return points / np.linalg.norm(points, axis=1, keepdims=True)
