import json
from pathlib import Path
from typing import Any

import pytest
import torch

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import measure
from datamodules.cuhk_pedes import CUHKPEDES
from datamodules.families.listed_data import PARTS
from tests.datamodules.published.cuhk_pedes import CAPTIONS, PERSONS, load


def records(root: Path) -> list[dict[str, Any]]:
    return json.loads((root / "reid_raw.json").read_text())


def test_every_picture_has_its_person_and_all_its_captions(data: CUHKPEDES) -> None:
    for part in PARTS:
        of_part = [record for record in records(data.root) if record["split"] == part]
        listing = data.listing(part)
        assert listing.pictures == tuple(f"imgs/{record['file_path']}" for record in of_part)
        assert listing.captions == tuple(caption for record in of_part for caption in record["captions"])
        texts = torch.bincount(listing.owner).tolist()
        assert texts == [len(record["captions"]) for record in of_part]
    assert torch.bincount(data.listing("train").owner)[list(CAPTIONS)].tolist() == list(CAPTIONS.values())
    assert data.spec.relevance == "label"


def test_labels_number_the_persons_of_a_part_from_0(data: CUHKPEDES) -> None:
    for part, persons in PERSONS.items():
        ids = torch.tensor([record["id"] for record in records(data.root) if record["split"] == part])
        label = data.part(part).label
        assert sorted(label.unique().tolist()) == list(range(persons))
        assert torch.equal(label[:, None] == label, ids[:, None] == ids)
        assert torch.equal(label, ids - ids.min())


def test_a_sentence_is_answered_by_every_picture_of_its_person(data: CUHKPEDES) -> None:
    part = data.part("test")
    images = torch.nn.functional.one_hot(part.label).float()
    keys = {"label": (part.label, part.label[part.owner])}
    perfect = measure(images, images[part.owner], keys, data.protocols)
    assert perfect.metrics["map@all/cos/label"]["t2i"] == pytest.approx(1)
    assert perfect.metrics["recall@1/cos/label"] == pytest.approx({"i2t": 100, "t2i": 100, "mean": 100})
    assert perfect.ranks["t2i/cos/label"].num_relevant.tolist() == [3] * part.num_texts


def test_the_main_protocol_is_the_recall_that_tables_are_sorted_by() -> None:
    recalls = ["recall@1/cos/label", "recall@5/cos/label", "recall@10/cos/label"]
    assert [protocol.id for protocol in CUHKPEDES.protocols] == [*recalls, "map@all/cos/label"]


def test_a_part_of_a_single_person_is_refused(miniature: Path, tmp_path: Path) -> None:
    (tmp_path / "imgs").symlink_to(miniature / "imgs")
    content = [record | {"id": 1} if record["split"] == "val" else record for record in records(miniature)]
    (tmp_path / "reid_raw.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="all val pictures show the same person"):
        load(tmp_path).part("val")
