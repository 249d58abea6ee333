"""The examples in docstrings: they run as they are printed, and every folder has some."""

import ast
import doctest
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

from tests.building import ROOT

FILES = [
    path.relative_to(ROOT) for package in ("cmr_lightning", "datamodules") for path in (ROOT / package).rglob("*.py")
]
WITH_EXAMPLES = sorted(path for path in FILES if ">>> " in (ROOT / path).read_text())


def public_definitions(path: Path) -> list[ast.ClassDef | ast.FunctionDef]:
    """Classes, methods and functions of a file whose names have no leading underscore."""
    found: list[ast.ClassDef | ast.FunctionDef] = []
    within: list[ast.Module | ast.ClassDef] = [ast.parse((ROOT / path).read_text())]
    for node in within:
        for child in node.body:
            if isinstance(child, ast.ClassDef | ast.FunctionDef) and not child.name.startswith("_"):
                found.append(child)
                within += [child] if isinstance(child, ast.ClassDef) else []
    return found


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=str)
def test_examples_print_what_they_say(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = doctest.testmod(import_module(".".join(path.with_suffix("").parts).removesuffix(".__init__")))
    assert results.attempted
    assert not results.failed, capsys.readouterr().out


def test_every_folder_has_two_examples() -> None:
    examples: Counter[str] = Counter()
    for path in FILES:
        for definition in public_definitions(path):
            examples[str(path.parent)] += ">>> " in (ast.get_docstring(definition) or "")
    assert not [folder for folder, count in examples.items() if count < 2]
