from __future__ import annotations

from pathlib import Path

import pytest

from cmr_lightning.encoders.word_vectors import read_word_vectors
from cmr_lightning.errors import UserError

WORDS = ("<pad>", "dog", "cat")


def written(folder: Path, text: str) -> Path:
    path = folder / "vectors.txt"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("header", ["", "3 2\n"])
def test_only_the_words_of_the_vocabulary_are_kept(tmp_path: Path, header: str) -> None:
    path = written(tmp_path, header + "cat 3 4\nthé 5 6\ndog 1 2\ndog 7 8\n")
    rows, vectors = read_word_vectors(path, WORDS, 2)
    assert dict(zip(rows.tolist(), vectors.tolist(), strict=True)) == {1: [1, 2], 2: [3, 4]}


def test_words_with_spaces_of_other_people_do_not_matter(tmp_path: Path) -> None:
    rows, _ = read_word_vectors(written(tmp_path, ". . . 0 0\ncat 3 4\ndog 1 2\n"), WORDS, 2)
    assert sorted(rows.tolist()) == [1, 2]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("dog 1 2 3\ncat 1 2 3\n", r"have 3 numbers \(line 1\); set text_encoder.init_args.embedding to 3"),
        ("cat 1 2\ndog 1 x\n", "Line 2 of .* should be a word and 2 numbers"),
        ("chien 1 2\nchat 1 2\n", "has 0 of the 3 words"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_word_vectors(written(tmp_path, text), WORDS, 2)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.txt, given as text_encoder.init_args.vectors, does not exist"):
        read_word_vectors(tmp_path / "nowhere.txt", WORDS, 2)
