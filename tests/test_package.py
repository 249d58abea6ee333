"""Who may import whom, read from the sources."""

from __future__ import annotations

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


def test_there_are_no_circles() -> None:
    list(TopologicalSorter({module: ours(module) - {module} for module in MODULES}).static_order())


MAY_IMPORT = {
    "datamodules": (
        "cmr_lightning.batch",
        "cmr_lightning.errors",
        "cmr_lightning.evaluation",
        "cmr_lightning.features.store",
        "cmr_lightning.hub",
    ),
    "cmr_lightning.batch": (),
    "cmr_lightning.errors": (),
    "cmr_lightning.hub": ("cmr_lightning.errors",),
    "cmr_lightning.features.store": ("cmr_lightning.errors", "cmr_lightning.whole_file"),
    "cmr_lightning.whole_file": (),
    "cmr_lightning.losses": (),
    "cmr_lightning.discriminators": (),
    "cmr_lightning.prepare": ("cmr_lightning.errors", "cmr_lightning.whole_file"),
    "cmr_lightning.evaluation": ("cmr_lightning.errors", "cmr_lightning.whole_file"),
    "cmr_lightning.encoders": ("cmr_lightning.batch", "cmr_lightning.errors", "cmr_lightning.hub"),
    "cmr_lightning.gathering": (),
    "cmr_lightning.batch_norm": (),
    "cmr_lightning.launcher": ("cmr_lightning.errors",),
    "cmr_lightning.strategy": ("cmr_lightning.batch_norm", "cmr_lightning.launcher"),
    "cmr_lightning.embedding_model": (
        "cmr_lightning.batch",
        "cmr_lightning.errors",
        "cmr_lightning.evaluation",
        "cmr_lightning.gathering",
        "cmr_lightning.strategy",
    ),
    "cmr_lightning.methods": (
        "cmr_lightning.batch",
        "cmr_lightning.closed_form",
        "cmr_lightning.composed",
        "cmr_lightning.discriminators",
        "cmr_lightning.embedding_model",
        "cmr_lightning.encoders",
        "cmr_lightning.errors",
        "cmr_lightning.losses",
        "cmr_lightning.retriever",
    ),
}
"""What of this project a package may import beside itself; the packages that are not named are free."""


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_package_knows_only_what_is_below_it(package: str) -> None:
    allowed = (package, *MAY_IMPORT[package])
    for module in MODULES:
        if within(module, package):
            above = {name for name in ours(module) if not any(within(name, folder) for folder in allowed)}
            above -= {"cmr_lightning"}  # the package itself, which imports nothing heavy
            assert not above, f"{module} imports {', '.join(above)}"


def test_losses_know_torch_only() -> None:
    known = {"torch", "cmr_lightning", "__future__", "collections", "functools", "math", "typing", "itertools"}
    for module in MODULES:
        if within(module, "cmr_lightning.losses"):
            assert {name.partition(".")[0] for name in imported_by(module)} <= known, module


COMMANDS_OF_COMMANDS = (
    "cmr_lightning.benchmark.command",
    "cmr_lightning.benchmark.process",
    "cmr_lightning.sweep.command",
)
"""Commands that run other commands, and so are part of the command line."""


def test_nobody_knows_the_command_line() -> None:
    for module in set(MODULES) - {"cmr_lightning.__main__", *COMMANDS_OF_COMMANDS}:
        assert not {"cmr_lightning.cli", "cmr_lightning.__main__"} & imported_by(module), module


def test_datamodules_are_known_to_the_commands_that_read_them_alone() -> None:
    knowing = {module for module in MODULES if any(within(name, "datamodules") for name in ours(module))}
    commands = {"cmr_lightning.cli", "cmr_lightning.features.extract", "cmr_lightning.features.sources"}
    assert {module for module in knowing if within(module, "cmr_lightning")} <= commands
