"""Pascal Sentence (Rashtchian et al., NAACL-HLT 2010 workshop): 1,000 VOC pictures, about five sentences each."""

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from annotated_types import Lt

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import LABELLED_PAIRS
from cmr_lightning.ranges import CountFromZero, Name
from datamodules.base import PartName
from datamodules.facts import Counts, Facts, Origin
from datamodules.families.listed_data import ListedData
from datamodules.inputs.image_inputs import ImageInput
from datamodules.inputs.stored_features import StoredImages
from datamodules.inputs.text_inputs import TextInput, WordWeights
from datamodules.reading.committed_splits import read_split
from datamodules.reading.listing import Listing
from datamodules.reading.published_files import find, read_json

_SENTENCES = "pascal_sentences.json"
_FACTS = Facts(
    name="pascal_sentence",
    title="Pascal Sentence (Rashtchian et al., NAACL-HLT 2010 workshop): 1,000 pictures of 20 classes",
    level="class",
    terms="The page states no licence that we know of; the pictures came from Flickr and belong to their "
    "photographers.",
    origins=(
        Origin(
            (_SENTENCES, "images"),
            "let the public downloader michelecafagna26/Pascal_Sentence_Dataset-downloader (or rupy/"
            "PascalSentenceDataset, whose folders dataset and sentence are as good) write what is on the page "
            "vision.cs.uiuc.edu/pascal-sentences",
            layout="one file",
        ),
        Origin(
            ("sentence", "dataset"),
            "let the public downloader rupy/PascalSentenceDataset write the folders dataset and sentence, from the "
            "page vision.cs.uiuc.edu/pascal-sentences,",
            layout="folders",
        ),
    ),
    counts={"train": Counts(800, 800), "val": Counts(100, 100), "test": Counts(100, 100)},
    remark="or 800 / 200, five committed splits of each",
)
_SENTENCES_SOURCE = _FACTS.source(_SENTENCES)
_FOLDERS_SOURCE = _FACTS.source("sentence")
_SPLITS = 5
_SIZES = {
    "800/100/100": "800/100/100",
    "800/200": "800/200, 100 of the 800 carved for validation",
    "800/200-all": "800/200, the 100 validation images trained on too",
}
_TUNING = "320/100/100 of images in no test part, for tuning"


class PascalSentence(ListedData):
    """Pascal Sentence in either of the layouts that its public downloaders write.

        <root>/pascal_sentences.json                {file: {"category": name, "captions": [sentence, ...]}}
        <root>/images/<file>.jpg

        <root>/sentence/<category>/<file>.txt       a sentence a line; `<file>txt`, without the dot, is read too
        <root>/dataset/<category>/<file>.jpg

    The second one's `correspondence.csv` numbers the pictures and is not needed. Features are looked up by file name:

        runs/features/pascal_sentence/<encoder>/image   features that `extract` made, or <root>/features/<encoder>/image

    Source, terms, counts and known faults: `datamodules/cards/pascal_sentence.md`.

    Args:
        root: Folder of the published files.
        split: Which of the five committed splits, 0 to 4; each draws the images of a class in another order.
        sizes: `800/100/100` has 40 training, 5 validation and 5 test images of each class. `800/200` tests on 10 of
            each class and holds 5 of the 40 training images out for validation, so 700 are trained on. `800/200-all`
            trains on all 800, as published results do; its validation part is the same 100 images, by then seen, so
            only methods that choose nothing on validation may be measured on it. `tuning` is one more split, of
            images that no test part of the five has under `800/100/100`: to choose settings for all of them on.
        image: What image encoders are fed with; None for `StoredImages("mobilenetv2")`.
        text: What text encoders are fed with; None for tf-idf without English stop words, counts 1 + ln n, words of at
            least two training texts.
        joined: Whether an image has one text, its sentences joined, as in the literature, or each sentence is a text.
        **kwargs: Options of `CrossModalData`.

    Raises:
        UserError: If there is no split of that number, or `sizes` is `tuning` and a number is given.
    """

    facts = _FACTS
    classes = (
        *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
        *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
    )
    protocols = LABELLED_PAIRS

    def __init__(
        self,
        root: Name,
        split: Annotated[CountFromZero, Lt(_SPLITS)] = 0,
        sizes: Literal["800/100/100", "800/200", "800/200-all", "tuning"] = "800/100/100",
        image: ImageInput | None = None,
        text: TextInput | None = None,
        joined: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            root,
            image or StoredImages("mobilenetv2"),
            text or WordWeights(stop_words="english", sublinear=True, min_df=2),
            **kwargs,
        )
        if sizes == "tuning" and split != 0:
            raise UserError(f"data.split is {split}, but there is one split for tuning; leave it out.")
        self.sizes = sizes
        self.joined = joined
        self._number = split

    @property
    def split_name(self) -> str:
        """Number and sizes of the split."""
        return _TUNING if self.sizes == "tuning" else f"{self._number} of {_SPLITS}, {_SIZES[self.sizes]}"

    @property
    def features(self) -> str:
        """What the encoders are fed with, in words."""
        return f"{super().features}; {'the sentences of an image joined' if self.joined else 'a text a sentence'}"

    def image_name(self, picture: str) -> str:
        """Return the file name: the folders depend on the layout."""
        return Path(picture).name

    def list_part(self, part: PartName) -> Listing:
        """List one part, class after class, file names in order.

        Raises:
            UserError: If a file is missing or is not what it should be.
        """
        in_folders = self._in_folders
        pictures, labels, texts = [], [], []
        for label, category in enumerate(self.classes):
            for name in self._names(part, category):
                pictures.append(f"dataset/{category}/{name}" if in_folders else f"images/{name}")
                labels.append(label)
                sentences = self._sentences_of_file(category, name) if in_folders else self._record(category, name)
                texts.append([" ".join(sentences)] if self.joined else sentences)
        return Listing(
            pictures=tuple(pictures),
            label=torch.tensor(labels),
            captions=tuple(text for of_picture in texts for text in of_picture),
            owner=torch.arange(len(pictures)).repeat_interleave(torch.tensor([len(of) for of in texts])),
        )

    def _names(self, part: PartName, category: str) -> list[str]:
        """Return the file names of a class in a part, in order."""
        seen = ("train", "val") if part == "train" and self.sizes == "800/200-all" else (part,)
        return sorted(name for of in seen for name in self._committed[of][category])

    @cached_property
    def _committed(self) -> dict[str, dict[str, list[str]]]:
        """File names by part and class."""
        lists = {"800/100/100": self._number, "tuning": "tuning"}
        return read_split(f"pascal_sentence_{lists.get(self.sizes, f'800_200_{self._number}')}")["parts"]

    @cached_property
    def _in_folders(self) -> bool:
        """Whether the sentences are in a folder for each class and not in one file."""
        return not (self.root / _SENTENCES).is_file() and (self.root / "sentence").is_dir()

    @cached_property
    def _records(self) -> dict[str, Any]:
        return read_json(find(self.root, _SENTENCES, _SENTENCES_SOURCE), dict, _SENTENCES_SOURCE)

    def _record(self, category: str, name: str) -> list[str]:
        """Return the sentences of an image from the one file of all sentences."""
        path = self.root / _SENTENCES
        if name not in self._records:
            raise UserError(f"{path} should have the 1000 published images and lacks {name}; {_SENTENCES_SOURCE}.")
        record = self._records[name]
        what = f"{path}: {name} should have"
        if not isinstance(record, dict) or record.get("category") != category:
            raise UserError(f"{what} the category {category} and is {str(record)[:80]}; {_SENTENCES_SOURCE}.")
        texts = record.get("captions")
        if not texts or not isinstance(texts, list) or not all(isinstance(t, str) and t.strip() for t in texts):
            raise UserError(f"{what} a list of sentences, none of them empty; {_SENTENCES_SOURCE}.")
        return texts

    def _sentences_of_file(self, category: str, name: str) -> list[str]:
        """Read the sentences of an image in the layout with a folder for each class."""
        stem = Path(name).stem
        folder = self.root / "sentence" / category
        path = next((path for ending in (".txt", "txt") if (path := folder / f"{stem}{ending}").is_file()), None)
        if path is None:
            raise UserError(f"{folder / f'{stem}.txt'} is missing; {_FOLDERS_SOURCE}.")
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is not UTF-8 text ({error}); {_FOLDERS_SOURCE}.") from error
        sentences = [line.strip() for line in lines if line.strip()]
        if not sentences:
            raise UserError(f"{path} should hold sentences and is empty; {_FOLDERS_SOURCE}.")
        return sentences
