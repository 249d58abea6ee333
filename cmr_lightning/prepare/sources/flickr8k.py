"""Flickr8k (Hodosh, Young, Hockenmaier, JAIR 2013)."""

from cmr_lightning.prepare.checks import Counts, JsonFile, LinesFile, ListedFiles
from cmr_lightning.prepare.source import ByHand, Layout, Source

_SPLITS = {
    "Flickr_8k.trainImages.txt": 6000,
    "Flickr_8k.devImages.txt": 1000,
    "Flickr_8k.testImages.txt": 1000,
}
_JUDGEMENTS = {"ExpertAnnotations.txt": 5822, "CrowdFlowerAnnotations.txt": 47_830}
_JSON = JsonFile(
    "dataset_flickr8k.json",
    {"train": Counts(6000, 30_000), "val": Counts(1000, 5000), "test": Counts(1000, 5000)},
    key="images",
    group_by="split",
    texts_in="sentences",
)

SOURCE = Source(
    title="Flickr8k (Hodosh, Young, Hockenmaier, JAIR 2013): 8,000 images with five captions each",
    terms="Given on request by a form of the University of Illinois; the photographs are under Flickr's terms, for "
    "research use. Never fetched.",
    layouts=(
        Layout(
            "Flickr8k.token.txt",
            (
                LinesFile("Flickr8k.token.txt", 40_460),
                *(LinesFile(name, lines) for name, lines in _SPLITS.items()),
                _JSON,
                *(LinesFile(name, lines, only_for="people's judgements") for name, lines in _JUDGEMENTS.items()),
                ListedFiles(".", tuple(_SPLITS), "{0}", by_name=True),
            ),
        ),
    ),
    by_hand=(
        ByHand(
            ("Flickr8k.token.txt", *_SPLITS, *_JUDGEMENTS, "Flicker8k_Dataset"),
            "request the data set from the University of Illinois and unpack its two archives, captions and pictures, "
            "to the files and the folder below; the folder of the pictures may have any name.",
        ),
        ByHand(
            ("dataset_flickr8k.json",),
            "put the JSON file of Karpathy's split, as CMPM and VSE++ read it, into the folder.",
        ),
    ),
)
