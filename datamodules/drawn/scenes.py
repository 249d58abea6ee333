"""Small scenes of coloured shapes: inventing, painting, describing and modifying them.

A scene is a set of things on a grid of three by three places, above a horizon or below it. Everything here is a pure
function of its arguments; what is random is drawn from the NumPy generator that the caller passes.
"""

import math
import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import product
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.random import Generator

SHAPES = ("circle", "square", "triangle", "cross")
COLOURS = ("red", "yellow", "blue", "purple", "white")
SIZES = ("large", "small")
GRID = 3
FEWEST, MOST = 2, 4  # things in a scene
CAPTIONS = 5  # captions of a scene

KINDS = tuple(product(COLOURS, SHAPES))
"""The 20 pairs of a colour and a shape."""

Option = TypeVar("Option")


class Thing(NamedTuple):
    """One coloured shape. Things compare in reading order: by row from the top, then by column from the left."""

    row: int
    column: int
    size: str
    colour: str
    shape: str

    @property
    def name(self) -> str:
        """Size, colour and shape, which nothing else in the scene shares."""
        return f"{self.size} {self.colour} {self.shape}"


Scene = tuple[Thing, ...]
"""Things in reading order, no two at one place and no two of one name, so that equal scenes are equal tuples."""


class Triple(NamedTuple):
    """A composed query and its answer: the source scene, what to change in words, and the scene after the change."""

    source: Scene
    text: str
    target: Scene


def stream(seed: int, *key: str | int) -> Generator:
    """Make a generator for one purpose, the `key`, so that no item depends on how many others are drawn.

    Examples:
        >>> stream(0, "train", 12).random() == stream(0, "train", 12).random()
        True
    """
    spawn_key = [part if isinstance(part, int) else zlib.crc32(part.encode()) for part in key]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=spawn_key)))


def invent(kind: tuple[str, str], rng: Generator) -> Scene:
    """Invent a scene of one large thing of the given colour and shape, and one to three small things of any kind.

    In about half of the scenes all small things share one colour: their area then rivals that of the large thing, and
    colours alone do not tell which thing is large.
    """
    places = rng.permutation(GRID * GRID).tolist()
    kinds = _shuffled(KINDS, rng)
    if rng.random() < 0.5:
        kinds = [other for other in kinds if other[0] == kinds[0][0]]
    small = kinds[: rng.integers(FEWEST - 1, MOST)]
    things = [("large", *kind), *(("small", *other) for other in small)]
    return _scene(Thing(place // GRID, place % GRID, *thing) for place, thing in zip(places, things, strict=False))


def _scene(things: Iterable[Thing]) -> Scene:
    return tuple(sorted(things))


def main_kind(scene: Scene) -> tuple[str, str]:
    """Return colour and shape of the one large thing in an invented scene."""
    (large,) = (thing for thing in scene if thing.size == "large")
    return large.colour, large.shape


# Painting. Lengths are fractions of the picture's side, colours are RGB from 0 to 255.

_RGB = {
    "red": (208, 36, 36),
    "yellow": (242, 208, 36),
    "blue": (32, 56, 188),
    "purple": (138, 44, 170),
    "white": (246, 246, 246),
}
_RADIUS = {"large": 0.14, "small": 0.088}
_CENTRE = (0.19, 0.5, 0.81)


def paint(scene: Scene, size: int, rng: Generator) -> np.ndarray:
    """Paint a scene, with small random changes of place, size and colour of things, of the background and of pixels.

    Returns:
        Picture, uint8 `(3, size, size)`.
    """
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    picture = np.repeat(_background(axis, rng)[:, :, None], size, axis=2)
    for thing in scene:
        right, down = rng.uniform(-0.02, 0.02, 2).tolist()
        radius = _RADIUS[thing.size] * rng.uniform(0.9, 1.08)
        x = axis[None, :] - (_CENTRE[thing.column] + right)
        y = axis[:, None] - (_CENTRE[thing.row] + down)
        distance = _DISTANCE[thing.shape](x, y, radius)
        cover = np.clip(0.5 - distance * size, 0, 1)  # share of a pixel that the thing covers
        colour = _vary(_RGB[thing.colour], 14, rng)
        picture += cover * (colour[:, :, None] - picture)
    picture += 4 * rng.standard_normal(picture.shape, dtype=np.float32)
    return np.rint(np.clip(picture, 0, 255)).astype(np.uint8)


def _background(axis: np.ndarray, rng: Generator) -> np.ndarray:
    """Colour the rows, `(3, H)`: sky that pales towards the horizon, and ground."""
    sky, ground = _vary((112, 176, 222), 14, rng), _vary((112, 148, 84), 16, rng)
    horizon = rng.uniform(0.65, 0.69)
    paling = 30 * axis / horizon
    below = np.clip((axis - horizon) * len(axis) + 0.5, 0, 1)
    return (1 - below) * (sky + paling) + below * ground


def _vary(colour: tuple[int, ...], most: int, rng: Generator) -> np.ndarray:
    """Change each channel of a colour by up to `most`, `(3, 1)`."""
    return (np.array(colour) + rng.uniform(-most, most, 3)).astype(np.float32)[:, None]


def _triangle(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    half_base, apex, base = 1.15 * radius, -1.2 * radius, radius
    height = base - apex
    flank = (abs(x) * height - (y - apex) * half_base) / math.hypot(height, half_base)
    return np.maximum(flank, y - base)


def _cross(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    long, short = 1.12 * radius, 0.42 * radius
    beam = np.maximum(abs(x) - long, abs(y) - short)
    post = np.maximum(abs(x) - short, abs(y) - long)
    return np.minimum(beam, post)


# About the distance of points from the edge of a shape, negative inside. The factors above make the areas much alike.
_DISTANCE: dict[str, Callable[[np.ndarray, np.ndarray, float], np.ndarray]] = {
    "circle": lambda x, y, radius: np.hypot(x, y) - radius,
    "square": lambda x, y, radius: np.maximum(abs(x), abs(y)) - 0.89 * radius,
    "triangle": _triangle,
    "cross": _cross,
}


# Describing. A caption is true of its scene, but may leave out attributes and whole things, as people do.

_SYNONYMS = {
    "large": ("large", "big", "huge"),
    "small": ("small", "little", "tiny"),
    "red": ("red", "red", "scarlet"),
    "yellow": ("yellow", "yellow", "golden"),
    "blue": ("blue", "blue", "navy"),
    "purple": ("purple", "purple", "violet"),
    "white": ("white",),
    "circle": ("circle", "disc", "ball"),
    "square": ("square", "box"),
    "triangle": ("triangle", "wedge"),
    "cross": ("cross", "plus"),
    "above": ("above", "over", "higher than"),
    "below": ("below", "beneath", "under"),
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
}
_ROWS = (("top", "upper"), ("middle",), ("bottom", "lower"))
_COLUMNS = ("left", "centre", "right")
_NUMBERS = {2: "two", 3: "three", 4: "four"}
_OPENINGS = ("", "", "", "there is ", "picture of ", "i see ")


def describe(scene: Scene, rng: Generator) -> list[str]:
    """Write five different captions of an invented scene: one in each of five styles, in any order.

    A caption lists things, relates two of them, names their places, singles out the large one, or tells sky from
    ground. Each says a part of what there is to see, so that even a perfect reader cannot always tell the scene from
    all others.
    """
    styles = (_listing, _relation, _places, _main, _landscape)
    return [styles[index](scene, rng) for index in rng.permutation(CAPTIONS)]


def relations(a: Thing, b: Thing) -> list[str]:
    """Tell where `a` is as seen from `b`, for things at different places: above, below, left or right.

    Examples:
        >>> relations(Thing(0, 0, "large", "red", "circle"), Thing(2, 1, "small", "blue", "cross"))
        ['above', 'left']
    """
    vertical = ["above"] if a.row < b.row else ["below"] if a.row > b.row else []
    horizontal = ["left"] if a.column < b.column else ["right"] if a.column > b.column else []
    return vertical + horizontal


def _listing(scene: Scene, rng: Generator) -> str:
    things = _shuffled(scene, rng)
    kept = things[:-1] if len(things) > FEWEST and rng.random() < 0.5 else things
    return _pick(_OPENINGS, rng) + _enumerate([_phrase(thing, rng) for thing in kept])


def _relation(scene: Scene, rng: Generator) -> str:
    a, b, *others = _shuffled(scene, rng)
    relation = _word(_pick(relations(a, b), rng), rng)
    if others and rng.random() < 0.4:
        return f"{_phrase(a, rng)} {relation} {_phrase(b, rng)} with {_phrase(others[0], rng)} somewhere"
    if rng.random() < 0.4:
        return f"the {_bare(a, rng)} is {relation} the {_bare(b, rng)}"
    return f"{_phrase(a, rng)} {relation} {_phrase(b, rng)}"


def _places(scene: Scene, rng: Generator) -> str:
    things = _shuffled(scene, rng)[:2]
    return _pick(_OPENINGS, rng) + _enumerate([f"{_phrase(thing, rng)} {_place(thing, rng)}" for thing in things])


def _main(scene: Scene, rng: Generator) -> str:
    (large,) = (thing for thing in scene if thing.size == "large")
    small = [thing for thing in scene if thing is not large]
    if rng.random() < 0.5:
        degree = "bigger" if len(scene) == 2 else "biggest"
        return f"the {degree} of {_NUMBERS[len(scene)]} shapes is {_phrase(large, rng)} {_place(large, rng)}"
    if len(small) == 1:
        return f"{_phrase(large, rng)} and one smaller shape, {_phrase(small[0], rng)}"
    one = _phrase(_pick(small, rng), rng)
    return f"{_phrase(large, rng)} and {_NUMBERS[len(small)]} smaller shapes, one of them {one}"


def _landscape(scene: Scene, rng: Generator) -> str:
    things = _shuffled(scene, rng)
    sky = [_phrase(thing, rng) for thing in things if thing.row < GRID - 1][:2]
    ground = [_phrase(thing, rng) for thing in things if thing.row == GRID - 1][:2]
    above = f"{_enumerate(sky) or 'nothing'} in the {_pick(('sky', 'air'), rng)}"
    below = f"{_enumerate(ground) or 'nothing'} on the {_pick(('ground', 'grass'), rng)}"
    return f"{above} and {below}" if rng.random() < 0.5 else f"{below} and {above}"


def _phrase(thing: Thing, rng: Generator) -> str:
    return f"a {_bare(thing, rng)}"


def _bare(thing: Thing, rng: Generator) -> str:
    """Name a thing, without an article; size or colour may be left out, or the shape where there is a colour."""
    size = [_word(thing.size, rng)] if rng.random() < 0.5 else []
    if rng.random() < 0.2:
        return " ".join([*size, _word(thing.shape, rng)])
    shape = "shape" if rng.random() < 0.12 else _word(thing.shape, rng)
    return " ".join([*size, _word(thing.colour, rng), shape])


def _place(thing: Thing, rng: Generator) -> str:
    if (thing.row, thing.column) == (1, 1):
        return "in the middle"
    return f"at the {_pick(_ROWS[thing.row], rng)} {_COLUMNS[thing.column]}"


def _pick(options: Sequence[Option], rng: Generator) -> Option:
    return options[int(rng.random() * len(options))]  # several times faster than rng.integers or rng.choice


def _shuffled(options: Sequence[Option], rng: Generator) -> list[Option]:
    return [options[index] for index in rng.permutation(len(options))]


def _word(meaning: str, rng: Generator) -> str:
    return _pick(_SYNONYMS[meaning], rng)


def _enumerate(phrases: Sequence[str]) -> str:
    *head, last = phrases or [""]
    return f"{', '.join(head)} and {last}" if head else last


# Modifying.


def triples(seed: int, n: int) -> list[Triple]:
    """Invent scenes with one modification each; triple i is the same whatever `n` is."""
    streams = [stream(seed, "triples", i) for i in range(n)]
    return [modify(invent(KINDS[i % len(KINDS)], rng), rng) for i, rng in enumerate(streams)]


def modify(scene: Scene, rng: Generator) -> Triple:
    """Change a colour, shape, size or place in a scene, or remove or add a thing.

    The kind of change is drawn first, among those the scene allows, then the change itself. The text names the thing
    in full, so it has one target. Unlike invented scenes, the target may have no large thing, or two.
    """
    possible = next(changes for change in _shuffled(_CHANGES, rng) if (changes := change(scene)))
    text, target = _pick(possible, rng)
    return Triple(scene, text, target)


_Change = tuple[str, Scene]


def _alterations(scene: Scene, trait: str, options: Sequence[str], text: str) -> list[_Change]:
    """Give each thing another colour, shape or size, unless the scene has a thing of that name."""
    names = {thing.name for thing in scene}
    pairs = [(old, option, Thing(**{**old._asdict(), trait: option})) for old in scene for option in options]
    return [
        (text.format(old.name, option), _swap(scene, old, new)) for old, option, new in pairs if new.name not in names
    ]


def _moves(scene: Scene) -> list[_Change]:
    return [
        (f"move the {old.name} {_target_place(row, column)}", _swap(scene, old, old._replace(row=row, column=column)))
        for old in scene
        for row, column in _free(scene)
    ]


def _removals(scene: Scene) -> list[_Change]:
    removable = scene if len(scene) > FEWEST else ()
    return [(f"remove the {old.name}", _scene(thing for thing in scene if thing != old)) for old in removable]


def _additions(scene: Scene) -> list[_Change]:
    if len(scene) == MOST:
        return []
    names = {thing.name for thing in scene}
    new = [Thing(row, column, size, *kind) for (row, column), size, kind in product(_free(scene), SIZES, KINDS)]
    return [
        (f"add a {thing.name} {_target_place(thing.row, thing.column)}", _scene((*scene, thing)))
        for thing in new
        if thing.name not in names
    ]


_CHANGES: tuple[Callable[[Scene], list[_Change]], ...] = (
    partial(_alterations, trait="colour", options=COLOURS, text="make the {} {}"),
    partial(_alterations, trait="shape", options=SHAPES, text="turn the {} into a {}"),
    partial(_alterations, trait="size", options=SIZES, text="make the {} {}"),
    _moves,
    _removals,
    _additions,
)


def _free(scene: Scene) -> list[tuple[int, int]]:
    taken = {(thing.row, thing.column) for thing in scene}
    return [place for place in product(range(GRID), range(GRID)) if place not in taken]


def _target_place(row: int, column: int) -> str:
    return "to the middle" if (row, column) == (1, 1) else f"to the {_ROWS[row][0]} {_COLUMNS[column]}"


def _swap(scene: Scene, old: Thing, new: Thing) -> Scene:
    return _scene(new if thing == old else thing for thing in scene)
