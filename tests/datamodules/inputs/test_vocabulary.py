import pytest
import torch

from datamodules.inputs.vocabulary import END, PAD, START, UNKNOWN, Vocabulary, longest


def test_a_vocabulary_encodes_as_it_was_built():
    built = Vocabulary.build(["a dog's bone"], splitting="treebank")
    ids = built.encode(["the dog's"], length=5).ids
    assert [built.words[number] for number in ids[0]] == ["<start>", "<unk>", "dog", "'s", "<end>"]


def test_longest_counts_start_and_end():
    assert longest(["one two three", "four"]) == 5
    assert longest(["a dog's bone"], "treebank") == 6
    assert longest([]) == 2


def test_special_tokens_come_first_and_words_are_sorted_in_whatever_order_they_come():
    captions = ["the red square", "The blue circle"]
    built = Vocabulary.build(captions)
    assert built.words == ("<pad>", "<start>", "<end>", "<unk>", "blue", "circle", "red", "square", "the")
    assert len(built) == 9
    assert [built.words[i] for i in (PAD, START, END, UNKNOWN)] == ["<pad>", "<start>", "<end>", "<unk>"]
    assert Vocabulary.build(reversed(captions)) == built


def test_encode():
    vocabulary = Vocabulary.build(["blue circle red"])  # ids 4, 5, 6
    ids, mask = vocabulary.encode(["Red circle", "green circle", "", "red blue circle red"], length=5)
    expected = [
        [START, 6, 5, END, PAD],
        [START, UNKNOWN, 5, END, PAD],
        [START, END, PAD, PAD, PAD],
        [START, 6, 4, 5, END],  # the fourth word is cut, the end is not
    ]
    assert ids.dtype == torch.int64
    assert ids.tolist() == expected
    assert mask.dtype == torch.bool
    assert mask.tolist() == [[number != PAD for number in row] for row in expected]


def test_encode_takes_no_captions_and_needs_room_for_start_and_end():
    assert Vocabulary.build([]).encode([], length=4).ids.shape == (0, 4)
    with pytest.raises(ValueError, match="length is 1"):
        Vocabulary.build(["red"]).encode(["red"], length=1)
