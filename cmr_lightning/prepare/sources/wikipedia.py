"""Wikipedia (Rasiwasia et al., ACM MM 2010)."""

from cmr_lightning.prepare.checks import ArrayFile, LinesFile, ListedFiles
from cmr_lightning.prepare.source import ByHand, Download, Layout, Source

_LISTS = ("trainset_txt_img_cat.list", "testset_txt_img_cat.list")
_FEATURES = {"I_tr": (2173, 128), "I_te": (693, 128), "T_tr": (2173, 10), "T_te": (693, 10)}
_TFIDF = {"T_tfidf_tr": (2173, 1000), "T_tfidf_te": (693, 1000)}
_TERMS = (
    "The page states no licence that we know of; articles and pictures come from Wikipedia, where each has a licence "
    "of its own."
)

SOURCE = Source(
    title="Wikipedia (Rasiwasia et al., ACM MM 2010): 2,866 pairs of 10 classes",
    terms=_TERMS,
    layouts=(
        Layout(
            "categories.list",
            (
                LinesFile("categories.list", 10),
                LinesFile(
                    "trainset_txt_img_cat.list",
                    2173,
                    # also in datamodules/splits/wikipedia_validation.json, whose rows count in this file
                    sha256="30c1ba8afbe90da5986de9b12496b6dd2e4680d3876b79ab7aae2e437d5819a3",
                ),
                LinesFile("testset_txt_img_cat.list", 693),
                ArrayFile("raw_features.mat", _FEATURES),
                ArrayFile("raw_features_with_tfidf.mat", _TFIDF, only_for="text: tfidf"),
                ListedFiles("images", _LISTS, "images/{1}.jpg", by_name=True, only_for="pictures"),
                ListedFiles("texts", _LISTS, "texts/{0}.xml", only_for="articles"),
            ),
        ),
    ),
    downloads=(
        Download(
            name="wikipedia_dataset.zip",
            holds=("categories.list", *_LISTS, "raw_features.mat", "images", "texts"),
            page="svcl.ucsd.edu/projects/crossmodal",
            terms=_TERMS,
            # the name of the archive behind the address of its page; its checksum is unknown
            url="https://svcl.ucsd.edu/projects/crossmodal/wikipedia_dataset.zip",
        ),
    ),
    by_hand=(
        ByHand(
            ("raw_features_with_tfidf.mat",),
            "the tf-idf texts are the raw_features.mat in the folder data of the public code azrealwang/sph; save it "
            "under the name below. Only text: tfidf needs it.",
        ),
    ),
)
