"""The cards of the data sets name the checksums and sizes that the code gives, and no others."""

import platform
import re
from pathlib import Path

import pytest

import datamodules
from datamodules.inputs.feature_archive import FeatureArchive
from datamodules.pascal_sentence import PascalSentence
from datamodules.pascal_sentence_dscmr import PascalSentenceDSCMR
from datamodules.shapes import Shapes
from datamodules.shapes_composed import ShapesComposed
from datamodules.wikipedia import Wikipedia
from tests.datamodules.published.pascal_sentence import write as write_pascal_sentence
from tests.datamodules.published.pascal_sentence_dscmr import write as write_pascal_sentence_dscmr

SIZES = ("800/100/100", "800/200", "800/200-all")


def card(name):
    """The text of a card, wherever its lines break."""
    return " ".join((Path(datamodules.__file__).parent / "cards" / f"{name}.md").read_text().split())


def checksums(name):
    return set(re.findall("`([0-9a-f]{16})`", card(name)))


def pascal(root, split, sizes):
    return PascalSentence(str(root), split, sizes, image=FeatureArchive("mobilenetv2_features.npz"))


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the cards say so of x86-64")
@pytest.mark.parametrize(("name", "data"), [("shapes", Shapes), ("shapes_composed", ShapesComposed)])
def test_content_of_what_is_drawn(name, data):
    assert checksums(name) == {data().checksum()}


def test_splits_of_pascal_sentence(tmp_path):
    write_pascal_sentence(tmp_path / "published")
    write_pascal_sentence_dscmr(tmp_path / "dscmr")
    splits = [pascal(tmp_path / "published", s, sizes).split for s in range(5) for sizes in SIZES]
    splits += [PascalSentenceDSCMR(str(tmp_path / "dscmr"), split).split for split in ("official", "official-all")]
    assert checksums("pascal_sentence") == {split.checksum for split in splits}


def test_splits_of_wikipedia(real_data):
    root = str(real_data / "wikipedia")
    splits = [Wikipedia(root, split=split).split for split in ("official", "official-all", "231/462")]
    assert checksums("wikipedia") == {split.checksum for split in splits}


@pytest.mark.parametrize("sizes", SIZES)
def test_words_of_pascal_sentence(real_data, sizes):
    words = [pascal(real_data / "pascal_sentence", s, sizes).spec.text.size for s in range(5)]
    assert f"{min(words):,} to {max(words):,}" in card("pascal_sentence")
