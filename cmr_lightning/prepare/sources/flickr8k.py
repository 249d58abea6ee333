"""Flickr8k (Hodosh, Young, Hockenmaier, JAIR 2013)."""

from cmr_lightning.prepare.checks import Counts, JsonFile, LinesFile, ListedFiles
from cmr_lightning.prepare.source import ByHand, Layout, Source

_JSON = "dataset_flickr8k.json"
_TOKENS = "Flickr8k.token.txt"
_SPLITS = {
    "Flickr_8k.trainImages.txt": 6000,
    "Flickr_8k.devImages.txt": 1000,
    "Flickr_8k.testImages.txt": 1000,
}
_JUDGEMENTS = {"ExpertAnnotations.txt": 5822, "CrowdFlowerAnnotations.txt": 47_830}

SOURCE = Source(
    title="Flickr8k (Hodosh, Young, Hockenmaier, JAIR 2013): 8,000 images with five captions each",
    terms="Given on request by a form of the University of Illinois; the photographs are under Flickr's terms, for "
    "research use. Never fetched.",
    layouts=(  # in the order in which the loader looks for them
        Layout(
            _JSON,
            (
                JsonFile(
                    _JSON,
                    {"train": Counts(6000, 30_000), "val": Counts(1000, 5000), "test": Counts(1000, 5000)},
                    key="images",
                    group_by="split",
                    texts_in="sentences",
                    images="{filename}",
                    by_name=True,
                ),
            ),
            (
                ByHand(
                    (_JSON,),
                    "put the JSON file of Karpathy's split, as CMPM and VSE++ read it, into the folder, packed by gzip "
                    "or not. The archive of captions from the University of Illinois, unpacked there, is as good.",
                ),
            ),
        ),
        Layout(
            _TOKENS,
            (
                LinesFile(_TOKENS, 40_460),
                *(LinesFile(name, lines) for name, lines in _SPLITS.items()),
                *(LinesFile(name, lines, only_for="people's judgements") for name, lines in _JUDGEMENTS.items()),
                ListedFiles(".", tuple(_SPLITS), "{0}", by_name=True),
            ),
            (
                ByHand(
                    (_TOKENS, *_SPLITS, *_JUDGEMENTS),
                    "request the data set from the University of Illinois and unpack its archive of captions to the "
                    "files below.",
                ),
            ),
        ),
    ),
    by_hand=(
        ByHand(
            ("Flicker8k_Dataset",),
            "request the data set from the University of Illinois and unpack its archive of pictures to the folder "
            "below, which may have any name.",
        ),
    ),
)
