"""CSS3D in miniature: the pickle as Python 2 wrote it, invented scenes and modifications, rendered flat."""

import io
import pickle
import struct
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from datamodules.css3d import CSS3D
from tests.datamodules.published.invention import SMALL, Expected, write_pixels

load = partial(CSS3D, image=SMALL)
TINY = {"batch_size": 8, "eval_batch_size": 32}
SPLITS = [
    Expected({}, "official, every tenth training modification held out", "5e5169f93e1c2528", (72, 16, 26), "train+val")
]
FILE = "css_toy_dataset_novel2_small.dup.npy"
COLOURS = {"gray": (87, 87, 87), "red": (244, 35, 35), "blue": (42, 75, 215), "yellow": (255, 238, 51)}
PLACES = {"top-left": [0.25, 0.25], "bottom-center": [0.75, 0.5]}
SOURCES = {"train": 16, "test": 5}
"""Scenes of each part that modifications start from; the first one has two renderings."""


def write(root: Path) -> None:
    """Write scenes, modifications and pictures."""
    content = {part: invent(part) for part in SOURCES}
    root.mkdir(parents=True, exist_ok=True)
    (root / FILE).write_bytes(python2_npy(content))
    rng = np.random.default_rng(0)
    for part, published in content.items():
        for number, scene in enumerate(published["objects_img"]):
            write_pixels(root / f"images/css_{part}_{number:06d}.png", _drawn(scene), rng)


def invent(part: str) -> dict[str, Any]:
    """Every source in every colour, and made large: the modifications are the same for all sources."""
    scenes: list[list[dict[str, Any]]] = []
    labels: list[int] = []
    modifications = {f"make {place} object {colour}": ([], []) for place in PLACES for colour in COLOURS}
    modifications |= {f"make {place} object large": ([], []) for place in PLACES}
    names = list(COLOURS)
    for source in range(SOURCES[part]):
        place = list(PLACES)[source % 2]
        thing = {
            "size": "small",
            "color": names[source % len(names)],
            "shape": ["rectangle", "circle", "triangle"][source % 3],
            "pos": PLACES[place],
        }
        first = len(scenes)
        scenes += [[thing]] * (2 if source == 0 else 1)
        label = 1000 * source
        labels += [label] * (2 if source == 0 else 1)
        for number, (key, value) in enumerate([*(("color", name) for name in names), ("size", "large")], 1):
            if thing[key] != value:
                before, after = modifications[f"make {place} object {value}"]
                before.append(first)
                after.append(len(scenes))
                scenes.append([{**thing, key: value}])
                labels.append(label + number)
    mods = [{"from": before, "to": after, "to_str": text} for text, (before, after) in modifications.items() if before]
    return {"mods": mods, "objects_img": scenes, "labels": labels}


def python2_npy(content: Any) -> bytes:
    """A `.npy` file without dimensions that holds an object, as NumPy under Python 2 wrote it."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
    file.write(b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R")
    file.write(
        b"(K\x01)cnumpy\ndtype\nU\x02O8K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb\x89]"
    )
    pickled = io.BytesIO()
    _Python2(pickled, protocol=2).dump(content)
    file.write(pickled.getvalue()[2:-1] + b"atb.")  # its opcodes alone, without protocol and stop
    return file.getvalue()


class _Python2(pickle._Pickler):
    """Writes strings as the byte strings that they were in Python 2, and refers to nothing twice."""

    dispatch: ClassVar[dict[Any, Any]] = dict(pickle._Pickler.dispatch)

    def save_str(self, text: str) -> None:
        data = text.encode("latin1")
        short = len(data) < 256
        length = struct.pack("<i", len(data))
        self.write(pickle.SHORT_BINSTRING + length[:1] if short else pickle.BINSTRING + length)  # type: ignore[attr-defined]
        self.write(data)  # type: ignore[attr-defined]

    def memoize(self, obj: Any) -> None:
        pass

    dispatch[str] = save_str


def _drawn(scene: list[dict[str, Any]]) -> np.ndarray:
    """Squares in place of shapes."""
    pixels = np.full((32, 48, 3), 200)
    for thing in scene:
        half = 8 if thing["size"] == "large" else 4
        y, x = int(thing["pos"][0] * 32), int(thing["pos"][1] * 48)
        pixels[max(0, y - half) : y + half, max(0, x - half) : x + half] = COLOURS[thing["color"]]
    return pixels
