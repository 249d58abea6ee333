import shutil
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from cmr_lightning.errors import UserError
from datamodules.families.listed_data import PARTS
from datamodules.mit_states import TEST_NOUNS, MITStates, part_of
from tests.datamodules.published.mit_states import PICTURES, STATES, load


def folders(data: MITStates, part: Any) -> list[tuple[str, str]]:
    """Adjective and noun of each picture."""
    found = [Path(picture).parent.name.split() for picture in data.listing(part).pictures]
    return [(adjective, noun) for adjective, noun in found]


def test_nouns_of_each_part() -> None:
    assert len(set(TEST_NOUNS)) == 49
    for part, nouns in STATES.items():
        assert {part_of(noun) for noun in nouns} == {part}


@pytest.mark.parametrize("part", PARTS)
def test_parts_hold_all_pictures_of_their_nouns_in_a_state(data: MITStates, part: Any) -> None:
    expected = {(a, noun): PICTURES for noun, adjectives in STATES[part].items() for a in adjectives}
    assert Counter(folders(data, part)) == expected
    assert data.part(part).label.tolist() == [data.classes.index(noun) for _, noun in folders(data, part)]


@pytest.mark.parametrize("part", ["val", "test"])
def test_every_picture_asks_for_every_other_adjective_of_its_noun(data: MITStates, part: Any) -> None:
    read, states = data.part(part), folders(data, part)
    found = set()
    for text, source, target in zip(read.captions, read.owner.tolist(), read.target.tolist(), strict=True):
        assert states[target] == (text, states[source][1])
        found.add((source, text))
    expected = {(row, a) for row, (own, noun) in enumerate(states) for a in STATES[part][noun] if a != own}
    assert found == expected
    assert len(expected) == read.num_texts


def test_keys_tell_states_adjectives_and_nouns_apart(data: MITStates) -> None:
    states, keys = folders(data, "test"), data.part("test").keys
    for name, of in (("caption", lambda s: s), ("adjective", lambda s: s[0]), ("noun", lambda s: s[1])):
        same = keys[name][:, None] == keys[name][None]
        assert same.tolist() == [[of(a) == of(b) for b in states] for a in states]
    assert {protocol.relevance for protocol in data.protocols} == set(keys)


def test_an_epoch_asks_twice_from_half_of_the_pictures(data: MITStates) -> None:
    part, states = data.part("train"), folders(data, "train")
    first, again, other = (data.epoch(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert first.captions == again.captions
    assert first.captions != other.captions
    assert first.num_texts == part.num_texts == part.num_images
    assert len(set(first.owner.tolist())) == part.num_images // 2
    queries = list(zip(first.owner.tolist(), first.captions, first.target.tolist(), strict=True))
    for (a, text, _), (b, other_text, _) in zip(queries[::2], queries[1::2], strict=True):
        assert a == b
        assert text != other_text
    for source, text, target in queries:
        assert source != target
        assert states[target] == (text, states[source][1])


def test_a_target_may_have_the_adjective_of_its_source(data: MITStates) -> None:
    states = folders(data, "train")
    epochs = [data.epoch(torch.Generator().manual_seed(seed)) for seed in range(5)]
    own = [states[a][0] == text for e in epochs for a, text in zip(e.owner.tolist(), e.captions, strict=True)]
    assert 0.2 < sum(own) / len(own) < 0.6


def test_a_noun_of_one_picture_a_state_never_asks_for_itself(tmp_path: Path, data: MITStates) -> None:
    root = tmp_path / "copy"
    shutil.copytree(data.root, root)
    for folder in (root / "images").iterdir():
        if folder.is_dir():
            for picture in sorted(folder.glob("*.jpg"))[1:]:
                picture.unlink()
    part = load(root).epoch(torch.Generator().manual_seed(0))
    assert not bool((part.owner == part.target).any())
    assert part.num_texts == 8


def test_words_are_the_adjectives_of_the_training_part(data: MITStates) -> None:
    words = data.spec.text.words  # type: ignore[union-attr]
    assert set(words[4:]) == {adjective for adjectives in STATES["train"].values() for adjective in adjectives}
    assert data.spec.class_counts == tuple(
        len(STATES["train"].get(noun, ())) * PICTURES for noun in sorted({n for of in STATES.values() for n in of})
    )


def test_order_does_not_depend_on_the_folder(data: MITStates) -> None:
    for part in PARTS:
        assert all(a < b for a, b in pairwise(data.listing(part).pictures))


@pytest.mark.parametrize(
    ("noun", "message"),
    [("tomato", "holds no pictures of train nouns"), ("apple", "no training noun has two adjectives")],
)
def test_pictures_that_leave_nothing_to_ask_are_refused(tmp_path: Path, noun: str, message: str) -> None:
    (tmp_path / "images" / f"ripe {noun}").mkdir(parents=True)
    (tmp_path / "images" / f"ripe {noun}" / "1.jpg").touch()
    with pytest.raises(UserError, match=message):
        load(tmp_path).listing("train")
