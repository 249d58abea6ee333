"""Flickr30k (Young et al., TACL 2014) in Karpathy's split."""

from cmr_lightning.prepare.checks import Counts, JsonFile
from cmr_lightning.prepare.source import ByHand, Layout, Source

_JSON = "dataset_flickr30k.json"

SOURCE = Source(
    title="Flickr30k (Young et al., TACL 2014): 31,014 images with five captions each",
    terms="Given on request by a form of the University of Illinois; Flickr's terms of use, non-commercial research "
    "and education only, copyright stays with the photographers. Never fetched.",
    layouts=(
        Layout(
            _JSON,
            (
                JsonFile(
                    _JSON,
                    {"train": Counts(29_000, 145_000), "val": Counts(1014, 5070), "test": Counts(1000, 5000)},
                    key="images",
                    group_by="split",
                    texts_in="sentences",
                    images="flickr30k-images/{filename}",
                    folder="flickr30k-images",
                ),
            ),
        ),
    ),
    by_hand=(
        ByHand(
            ("flickr30k-images",),
            "request the pictures from the University of Illinois and put them into the folder below, all <id>.jpg "
            "side by side.",
        ),
        ByHand(
            (_JSON,),
            "put the JSON file of Karpathy's split, as CMPM and VSE++ read it, into the folder, packed by gzip or not.",
        ),
    ),
)
