"""Pascal Sentence (Rashtchian et al., NAACL-HLT 2010 workshop)."""

from cmr_lightning.prepare.checks import Counts, Folder, JsonFile
from cmr_lightning.prepare.source import ByHand, Layout, Source

_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)

SOURCE = Source(
    title="Pascal Sentence (Rashtchian et al., NAACL-HLT 2010 workshop): 1,000 images of 20 classes",
    terms="The page states no licence that we know of; the pictures came from Flickr and belong to their "
    "photographers.",
    layouts=(
        Layout(
            "pascal_sentences.json",
            (
                JsonFile(
                    "pascal_sentences.json",
                    {name: Counts(50) for name in _CLASSES},
                    group_by="category",
                    texts_in="captions",
                    images="images/{name}",
                    folder="images",
                ),
            ),
            (
                ByHand(
                    ("pascal_sentences.json", "images"),
                    "the data set is a table of pictures and sentences on the page "
                    "vision.cs.uiuc.edu/pascal-sentences. The public downloader "
                    "michelecafagna26/Pascal_Sentence_Dataset-downloader turns it into the files below. The folders "
                    "dataset/ and sentence/ of another one, rupy/PascalSentenceDataset, are as good.",
                ),
            ),
        ),
        Layout(
            "sentence",
            (
                Folder("dataset", 1000, "*/*.jpg"),
                Folder("sentence", 1000, "*/*txt"),  # one of the downloaders leaves the dot out
            ),
            (
                ByHand(
                    ("dataset", "sentence"),
                    "the public downloader rupy/PascalSentenceDataset writes the folders below, from the page "
                    "vision.cs.uiuc.edu/pascal-sentences.",
                ),
            ),
        ),
    ),
)
