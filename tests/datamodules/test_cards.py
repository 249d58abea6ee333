"""The cards of the data sets name the checksums and sizes that the code gives, and no others."""

import platform
import re
from pathlib import Path

import pytest

import datamodules
from datamodules.shapes import Shapes
from datamodules.shapes_composed import ShapesComposed
from datamodules.wikipedia import Wikipedia
from tests.datamodules.published import pascal_sentence, pascal_sentence_dscmr


def card(name):
    """The text of a card, wherever its lines break."""
    return " ".join((Path(datamodules.__file__).parent / "cards" / f"{name}.md").read_text().split())


def checksums(name):
    return set(re.findall("`([0-9a-f]{16})`", card(name)))


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the cards say so of x86-64")
@pytest.mark.parametrize(("name", "data"), [("shapes", Shapes), ("shapes_composed", ShapesComposed)])
def test_content_of_what_is_drawn(name, data):
    drawn = data()
    assert checksums(name) == {drawn.checksum()}
    sizes = {part: (drawn.part(part).num_images, drawn.part(part).num_texts) for part in drawn.sizes}
    assert sizes == {part: counts[:2] for part, counts in drawn.facts.counts.items()}


def test_splits_of_pascal_sentence():
    """The contract of the data sets compares these with what the code gives."""
    splits = [*pascal_sentence.SPLITS, *pascal_sentence_dscmr.SPLITS]
    assert checksums("pascal_sentence") == {split.checksum for split in splits}


def test_splits_of_wikipedia(real_data):
    root = str(real_data / "wikipedia")
    splits = [Wikipedia(root, split=split).split for split in ("official", "official-all", "231/462")]
    assert checksums("wikipedia") == {split.checksum for split in splits}


@pytest.mark.parametrize("sizes", ["800/100/100", "800/200", "800/200-all"])
def test_words_of_pascal_sentence(real_data, sizes):
    root = real_data / "pascal_sentence"
    words = [pascal_sentence.load(root, split=split, sizes=sizes).spec.text.size for split in range(5)]
    assert f"{min(words):,} to {max(words):,}" in card("pascal_sentence")
