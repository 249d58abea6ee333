from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmr_lightning.__main__ import main

IMAGES, TEXTS, DIM = 400, 90, 8


@pytest.fixture
def embeddings(tmp_path: Path) -> Path:
    """Each text lies beside the image that has its number."""
    image = np.random.default_rng(0).normal(size=(IMAGES, DIM)).astype(np.float32)
    path = tmp_path / "embeddings.npz"
    np.savez(path, image=image, text=image[:TEXTS] * 1.001)
    return path


def search(embeddings: Path, *options: str) -> np.ndarray:
    assert main(["search", str(embeddings), *options]) == 0
    with np.load(embeddings.with_name("neighbours.npz"), allow_pickle=False) as archive:
        return archive["neighbours"]


@pytest.mark.parametrize("distance", ["cos", "l2"])
def test_exact(embeddings: Path, distance: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = search(embeddings, "--k=3", f"--distance={distance}")
    assert found.shape == (TEXTS, 3)
    assert found[:, 0].tolist() == list(range(TEXTS))
    assert "the 3 nearest of 400 for 90 queries" in capsys.readouterr().out


def test_images_search_texts_and_find_no_more_than_there_are(embeddings: Path) -> None:
    found = search(embeddings, "--queries=image", "--k=1000")
    assert found.shape == (IMAGES, TEXTS)
    assert found[:TEXTS, 0].tolist() == list(range(TEXTS))


def test_index_is_compared_with_the_exact_search(embeddings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("faiss")
    found = search(embeddings, "--index=IVF4,Flat", "--parameters=nprobe=4", "--k=3", "--sample=20")
    assert found[:, 0].tolist() == list(range(TEXTS))
    assert "It finds 100.00% of the 3 nearest, measured on 20 queries." in capsys.readouterr().out
    search(embeddings, "--index=IVF4,Flat", "--parameters=nprobe=1", "--k=50")
    assert "It finds 100.00%" not in capsys.readouterr().out


@pytest.mark.parametrize("index", [[], ["--index=Flat"]], ids=["exactly", "by an index"])
def test_composed_query_does_not_find_its_source(embeddings: Path, index: list[str]) -> None:
    if index:
        pytest.importorskip("faiss")
    nearest = search(embeddings, "--k=4")
    source = nearest[:, 0].copy()
    source[:10] = (nearest[:10, 3] + 1) % IMAGES  # most likely not among those that are found
    with np.load(embeddings) as archive:
        arrays = dict(archive)
    np.savez(embeddings, **arrays, source=source)
    expected = [[item for item in row if item != own][:3] for row, own in zip(nearest, source, strict=True)]
    assert search(embeddings, "--k=3", *index).tolist() == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "There is no file"),
        (b"PK", "holds no embeddings"),
        (b"", "holds no embeddings"),
        (np.eye(2), "holds no embeddings"),
        ({"image": np.eye(2)}, "holds no embeddings"),
        ({"image": np.eye(2), "text": np.array([object()])}, "holds no embeddings"),
        ({"image": np.eye(2), "text": np.full((1, 2), np.nan)}, "not finite"),
        ({"image": np.eye(2), "text": np.eye(3)}, "holds text of shape (3, 3), float64, and im"),
        ({"image": np.eye(2), "text": np.ones(2)}, "holds text of shape (2,), float64, and image"),
        ({"image": np.eye(2), "text": np.array([["a", "b"]])}, "text of shape (1, 2), <U1, and"),
    ],
)
def test_wrong_file_is_refused(content: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "embeddings.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        np.savez(path, **content)
    elif content is not None:
        np.save(path, content)
        path.with_name("embeddings.npz.npy").rename(path)
    assert main(["search", str(path)]) == 2
    assert message in capsys.readouterr().err


def test_what_predict_wrote_is_searched(toy: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main(["fit", f"--config={toy}", f"--run_dir={run}"]) == 0
    assert main(["predict", f"--config={run / 'config.yaml'}"]) == 0
    assert search(run / "embeddings.npz").shape == (24, 10)
