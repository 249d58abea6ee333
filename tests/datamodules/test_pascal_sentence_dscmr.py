import shutil

import numpy as np
import pytest
import scipy.io
import torch

from cmr_lightning.batch import Features
from cmr_lightning.errors import UserError
from datamodules.families.listed_data import PARTS
from datamodules.pascal_sentence_dscmr import PascalSentenceDSCMR
from datamodules.reading.committed_splits import check_labels, read_rows, read_split


@pytest.fixture
def root(miniature, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(miniature, tmp_path / "dscmr")


@pytest.mark.parametrize("split", ["official", "official-all"])
def test_rows_stay_together(miniature, split):
    data = PascalSentenceDSCMR(str(miniature), split=split)
    for name in PARTS:
        half = "test" if name == "test" else "train"
        arrays = {
            kind: scipy.io.loadmat(miniature / f"{half}_{kind}.mat")[f"{half}_{kind}"]
            for kind in ("img", "txt", "img_lab")
        }
        part = data.part(name)
        rows = [int(image.rsplit(" ", 1)[1]) for image in part.image_names]
        assert rows == sorted(rows)
        np.testing.assert_array_equal(part.image, arrays["img"][rows])
        np.testing.assert_array_equal(part.text, arrays["txt"][rows])
        np.testing.assert_array_equal(part.label, arrays["img_lab"][rows, 0])
        assert (torch.bincount(part.label) == part.num_images // 20).all()
    assert (data.spec.image, data.spec.text) == (Features(4096), Features(300))
    assert data.picture("val", 0) is None


@pytest.mark.parametrize("half", ["train", "test"])
def test_the_committed_labels_are_the_real_ones(real_data, half):
    """The real `train_img.mat` is in no copy that tests could use."""
    path = real_data / "pascal_sentence" / f"dscmr_{half}_img_lab.mat"
    labels = scipy.io.loadmat(path)[f"{half}_img_lab"][:, 0].tolist()
    check_labels("pascal_sentence_dscmr_labels", half, labels, PascalSentenceDSCMR.classes, path)
    if half == "train":
        rows = read_rows("pascal_sentence_dscmr_validation")
        assert np.bincount([labels[row] for row in rows]).tolist() == [5] * 20


def test_test_files_are_behind_the_wall(root):
    for path in root.glob("test_*.mat"):
        path.unlink()
    data = PascalSentenceDSCMR(str(root))
    data.train_dataloader()
    data.val_dataloader()
    with pytest.raises(UserError, match=r"test_img_lab\.mat is missing; .*penghu-cs/DSCMR"):
        data.test_dataloader()


def test_not_a_number_is_refused(root):
    row = read_split("pascal_sentence_dscmr_validation")["rows"]["0"][0]
    images = scipy.io.loadmat(root / "train_img.mat")["train_img"]
    images[row, 7] = np.nan
    scipy.io.savemat(root / "train_img.mat", {"train_img": images})
    PascalSentenceDSCMR(str(root)).part("train")  # the row is held out
    with pytest.raises(UserError, match=rf"train_img\.mat: train_img should hold finite numbers, .* first row {row},"):
        PascalSentenceDSCMR(str(root)).part("val")
