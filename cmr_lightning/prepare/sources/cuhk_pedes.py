"""CUHK-PEDES (Li et al., CVPR 2017)."""

from cmr_lightning.prepare.checks import Counts, JsonFile
from cmr_lightning.prepare.source import ByHand, Layout, Source

_JSON = "reid_raw.json"
_FOLDERS = ("CUHK01", "CUHK03", "Market", "cam_a", "cam_b", "test_query", "train_query")

SOURCE = Source(
    title="CUHK-PEDES (Li et al., CVPR 2017): 40,206 images of 13,003 people",
    terms="Academic use only, given on request from a university address. Never fetched.",
    layouts=(
        Layout(
            _JSON,
            (
                JsonFile(
                    _JSON,
                    {
                        "train": Counts(34_054, 68_126, 11_003),
                        "val": Counts(3078, 6158, 1000),
                        "test": Counts(3074, 6156, 1000),
                    },
                    group_by="split",
                    texts_in="captions",
                    people_in="id",
                    images="imgs/{file_path}",
                    folder="imgs",
                ),
            ),
        ),
    ),
    by_hand=(
        ByHand(
            (_JSON, *(f"imgs/{name}" for name in _FOLDERS)),
            "request the data set from its authors, as the page of "
            "ShuangLI59/Person-Search-with-Natural-Language-Description says, and put it into the places below.",
        ),
    ),
)
