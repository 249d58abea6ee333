"""CSS3D (Vo et al., CVPR 2019)."""

from cmr_lightning.prepare.checks import File, Folder
from cmr_lightning.prepare.source import Download, Layout, Source

_SCENES = "css_toy_dataset_novel2_small.dup.npy"
_TERMS = "The repository of TIRG is under Apache-2.0; of the data it states no licence that we know of."

SOURCE = Source(
    title="CSS3D (Vo et al., CVPR 2019): rendered scenes of coloured shapes, and what to change in them",
    terms=_TERMS,
    layouts=(
        Layout(
            _SCENES,
            (
                File(_SCENES),
                Folder("images", None, "css_train_*.png"),
                Folder("images", None, "css_test_*.png"),
            ),
        ),
    ),
    downloads=(
        Download(
            name="CSS.zip",
            holds=(_SCENES, "images"),
            page="github.com/google/tirg",
            terms=_TERMS,
            url="https://storage.googleapis.com/image_retrieval_css/CSS.zip",  # its checksum is unknown
        ),
    ),
)
