import copy
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import center_crop, resize

from cmr_lightning.batch import Pixels
from cmr_lightning.errors import UserError
from datamodules.inputs import pictures
from datamodules.inputs.feature_archive import FeatureArchive
from datamodules.inputs.pictures import Pictures
from datamodules.reading import reading_ahead
from datamodules.reading.loaders import ItemLoader, PairLoader, Part

NAMES = [f"p{number}.png" for number in range(6)]
SIZES = [(40, 30), (30, 40), (64, 64), (33, 70), (24, 50), (90, 31)]
"""Widths and heights."""


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    for name, (width, height) in zip(NAMES, SIZES, strict=True):
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(tmp_path / name)
    return tmp_path


def by_pillow(path, side, crop, interpolation="bicubic"):
    """The short side rounded to `side`, and the middle square with floored offsets."""
    image = Image.open(path).convert("RGB")
    scale = side / min(image.size)
    size = tuple(round(length * scale) for length in image.size)
    left, top = ((length - crop) // 2 for length in size)
    image = image.resize(size, getattr(Image.Resampling, interpolation.upper()))
    return np.asarray(image.crop((left, top, left + crop, top + crop)))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("side", "crop"), [(24, 24), (32, 24), (48, 17)])
def test_pictures_are_resized_and_cut_as_pillow_does(root, side, crop, interpolation):
    stored = Pictures(crop, side, interpolation).content(root, NAMES, training=False)
    order = torch.tensor([4, 0, 5, 0])
    found = stored.rows(order)
    assert found.shape == (4, 3, crop, crop)
    assert found.dtype == torch.uint8
    assert stored.form == Pixels(crop)
    for row, picture in zip(order.tolist(), found, strict=True):
        expected = by_pillow(root / NAMES[row], side, crop, interpolation)
        np.testing.assert_array_equal(picture.permute(1, 2, 0), expected)


def test_pictures_are_resized_and_cut_as_torchvision_does(root):
    """Where both round the same way: a picture that fills the crop but for an even margin."""
    found = Pictures(crop=24, resize=32).content(root, NAMES[2:3], training=False).rows(torch.tensor([0]))[0]
    image = center_crop(resize(Image.open(root / NAMES[2]), 32, InterpolationMode.BICUBIC), [24, 24])
    np.testing.assert_array_equal(found.permute(1, 2, 0), np.asarray(image))


def test_squashed_pictures_lose_nothing_at_their_ends(root):
    stored = Pictures(24, 24, shape="squashed").content(root, NAMES, training=False)
    for row, name in enumerate(NAMES):
        expected = np.asarray(Image.open(root / name).resize((24, 24), Image.Resampling.BICUBIC))
        assert np.array_equal(stored.rows(torch.tensor([row]))[0].permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1"])
def test_pictures_of_other_modes_become_rgb(tmp_path, mode):
    path = tmp_path / ("a.tiff" if mode == "CMYK" else "a.png")
    Image.new("RGB", (20, 20), (255, 255, 255)).convert(mode).save(path)
    picture = Pictures(16, 16).content(tmp_path, [path.name], training=False).rows(torch.tensor([0]))
    assert picture.shape == (1, 3, 16, 16)
    assert picture.min() > 250


@pytest.mark.parametrize(
    "settings", [{}, {"shape": "squashed"}, {"orientation": "upright"}, {"crop": 32, "resize": 36}]
)
def test_a_description_says_all_that_makes_a_picture(root, settings):
    pictures = Pictures(**settings)
    again = Pictures.described(pictures.description(root))
    assert {**vars(again), "orientation": pictures.orientation} == vars(pictures)
    assert again.orientation == (pictures.orientation or "stored")
    assert Pictures.described("published histograms") is None


def test_augmentation_follows_the_generator_and_training_alone(root):
    settings = Pictures(crop=20, resize=32, augment="crop-flip")
    rows = torch.arange(6)
    train = settings.content(root, NAMES, training=True)

    def draw(seed):
        return train.rows(rows, torch.Generator().manual_seed(seed))

    centre = settings.content(root, NAMES, training=False).rows(rows, torch.Generator().manual_seed(0))
    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))
    assert torch.equal(train.rows(rows), centre)
    assert torch.equal(Pictures(20, 32).content(root, NAMES, training=True).rows(rows), centre)


def test_crops_are_drawn_from_all_places_and_mirrored(tmp_path):
    """The picture's blue says the column, so a crop tells its place: each of the four, both ways round."""
    columns = np.tile(np.arange(7, dtype=np.uint8), (4, 1))
    picture = np.stack([columns * 0, columns * 0, columns * 30], axis=2)
    Image.fromarray(picture).save(tmp_path / "a.png")
    stored = Pictures(crop=4, resize=4, augment="crop-flip").content(tmp_path, ["a.png"], training=True)
    found = stored.rows(torch.zeros(400, dtype=torch.int64), torch.Generator().manual_seed(0))
    edges = (found[:, 2, 0, [0, -1]] // 30).tolist()
    places = {(a, b): edges.count([a, b]) for a, b in map(tuple, edges)}
    assert set(places) == {(p, p + 3) for p in range(4)} | {(p + 3, p) for p in range(4)}
    assert min(places.values()) > 25


@pytest.mark.parametrize("kind", ["cut", "JPEG", "empty", "text"])
def test_a_damaged_picture_is_named_or_left_out(root, kind):
    path = root / NAMES[1]
    if kind == "JPEG":
        Image.effect_noise((64, 64), 80).convert("RGB").save(path, kind)
    content = path.read_bytes()
    path.write_bytes({"empty": b"", "text": b"<html>not found</html>"}.get(kind, content[: len(content) // 2]))
    strict = Pictures(16, 16)
    assert strict.usable(root, NAMES).all()  # it is met when it is needed
    stored = strict.content(root, NAMES, training=False)
    with pytest.raises(UserError, match=r"p1\.png cannot be read as a picture .*data\.image\.damaged to skip"):
        stored.rows(torch.arange(6))
    assert stored.rows(torch.tensor([0, 2])).shape == (2, 3, 16, 16)
    assert Pictures(16, 16, damaged="skip").usable(root, NAMES).tolist() == [True, False, True, True, True, True]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_picture_that_claims_to_be_huge_is_damaged(tmp_path, monkeypatch):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert not Pictures(16, 16, damaged="skip").usable(tmp_path, ["a.png"]).any()


def test_missing_pictures_are_refused_or_left_out(root):
    (root / NAMES[4]).unlink()
    with pytest.raises(UserError, match=r"1 of 6 pictures are missing in .*, first p4\.png; .*data\.image\.missing"):
        Pictures(16, 16).usable(root, NAMES)
    for damaged in ("refuse", "skip"):
        usable = Pictures(16, 16, missing="skip", damaged=damaged).usable(root, NAMES)
        assert usable.tolist() == [True, True, True, True, False, True]
    with pytest.raises(UserError, match=r"nowhere, given as data\.root, does not exist"):
        Pictures(16, 16, missing="skip").usable(root / "nowhere", NAMES)


def test_fingerprint_follows_files_and_their_order(root):
    def fingerprint(names):
        return Pictures(16, 16).content(root, names, training=False).fingerprint()

    before = fingerprint(NAMES)
    assert fingerprint(NAMES) == before
    assert fingerprint(NAMES[::-1]) != before
    Image.new("RGB", (20, 20)).save(root / NAMES[0])
    assert fingerprint(NAMES) != before


def test_the_crop_lies_inside_the_picture():
    with pytest.raises(UserError, match=r"data\.image\.crop is 33 and data\.image\.resize 32"):
        Pictures(33, 32)


def write_archive(root, *names, rows=None):
    np.savez(root / "f.npz", names=names, features=np.arange(2.0 * (rows or len(names))).reshape(-1, 2))


def test_features_are_found_by_name(tmp_path):
    write_archive(tmp_path, "b.jpg", "a.jpg", "c.jpg")
    archive = FeatureArchive("f.npz")
    assert archive.content(tmp_path, ["x/a.jpg", "x/b.jpg"], training=True).tolist() == [[2, 3], [0, 1]]
    assert archive.usable(tmp_path, ["x/a.jpg"]).all()
    with pytest.raises(UserError, match=r"1 of 2 pictures are missing in .*f\.npz, first d\.jpg"):
        archive.usable(tmp_path, ["a.jpg", "d.jpg"])
    assert FeatureArchive("f.npz", missing="skip").usable(tmp_path, ["a.jpg", "d.jpg"]).tolist() == [True, False]


def test_an_archive_is_read_once_and_not_copied(tmp_path):
    write_archive(tmp_path, "a.jpg", "b.jpg")
    archive = FeatureArchive("f.npz")
    assert archive.usable(tmp_path, ["a.jpg"]).all()
    (tmp_path / "f.npz").unlink()
    assert archive.content(tmp_path, ["b.jpg"], training=True).tolist() == [[2, 3]]
    for copied in (copy.deepcopy(archive), pickle.loads(pickle.dumps(archive))):
        with pytest.raises(UserError, match=r"f\.npz is missing"):
            copied.usable(tmp_path, ["a.jpg"])


def test_features_of_files_in_different_folders_are_told_apart_by_names_with_folders(tmp_path):
    write_archive(tmp_path, "x/a.jpg", "y/a.jpg")
    assert FeatureArchive("f.npz").content(tmp_path, ["y/a.jpg", "x/a.jpg"], training=True).tolist() == [[2, 3], [0, 1]]
    write_archive(tmp_path, "a.jpg", "b.jpg")
    with pytest.raises(UserError, match="does not tell pictures of the same file name in different folders apart"):
        FeatureArchive("f.npz").content(tmp_path, ["x/a.jpg", "y/a.jpg"], training=True)


def test_wrong_archives_are_refused(tmp_path):
    write_archive(tmp_path, "a.jpg", "a.jpg")
    with pytest.raises(UserError, match=r"f\.npz names 1 pictures twice"):
        FeatureArchive("f.npz").usable(tmp_path, ["a.jpg"])
    write_archive(tmp_path, "a.jpg", "b.jpg", rows=3)
    with pytest.raises(UserError, match=r"names of shape \(2,\) and features of shape \(3, 2\)"):
        FeatureArchive("f.npz").usable(tmp_path, ["a.jpg"])


def test_real_pictures_are_decoded_as_those_of_the_independent_features(real_data):
    root = real_data / "pascal_sentence"
    names = sorted(path.relative_to(root).as_posix() for path in root.glob("images/*.jpg"))[:8]
    found = Pictures(crop=224, resize=224).content(root, names, training=False).rows(torch.arange(8))
    for name, picture in zip(names, found, strict=True):
        np.testing.assert_array_equal(picture.permute(1, 2, 0), by_pillow(root / name, 224, 224))


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_processes_read_what_threads_read(root, start, monkeypatch):
    """On every system: only forked processes have what is not pickled for them."""
    monkeypatch.setattr(reading_ahead, "DataLoader", partial(reading_ahead.DataLoader, multiprocessing_context=start))

    def read(workers):
        image = Pictures(20, 32, augment="crop-flip", workers=workers).content(root, NAMES, training=True)
        rows = torch.arange(len(NAMES))
        loader = PairLoader(Part(image, rows[:, None].float(), rows, rows, tuple(NAMES), ("",) * len(NAMES)), 2, seed=3)
        return [*loader, *loader, *(ItemLoader(image, rows, rows, 4) if start == "fork" else ())]

    for batch, expected in zip(read(1), read(0), strict=True):
        assert all(a is b is None or torch.equal(a, b) for a, b in zip(batch, expected, strict=True))


def test_processes_of_one_machine_share_its_cores(monkeypatch):
    monkeypatch.setattr(pictures, "cpu_count", lambda: 16)
    assert Pictures().processes == 16
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert Pictures().processes == 5
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "99")
    assert (Pictures().processes, Pictures(workers=0).processes) == (1, 0)
