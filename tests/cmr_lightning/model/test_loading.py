"""A loaded model embeds as `predict` did, where nothing else is left of its training; for every method: the lives of
runs in `test_all_methods`."""

import socket
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from safetensors.torch import save_file

import cmr_lightning
from cmr_lightning.__main__ import main
from cmr_lightning.batch import Pixels
from cmr_lightning.encoders import TimmEncoder
from cmr_lightning.errors import UserError
from cmr_lightning.methods import Collapsed, InfoNCE
from cmr_lightning.model import Model
from cmr_lightning.runs.checkpoint_files import read_checkpoint
from datamodules import Part
from datamodules.base import PartName
from tests.building import trainer
from tests.cmr_lightning.encoders.tiny_bert import write_tiny_bert
from tests.datamodules.album import CAPTIONS, PARTS, write_album
from tests.datamodules.album import Album as AlbumData
from tests.toy import Toy, toy_model
from tests.trained_album import Album

ALBUM = """\
data:
  class_path: tests.datamodules.album.Album
  init_args:
    root: ROOT
    image: {class_path: Pictures, init_args: {crop: 32, resize: 36}}
    text: {class_path: SubwordTokens, init_args: {tokenizer: ROOT/bert}}
"""
PIXELS = (
    """\
model:
  class_path: InfoNCE
  init_args:
    dim: 8
    image_encoder: {class_path: TimmEncoder, init_args: {model: test_resnet}}
    text_encoder: {class_path: TextTransformer, init_args: {model: ROOT/bert, pooling: pooler}}
"""
    + ALBUM
    + """\
trainer: {max_epochs: 1, limit_train_batches: 2, num_sanity_val_steps: 0, accelerator: cpu, precision: bf16-mixed}
"""
)
STORED = """\
model:
  class_path: InfoNCE
  init_args:
    dim: 8
    image_encoder: {class_path: FeatureMLP}
    text_encoder: {class_path: FeatureMLP}
data:
  class_path: tests.datamodules.album.Album
  init_args:
    root: ROOT
    image: {class_path: StoredImages, init_args: {encoder: tiny, folder: ROOT/features/album}}
    text: {class_path: StoredTexts, init_args: {encoder: tiny, folder: ROOT/features/album}}
trainer: {max_epochs: 1, limit_train_batches: 2, num_sanity_val_steps: 0, accelerator: cpu}
"""
EXTRACT = (
    """\
name: tiny
folder: ROOT/features/album
image: {class_path: TimmEncoder, init_args: {model: test_resnet}}
text: {class_path: TextTransformer, init_args: {model: ROOT/bert}}
"""
    + ALBUM
    + """\
device: cpu
"""
)


class Trained:
    """A run on an album whose folder was moved: pictures and captions of the test part, and what `predict` wrote."""

    def __init__(self, here: Path, config: str) -> None:
        before = write_album(here / "before")
        write_tiny_bert(before / "bert")
        for name, content in (("run", config), ("extract", EXTRACT)):
            (before / f"{name}.yaml").write_text(content.replace("ROOT", str(before)))
        if "Stored" in config:
            assert main(["extract", f"--config={before / 'extract.yaml'}"]) == 0
        assert main(["fit", f"--config={before / 'run.yaml'}", f"--run_dir={before / 'run'}"]) == 0
        assert main(["predict", f"--config={before / 'run' / 'config.yaml'}"]) == 0
        self.captions = AlbumData(str(before), Mock()).list_part("test").captions
        self.folder = before.rename(here / "after")
        self.run = self.folder / "run"
        with np.load(self.run / "embeddings.npz") as archive:
            self.images, self.texts = archive["image"], archive["text"]
        self.pictures = [self.folder / "pictures" / f"{number}.jpg" for number in PARTS["test"]]


@pytest.fixture(scope="module")
def pixels(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("pixels"), PIXELS)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("stored"), STORED)


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Album:
    """A run on features of an archive and on words."""
    album = Album(tmp_path_factory.mktemp("album"))
    assert (album.fit(), album.do("predict")) == (0, 0)
    return album


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", Mock(side_effect=AssertionError("nothing is asked of the network")))


def close(one: NDArray, other: NDArray, by: float) -> bool:
    return bool(np.abs(one - other).max() < by)


# Embeddings ----------------------------------------------------------------------------------------------------------


def test_pictures_and_texts_in_the_precision_of_the_training(pixels: Trained) -> None:
    model = cmr_lightning.load(pixels.run, trust=True)
    opened = [Image.open(path) for path in pixels.pictures]
    for pictures in (pixels.pictures, list(map(str, pixels.pictures)), opened, list(map(np.asarray, opened))):
        found = model.embed_images(pictures)
        assert found.dtype == np.float32
        assert np.array_equal(found, pixels.images)
    assert np.array_equal(model.embed_texts(pixels.captions), pixels.texts)
    assert len(pixels.captions) == CAPTIONS * len(pixels.pictures)
    exact = cmr_lightning.load(str(pixels.run / "checkpoints" / "last.ckpt"), precision="32-true", trust=True)
    assert close(exact.embed_images(pixels.pictures, batch_size=3), pixels.images, by=0.1)
    assert close(exact.embed_texts(pixels.captions, batch_size=3), exact.embed_texts(pixels.captions), by=1e-6)
    half = cmr_lightning.load(pixels.run, precision="bf16-true", trust=True)
    assert close(half.embed_texts(pixels.captions), pixels.texts, by=0.1)


def test_what_is_known_of_a_model(pixels: Trained, album: Album) -> None:
    model, other = cmr_lightning.load(pixels.run, trust=True), cmr_lightning.load(album.run)
    assert (model.method, model.dim, model.distance, model.labels) == ("InfoNCE", 8, "cos", ("anything",))
    assert (other.method, other.dim, other.labels) == ("DAML", 8, ("blue", "green", "grey", "red"))
    assert model.trained_on.dataset == "Album"
    assert model.checksum == cmr_lightning.load(pixels.run, trust=True).checksum != other.checksum
    assert repr(other) == "Model(DAML on Pairs, 8 numbers, map@all/cos/label)"
    assert not other.module.training


def test_loading_draws_no_random_numbers(album: Album) -> None:
    before = torch.get_rng_state()
    cmr_lightning.load(album.run)
    assert torch.equal(torch.get_rng_state(), before)


def test_features_are_accepted_as_arrays(album: Album) -> None:
    with np.load(album.folder / "features.npz") as archive, np.load(album.run / "embeddings.npz") as embedded:
        rows = dict(zip(archive["names"].tolist(), archive["features"], strict=True))
        features = np.stack([rows[name] for name in embedded["image_names"].tolist()])
        expected = embedded["image"]
    model = cmr_lightning.load(album.run)
    assert np.array_equal(model.embed_images(features), expected)
    assert model.embed_images(features[:0]).shape == (0, 8)
    with pytest.raises(UserError, match=r"features of shape \(N, 12\), and those given have \(N, 5\)"):
        model.embed_images(features[:, :5])
    with pytest.raises(
        UserError, match=r"features of pictures that came with Pairs, .* give an array of such features"
    ):
        model.embed_images(["1.jpg"])
    with pytest.raises(UserError, match="none of the Words"):
        model.embed_texts(features)


def test_stored_features_are_computed_from_pictures_and_texts(stored: Trained, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_file(TimmEncoder(Pixels(32), 1, "test_resnet").backbone.state_dict(), tmp_path / "resnet.safetensors")
    bert = stored.folder / "bert"
    model = cmr_lightning.load(
        stored.run, trust=True, image_weights=tmp_path / "resnet.safetensors", text_weights=str(bert)
    )
    assert close(model.embed_images(stored.pictures), stored.images, by=1e-3)
    assert close(model.embed_texts(stored.captions), stored.texts, by=1e-3)


def test_weights_that_are_missing_are_named(stored: Trained, tmp_path: Path) -> None:
    model = cmr_lightning.load(stored.run, trust=True)
    made = model.trained_on.learned["image"]
    with pytest.raises(UserError, match=rf"{made['weights']}.* give their file or folder .* as image_weights") as error:
        model.embed_images(stored.pictures)
    assert "huggingface.co/timm/test_resnet" in str(error.value)
    with pytest.raises(UserError, match="as text_weights"):
        model.embed_texts(stored.captions)
    torch.manual_seed(1)
    save_file(TimmEncoder(Pixels(32), 1, "test_resnet").backbone.state_dict(), tmp_path / "other.safetensors")
    model = cmr_lightning.load(stored.run, trust=True, image_weights=tmp_path / "other.safetensors")
    with pytest.raises(UserError, match=rf"weights of the checksum {made['weights']}, but those found here have"):
        model.embed_images(stored.pictures)


def test_a_model_that_was_trained_in_python(data: Toy) -> None:
    module = toy_model(InfoNCE, data)
    trainer(max_epochs=1).fit(module, data)
    model = Model.of(module, data)
    features = data.part("test").image
    with torch.no_grad():
        assert np.array_equal(model.embed_images(features.numpy()), module.eval().embed_images(features).numpy())
    module.train()
    assert np.array_equal(model.embed_images(features.numpy()), model.embed_images(features.numpy()))  # no dropout


def test_many_items_come_with_a_progress_bar(
    data: Toy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cmr_lightning.model.trained_model.Console", partial(Console, force_terminal=True))
    model = Model.of(toy_model(InfoNCE, data), data)
    model.embed_texts(np.zeros((299, 8)))
    assert not capsys.readouterr().err
    assert model.embed_texts(np.zeros((300, 8))).shape == (300, 8)
    assert "Embedding 300 items" in capsys.readouterr().err


class Plain(Toy):
    """Pictures that nothing says how to make."""

    def read(self, part: PartName) -> Part:
        read = super().read(part)
        return replace(read, image=torch.zeros(len(read.image), 3, 8, 8, dtype=torch.uint8))


def test_a_data_set_that_does_not_say_how_it_makes_pictures() -> None:
    data = Plain()
    with pytest.raises(
        UserError, match=r"Plain does not say how it makes Pixels\(size=8\) of pictures; define `inputs`"
    ):
        Model.of(Collapsed(data.spec), data).embed_images([Image.new("RGB", (8, 8))])


# Bad input -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(pixels: Trained) -> Model:
    return cmr_lightning.load(pixels.run, trust=True)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a dog", " "], r"Text 1 is ' ', but should be a text with words\."),
        (["a dog", 3], r"Text 1 is 3, "),
        ("a dog", r'takes a list, as embed_texts\(\["a dog"\]\), and not a str\.'),
    ],
)
def test_texts_that_are_none(model: Model, texts: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        model.embed_texts(texts)


def test_pictures_that_are_none(model: Model, tmp_path: Path) -> None:
    (tmp_path / "none.jpg").write_text("no picture")
    for picture, message in (
        (tmp_path / "none.jpg", r"none.jpg cannot be read as a picture \(.*\); get it again, as JPEG, .* or AVIF\.$"),
        (tmp_path / "missing.jpg", "No such file"),
        (np.zeros((4, 4, 3)), "is uint8 of shape .* and not float64"),
        (np.zeros((4, 4, 2), dtype=np.uint8), r"and not uint8 of shape \(4, 4, 2\)"),
        (Image.new("F", (4, 4)), "floating-point numbers"),
        (None, "and not a NoneType"),
    ):
        with pytest.raises(UserError, match=message):
            model.embed_images([picture])  # type: ignore[list-item]
    with pytest.raises(UserError, match=r"takes a list, as embed_images\(\[picture\]\)"):
        model.embed_images(tmp_path / "none.jpg")  # type: ignore[arg-type]


def test_odd_texts_and_pictures(model: Model, album: Album, recwarn: pytest.WarningsRecorder) -> None:
    """Very long and very large ones are embedded; of texts in another script there is a word of warning."""
    long = model.embed_texts(["dog " * 10_000, "dog " * 11_000])
    assert np.array_equal(long[0], long[1])
    huge = Image.new("L", (10_000, 10_000), 90)
    small = np.full((50, 50), 90, dtype=np.uint8)
    assert np.array_equal(model.embed_images([huge]), model.embed_images([small]))
    assert not recwarn
    words = cmr_lightning.load(album.run)
    with pytest.warns(UserWarning, match=r"knows no word of 2 texts, such as '赤い帽子', whose embedding says nothing"):
        found = words.embed_texts(["赤い帽子", "a red hat", "кот"])
    assert np.isfinite(found).all()


def test_queries_are_for_composed_models(model: Model, pixels: Trained) -> None:
    with pytest.raises(UserError, match="InfoNCE answers no composed queries; use embed_texts or embed_images"):
        model.embed_queries(pixels.pictures, pixels.captions)
    with pytest.raises(UserError, match="batch_size is 0"):
        model.embed_texts(["a dog"], batch_size=0)


# What cannot be loaded -----------------------------------------------------------------------------------------------


def test_what_is_no_run(album: Album, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere is neither the folder of a run nor a checkpoint"):
        cmr_lightning.load(tmp_path / "nowhere")
    (tmp_path / "config.yaml").touch()
    with pytest.raises(UserError, match=r"has no checkpoints/best.ckpt yet"):
        cmr_lightning.load(tmp_path)
    for options, message in (
        ({"precision": "8-true"}, "precision is '8-true', but should be one of 32-true"),
        ({"device": "cuda:99"}, "device is cuda:99, which this machine does not have"),
    ):
        with pytest.raises(UserError, match=message):
            cmr_lightning.load(album.run, **options)
    old = read_checkpoint(album.run / "checkpoints" / "best.ckpt")
    del old["protocol"]
    torch.save(old, tmp_path / "old.ckpt")
    with pytest.raises(UserError, match=r"old.ckpt was written by an earlier version; train again"):
        cmr_lightning.load(tmp_path / "old.ckpt")


@pytest.mark.parametrize(
    "encoder",
    [{"class_path": "stranger.Encoder"}, "stranger.Encoder", {"class_path": "cmr_lightning.runs.run.os.system"}],
)
def test_a_stranger_s_checkpoint_runs_nothing(
    album: Album, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: Any
) -> None:
    (tmp_path / "stranger.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    content = read_checkpoint(album.run / "checkpoints" / "best.ckpt")
    content["config"]["model"]["init_args"]["image_encoder"] = encoder
    torch.save(content, tmp_path / "best.ckpt")
    name = encoder if isinstance(encoder, str) else encoder["class_path"]
    with pytest.raises(UserError, match=rf"best.ckpt names {name}, .* pass trust=True"):
        cmr_lightning.load(tmp_path / "best.ckpt")


def test_lightning_s_own_loading_says_what_to_use_instead(album: Album) -> None:
    checkpoint = album.run / "checkpoints" / "best.ckpt"
    with pytest.raises(UserError, match=r"use cmr_lightning.load\('.*best.ckpt'\), whose `module` is this model"):
        InfoNCE.load_from_checkpoint(checkpoint)
