"""MSCOCO (Lin et al., ECCV 2014; captions: Chen et al. 2015) in Karpathy's split, with CxC and ECCV Caption."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import CXC, ECCV, FIVE_FOLD, INSTANCE_LEVEL, Judgements, Positives, Protocol
from cmr_lightning.ranges import Count, Name
from datamodules.base import PartName
from datamodules.facts import Counts, Facts, Origin
from datamodules.families.karpathy import KarpathyData, json_origin
from datamodules.inputs.image_inputs import ImageInput
from datamodules.inputs.text_inputs import TextInput
from datamodules.reading.published_files import read_json

_JUDGEMENTS = "eccv_caption"
_PICTURES = "http://images.cocodataset.org/zips"
_FACTS = Facts(
    name="mscoco",
    title="MSCOCO 2014 (Lin et al., ECCV 2014) in Karpathy's split: 123,287 pictures with about five captions each",
    level="instance",
    terms="The pictures do not belong to the COCO consortium: whoever uses them must keep to Flickr's terms of use. "
    "The annotations are under CC BY 4.0.",
    origins=(
        json_origin("dataset_coco.json"),
        *(
            Origin((part,), f"unpack {part}.zip (cocodataset.org)", file=f"{part}.zip", url=f"{_PICTURES}/{part}.zip")
            for part in ("train2014", "val2014")
        ),
        Origin(
            (_JUDGEMENTS,),
            "copy the folder eccv_caption/data of the public code naver-ai/eccv-caption, as eccv_caption,",
        ),
    ),
    optional={_JUDGEMENTS: "the protocols of Crisscrossed Captions and ECCV Caption"},
    counts={"train": Counts(113_287, 566_435), "val": Counts(5000, 25_000), "test": Counts(5000, 25_000)},
    remark="82,783 train without `restval`",
)
_JUDGEMENTS_SOURCE = _FACTS.source(_JUDGEMENTS)
_JUDGED: dict[str, tuple[Protocol, ...]] = {"cxc": CXC, "eccv": ECCV}


class MSCOCO(KarpathyData):
    """MSCOCO: 123,287 pictures in Karpathy's split, five captions each.

        <root>/{train2014,val2014}/COCO_*.jpg
        <root>/dataset_coco.json                                                or dataset_coco.json.gz
        <root>/eccv_caption/{cxc,eccv}_{image_to_caption,caption_to_image}.json may be missing

    Measured on the whole test part (5K) and as the mean over five folds of it (1K). Where the files of Crisscrossed
    Captions or ECCV Caption are there, the test part is also measured by the texts that people found right for an image
    though they were written for another one.

    Source, terms, counts and known faults: `datamodules/cards/mscoco.md`.

    Args:
        root: Folder of the published files.
        restval: Whether the 30,504 pictures of val2014 that are in neither val nor test are trained on too.

    The other arguments are those of `KarpathyData`.
    """

    facts = _FACTS

    def __init__(
        self,
        root: Name,
        restval: bool = True,
        image: ImageInput | None = None,
        text: TextInput | None = None,
        captions_per_image: Count | None = 5,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, image, text, captions_per_image, **kwargs)
        self.restval = restval
        self._judged = [kind for kind in _JUDGED if all(path.is_file() for path in self._judgement_files(kind))]
        self.protocols = (*INSTANCE_LEVEL, *FIVE_FOLD, *(p for kind in self._judged for p in _JUDGED[kind]))

    def path(self, picture: str) -> str:
        """Return the picture, whose name in the file has its folder."""
        return picture

    def usage(self) -> Mapping[str, PartName | None]:
        """Return the part of each split of the file; `restval` trains or is left out."""
        return {**super().usage(), "restval": "train" if self.restval else None}

    @property
    def split_name(self) -> str:
        """Number of pictures of each part, and whether `restval` is in train."""
        return f"{super().split_name}, restval {'in train' if self.restval else 'left out'}"

    def relations(self, part: PartName) -> dict[str, Judgements]:
        """Read what CxC and ECCV Caption judged relevant in the test part."""
        if part != "test":
            return {}
        pictures = self.listing(part).pictures
        entries = {entry.picture: entry for entry in self._by_part[part]}
        images = [int(Path(picture).stem.rpartition("_")[2]) for picture in pictures]
        captions = [
            number for picture in pictures for number in entries[picture].sentence_ids[: self.captions_per_image]
        ]
        judged = {}
        for kind in self._judged:
            i2t, t2i = self._judgement_files(kind)
            judged[kind] = Judgements(_positives(i2t, images, captions), _positives(t2i, captions, images))
        return judged

    def _judgement_files(self, kind: str) -> tuple[Path, Path]:
        folder = self.root / _JUDGEMENTS
        return folder / f"{kind}_image_to_caption.json", folder / f"{kind}_caption_to_image.json"


def _positives(path: Path, queries: Sequence[int], gallery: Sequence[int]) -> Positives:
    """Read the lists of a file, with ids replaced by rows.

    Ids that are not in the test part are skipped, such as two captions of ECCV Caption that are not among the first
    five of their image.

    Raises:
        UserError: If the file is damaged, or lists none of the queries.
    """
    rows = {number: row for row, number in enumerate(gallery)}
    listed = read_json(path, dict, _JUDGEMENTS_SOURCE)
    try:
        known = {
            int(query): [rows[int(item)] for item in items if int(item) in rows] for query, items in listed.items()
        }
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} should hold lists of ids by id ({error}); {_JUDGEMENTS_SOURCE}.") from error
    lists = {row: known[query] for row, query in enumerate(queries) if known.get(query)}
    if not lists:
        raise UserError(f"{path} judges nothing of the test part; remove the folder {path.parent} to do without it.")
    return Positives.of(lists, len(gallery))
