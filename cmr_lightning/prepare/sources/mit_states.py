"""MIT-States (Isola, Lim, Adelson, CVPR 2015)."""

from cmr_lightning.prepare.checks import Folder
from cmr_lightning.prepare.source import Download, Layout, Source

_TERMS = "The page states no licence that we know of; the pictures were found by a search engine."

SOURCE = Source(
    title="MIT-States (Isola, Lim, Adelson, CVPR 2015): about 53,000 pictures of 245 nouns in 115 states",
    terms=_TERMS,
    layouts=(Layout("images", (Folder("images", None, "* */*.jpg"),)),),
    downloads=(
        Download(
            name="release_dataset.zip",
            holds=("images",),
            page="web.mit.edu/phillipi/Public/states_and_transformations",
            terms=_TERMS,
            # in the folder that public loaders name; its checksum is unknown
            url="http://wednesday.csail.mit.edu/joseph_result/state_and_transformation/release_dataset.zip",
        ),
    ),
)
