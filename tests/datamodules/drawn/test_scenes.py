import re
from collections import Counter
from itertools import permutations, product

import numpy as np
import pytest

from datamodules.drawn.scenes import (
    CAPTIONS,
    COLOURS,
    GRID,
    KINDS,
    SHAPES,
    SIZES,
    Thing,
    describe,
    invent,
    main_kind,
    modify,
    paint,
    relations,
    stream,
    triples,
)

SCENES = [invent(KINDS[i % len(KINDS)], stream(7, i)) for i in range(400)]

WORDS = {
    **{word: word for word in (*SIZES, *COLOURS, *SHAPES)},
    **{"big": "large", "huge": "large", "little": "small", "tiny": "small"},
    **{"scarlet": "red", "golden": "yellow", "navy": "blue", "violet": "purple"},
    **{"disc": "circle", "ball": "circle", "box": "square", "wedge": "triangle", "plus": "cross", "shape": "shape"},
}
ANY = "|".join(WORDS)
MENTION = rf"\b(?:a|the) ((?:{ANY})(?: (?:{ANY}))*)\b"
PLACE = r"(in the middle|at the (?:top|upper|middle|bottom|lower) (?:left|centre|right))"
RELATION = r"(?:is )?(above|over|higher than|below|beneath|under|left of|to the left of|right of|to the right of)"


def matches(thing, mention):
    said = {WORDS[word] for word in mention.split()} - {"shape"}
    return said <= {thing.size, thing.colour, thing.shape}


def mentioned(mentions, things):
    """Whether each mention can be another one of the things."""
    return any(all(map(matches, chosen, mentions)) for chosen in permutations(things, len(mentions)))


def at_place(thing, place):
    if place == "in the middle":
        return (thing.row, thing.column) == (1, 1)
    row, column = place.removeprefix("at the ").split()
    rows = {"top": 0, "upper": 0, "middle": 1, "bottom": 2, "lower": 2}
    return (thing.row, thing.column) == (rows[row], {"left": 0, "centre": 1, "right": 2}[column])


def related(a, b, relation):
    if relation in ("above", "over", "higher than", "below", "beneath", "under"):
        return a.row > b.row if relation in ("below", "beneath", "under") else a.row < b.row
    return a.column < b.column if "left" in relation else a.column > b.column


def is_true(caption, scene):
    """Whether a reader who knows the picture would agree with the caption."""
    mentions = re.findall(MENTION, caption)
    facts = [mentioned(mentions, scene)]
    for mention, place in re.findall(f"{MENTION} {PLACE}", caption):
        facts.append(any(matches(thing, mention) and at_place(thing, place) for thing in scene))
    for a, relation, b in re.findall(f"{MENTION} {RELATION} {MENTION}", caption):
        pairs = [(x, y) for x, y in permutations(scene, 2) if matches(x, a) and matches(y, b)]
        facts.append(any(related(x, y, relation) for x, y in pairs))
    large = next(thing for thing in scene if thing.size == "large")
    if found := re.search(r"bigge\w+ of (\w+) shapes is|(one|two|three) smaller shape", caption):
        number = {"one": 1, "two": 2, "three": 3, "four": 4}[found[1] or found[2]]
        facts += [number == len(scene) - (found[1] is None), matches(large, mentions[0])]
    for side, rows in (r"in the (?:sky|air)", (0, 1)), (r"on the (?:ground|grass)", (2,)):
        if found := re.search(rf"(nothing|{MENTION}(?: and {MENTION})?) {side}", caption):
            there = [thing for thing in scene if thing.row in rows]
            facts.append(not there if found[1] == "nothing" else mentioned(re.findall(MENTION, found[1]), there))
    return all(facts)


def test_a_stream_depends_on_its_key_alone():
    first = stream(0, "train", 5, "scene").random(4)
    stream(0, "train", 4, "scene").random(9)
    assert np.array_equal(stream(0, "train", 5, "scene").random(4), first)
    for key in (0, "train", 5, "words"), (0, "train", 6, "scene"), (0, "val", 5, "scene"), (1, "train", 5, "scene"):
        assert not np.array_equal(stream(*key).random(4), first)


def test_scenes_keep_the_rules():
    for scene in [*SCENES, *(target for _, _, target in triples(1, 300))]:
        assert scene == tuple(sorted(scene))
        assert 2 <= len(scene) <= 4
        assert len({(thing.row, thing.column) for thing in scene}) == len(scene)
        assert len({thing.name for thing in scene}) == len(scene)


def test_invented_scenes_have_one_large_thing_of_the_kind_that_was_asked_for_and_everything_occurs():
    assert [main_kind(scene) for scene in SCENES] == [KINDS[i % len(KINDS)] for i in range(len(SCENES))]
    things = [thing for scene in SCENES for thing in scene]
    assert {(thing.row, thing.column) for thing in things} == set(product(range(GRID), range(GRID)))
    assert {thing.name for thing in things} == {f"{size} {colour} {shape}" for size in SIZES for colour, shape in KINDS}
    assert {len(scene) for scene in SCENES} == {2, 3, 4}


def test_small_things_often_share_a_colour():
    colours = [{thing.colour for thing in scene if thing.size == "small"} for scene in SCENES if len(scene) > 2]
    assert 0.45 < np.mean([len(found) == 1 for found in colours]) < 0.75


@pytest.mark.parametrize("size", [32, 48, 64])
def test_paint_gives_a_picture(size):
    picture, again, other = (paint(SCENES[0], size, stream(seed)) for seed in (1, 1, 2))
    assert (picture.shape, picture.dtype) == ((3, size, size), np.uint8)
    assert np.array_equal(picture, again)
    assert not np.array_equal(picture, other)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("row, column", [(0, 0), (0, 2), (1, 1), (2, 1)])
def test_things_are_painted_at_their_place_in_their_colour(row, column, shape):
    typical = {"red": "r", "yellow": "rg", "blue": "b", "purple": "rb", "white": "rgb"}
    for colour, strong in typical.items():
        picture = paint((Thing(row, column, "small", colour, shape),), 48, stream(3)).astype(int)
        y, x = 9 + 15 * row, 9 + 15 * column
        pixel = picture[:, y - 1 : y + 2, x - 1 : x + 2].mean((1, 2))
        channels = dict(zip("rgb", pixel, strict=True))
        weak = [value for name, value in channels.items() if name not in strong]
        assert min(channels[name] for name in strong) > 110
        assert all(value < 90 for value in weak)


def test_large_things_are_larger_and_shapes_have_about_the_same_area():
    def area(size, shape):
        scene = (Thing(0, 1, size, "red", shape),)
        sky = np.stack([paint(scene, 48, stream(4, i)) for i in range(20)])[:, :, :28].astype(int)
        return (sky[:, 0] > sky[:, 2]).sum() / len(sky)

    large = {shape: area("large", shape) for shape in SHAPES}
    small = {shape: area("small", shape) for shape in SHAPES}
    assert min(large.values()) > 1.8 * max(small.values())
    assert max(large.values()) < 1.4 * min(large.values())


def test_up_can_be_told_from_down():
    for i, scene in enumerate(SCENES[:50]):
        picture = paint(scene, 48, stream(5, i)).astype(int)
        blue_over_green = np.median(picture[2] - picture[1], axis=1)
        assert blue_over_green[:28].mean() > blue_over_green[36:].mean() + 20


def test_triangles_point_up():
    picture = paint((Thing(0, 1, "large", "red", "triangle"),), 48, stream(6)).astype(int)
    width = (picture[0] > picture[2] + 40).sum(1)
    rows = np.flatnonzero(width)
    assert width[rows[-3]] > 2 * width[rows[2]] > 0


def test_relations_of_all_places():
    places = list(product(range(GRID), range(GRID)))
    for a, b in permutations(places, 2):
        one, other = Thing(*a, "small", "red", "cross"), Thing(*b, "large", "red", "cross")
        found = relations(one, other)
        assert all(related(one, other, relation) for relation in found)
        assert len(found) == (a[0] != b[0]) + (a[1] != b[1])


def test_captions_are_true_and_different():
    for i, scene in enumerate(SCENES):
        captions = describe(scene, stream(8, i))
        assert len(captions) == CAPTIONS == len(set(captions))
        false = [caption for caption in captions if not is_true(caption, scene)]
        assert not false, (scene, false)


def test_captions_tell_scenes_apart_but_not_always():
    fitting = [
        sum(is_true(caption, scene) for scene in SCENES[:100])
        for i, own in enumerate(SCENES[:100])
        for caption in describe(own, stream(9, i))
    ]
    assert 1.2 < np.mean(fitting) < 8


def test_captions_vary_in_words_and_completeness():
    captions = [caption for i, scene in enumerate(SCENES) for caption in describe(scene, stream(10, i))]
    words = Counter(word for caption in captions for word in re.findall(r"\w+", caption))
    assert {"disc", "box", "wedge", "plus", "scarlet", "navy", "beneath", "over", "tiny", "huge"} <= set(words)
    mentions = [mention.split() for caption in captions for mention in re.findall(MENTION, caption)]
    assert {len(mention) for mention in mentions} == {1, 2, 3}


def apply(text, scene):
    """The scene after the change that the text asks for, read from the words."""
    verb, _, *name = text.split()[:5]
    *_, row, column = re.sub("the middle$", "middle centre", text).split()
    if verb in ("add", "move"):
        place = ("top", "middle", "bottom").index(row), ("left", "centre", "right").index(column)
    if verb == "add":
        return {*scene, Thing(*place, *name)}
    (thing,) = (thing for thing in scene if thing.name == " ".join(name))
    others = set(scene) - {thing}
    if verb == "remove":
        return others
    if verb == "move":
        return {*others, thing._replace(row=place[0], column=place[1])}
    trait = {"turn": "shape", "make": "size" if column in SIZES else "colour"}[verb]
    return {*others, thing._replace(**{trait: column})}


def test_modifications_do_what_their_text_says():
    for source, text, target in triples(0, 600):
        assert set(target) == apply(text, source)
        assert target != source


def test_every_change_occurs_about_equally_often():
    def change(text):
        verb, *_, last = text.split()
        return f"{verb} {'size' if last in SIZES else 'colour'}" if verb == "make" else verb

    counts = Counter(change(triple.text) for triple in triples(2, 600))
    assert set(counts) == {"make colour", "make size", "turn", "move", "remove", "add"}
    assert min(counts.values()) > 50


def test_triples_depend_on_seed_and_number_alone_and_modify_on_its_scene():
    assert triples(3, 10) == triples(3, 25)[:10] != triples(4, 10)
    scene = SCENES[0]
    assert modify(scene, stream(11)) == modify(scene, stream(11))
    assert modify(scene, stream(11)).source is scene


def test_a_full_scene_gets_no_more_things_and_a_bare_one_loses_none():
    full = [scene for scene in SCENES if len(scene) == 4]
    bare = [scene for scene in SCENES if len(scene) == 2]
    assert not any(modify(scene, stream(12, i)).text.startswith("add") for i, scene in enumerate(full))
    assert not any(modify(scene, stream(12, i)).text.startswith("remove") for i, scene in enumerate(bare))
