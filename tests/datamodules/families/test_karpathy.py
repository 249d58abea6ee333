import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cmr_lightning.errors import UserError
from datamodules.families.karpathy import find_json, read_entries
from datamodules.flickr import Flickr30k
from tests.datamodules.published.flickr30k import write as write_flickr30k

SOURCE = "it is to be had from its authors"
NAME = "dataset_flickr30k.json"
PICTURE = "1000092798.jpg"
"""The picture of entry 3."""
Edit = Callable[[list[dict[str, Any]]], object]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_flickr30k(tmp_path)
    return tmp_path


def change(path: Path, edit: Edit) -> None:
    """Rewrite a file after `edit` has changed its list of images."""
    content = json.loads(path.read_text())
    edit(content["images"])
    path.write_text(json.dumps(content))


def test_captions_are_in_the_order_of_sentids(root: Path) -> None:
    before = read_entries(root / NAME, SOURCE)
    change(root / NAME, lambda images: images[1]["sentids"].reverse())
    after = read_entries(root / NAME, SOURCE)
    assert after[1].sentence_ids == before[1].sentence_ids[::-1]
    assert after[1].captions == before[1].captions[::-1]
    assert after[0] == before[0]


def test_the_file_may_be_packed_and_is_named_where_it_is_missing(root: Path) -> None:
    entries = read_entries(find_json(root, NAME, SOURCE), SOURCE)
    packed = root / f"{NAME}.gz"
    packed.write_bytes(gzip.compress((root / NAME).read_bytes()))
    assert find_json(root, NAME, SOURCE) == root / NAME
    (root / NAME).unlink()
    assert find_json(root, NAME, SOURCE) == packed
    assert read_entries(packed, SOURCE) == entries
    packed.unlink()
    with pytest.raises(UserError, match=rf"{NAME} is missing; {SOURCE}"):
        find_json(root, NAME, SOURCE)


@pytest.mark.parametrize("content", [b'{"images": "\xff\xfe\xe9"}', b"[]", b'{"dataset": "flickr30k"}', b"", None])
@pytest.mark.parametrize("name", [NAME, f"{NAME}.gz"])
def test_what_is_cut_short_or_not_such_a_file_is_refused(root: Path, name: str, content: bytes | None) -> None:
    packed = gzip.compress if name.endswith(".gz") else bytes
    whole = packed((root / NAME).read_bytes())
    (root / name).write_bytes(whole[: len(whole) // 2] if content is None else packed(content))
    with pytest.raises(UserError, match=rf"{name} is not a JSON file in UTF-8 with a list .* cut short; {SOURCE}\.$"):
        read_entries(root / name, SOURCE)


@pytest.mark.parametrize(
    ("edit", "entry", "message"),
    [
        (lambda images: images[5].update(filename=PICTURE), 5, f"{PICTURE} is listed for the second time"),
        (lambda images: images.append({**images[0], "split": "test"}), 60, "sentence 0 is listed for the second time"),
        (lambda images: images[3]["sentences"][2].update(imgid=7), 3, f"{PICTURE}: sentence 17 is of another picture"),
        (lambda images: images[3]["sentids"].pop(), 3, ".*its sentences are not its sentids"),
        (lambda images: images[3]["sentences"].pop(), 3, ".*its sentences are not its sentids"),
        (lambda images: images[3].pop("filename"), 3, ".*'filename'.* is missing"),
        (lambda images: images[3]["sentences"][0].pop("raw"), 3, ".*'raw'.* is missing"),
        (lambda images: images.insert(3, "picture"), 3, ".* of the wrong kind"),
    ],
)
def test_a_spoiled_entry_is_named(root: Path, edit: Edit, entry: int, message: str) -> None:
    change(root / NAME, edit)
    with pytest.raises(UserError, match=rf"images\[{entry}\]: {message}.*; {SOURCE}\.$"):
        read_entries(root / NAME, SOURCE)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda images: images[3].update(split="restval"),
            f"{PICTURE} is in the unknown part 'restval', not in one of train, val, test",
        ),
        (lambda images: images.__delitem__(slice(40, 50)), "the files list no val pictures"),
        (
            lambda images: images[3].update(sentids=[], sentences=[]),
            f"1 pictures have no caption, first flickr30k-images/{PICTURE}",
        ),
    ],
)
def test_parts_that_cannot_be_are_refused(root: Path, edit: Edit, message: str) -> None:
    change(root / NAME, edit)
    with pytest.raises(UserError, match=message):
        Flickr30k(str(root)).listing("train")


def test_a_picture_needs_a_caption(root: Path) -> None:
    with pytest.raises(UserError, match="captions_per_image of Flickr30k is 0"):
        Flickr30k(str(root), captions_per_image=0)
