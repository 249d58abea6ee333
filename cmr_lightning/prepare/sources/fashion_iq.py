"""FashionIQ (Wu et al., CVPR 2021)."""

from cmr_lightning.prepare.checks import JsonList
from cmr_lightning.prepare.source import ByHand, Layout, Source

_QUERIES = {
    "dress": {"train": 5985, "val": 2017},
    "shirt": {"train": 5988, "val": 2038},
    "toptee": {"train": 6027, "val": 1961},
}
_PICTURES = {
    "dress": {"train": 11_452, "val": 3817},
    "shirt": {"train": 19_036, "val": 6346},
    "toptee": {"train": 16_121, "val": 5373},
}
_PATHS = ("images/{}.jpg", "images/{}.png")

SOURCE = Source(
    title="FashionIQ (Wu et al., CVPR 2021): 24,016 pairs of garments with two relative captions each",
    terms="Captions and lists are in a public repository, whose licence the user accepts; the pictures are those of a "
    "shop, to which they belong. Never fetched.",
    layouts=(
        Layout(
            "captions",
            (
                *(
                    JsonList(f"captions/cap.{category}.{part}.json", entries)
                    for category, parts in _QUERIES.items()
                    for part, entries in parts.items()
                ),
                *(
                    JsonList(f"image_splits/split.{category}.{part}.json", entries, images=_PATHS, folder="images")
                    for category, parts in _PICTURES.items()
                    for part, entries in parts.items()
                ),
            ),
        ),
    ),
    by_hand=(
        ByHand(
            ("captions", "image_splits"),
            "copy these folders from the repository XiaoxiaoGuo/fashion-iq.",
        ),
        ByHand(
            ("images",),
            "get the pictures from the addresses that the repository XiaoxiaoGuo/fashion-iq-metadata lists, or from "
            "where others keep them, as many are gone; put them side by side as <picture>.jpg or <picture>.png. Those "
            "that stay missing are left out with data.image.missing: skip.",
        ),
    ),
)
