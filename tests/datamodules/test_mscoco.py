import json
import shutil
from pathlib import Path

import pytest

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import CXC, ECCV, FIVE_FOLD, INSTANCE_LEVEL, Judgements
from datamodules.families.listed_data import PARTS
from datamodules.inputs.pictures import Pictures
from datamodules.mscoco import MSCOCO
from tests.datamodules.published.mscoco import load
from tests.datamodules.published.mscoco import write as write_mscoco


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_mscoco(tmp_path)
    return tmp_path


@pytest.mark.parametrize("restval", [True, False])
def test_restval_trains_or_is_left_out(root: Path, restval: bool) -> None:
    data = load(root, restval=restval)
    assert any(name.startswith("val2014/") for name in data.part("train").image_names) == restval
    assert all(name.startswith("val2014/") for name in data.part("test").image_names)


def test_captions_beyond_the_fifth_are_cut(root: Path) -> None:
    everything = load(root, captions_per_image=None)
    assert load(root).part("test").num_texts == 50
    assert everything.part("test").num_texts == 5 * 5 + 2 * 6 + 3 * 7
    assert everything.split.name.endswith(", all captions, restval in train")
    assert set(load(root).part("test").captions) < set(everything.part("test").captions)


def test_protocols_are_those_whose_files_are_there(root: Path) -> None:
    assert load(root).protocols == INSTANCE_LEVEL + FIVE_FOLD + CXC + ECCV
    (root / "eccv_caption" / "cxc_caption_to_image.json").unlink()
    assert load(root).protocols == INSTANCE_LEVEL + FIVE_FOLD + ECCV
    shutil.rmtree(root / "eccv_caption")
    assert load(root).protocols == INSTANCE_LEVEL + FIVE_FOLD
    assert load(root).relations("test") == {}


def listed(root: Path, name: str) -> dict[int, set[int]]:
    content = json.loads((root / "eccv_caption" / f"{name}.json").read_text())
    return {int(query): set(items) for query, items in content.items()}


def check_judgements(root: Path, data: MSCOCO, kind: str, judgements: Judgements) -> None:
    """Compare with the files by ids that are taken from Karpathy's file, of the pictures that are there."""
    images = {image["filename"]: image for image in json.loads((root / "dataset_coco.json").read_text())["images"]}
    part = data.part("test")
    kept = [images[Path(name).name] for name in part.image_names]
    image_ids = [image["cocoid"] for image in kept]
    caption_ids = [number for image in kept for number in image["sentids"][: data.captions_per_image]]
    assert len(caption_ids) == part.num_texts
    for lists, positives, queries, gallery in (
        (listed(root, f"{kind}_image_to_caption"), judgements.i2t, image_ids, caption_ids),
        (listed(root, f"{kind}_caption_to_image"), judgements.t2i, caption_ids, image_ids),
    ):
        expected = {query: lists.get(query, set()) & set(gallery) for query in queries}
        expected = {query: items for query, items in expected.items() if items}
        relevant = positives.block(slice(None))
        found = {
            queries[row]: {gallery[item] for item in relevant[number].nonzero().flatten()}
            for number, row in enumerate(positives.rows.tolist())
        }
        assert found == expected


@pytest.mark.parametrize("captions", [5, None])
@pytest.mark.parametrize("missing", [0, 2])
def test_judgements_name_rows_of_the_test_part(root: Path, captions: int | None, missing: int) -> None:
    files = sorted((root / "val2014").iterdir())
    for file in files[-missing:] if missing else []:
        file.unlink()
    data = load(root, image=Pictures(crop=32, resize=32, missing="skip"), captions_per_image=captions)
    relations = data.relations("test")
    assert set(relations) == {"cxc", "eccv"}
    assert len(relations["cxc"].i2t) == 10 - missing
    assert len(relations["eccv"].i2t) == len(relations["eccv"].t2i) == 5
    for kind, judgements in relations.items():
        check_judgements(root, data, kind, judgements)
    assert data.relations("val") == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "judges nothing of the test part; remove the folder .*eccv_caption"),
        ('{"391895": 5}', "eccv_image_to_caption.json should hold lists of ids by id"),
        ('{"a": [5]}', "eccv_image_to_caption.json should hold lists of ids by id"),
        ('{"391895": [5', "eccv_image_to_caption.json is not JSON"),
    ],
)
def test_faults_of_judgements_are_named(root: Path, content: str, message: str) -> None:
    (root / "eccv_caption" / "eccv_image_to_caption.json").write_text(content)
    with pytest.raises(UserError, match=message):
        load(root).relations("test")


def test_real_mscoco(real: Path) -> None:
    data = MSCOCO(str(real))
    assert [len(data.listing(part).pictures) for part in PARTS] == [140, 40, 59]
    assert [len(data.listing(part).captions) for part in PARTS] == [700, 200, 295]
    assert data.split.name == "Karpathy 140/40/59, restval in train"
    for kind, judgements in data.relations("test").items():
        check_judgements(real, data, kind, judgements)
