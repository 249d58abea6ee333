import random
from collections import Counter
from pathlib import Path

import pytest
import torch

from cmr_lightning.batch import Pixels, Words
from cmr_lightning.errors import UserError
from datamodules.families.listed_data import PARTS
from datamodules.fashion200k import Fashion200k, Siblings, in_validation, modification, parents_of, written_out
from tests.datamodules.published.fashion200k import CATEGORIES, LONELY, PRODUCTS, load


def descriptions(data: Fashion200k, part: str) -> list[str]:
    """Description of each picture, read from the label files once more."""
    known = {}
    for path in data.root.glob("labels/*_detect_all.txt"):
        for line in path.read_text().splitlines():
            picture, _, text = line.split("\t")
            known[picture] = text
    return [known[picture] for picture in data.listing(part).pictures]  # type: ignore[arg-type]


def test_marks_are_written_out() -> None:
    assert written_out(" a.b? c & d* ") == "adotmarkb" + "questionmark c andmark dstarmark"


@pytest.mark.parametrize(
    ("source", "target", "text"),
    [
        ("red lace dress", "blue lace dress", "replace red with blue"),
        ("red lace dress", "blue silk dress", "replace red with blue"),
        ("red dress", "red lace dress", "replace dress with lace"),  # nothing of the source is new: its last word
        ("red lace dress", "red dress", "replace lace with dress"),
        ("red dress", "dress red", "replace dress with red"),
    ],
)
def test_modification_names_the_first_words_that_differ_or_the_last_ones(source: str, target: str, text: str) -> None:
    assert modification(source.split(), target.split()) == text


def test_substring_rule_cuts_letters_out_of_other_words() -> None:
    assert parents_of("top topstitched top", "substring") == ["stitched", "top top"]
    assert parents_of("top topstitched top", "word") == ["topstitched", "top top"]
    assert parents_of("a red lace", "substring") == ["red lce", "a lace", "a red"]
    assert parents_of("a red lace", "word") == ["red lace", "a lace", "a red"]


def test_rule_makes_other_siblings() -> None:
    captions = ["a lace", "o loce", "lace"]  # both lose their first letter-word to `lce`, wherever it stands
    assert Siblings(captions, "substring").modifiable == [0, 1]
    assert Siblings(captions, "word").modifiable == []
    with pytest.raises(UserError, match="no two descriptions differ in one word"):
        Siblings(captions, "word").draw([0], random.Random(0))


CAPTIONS = ["red dress", "blue dress", "blue dress", "red coat", "a thing of its own"]


def test_siblings_are_drawn_from_every_parent_and_never_the_own_description() -> None:
    queries = Siblings(CAPTIONS, "word").draw([0] * 3000, random.Random(0))
    assert {query.source for query in queries} == {0}
    count = Counter(query.target for query in queries)
    assert set(count) == {1, 2, 3}
    assert count[3] / 3000 == pytest.approx(1 / 2, abs=0.03)  # either parent, `dress` or `red`, has one other child
    assert count[1] / 3000 == pytest.approx(1 / 4, abs=0.03)
    texts = {(query.target, query.text) for query in queries}
    assert texts == {(1, "replace red with blue"), (2, "replace red with blue"), (3, "replace dress with coat")}


def test_a_picture_without_siblings_is_replaced() -> None:
    queries = Siblings(CAPTIONS, "word").draw([4] * 50, random.Random(0))
    assert {query.source for query in queries} == {0, 1, 2, 3}


def test_parts_hold_every_picture_of_the_label_files_once(data: Fashion200k) -> None:
    pictures = {part: data.listing(part).pictures for part in PARTS}
    together = [picture for of_part in pictures.values() for picture in of_part]
    assert len(set(together)) == len(together) == 5 * sum(n + n // 2 for n in PRODUCTS.values()) + 1
    products = {part: {Path(name).parent.name for name in names} for part, names in pictures.items()}
    assert not products["train"] & products["val"]
    assert all(in_validation(name) for name in pictures["val"])
    assert not any(in_validation(name) for name in pictures["train"])
    assert data.classes == tuple(CATEGORIES)


@pytest.mark.parametrize("part", PARTS)
def test_queries_ask_for_a_picture_whose_description_differs_in_a_word(data: Fashion200k, part: str) -> None:
    read, described = data.part(part), descriptions(data, part)  # type: ignore[arg-type]
    assert read.num_texts > 5
    for text, source, target in zip(read.captions, read.owner.tolist(), read.target.tolist(), strict=True):
        a, b = described[source].split(), described[target].split()
        assert sum(x != y for x, y in zip(a, b, strict=True)) == 1
        assert text == modification(a, b)
    same = read.keys["caption"][:, None] == read.keys["caption"][None]
    assert same.tolist() == [[a == b for b in described] for a in described]


def test_test_queries_are_those_of_the_list(data: Fashion200k) -> None:
    listing = data.listing("test")
    listed = [line.split() for line in (data.root / "test_queries.txt").read_text().splitlines()]
    pictures = listing.pictures
    found = [[pictures[a], pictures[b]] for a, b in zip(listing.owner, listing.target, strict=True)]
    assert found == listed


def test_validation_queries_are_drawn_once(data: Fashion200k) -> None:
    again = load(data.root)
    assert data.listing("val").captions == again.listing("val").captions
    assert len(set(data.listing("val").owner.tolist())) == len(data.listing("val").owner)


def test_each_epoch_draws_queries_of_its_own(data: Fashion200k) -> None:
    part = data.part("train")
    first, again, other = (data.epoch(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert first.num_texts == part.num_texts == part.num_images
    assert first.captions == again.captions
    assert first.captions != other.captions
    described = descriptions(data, "train")
    lonely = described.index(LONELY)
    assert not bool((first.owner == lonely).any())
    sources = set(first.owner.tolist())
    assert sources == set(range(part.num_images)) - {lonely}
    for text, source, target in zip(first.captions, first.owner.tolist(), first.target.tolist(), strict=True):
        assert text == modification(described[source].split(), described[target].split())


def test_words_of_all_training_descriptions_are_known(data: Fashion200k) -> None:
    words = data.spec.text
    assert isinstance(words, Words)
    known = {word for text in descriptions(data, "train") for word in written_out(text).split()}
    assert set(words.words[4:]) == known | {"replace", "with"}
    assert words.length == 6
    assert data.spec.image == Pixels(16)
    assert data.spec.relevance == "composed"


def test_real_copy(real_data: Path) -> None:
    root = real_data / "fashion_products"
    if not root.is_dir():
        pytest.skip("CMR_DATA has no folder fashion_products")
    data = load(root)
    assert [len(data.listing(part).pictures) for part in PARTS] == [5802, 688, 2081]
    assert len(data.listing("test").captions) == 3000
