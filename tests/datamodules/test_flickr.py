import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch

from cmr_lightning.batch import Words
from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import INSTANCE_LEVEL
from datamodules.families.listed_data import PARTS
from datamodules.flickr import LAST_OF_FIRST_1000, Flickr8k, Flickr30k
from datamodules.inputs.feature_archive import FeatureArchive
from datamodules.inputs.pictures import Pictures
from datamodules.inputs.vocabulary import Vocabulary
from tests.building import ROOT
from tests.datamodules.published import DATASETS, flickr8k, flickr30k


@pytest.mark.parametrize("name", ["flickr8k", "flickr30k"])
def test_captions_belong_to_their_pictures(invented_data: Path, name: str) -> None:
    images = json.loads((invented_data / name / f"dataset_{name}.json").read_text())["images"]
    expected = {image["filename"]: [sentence["raw"] for sentence in image["sentences"]] for image in images}
    data = DATASETS[name].load(invented_data / name)
    assert data.protocols == INSTANCE_LEVEL
    for part in map(data.part, PARTS):
        for row, picture in enumerate(part.image_names):
            found = [caption for caption, owner in zip(part.captions, part.owner, strict=True) if owner == row]
            assert found == expected.pop(picture)
    assert not expected


def test_by_default_words_occur_four_times_in_training(invented_data: Path) -> None:
    data = flickr30k.load(invented_data / "flickr30k")
    counts = Counter(word for text in data.listing("train").captions for word in text.lower().strip(".").split())
    assert isinstance(data.spec.text, Words)
    assert data.spec.text.vocabulary == 4 + sum(count >= 4 for count in counts.values())
    assert min(counts.values()) < 4


@pytest.mark.parametrize(
    ("captions", "split"), [(2, "Karpathy 40/10/10, 2 captions an image"), (5, "Karpathy 40/10/10")]
)
def test_captions_are_cut(invented_data: Path, captions: int, split: str) -> None:
    data = flickr30k.load(invented_data / "flickr30k", captions_per_image=captions)
    assert data.part("test").num_texts == 10 * captions
    assert data.split.name == split


@pytest.mark.parametrize("pictures", ["all", "first-1000"])
def test_token_file_gives_what_karpathys_file_gives(invented_data: Path, tmp_path: Path, pictures: str) -> None:
    flickr8k.write(tmp_path, karpathy=False)
    both, tokens = (flickr8k.load(root, pictures=pictures) for root in (invented_data / "flickr8k", tmp_path))
    assert both.split == tokens.split
    assert both.checksum() == tokens.checksum()
    listed = [name for part in PARTS for name in tokens.part(part).image_names]
    assert not any(name.startswith(flickr8k.STRAY) for name in listed)


def test_the_first_pictures_stay_in_their_parts_and_need_no_others(tmp_path: Path) -> None:
    flickr8k.write(tmp_path)
    whole, first = flickr8k.load(tmp_path), flickr8k.load(tmp_path, pictures="first-1000")
    names = {part: whole.part(part).image_names for part in PARTS}
    for part in PARTS:
        assert first.part(part).image_names == tuple(name for name in names[part] if name.startswith("1"))
        assert first.part(part).num_texts == 5 * len(first.part(part).image_names) < whole.part(part).num_texts
    for name in {name for of_part in names.values() for name in of_part if name.startswith("2")}:
        (tmp_path / "Flicker8k_Dataset" / name).unlink()
    assert flickr8k.load(tmp_path, pictures="first-1000").split == first.split
    with pytest.raises(UserError, match="5 of 10 pictures are missing"):
        flickr8k.load(tmp_path).listing("test")
    gone = first.listing("test").pictures[3]
    (tmp_path / gone).unlink()
    with pytest.raises(UserError, match=f"1 of 5 pictures are missing in .*, first {gone}; .*data.image.missing"):
        flickr8k.load(tmp_path, pictures="first-1000").listing("test")


@pytest.mark.parametrize("folder", ["Images", "Flickr8k_Dataset/Flicker8k_Dataset", "."])
def test_the_folder_of_flickr8k_may_have_any_name(tmp_path: Path, folder: str) -> None:
    flickr8k.write(tmp_path)
    expected = flickr8k.load(tmp_path)
    pictures, split = expected.part("test").image.rows(torch.arange(10)), expected.split  # type: ignore[union-attr]
    for file in (tmp_path / "Flicker8k_Dataset").iterdir():
        moved = tmp_path / folder / file.name
        moved.parent.mkdir(parents=True, exist_ok=True)
        file.rename(moved)
    data = flickr8k.load(tmp_path)
    assert data.split == split
    assert torch.equal(data.part("test").image.rows(torch.arange(10)), pictures)  # type: ignore[union-attr]
    assert data.picture("test", 0) is not None


def test_without_any_picture_the_usual_folder_is_named(tmp_path: Path) -> None:
    flickr8k.write(tmp_path)
    shutil.rmtree(tmp_path / "Flicker8k_Dataset")
    with pytest.raises(UserError, match=r"40 of 40 pictures are missing in .*, first Flicker8k_Dataset/"):
        flickr8k.load(tmp_path).part("train")


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("Flickr8k.token.txt", b"#1\t", b"#1 ", r"token.txt, line 2: expected <file>#<number>, a tab and a caption"),
        ("Flickr8k.token.txt", b"", b"x.jpg#0\tcaf\xe9\n", r"Flickr8k.token.txt is not UTF-8"),
        ("Flickr_8k.devImages.txt", b"", b"2513260012_0000000000.jpg\n", "lists 2513260012_.{10}.jpg, which .*train"),
        ("Flickr_8k.testImages.txt", b"", b"unknown.jpg\n", "has no caption of unknown.jpg, which Flickr_8k.testIm"),
    ],
)
def test_faults_of_the_token_files_are_named(tmp_path: Path, name: str, old: bytes, new: bytes, message: str) -> None:
    flickr8k.write(tmp_path, karpathy=False)
    path = tmp_path / name
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(UserError, match=message):
        Flickr8k(str(tmp_path)).listing("train")


def test_real_flickr8k(real_data: Path, tmp_path: Path) -> None:
    root = real_data / "flickr8k"
    data = Flickr8k(str(root), image=Pictures(missing="skip"))
    kept = {part: data.listing(part) for part in PARTS}
    assert [len(kept[part].pictures) for part in PARTS] == [753, 113, 125]
    assert [len(kept[part].captions) for part in PARTS] == [3765, 565, 625]
    assert data.split.name == "Karpathy 6000/1000/1000, 7009 of 8000 pictures left out"
    with pytest.raises(UserError, match="5247 of 6000 pictures are missing"):
        Flickr8k(str(root)).listing("train")
    first = Flickr8k(str(root), pictures="first-1000")
    assert {part: first.listing(part).captions for part in PARTS} == {part: kept[part].captions for part in PARTS}
    assert first.split.name == "first 1000 of 8092 pictures by file name, Karpathy 753/113/125"
    assert f"`{first.split.checksum}`" in (ROOT / "datamodules/cards/flickr8k.md").read_text()
    captioned = {line.partition("#")[0] for line in (root / "Flickr8k.token.txt").read_text().splitlines()}
    assert len(captioned - {f"{flickr8k.STRAY}.1"}) == 8092
    assert sorted(captioned)[999] == LAST_OF_FIRST_1000
    for file in root.glob("Flickr*.txt"):
        (tmp_path / file.name).symlink_to(file)
    tokens = Flickr8k(str(tmp_path))
    for part in PARTS:
        ours, theirs = tokens.list_part(part), data.list_part(part)
        assert [Path(file).name for file in ours.pictures] == [Path(file).name for file in theirs.pictures]
        assert ours.captions == theirs.captions


def test_real_flickr8k_features(real_data: Path) -> None:
    image = FeatureArchive("mobilenetv2_features.npz", missing="skip")
    part = Flickr8k(str(real_data / "flickr8k"), image=image).part("test")
    assert (part.num_images, part.num_texts) == (125, 625)
    assert isinstance(part.image, torch.Tensor)
    assert part.image.shape == (125, 1280)


def test_real_flickr30k(real_data: Path) -> None:
    """Compare the vocabulary with that of VSE++, but for one word and the tokens of quotation marks."""
    data = Flickr30k(str(real_data / "flickr30k"))
    captions = [text for part in ("train", "val") for text in data.list_part(part).captions]
    vocabulary = Vocabulary.build(captions, 4, "treebank")
    assert len(vocabulary) == 8481
    published = json.loads((real_data / "text" / "f30k_precomp_vocab.json").read_text())["word2idx"]
    assert set(vocabulary.words) ^ set(published) == {"repent", ".`", "`", "''"}
    assert len(Vocabulary.build(captions, 4)) == 8428
