import csv
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from unicodedata import normalize

import pytest
import torch
from PIL import Image

from cmr_lightning.batch import Pixels, Tokens
from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import INSTANCE_LEVEL, LABELLED_PAIRS
from cmr_lightning.extract.sources import PictureSource
from cmr_lightning.runs.checkpoint_files import newest_checkpoint
from cmr_lightning.runs.run import Run
from datamodules.families.listed_data import PARTS
from datamodules.inputs.pictures import Pictures
from datamodules.pairs import Columns, Pairs
from datamodules.reading.published_files import on_disk
from tests.building import ROOT, Built, tiny
from tests.datamodules.published.invention import SMALL
from tests.datamodules.published.pairs import LABELS
from tests.datamodules.published.pairs import write as write_pairs

EXPERIMENT = ROOT / "experiments" / "pairs" / "daml.yaml"


def write_csv(root, rows, header=("image", "text", "label", "split"), **settings):
    """Write a table, and the pictures of `complete`."""
    with (root / "t.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    for name in {row[0] for row in complete()}:
        Image.new("RGB", (20, 18), (90, 30, 200)).save(root / name)
    return Pairs(str(root), "t.csv", image=SMALL, **settings)


def complete():
    """Two labels, one image of each in every part, two texts each; line 2 is the first."""
    return [
        [f"{part}{label}.png", f"text {number} of {part} {label}", label, part]
        for part in PARTS
        for label in ("cup", "hat")
        for number in range(2)
    ]


def listings(data):
    return {part: data.listing(part) for part in PARTS}


def test_generated_table(data):
    assert data.classes == LABELS
    assert data.protocols == LABELLED_PAIRS
    for part in map(data.part, PARTS):
        assert isinstance(part.text, Tokens)
        assert torch.bincount(part.owner).tolist() == [2] * part.num_images
        for name, label in zip(part.image_names, part.label.tolist(), strict=True):
            assert name.split("/")[1] == LABELS[label]
        for text, owner in zip(part.captions, part.owner.tolist(), strict=True):
            assert text.startswith(f"Photo {int(Path(part.image_names[owner]).stem)}, ")
    assert data.picture("test", 0).ndim == 3


def test_a_drawn_split_follows_seed_and_fractions_and_not_the_order_of_rows(miniature, tmp_path):
    table = miniature / "pairs.csv"
    header, *lines = table.read_text(encoding="utf-8").splitlines()
    (tmp_path / "turned.csv").write_text("\n".join([header, *reversed(lines)]), encoding="utf-8")

    def split(table="pairs.csv", **settings):
        data = Pairs(str(miniature), str(table), image=SMALL, **settings)
        return {part: set(listing.pictures) for part, listing in listings(data).items()}

    assert split(tmp_path / "turned.csv") == split() == split(split_seed=0)
    assert split(split_seed=1) != split()
    wider = split(val_fraction=0.2, test_fraction=0.4)
    assert [len(wider[part]) for part in PARTS] == [24, 12, 24]
    assert wider["test"] > split()["test"]


def test_the_class_name_works_in_a_config(miniature, tmp_path, monkeypatch):
    """`class_path: Pairs` is the data set, and columns and inputs can be set by dotted names."""
    monkeypatch.setenv("CMR_DATA", str(miniature.parent))
    options = ["--data.columns.label=", "--data.image.crop=32", "--data.image.resize=32", "--data.text.min_count=3"]
    built = Built(["fit", f"--config={EXPERIMENT}", f"--run_dir={tmp_path / 'run'}", *options])
    data = built.datamodule
    assert type(data) is Pairs
    assert data.columns == Columns(label="")
    assert data.text.min_count == 3
    assert data.spec.image == Pixels(32)
    assert data.protocols == INSTANCE_LEVEL


def test_splits_and_labels_of_the_table(tmp_path):
    data = write_csv(tmp_path, complete())
    assert data.classes == ("cup", "hat")
    for part, listing in listings(data).items():
        assert listing.pictures == (f"{part}cup.png", f"{part}hat.png")
        assert listing.label.tolist() == [0, 1]
        assert listing.owner.tolist() == [0, 0, 1, 1]
        assert listing.captions[3] == f"text 1 of {part} hat"
    assert data.split.name == "column split of t.csv"
    assert data.part("test").image.rows(torch.tensor([1])).shape == (1, 3, 16, 16)


def test_without_labels_a_text_belongs_to_its_image(tmp_path):
    """A column without a name, as of row numbers, is none."""
    rows = [[image, text, number, split] for number, (image, text, _, split) in enumerate(complete())]
    for columns in (Columns(), Columns(label="")):
        data = write_csv(tmp_path, rows, ("image", "text", "", "split"), columns=columns)
        assert data.protocols == INSTANCE_LEVEL
        assert data.spec.relevance == "instance"
        assert data.spec.num_classes == len(data.classes) == 1
        assert data.part("val").label.tolist() == [0, 0]


def test_several_labels_are_multi_hot(tmp_path):
    rows = complete()
    for row in rows:
        row[2] = "blue; cup" if row[2] == "cup" else "hat;"
    data = write_csv(tmp_path, rows, label_separator=";")
    assert data.classes == ("blue", "cup", "hat")
    assert data.part("val").label.tolist() == [[1, 1, 0], [0, 0, 1]]
    assert data.spec.multi_label
    assert data.spec.class_counts == (1, 1, 1)


@pytest.mark.parametrize("multi", [False, True])
def test_all_formats_say_the_same(tmp_path, multi):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pytest.importorskip("pyarrow").table
    rows = [[i, t, f"{label}|thing" if multi else label, s] for i, t, label, s in complete()]
    expected = write_csv(tmp_path, rows, label_separator="|" if multi else None)
    records = [
        {"image": i, "text": t, "label": label.split("|") if multi else label, "split": s, "price": 3}
        for i, t, label, s in rows
    ]
    (tmp_path / "t.jsonl").write_text("\n\n".join(json.dumps(record) for record in records) + "\n")
    columns = {key: [record[key] for record in records] for key in records[0]}
    parquet.write_table(table(columns), tmp_path / "t.parquet")
    for name in ("t.jsonl", "t.parquet"):
        data = Pairs(str(tmp_path), name, image=SMALL)
        assert data.classes == expected.classes
        assert data.split.checksum == expected.split.checksum
        for part in PARTS:
            assert data.listing(part).captions == expected.listing(part).captions
            assert torch.equal(data.part(part).label, expected.part(part).label)
    assert expected.spec.multi_label == multi


def test_columns_may_be_called_otherwise(tmp_path):
    columns = Columns(image="photo", text="title", label="kind", split="part")
    data = write_csv(tmp_path, complete(), ("photo", "title", "kind", "part"), columns=columns)
    assert data.listing("val").pictures == ("valcup.png", "valhat.png")
    data = write_csv(tmp_path, complete(), columns=Columns(label="", split=""), test_fraction=0.3)
    assert data.protocols == INSTANCE_LEVEL
    assert [len(listing.pictures) for listing in listings(data).values()] == [3, 1, 2]


def test_a_validation_part_is_drawn_from_train_where_the_table_has_none(tmp_path):
    """The pictures are those that a drawn split takes first, in the order of the same hash."""
    rows = [[f"{label}{n}.png", "A red cup.", label, "train"] for label in ("cup", "hat") for n in range(10)]
    rows += [["testcup.png", "A cup.", "cup", "test"], ["testhat.png", "A hat.", "hat", "test"]]
    for row in rows:
        row[1] += f" {row[0]} {row[0]}"
    data = write_csv(tmp_path, rows, val_fraction=0.2, split_seed=3)
    sizes = {part: len(data._names[part]) for part in PARTS}
    assert sizes == {"train": 16, "val": 4, "test": 2}
    assert data._names["test"] == ["testcup.png", "testhat.png"]
    assert data.split_name == "column split of t.csv, validation drawn with seed 3, val 0.2 of train"
    first = sorted((f"cup{n}.png" for n in range(10)), key=lambda name: hashlib.sha256(f"3/{name}".encode()).digest())
    assert {name for name in data._names["val"] if name.startswith("cup")} == set(first[:2])
    turned = write_csv(tmp_path, rows[::-1], val_fraction=0.2, split_seed=3)
    assert set(turned._names["val"]) == set(data._names["val"])
    assert set(write_csv(tmp_path, rows, val_fraction=0.2)._names["val"]) != set(data._names["val"])


@pytest.mark.parametrize("on_the_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("in_the_table", ["NFC", "NFD"])
def test_pictures_are_found_in_whichever_normal_form_their_names_are(tmp_path, on_the_disk, in_the_table):
    """The split is the same, too: a table is copied from one computer to another."""
    names = [f"café {n}/für {n}.png" for n in range(20)]
    for n, name in enumerate(names):
        path = tmp_path / normalize(on_the_disk, name)
        path.parent.mkdir()
        Image.new("RGB", (20, 18), (n, 0, 0)).save(path)
    rows = [[normalize(in_the_table, name), f"a cup by the window {n % 3}"] for n, name in enumerate(names)]
    data = write_csv(tmp_path, rows, ("image", "text"))
    assert data.split.checksum == "1ca2a60601946dcb"
    sizes = [(Path(name).name, on_disk(tmp_path, name).stat().st_size) for name in data.listing("test").pictures]
    listed = "".join(f"{normalize('NFC', name)} {size}\n" for name, size in sizes)
    assert data.part("test").image.fingerprint() == hashlib.sha256(listed.encode()).hexdigest()
    for part in PARTS:
        pixels = data.part(part).image.rows(torch.arange(len(data.listing(part).pictures)))[:, 0, 8, 8]
        assert pixels.tolist() == [names.index(normalize("NFC", name)) for name in data.part(part).image_names]
    assert data.picture("test", 0)[0, 0, 0] == data.part("test").image.rows(torch.tensor([0]))[0, 0, 0, 0]


def test_pictures_are_upright_for_encoders_and_in_galleries_unless_it_is_said_otherwise(tmp_path):
    """Taken with a camera that was held upright, so that the file lies on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    rows = complete()
    for image, seen in ((SMALL, "upright"), (Pictures(16, 16, orientation="stored"), "stored")):
        data = write_csv(tmp_path, rows)
        for name in {row[0] for row in rows}:
            sideways = Image.new("RGB", (32, 16), "blue")
            sideways.paste("red", (0, 0, 16, 16))
            sideways.save(tmp_path / name, exif=exif)
        data = Pairs(str(tmp_path), "t.csv", image=image)
        assert data.picture("val", 0).shape[:2] == {"upright": (32, 16), "stored": (16, 32)}[seen]
        middle = data.part("val").image.rows(torch.tensor([0]))[0]
        top, left = middle[0, 0].float().mean(), middle[0, :, 0].float().mean()
        assert (top > left) == (seen == "upright")  # upright, red is above blue
        stored = PictureSource(data, rotations=False, ten_crop=False)
        assert stored.rows.ids[4] == "valcup.png"
        assert torch.equal(stored.read(range(4, 5))[0, 0], middle)
        assert ("upright by EXIF" in data.features) == (seen == "upright")
    assert SMALL.orientation is None  # the data set turned a copy


def test_the_share_of_unknown_words_is_kept_and_printed_when_a_part_is_read(tmp_path, capsys):
    data = write_csv(tmp_path, complete())
    assert data.part("train") and data.unknown_words == {}
    assert data.part("val") and data.part("val") and data.unknown_words == {"val": pytest.approx(0.2)}
    assert capsys.readouterr().out == "Unknown words in the val texts: 20.0%\n"
    assert data.part("test") and set(data.unknown_words) == {"val", "test"}


def test_a_part_that_is_mostly_unknown_is_refused(tmp_path):
    rows = complete()
    for row in rows[4:8]:
        row[1] = f"今天的新闻是{row[1][5]}"
    with pytest.raises(UserError, match=r"^Pairs: 100% of the words of the val texts are unknown, .*splitting to char"):
        write_csv(tmp_path, rows).part("val")


def change(row, column, value):
    def edit(rows):
        rows[row][column] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (change(2, 0, " "), r"t\.csv, line 4: the text 'text 0 of train hat' has no image path"),
        (change(2, 1, " "), r"t\.csv, line 4: the text of trainhat\.png is empty"),
        (change(2, 2, ""), r"t\.csv, line 4: no label in the column label; .*data\.columns\.label to ''"),
        (change(2, 3, "dev"), r"t\.csv, line 4: the split is 'dev', but must be one of train, val, test"),
        (change(2, 3, ""), r"t\.csv, line 4: the split is '', but"),
        (change(3, 3, "test"), r"t\.csv, line 5: trainhat\.png is in test here and in train in line 4"),
        (change(3, 2, "cup"), r"t\.csv, line 5: trainhat\.png has the label cup here and hat in line 4"),
        (change(3, 1, "text 0 of train hat"), r"t\.csv, line 5: the same image and text as in line 4"),
        (lambda rows: rows[3].pop(), r"t\.csv, line 5: 3 cells where the header has 4 columns"),
        (lambda rows: rows.__delitem__(slice(6, 8)), r"t\.csv: no val image has the label hat; every label"),
        (lambda rows: rows.__delitem__(slice(8, 12)), r"t\.csv: no row has test in the column split"),
        (lambda rows: rows.__delitem__(slice(0, 4)), r"t\.csv: no row has train in the column split"),
        (
            lambda rows: rows.__delitem__(slice(4, 8)),
            r"t\.csv: the label cup has only 1 images to draw from, .* 1 for val",
        ),
        (lambda rows: rows.clear(), r"t\.csv holds no rows"),
    ],
)
def test_wrong_rows_are_named(tmp_path, edit, message):
    rows = complete()
    edit(rows)
    with pytest.raises(UserError, match=message) as raised:
        listings(write_csv(tmp_path, rows))
    assert str(raised.value).count("\n") == 0


@pytest.mark.parametrize("key", ["image", "text", "label", "split"])
def test_a_missing_column_is_named(tmp_path, key):
    message = rf"has no column kind, only image, text, label, split; set data\.columns\.{key} to"
    with pytest.raises(UserError, match=message):
        write_csv(tmp_path, complete(), columns=Columns(**{key: "kind"})).listing("train")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"image,text\na.png,A caf\xe9\n", r"t\.csv, line 2: this is not UTF-8 text \(byte 0xe9\)"),
        ("t.csv", b'image,text\na.png,"A dog\n', r"t\.csv, line 2: this is not CSV"),
        ("t.csv", b"image,text,image\n", r"t\.csv, line 1: two columns have the same name"),
        ("t.csv", b"", r"t\.csv holds no rows"),
        # records over several lines and blank lines count
        ("t.csv", b'\nimage,text\n"a.png","two\nlines"\n\na.png,\n', r"t\.csv, line 6: the text of a\.png is empty"),
        ("t.jsonl", b'{"image": "a"}\n{"image"', r"t\.jsonl, line 2: this is not JSON"),
        ("t.jsonl", b"[1]\n", r"t\.jsonl, line 1: expected a JSON object and found '\[1\]'"),
        ("t.jsonl", b'{"image": 5, "text": "a"}', r"t\.jsonl, line 1: the column image should hold text and holds 5"),
        ("t.jsonl", b'{"image": "a", "text": "a", "label": 1.5}', "line 1: a label should be text or a whole number"),
        ("t.xlsx", b"PK", r"t\.xlsx should be a table .* and end in \.csv, \.jsonl, \.parquet"),
        ("t.parquet", b"PAR1 and nothing more", r"t\.parquet cannot be read as a Parquet file"),
    ],
)
def test_damaged_tables_are_named(tmp_path, name, content, message):
    if name == "t.parquet":
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        Pairs(str(tmp_path), name, image=SMALL).listing("train")


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    (tmp_path / "t.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"takes pyarrow to read: pip install 'cmr_lightning\[parquet\]'"):
        Pairs(str(tmp_path), "t.parquet").listing("train")


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(UserError, match=r"t\.csv is missing; it is the table of pairs given as data\.table"):
        Pairs(str(tmp_path), "t.csv").listing("train")
    with pytest.raises(UserError, match=r"The folder .*nowhere, .* does not exist, so t\.csv is missing; it is the t"):
        Pairs(str(tmp_path / "nowhere"), "t.csv").listing("train")


def test_labels_of_too_few_images_cannot_be_drawn(tmp_path):
    rows = [[f"{number}.png", "A cup.", "cup"] for number in range(5)] + [["6.png", "A", "hat"], ["7.png", "B", "hat"]]
    message = r"the label hat has only 2 images to draw from, which leaves none .* beside 1 for test and 1 for val"
    with pytest.raises(UserError, match=message):
        write_csv(tmp_path, rows, ("image", "text", "label")).listing("train")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"val_fraction": 0.0}, "val_fraction of Pairs is 0.0, but should be greater than 0"),
        ({"test_fraction": -0.1}, "test_fraction of Pairs is -0.1, but"),
        ({"val_fraction": 0.9}, "their sum must be below 1"),
    ],
)
def test_fractions_must_leave_something(tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        Pairs(str(tmp_path), "t.csv", **settings)


READER_DIES = (
    "import os, runpy\n"
    "from datamodules.inputs import pictures\n"
    "load = pictures.load_resized\n"
    "pictures.load_resized = lambda *a: os.kill(os.getpid(), 9) if str(a[0]) == {!r} else load(*a)\n"
    "runpy.run_module('cmr_lightning', run_name='__main__')\n"
)
"""The program, in which the process that is to read a picture is killed."""


@pytest.mark.slow
@pytest.mark.parametrize("what", ["picture", "reader"])
def test_what_breaks_in_the_middle_of_an_epoch_ends_the_training_with_a_sentence(tmp_path, what):
    """Processes read the pictures; what one of them meets ends the program, and none keeps it from ending."""
    root, run = tmp_path / "pairs", Run(tmp_path / "run")
    write_pairs(root)
    picture = root / Pairs(str(root), "pairs.csv", image=SMALL).listing("train").pictures[0]
    program, sentence = ["-c", READER_DIES.format(str(picture))], "error: A process that reads pictures was lost"
    if what == "picture":
        picture.write_bytes(picture.read_bytes()[:100])
        program, sentence = ["-m", "cmr_lightning"], f"error: {picture} cannot be read as a picture"
    options = ["--data.batch_size=4", "--trainer.limit_train_batches=1.0", "--trainer.val_check_interval=2"]
    command = [sys.executable, *program, "fit", f"--config={EXPERIMENT}", f"--run_dir={run.path}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CMR_DATA": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *tiny(EXPERIMENT), *options], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert done.stderr.count(sentence) == 1
    assert "Traceback" not in done.stderr
    assert newest_checkpoint(run)[1]["global_step"] > 0
