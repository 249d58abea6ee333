"""Who may import whom, read from the sources."""

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.building import ROOT

PACKAGES = ("cmr_lightning", "datamodules")


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


@cache
def imported_by(module: str) -> frozenset[str]:
    """Full names of all that a module imports, wherever in its source; attributes are left out where we know."""
    names = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            assert node.module is not None
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in MODULES else node.module for name in whole}
    return frozenset(names)


def ours(module: str) -> set[str]:
    """What a module imports of this project."""
    return {name for name in imported_by(module) if name.partition(".")[0] in PACKAGES}


def within(module: str, folder: str) -> bool:
    return module == folder or module.startswith(f"{folder}.")


def test_everything_that_is_imported_exists() -> None:
    assert len(MODULES) > 40
    for module in MODULES:
        assert ours(module) <= set(MODULES), f"{module} imports {ours(module) - set(MODULES)}"


def room(module: str) -> str:
    """The folder of a module; a file that stands at the top is a room of its own."""
    return ".".join(module.split(".")[:2])


def test_there_is_no_circle_between_files() -> None:
    """Imports inside functions count, too."""
    list(TopologicalSorter({module: ours(module) - {module} for module in MODULES}).static_order())


def test_there_is_no_circle_between_folders() -> None:
    """A package imports its rooms when it is imported; that a room imports the package is no circle of rooms."""
    graph: dict[str, set[str]] = {room(module): set() for module in set(MODULES) - set(PACKAGES)}
    for module in set(MODULES) - set(PACKAGES):
        graph[room(module)] |= {room(name) for name in ours(module) - set(PACKAGES)} - {room(module)}
    list(TopologicalSorter(graph).static_order())


MAY_IMPORT = {
    "errors": "",
    "ranges": "errors",
    "batch": "",
    "losses": "",
    "discriminators": "ranges",
    "files": "errors",
    "parallel": "errors",
    "store": "errors files",
    "evaluation": "errors files",
    "encoders": "batch errors files ranges",
    "embedding_model": "batch errors evaluation parallel ranges",
    "game": "batch discriminators embedding_model errors evaluation losses parallel ranges",
    "methods": "batch closed_form composed_retriever discriminators embedding_model encoders errors game "
    "informed_retriever losses ranges retriever",
    "runs": "__main__ errors evaluation files",
    "reports": "errors evaluation files runs",
    "datamodules": "batch errors evaluation files ranges store",
}
"""Rooms of `cmr_lightning` that one of them, or `datamodules`, may import; those that are not named are free."""


@pytest.mark.parametrize("name", MAY_IMPORT)
def test_package_knows_only_what_is_below_it(name: str) -> None:
    package = name if name in PACKAGES else f"cmr_lightning.{name}"
    allowed = (package, *(f"cmr_lightning.{below}" for below in MAY_IMPORT[name].split()))
    assert any(within(module, package) for module in MODULES)
    for module in MODULES:
        if within(module, package):
            above = {name for name in ours(module) if not any(within(name, folder) for folder in allowed)}
            above -= {"cmr_lightning"}  # the package itself, which imports nothing heavy
            assert not above, f"{module} imports {', '.join(above)}"


def test_losses_know_torch_only() -> None:
    known = {
        "torch",
        "cmr_lightning",
        "__future__",
        "collections",
        "functools",
        "math",
        "operator",
        "typing",
        "itertools",
    }
    for module in MODULES:
        if within(module, "cmr_lightning.losses"):
            assert {name.partition(".")[0] for name in imported_by(module)} <= known, module


def test_nobody_knows_the_command_line() -> None:
    """But for the processes of `runs`, in which command lines are run."""
    for module in set(MODULES) - {"cmr_lightning.__main__"}:
        assert "cmr_lightning.cli" not in imported_by(module), module
        assert "cmr_lightning.__main__" not in imported_by(module) or room(module) == "cmr_lightning.runs", module


def test_datamodules_are_known_to_the_commands_that_read_them_alone() -> None:
    """And to trained models, which read pictures and texts as they do."""
    knowing = {module for module in MODULES if any(within(name, "datamodules") for name in ours(module))}
    rooms = {room(module) for module in knowing if within(module, "cmr_lightning")}
    assert rooms <= {f"cmr_lightning.{name}" for name in ("command_line", "experiment", "extract", "model", "prepare")}


def test_folders_are_small_enough_to_be_looked_through() -> None:
    assert len(list((ROOT / "cmr_lightning").glob("*.py"))) <= 14
    assert len(list((ROOT / "datamodules").glob("*.py"))) <= 18
