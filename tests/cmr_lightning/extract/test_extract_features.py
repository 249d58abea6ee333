import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cmr_lightning.__main__ import main
from cmr_lightning.batch import Pixels
from cmr_lightning.encoders import TimmEncoder, WordRNN
from cmr_lightning.extract import extract_features as command
from cmr_lightning.extract.sources import TextSource
from cmr_lightning.store import FeatureStore, StoreWriter
from datamodules.base import PartName
from datamodules.inputs.pictures import Pictures
from datamodules.inputs.stored_features import StoredImages
from datamodules.reading.listing import Listing, no_labels
from tests.building import ROOT
from tests.datamodules.album import PARTS, PICTURES, Album, write_album

CONFIG = """\
name: tiny
image: {class_path: TimmEncoder, init_args: {model: test_resnet}}
data:
  class_path: tests.datamodules.album.Album
  init_args: {root: "ROOT", image: {class_path: Pictures, init_args: {crop: 32, resize: 34}}}
device: cpu
batch_size: 48
"""
NAMES = sorted(f"pictures/{n}.jpg" for n in range(PICTURES))


@pytest.fixture
def album(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data set, and `extract.yaml` beside it, in the working directory."""
    monkeypatch.chdir(tmp_path)
    root = write_album(tmp_path / "album")
    (root / "extract.yaml").write_text(CONFIG.replace("ROOT", str(root)))
    return root


def extract(album: Path, *options: str) -> int:
    return main(["extract", f"--config={album / 'extract.yaml'}", *options])


def images(album: Path, name: str = "tiny") -> Path:
    return album.parent / "runs" / "features" / "album" / name / "image"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def encoded(album: Path, top: int = 1, left: int = 1, mirrored: bool = False, turn: int = 0) -> torch.Tensor:
    """Features of the pictures `(N, D)`, without the code under test; 44 x 40 pixels become 37 x 34."""
    torch.manual_seed(0)
    model = TimmEncoder(Pixels(32), 1, "test_resnet").eval()
    squares = []
    for name in NAMES:
        picture = np.asarray(Image.open(album / name).resize((37, 34), Image.Resampling.BICUBIC))
        square = picture[top : top + 32, left : left + 32]
        squares.append(np.rot90(square[:, ::-1] if mirrored else square, turn))
    pixels = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)
    with torch.no_grad():
        return model.backbone((pixels - model.mean) / model.std)


MIDDLE = {"top": 1, "left": 2}


def read(album: Path, name: str = "tiny", turned: bool = False) -> torch.Tensor:
    store = FeatureStore(images(album, name))
    assert store.ids == NAMES
    return store.read(torch.arange(PICTURES), turned)


def test_store_holds_what_the_backbone_makes_of_each_picture(album: Path) -> None:
    assert extract(album, "--dtype=float32") == 0
    torch.testing.assert_close(read(album), encoded(album, **MIDDLE), atol=1e-4, rtol=1e-4)
    manifest = json.loads((images(album) / "manifest.json").read_text())
    assert manifest["encoder"] == 'TimmEncoder {"model": "test_resnet"}'
    assert manifest["preprocessing"] == "pictures, short side 34 (bicubic), centre crop 32"
    assert manifest["shape"][0] == PICTURES
    assert not (images(album) / "lock").exists()


def test_rotations_are_those_of_the_square_picture(album: Path) -> None:
    assert extract(album, "--rotations=true", "--dtype=float32") == 0
    turned = read(album, turned=True)
    for turn in range(4):
        torch.testing.assert_close(turned[:, turn], encoded(album, **MIDDLE, turn=turn), atol=1e-4, rtol=1e-4)
    assert torch.equal(read(album), turned[:, 0])


def test_ten_crop_is_the_mean_of_the_features_of_ten_crops(album: Path) -> None:
    assert extract(album, "--ten_crop=true", "--dtype=float32") == 0
    places = [(0, 0), (0, 5), (2, 0), (2, 5), (1, 2)]
    ten = [encoded(album, top, left, mirrored) for mirrored in (False, True) for top, left in places]
    torch.testing.assert_close(read(album), torch.stack(ten).mean(0), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("precision", ["bf16", "fp16", "32"])
def test_reduced_precision_is_near_and_half_of_it_kept(album: Path, precision: str) -> None:
    assert extract(album, f"--precision={precision}") == 0
    expected = encoded(album, **MIDDLE)
    assert torch.cosine_similarity(read(album), expected).min() > 0.99
    assert np.load(images(album) / "rows-00000.npy").dtype == np.float16
    if precision == "32":
        torch.testing.assert_close(read(album), expected, atol=2e-3, rtol=2e-3)


def test_texts_are_encoded_once_each(album: Path) -> None:
    words = ["--text=WordRNN", "--text.hidden=8", "--text.embedding=8", "--dtype=float32", "--image=null"]
    assert extract(album, *words) == 0
    store = FeatureStore(images(album).with_name("text"))
    data = Album(str(album), Pictures(crop=32, resize=34))
    assert store.ids == sorted(text for part in PARTS for text in data.listing(part).captions)
    encoder = command.bare(lambda source, dim: WordRNN(source, dim, embedding=8, hidden=8), data.spec.text)
    found = store.read(store.numbers(data.listing("val").captions))
    torch.testing.assert_close(found, encoder(data.part("val").text), atol=1e-5, rtol=1e-5)


def test_nothing_is_written_beside_the_data_and_experiments_find_the_store(
    album: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(album.rglob("*"))
    album.chmod(0o555)  # as the disk of a group may be
    try:
        assert extract(album) == 0
    finally:
        album.chmod(0o755)
    assert sorted(album.rglob("*")) == before
    assert "runs/features/album/tiny/image: 150 x " in capsys.readouterr().out
    assert Album(str(album), StoredImages("tiny")).spec.num_images == 130


def test_a_folder_that_is_named_is_used(album: Path) -> None:
    assert extract(album, f"--folder={album / 'features'}") == 0
    assert Album(str(album), StoredImages("tiny")).spec.num_images == 130  # the place of earlier versions
    assert extract(album, "--folder=others", "--name=here") == 0
    assert Album(str(album), StoredImages("here", folder="others")).spec.num_images == 130
    assert Path("runs/others/album/here/image").is_dir()


def test_a_picture_that_is_listed_twice_keeps_the_texts_of_both(album: Path) -> None:
    class Garments(Album):
        def list_part(self, part: PartName) -> Listing:
            captions = ("is red", "is blue", "is red")
            return Listing(tuple(NAMES[row] for row in (0, 0, 1)), no_labels(3), captions, torch.arange(3))

    assert TextSource(Garments(str(album), Pictures(crop=32, resize=34))).rows.ids == ["is blue", "is red"]


def test_resumed_extraction_makes_the_same_store(album: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert extract(album, "--name=undisturbed") == 0
    usual, shards = StoreWriter.write, iter(range(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StoreWriter, "write", lambda *args: (next(shards), usual(*args)))
        assert extract(album) == 1
    assert len(list(images(album).glob("rows-*.npy"))) == 2
    assert extract(album) == 0
    assert "22 rows of them new" in capsys.readouterr().out
    assert contents(images(album)) == contents(images(album, "undisturbed"))


def test_ctrl_c_says_how_to_go_on(album: Path, capsys: pytest.CaptureFixture[str]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # where tests run in the background it is ignored
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stopped:
        patch.setattr(StoreWriter, "write", lambda *_: signal.raise_signal(signal.SIGINT))
        extract(album)
    assert stopped.value.code == 130
    assert "Stopped by Ctrl-C. The same command continues where it stopped." in capsys.readouterr().err
    assert extract(album) == 0


@pytest.mark.slow
def test_killed_process_is_resumed(album: Path) -> None:
    assert extract(album, "--name=undisturbed", "--rotations=true") == 0
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    options = [f"--config={album / 'extract.yaml'}", "--rotations=true"]
    process = subprocess.Popen([sys.executable, "-m", "cmr_lightning", "extract", *options], env=environment)
    first = images(album) / "rows-00000.npy"
    while not first.exists() and process.poll() is None:
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert extract(album, *options[1:]) == 0
    assert contents(images(album)) == contents(images(album, "undisturbed"))


@pytest.mark.parametrize(
    ("option", "setting"),
    [
        ("--rotations=true", "preprocessing"),
        ("--data.image.crop=31", "preprocessing"),
        ("--image.model_args={global_pool: max}", "encoder"),
        ("--precision=bf16", "precision"),
        ("--dtype=float32", "dtype"),
        ("--image.weights=WEIGHTS", "weights"),
        ("", "data"),
    ],
)
def test_other_settings_are_refused(album: Path, option: str, setting: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert extract(album) == 0
    before = contents(images(album))
    if setting == "weights":
        torch.manual_seed(1)
        torch.save(TimmEncoder(Pixels(32), 1, "test_resnet").backbone.state_dict(), album / "weights.pth")
    if setting == "data":
        Image.new("RGB", (40, 44)).save(album / "pictures" / "7.jpg")
    assert extract(album, *filter(None, [option.replace("WEIGHTS", str(album / "weights.pth"))])) == 2
    assert f"made with other settings: {setting} is" in capsys.readouterr().err
    assert contents(images(album)) == before


def test_damaged_picture_is_named(album: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = album / "pictures" / "77.jpg"
    path.write_bytes(path.read_bytes()[:300])
    assert extract(album) == 2
    error = capsys.readouterr().err
    assert f"{path} cannot be read as a picture" in error
    assert "data.image.damaged to skip" in error
    assert not any(json.loads(found.read_text())["finished"] for found in images(album).glob("manifest.json"))
    assert extract(album, "--name=skipped", "--data.image.damaged=skip") == 0
    assert FeatureStore(images(album, "skipped")).numbers(["pictures/77.jpg"]).tolist() == [-1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--image=null"], "There is nothing to extract"),
        (["--name=a/b"], "The store cannot be called 'a/b'"),
        (["--name=.."], "The store cannot be called '..'"),
        (["--name="], "The store cannot be called ''"),
        (["--name=a\nb"], "The store cannot be called 'a\\nb'"),
        (["--folder=a\nb"], "which holds '\\n'"),
        (["--batch_size=0"], "batch_size: should be greater than or equal to 1; got 0"),
        (["--batch_size=null"], "batch_size: should be a valid integer; got None"),
        (["--device=cuda:77"], "device is cuda:77, which this machine does not have"),
        (["--precision=8"], "precision"),
        (["--nmae=x"], "nmae"),
        (["--image=FeatureMLP"], "FeatureMLP"),
        (["--data.image.augment=crop-flip"], "with augment none"),
        (["--image.model=no_such_model"], "timm has no model 'no_such_model'"),
        (["--text=WordRNN", "--image=null", "--data.text=WordWeights"], "from tokens"),
        (["--data.root=/no/such/folder"], "/no/such/folder"),
    ],
)
def test_wrong_settings_are_refused(
    album: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert extract(album, *options) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert not Path("runs").exists()
