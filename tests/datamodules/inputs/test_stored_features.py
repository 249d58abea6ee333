import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from torch import Tensor

from cmr_lightning.batch import Features
from cmr_lightning.errors import UserError
from cmr_lightning.game import AdversarialDiagnostics
from cmr_lightning.methods.cca import CCA
from cmr_lightning.methods.info_nce import InfoNCE
from cmr_lightning.methods.ssal import SSAL
from cmr_lightning.store import Rows, image_check
from datamodules.inputs.stored_features import StoredImages, StoredTexts, open_store
from tests.building import trainer
from tests.datamodules.album import PARTS, PICTURES, Album, write_album
from tests.datamodules.published.stores import write_store
from tests.toy import toy_model

write = partial(write_store, dtype="float32")

SIZE = 6
LETTERS = 40
NAMES = sorted(f"pictures/{n}.jpg" for n in range(PICTURES))
IMAGES = torch.randn(PICTURES, 4, SIZE, generator=torch.Generator().manual_seed(0))


def text_feature(caption: str) -> Tensor:
    return torch.frombuffer(bytearray(caption.encode().ljust(LETTERS)), dtype=torch.uint8).float()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An album with the stores `turned` and `upright`; texts are encoded as their letters."""
    root = write_album(tmp_path_factory.mktemp("stored") / "album")
    images = Rows(NAMES, [image_check(root / name) for name in NAMES])
    write(root / "features" / "turned" / "image", images, IMAGES)
    write(root / "features" / "upright" / "image", images, IMAGES[:, 0].contiguous())
    data = Album(str(root), StoredImages("turned"))
    texts = sorted({text for part in PARTS for text in data.listing(part).captions})
    write(root / "features" / "turned" / "text", Rows(texts), torch.stack([text_feature(text) for text in texts]))
    return root


def album(root: Path, image: StoredImages | None = None, **kwargs: object) -> Album:
    return Album(str(root), image or StoredImages("upright"), StoredTexts("turned"), **kwargs)  # type: ignore[arg-type]


def expected(data: Album, part: str) -> Tensor:
    names = data.listing(part).pictures  # type: ignore[arg-type]
    return IMAGES[[NAMES.index(name) for name in names]]


def test_batches_are_rows_of_the_store(root: Path) -> None:
    data = album(root)
    assert (data.spec.image, data.spec.text) == (Features(SIZE), Features(LETTERS))
    train = data.part("train")
    for batch in data.train_dataloader():
        assert torch.equal(batch.image, expected(data, "train")[batch.image_id, 0])
        for text, owner in zip(batch.text, batch.image_id.tolist(), strict=True):
            own = [c for c, o in zip(train.captions, train.owner.tolist(), strict=True) if o == owner]
            assert any(torch.equal(text, text_feature(caption)) for caption in own)


def test_evaluation_serves_each_item_once(root: Path) -> None:
    data = album(root)
    images, texts = data.val_dataloader()
    assert torch.equal(torch.cat([batch.content for batch in images]), expected(data, "val")[:, 0])
    caption = data.listing("val").captions
    assert torch.equal(torch.cat([b.content for b in texts]), torch.stack([text_feature(c) for c in caption]))


def test_images_come_upright_or_at_four_rotations_if_asked_for(root: Path) -> None:
    for store in ("turned", "upright"):
        upright = album(root, StoredImages(store))
        assert upright.spec.image == Features(SIZE, turns=1)
        assert next(iter(upright.train_dataloader())).image.shape == (16, SIZE)
    data = album(root, StoredImages("turned", rotations=True))
    assert data.spec.image == Features(SIZE, turns=4)
    batch = next(iter(data.train_dataloader()))
    assert torch.equal(batch.image, expected(data, "train")[batch.image_id])
    (seen,) = data.val_dataloader()[0]
    assert torch.equal(seen.content, expected(data, "val"))


def test_ssal_learns_from_four_rotations(root: Path) -> None:
    data = album(root, StoredImages("turned", rotations=True))
    model = toy_model(SSAL, data)
    batch = next(iter(data.train_dataloader()))
    embeddings = model.eval().embed(batch)
    for turn, embedded in enumerate([embeddings.image, *embeddings.extra["turned"].unbind(1)]):
        torch.testing.assert_close(embedded, model.embed_images(batch.image[:, turn]))
    losses = model.all_losses(batch, embeddings)
    assert losses["rotation"].grad_fn is not None
    trainer(max_epochs=1, limit_val_batches=1.0, callbacks=[AdversarialDiagnostics()]).fit(model, data)
    upright = model.eval().embed_images(expected(data, "val")[:, 0])
    torch.testing.assert_close(model.embedded.image, upright)
    assert model.game.figures["rotation_views"] == 4


def test_methods_without_rotations_refuse_them(root: Path) -> None:
    data = album(root, StoredImages("turned", rotations=True))
    for build in (
        lambda: toy_model(InfoNCE, data),
        lambda: CCA(data.spec, components=2),
        lambda: toy_model(SSAL, data, turns=False),
    ):
        with pytest.raises(UserError, match=r"4 rotations, .* no use; set data\.image\.rotations to false"):
            build()


def test_training_from_the_store_is_training_from_memory(root: Path) -> None:
    """The same updates to the last bit, whether rows are read from disk or were all in memory before."""

    def fitted(in_memory: bool) -> Tensor:
        data = album(root)
        part = data.part("train")
        if in_memory:
            rows = torch.arange(part.num_images), torch.arange(part.num_texts)
            content = [stored.rows(index) for stored, index in zip((part.image, part.text), rows, strict=True)]  # type: ignore[union-attr]
            data._parts["train"] = type(part)(*content, part.label, part.owner, part.image_names, part.captions)
        pl.seed_everything(3, verbose=False)
        model = toy_model(InfoNCE, data)
        trainer(max_epochs=2).fit(model, data)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    assert torch.equal(fitted(in_memory=False), fitted(in_memory=True))


def test_pictures_that_the_store_lacks(root: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(root, tmp_path / "album")
    shutil.rmtree(copy / "features" / "upright")
    kept = [name for name in NAMES if name != "pictures/3.jpg"]
    rows = Rows(kept, [image_check(root / name) for name in kept])
    write(copy / "features" / "upright" / "image", rows, IMAGES[[NAMES.index(name) for name in kept], 0])
    with pytest.raises(UserError, match=r"1 of 130 pictures are missing in .*upright.image, first pictures/3\.jpg"):
        _ = album(copy).spec
    data = album(copy, StoredImages("upright", missing="skip"))
    assert data.spec.num_images == 129
    assert "1 of 150 pictures left out" in data.split.name


def test_features_of_other_pictures_are_refused_and_pictures_are_not_needed(root: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(root, tmp_path / "album")
    Image.new("RGB", (40, 44)).save(copy / "pictures" / "3.jpg")
    with pytest.raises(UserError, match=r"was made of other pictures: pictures/3\.jpg had \d+ bytes"):
        _ = album(copy).spec
    shutil.rmtree(copy / "pictures")
    assert album(copy).spec.num_images == 130


def test_features_of_other_texts_and_rotations_of_an_upright_store_are_refused(root: Path) -> None:
    with pytest.raises(UserError, match=r"upright pictures only; extract again .*--rotations=true"):
        _ = album(root, StoredImages("upright", rotations=True)).spec
    with pytest.raises(UserError, match=r"lacks 260 of 260 texts, first 'this depicts 0 0' of pictures/0\.jpg"):
        _ = album(root, wording="depicts").spec


@pytest.mark.parametrize(
    ("dataset", "encoder", "modality", "message"),
    [
        (".", "resnet", "image", r"set data\.image\.encoder to one of those there: turned, upright\."),
        (".", "upright", "text", r"<dataset>_<encoder>\.yaml`, or set data\.text\.encoder to .* there: turned\."),
        ("wikipedia", "vgg19", "image", r"extract --config experiments/features/wikipedia_vgg19\.yaml.* none yet\."),
    ],
)
def test_absent_stores_are_named_with_those_there_and_their_config(
    root: Path, dataset: str, encoder: str, modality: Any, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        open_store(root / dataset, "features", encoder, modality)


def test_stores_may_lie_elsewhere(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "features", tmp_path / "elsewhere")
    data = album(root, StoredImages("upright", folder=str(tmp_path / "elsewhere")))
    assert torch.equal(data.val_dataloader()[0].content.rows(torch.tensor([1])), expected(data, "val")[[1], 0])  # type: ignore[union-attr]


def test_checksum_follows_the_store(root: Path) -> None:
    assert album(root).checksum() == album(root).checksum()
    assert album(root).checksum() != album(root, StoredImages("turned")).checksum()
    assert "upright" in album(root).features
