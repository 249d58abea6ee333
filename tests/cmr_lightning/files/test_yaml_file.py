from pathlib import Path

import pytest
import yaml

from cmr_lightning.errors import UserError
from cmr_lightning.files.yaml_file import load_yaml, read_settings, read_yaml

BOMB = "\n".join(["a0: &a0 [1]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12))])
CHAIN = "\n".join(["a0: &a0 [1]", *(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 200))])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model:\n  dim: 1\n  lr: 2\n  dim: 3\n", r"a\.yaml: the key model\.dim stands twice, in lines 2 and 4"),
        ("[{a: 1}, {b: 1, b: 1}]", "the key b stands twice"),
        ("a: 1\n'a': 2", "the key a stands twice, in lines 1 and 2"),
        (BOMB, "more than 50,000 values, with its aliases written out"),
        (CHAIN, "nested deeper than 100 levels"),
        ("a: &a [*a]", "a refers to itself by an alias"),
        ("[" * 200 + "]" * 200, "nested deeper than 100 levels"),
        ("{a: " * 5000 + "1" + "}" * 5000, "not YAML: line 1: exceeded maximum nesting depth"),
        ("a: [1, 2\nb: 3", "not YAML: line 2"),
        ("a: 2026-13-45", "a value is not what its form or its tag says"),
        ("a: !!bool maybe", "a value is not what its form or its tag says"),
        ("a: !!python/object/apply:os.system [ls]", "not YAML: line 1: could not determine a constructor"),
        ("a: 1\n---\nb: 2", "not YAML: line 2: but found another document"),
        ("a: \0", "not YAML: unacceptable character"),
        ("model: é".encode("latin-1"), r"a\.yaml is not text in UTF-8, as a recipe must be"),
        ("model: x".encode("utf-16"), r"a\.yaml is not text in UTF-8"),
        (Path("/bin/sh").read_bytes(), r"a\.yaml is not text in UTF-8"),
        (b" " * 5_000_000, "larger than 4 MiB"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(text: str | bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=message):
        read_yaml(path, "recipe")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("none.yaml", r"There is no recipe none\.yaml"),
        (".", "is no file, but must be a recipe"),
        ("/dev/zero", "is no file, but must be a recipe"),
        ("x" * 5000, "File name too long"),
        ("/dev/null/a.yaml", "There is no recipe|cannot be read"),
    ],
)
def test_what_is_no_file_is_refused(path: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_yaml(Path(path), "recipe")


@pytest.mark.parametrize(("text", "message"), [("", "is empty"), ("# nothing\n", "is empty"), ("- 1", "holds no keys")])
def test_settings_have_keys(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_settings(path, "recipe")


def test_what_people_write_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes("\ufeffname: é\r\nbase: &b {lr: 1}\r\nmine:\r\n  <<: *b\r\n  lr: 2\r\n".encode())
    assert read_settings(path, "recipe") == {"name": "é", "base": {"lr": 1}, "mine": {"lr": 2}}
    assert load_yaml("") is None
    assert load_yaml("{a: [&x 1, *x], 1: b, '1': c}") == {"a": [1, 1], 1: "b", "1": "c"}


def test_a_merge_of_merges_has_no_key_twice() -> None:
    text = "x: {y: &b {<<: &a {lr: 1, dim: 2}, lr: 3}}\nz: {<<: *b, lr: 4}"
    assert load_yaml(text)["z"] == yaml.safe_load(text)["z"] == {"lr": 4, "dim": 2}
