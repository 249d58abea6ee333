"""NUS-WIDE (Chua et al., CIVR 2009)."""

from cmr_lightning.prepare.checks import File, Folder, LinesFile, ListedFiles
from cmr_lightning.prepare.source import ByHand, Layout, Source

_LISTS = "ImageList/Imagelist.txt"
_ALL, _TRAIN, _TEST = 269_648, 161_789, 107_859
_CONCEPTS = 81

SOURCE = Source(
    title="NUS-WIDE (Chua et al., CIVR 2009): 269,648 images, 81 concepts",
    terms=(
        "Lists, tags and ground truth may be downloaded; the pictures are given on request only, with a signed "
        "agreement and disclaimer form, and are never fetched."
    ),
    layouts=(
        Layout(
            _LISTS,
            (
                LinesFile("ConceptsList/Concepts81.txt", _CONCEPTS),
                LinesFile(_LISTS, _ALL, suffix=".jpg"),
                LinesFile("ImageList/TrainImagelist.txt", _TRAIN, suffix=".jpg", only_for="the official split"),
                LinesFile("ImageList/TestImagelist.txt", _TEST, suffix=".jpg", only_for="the official split"),
                Folder("Groundtruth/AllLabels", _CONCEPTS, "Labels_*.txt", lines=_ALL),
                Folder(
                    "Groundtruth/TrainTestLabels",
                    _CONCEPTS,
                    "Labels_*_Train.txt",
                    lines=_TRAIN,
                    only_for="the official split",
                ),
                Folder(
                    "Groundtruth/TrainTestLabels",
                    _CONCEPTS,
                    "Labels_*_Test.txt",
                    lines=_TEST,
                    only_for="the official split",
                ),
                File("NUS_WID_Tags/All_Tags.txt"),
                File("NUS_WID_Tags/AllTags1k.txt", only_for="text: tags1k"),
                ListedFiles("Flickr", (_LISTS,), "Flickr/{0}", suffix=".jpg"),
            ),
        ),
    ),
    by_hand=(
        ByHand(
            ("ConceptsList", "ImageList", "Groundtruth", "NUS_WID_Tags"),
            "download the lists of concepts and images, the ground truth and the tags from the NUS-WIDE page at "
            "lms.comp.nus.edu.sg (see also the repository NExTplusplus/NUS-WIDE) and unpack them to the folders below.",
        ),
        ByHand(
            ("Flickr",),
            "request the pictures on the NUS-WIDE page at lms.comp.nus.edu.sg with the signed form and put them into "
            "the folder below, as <folder>/<file>.jpg.",
        ),
    ),
)
