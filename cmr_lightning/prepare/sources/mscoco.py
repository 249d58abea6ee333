"""MSCOCO, the images of 2014, in Karpathy's split."""

from cmr_lightning.prepare.checks import Counts, JsonFile
from cmr_lightning.prepare.source import ByHand, Download, Layout, Source

_JSON = "dataset_coco.json"
_TERMS = (
    "The pictures do not belong to the COCO consortium: whoever uses them must keep to Flickr's terms of use. The "
    "annotations are under CC BY 4.0."
)

SOURCE = Source(
    title="MSCOCO 2014 in Karpathy's split: 123,287 images with about five captions each",
    terms=_TERMS,
    layouts=(
        Layout(
            _JSON,
            (
                JsonFile(
                    _JSON,
                    {
                        "train": Counts(82_783, 414_113),
                        "restval": Counts(30_504, 152_634),
                        "val": Counts(5000, 25_010),
                        "test": Counts(5000, 25_010),
                    },
                    key="images",
                    group_by="split",
                    texts_in="sentences",
                    images="{filepath}/{filename}",
                ),
            ),
        ),
    ),
    downloads=tuple(
        Download(
            name=f"{part}.zip",
            holds=(part,),
            page="cocodataset.org",
            terms=_TERMS,
            url=f"http://images.cocodataset.org/zips/{part}.zip",
        )
        for part in ("train2014", "val2014")
    ),
    by_hand=(
        ByHand(
            (_JSON,),
            "put the JSON file of Karpathy's split, as CMPM and VSE++ read it, into the folder, packed by gzip or not.",
        ),
    ),
)
