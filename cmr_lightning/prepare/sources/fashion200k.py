"""Fashion200k (Han et al., ICCV 2017), with the test queries of TIRG."""

from cmr_lightning.prepare.checks import File, LinesFile, ListedFiles
from cmr_lightning.prepare.source import ByHand, Layout, Source

_LABELS = tuple(
    f"labels/{category}_{part}_detect_all.txt"
    for category in ("dress", "jacket", "pants", "skirt", "top")
    for part in ("train", "test")
)

SOURCE = Source(
    title="Fashion200k (Han et al., ICCV 2017): about 200,000 pictures of garments with their descriptions",
    terms="The repository of the data set is under Apache-2.0; the pictures were taken from the pages of a shop, and "
    "the rights in them stay open. Never fetched.",
    layouts=(
        Layout(
            "labels",
            (
                *(File(name) for name in _LABELS),
                LinesFile("test_queries.txt", 33_480),
                ListedFiles("women", _LABELS, "{0}"),
            ),
        ),
    ),
    by_hand=(
        ByHand(
            ("labels", "women"),
            "the page of the repository xthan/fashion-200k leads to the labels and to women.tar.gz, the cropped "
            "pictures; unpack both to the folders below.",
        ),
        ByHand(
            ("test_queries.txt",),
            "the test queries are those of TIRG, storage.googleapis.com/image_retrieval_css/test_queries.txt.",
        ),
    ),
)
