"""What is wrong with a published file is named, for every data set that is read from files."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from cmr_lightning.errors import UserError
from datamodules.reading.committed_splits import read_split
from tests.datamodules.published import css3d, nus_wide
from tests.datamodules.test_contract import linked, load, read_all

Edit = Callable[[bytes], bytes]
IMAGE = read_split("pascal_sentence_0")["parts"]["train"]["aeroplane"][0]
TRAIN_LIST = "trainset_txt_img_cat.list"
TOP, SKY = "labels/top_train_detect_all.txt", "Groundtruth/AllLabels/Labels_sky.txt"


def text(old: str, new: str) -> Edit:
    return lambda content: content.replace(old.encode(), new.encode(), 1)


def more(line: str) -> Edit:
    return lambda content: content + line.encode() + b"\n"


def lines(edit: Callable[[list[bytes]], list[bytes]]) -> Edit:
    return lambda content: b"".join(edit(content.splitlines(keepends=True)))


def entries(edit: Callable[[Any], object]) -> Edit:
    """Edit what a JSON file holds, in place."""

    def edited(content: bytes) -> bytes:
        listed = json.loads(content)
        edit(listed)
        return json.dumps(listed).encode()

    return edited


def arrays(edit: Callable[[dict[str, Any]], object]) -> Edit:
    """Edit the arrays of a MATLAB file, in place."""

    def edited(content: bytes) -> bytes:
        held = {key: value for key, value in scipy.io.loadmat(io.BytesIO(content)).items() if not key.startswith("_")}
        edit(held)
        scipy.io.savemat(file := io.BytesIO(), held)
        return file.getvalue()

    return edited


def archive(edit: Callable[[dict[str, Any]], object]) -> Edit:
    """Edit the arrays of a NumPy archive, in place."""

    def edited(content: bytes) -> bytes:
        held = dict(np.load(io.BytesIO(content)))
        edit(held)
        np.savez(file := io.BytesIO(), **held)
        return file.getvalue()

    return edited


def scenes(edit: Callable[[dict[str, Any]], object]) -> Edit:
    """Edit the content of CSS3D, in place."""

    def edited(content: bytes) -> bytes:
        invented: Any = {part: css3d.invent(part) for part in ("train", "test")}
        edit(invented)
        return css3d.python2_npy(invented)

    return edited


def label(value: float) -> Edit:
    return arrays(lambda held: held.update(train_img_lab=np.r_[[[value]], held["train_img_lab"][1:].astype(float)]))


def faults() -> Iterator[tuple[str, str, Edit, str]]:
    """List the data set, the file, what is done to it, and what is said of it."""
    for change in (
        lambda content: content.pop("train"),
        lambda content: content["train"].pop("mods"),
        lambda content: content["train"]["mods"][0].pop("to_str"),
        lambda content: content["train"]["mods"][0]["from"].append(0),
        lambda content: content["train"]["mods"][0].update({"to": [99_999] * 9}),
        lambda content: content["train"]["labels"].pop(),
        lambda content: content["train"].update({"mods": 3}),
    ):
        yield ("css3d", css3d.FILE, scenes(change), "should hold mods and objects_img of train and of test")
    for wrong in ({"split": "training"}, {"captions": "one"}, {"file_path": None}, {"id": "7"}):
        edit = entries(lambda listed, wrong=wrong: listed[3].update(wrong))
        yield "cuhk_pedes", "reid_raw.json", edit, r"reid_raw\.json: entry 3, counted from 0"
    yield "fashion200k", TOP, more("a.jpeg\t0.9"), r"top_train_detect_all\.txt, line \d+: expected a picture"
    yield "fashion200k", TOP, more("a.jpeg\t0.9\t "), "expected a picture, a score and a description"
    twice = lines(lambda rows: [*rows, rows[0].split(b"\t")[0] + b"\t0.9\tsomething else\n"])
    yield "fashion200k", TOP, twice, r"is 'something else' \(top\) here and .* before; keep one of the lines"
    yield "fashion200k", TOP, lambda content: content + b"caf\xe9\n", r"top_train_detect_all\.txt is not UTF-8"
    expected = r"test_queries\.txt, line \d+: expected two test pictures"
    yield "fashion200k", "test_queries.txt", more("a.jpeg"), expected
    yield "fashion200k", "test_queries.txt", more("a.jpeg b.jpeg"), "no label file of the test part lists a.jpeg"
    train, val = "captions/cap.dress.train.json", "captions/cap.dress.val.json"
    split = "image_splits/split.dress.val.json"
    yield "fashion_iq", train, entries(lambda c: c[1].pop("target")), "entry 1, counted from 0, should have a candidate"
    yield "fashion_iq", train, entries(lambda c: c[0].update(captions=["", " "])), "captions that are not all empty"
    yield "fashion_iq", train, entries(lambda c: c[0].update(captions="is red")), "entry 0"
    yield "fashion_iq", train, lambda _: b"{}", "should hold a list and holds a dict"
    yield "fashion_iq", val, entries(lambda c: c[0].update(target="B0")), "names B0, which image_splits does not list"
    yield "fashion_iq", split, entries(lambda c: c.append(c[0])), "each of them once"
    listed, tags = "ImageList/Imagelist.txt", "NUS_WID_Tags/All_Tags.txt"
    message = r"Imagelist\.txt should have lines such as actor\\0001_2124494179\.jpg and has 'actor"
    yield "nus_wide", listed, text(".jpg", ".png"), message
    swapped = lines(lambda rows: [rows[1], rows[0], *rows[2:]])
    yield "nus_wide", tags, swapped, r"All_Tags\.txt is not in the order of the image list: its photo 1 is"
    yield "nus_wide", tags, lines(lambda rows: rows[:-1]), r"All_Tags\.txt has tags of 1199 photos, the image list 1200"
    yield "nus_wide", SKY, more("0"), r"Labels_sky\.txt should have 1200 lines of 1 numbers"
    yield "nus_wide", SKY, lambda content: b"-1130179\n" + content[2:], r"Labels_sky\.txt should hold zeros and ones"
    columns = lines(lambda rows: [rows[0].rstrip() + b"\t0\n", *rows[1:]])
    yield "nus_wide", "NUS_WID_Tags/AllTags1k.txt", columns, r"AllTags1k\.txt should have 1000 columns in each line"
    toy, zeros = SKY.replace("sky", "toy"), b"0\n" * nus_wide.PHOTOS
    yield "nus_wide", toy, lambda _: zeros, r"0 photos with tags that have toy and no other of the ten"
    sentences = "pascal_sentences.json"
    message = f"should have the 1000 published images and lacks {IMAGE}"
    yield "pascal_sentence", sentences, entries(lambda c: c.pop(IMAGE)), message
    for record, message in (
        ({"category": "zebra"}, "the category aeroplane and is .*zebra"),
        ({"captions": []}, "a list of sentences, none of them empty"),
        ({"captions": ["A plane.", " "]}, "a list of sentences, none of them empty"),
        ({"captions": "A plane."}, "a list of sentences"),
        ({"captions": [None]}, "a list of sentences"),
    ):
        edit = entries(lambda c, record=record: c[IMAGE].update(record))
        yield "pascal_sentence", sentences, edit, rf"pascal_sentences\.json: {IMAGE} should have {message}"
    lacking = archive(lambda held: held.update(names=np.where(held["names"] == IMAGE, "x.jpg", held["names"])))
    message = rf"1 of 800 pictures are missing in .*mobilenetv2_features\.npz, first images/{IMAGE}"
    yield "pascal_sentence", "mobilenetv2_features.npz", lacking, message
    shape = "train_txt should be numbers of shape 800 x 300 and is float64 of shape 1000"
    larger = arrays(lambda held: held.update(train_txt=np.zeros((1000, 300))))
    yield "pascal_sentence_dscmr", "train_txt.mat", larger, shape
    for value in (20, -1, 2.5, np.nan):
        message = f"labels should be whole numbers from 0 to 19 and one is {value}"
        yield "pascal_sentence_dscmr", "train_img_lab.mat", label(value), message
    sorted_ = arrays(lambda held: held.update(train_img_lab=np.sort(held["train_img_lab"], axis=0)))
    message = r"train_img_lab\.mat is not the published file, in its order"
    yield "pascal_sentence_dscmr", "train_img_lab.mat", sorted_, message
    for line in ("a\tb\t0", "a\tb\t11", "a\tb", "a b 3", "a\tb\tart", "a\tb\t3\t4", ""):
        message = r"trainset_txt_img_cat\.list, line 7: expected .* a label from 1 to 10"
        edit = lines(lambda rows, line=line: [*rows[:6], f"{line}\n".encode(), *rows[7:]])
        yield "wikipedia", TRAIN_LIST, edit, message
    message = r"trainset_txt_img_cat\.list is not the published file, in its order"
    yield "wikipedia", TRAIN_LIST, lines(lambda rows: rows[::-1]), message
    message = r"testset_txt_img_cat\.list is not the published file, in its order"
    yield "wikipedia", "testset_txt_img_cat.list", lines(lambda rows: [*rows[1:], rows[0]]), message
    message = r"categories\.list should name art, biology.* and names sport"
    yield "wikipedia", "categories.list", lambda _: b"sport\n" * 10, message
    shorter = arrays(lambda held: held.update(T_tr=held["T_tr"][:-1]))
    message = "T_tr should be numbers of shape 2173 x 10 and is float64 of shape 2172 x 10"
    yield "wikipedia", "raw_features.mat", shorter, message
    message = r"raw_features\.mat has no array T_tr, only I_tr, I_te, T_te"
    yield "wikipedia", "raw_features.mat", arrays(lambda held: held.pop("T_tr")), message
    message = r"raw_features\.mat: I_tr should hold finite numbers, .* first row 5,"
    yield "wikipedia", "raw_features.mat", arrays(lambda held: held["I_tr"].__setitem__((5, 3), np.nan)), message


@pytest.mark.parametrize(("name", "path", "edit", "message"), list(faults()))
def test_a_fault_is_named(name: str, path: str, edit: Edit, message: str, invented_data: Path, tmp_path: Path) -> None:
    root = linked(invented_data / name, tmp_path / name)
    content = (root / path).read_bytes()
    (root / path).unlink()
    (root / path).write_bytes(edit(content))
    settings = {"text": "tags1k"} if "Tags1k" in path else {}
    with pytest.raises(UserError, match=message):
        read_all(load(tmp_path, name, **settings))
