"""Miniature copies of data sets in their published form on disk, with invented content.

A module `<dataset>.py` for each data set that is read from files: `write(root)` writes the copy, the same each time,
`load(root)` builds the data set on it, `SPLITS` says what its splits then are, and `TINY` holds the `data` options with
which an experiment ends within seconds. Tests find the modules by name.
"""

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

from tests.datamodules.published.stores import write_stores

DATASETS: dict[str, ModuleType] = {
    module.name: import_module(f"{__name__}.{module.name}")
    for module in iter_modules(__path__)
    if module.name not in ("invention", "stores")
}
"""Generator of each data set, by the name of its folder."""


def write_all(root: Path) -> None:
    """Write every data set into a folder of its name, and the feature stores that experiments read."""
    for name, module in DATASETS.items():
        module.write(root / name)
    DATASETS["wikipedia"].write_articles(root / "wikipedia")
    write_stores(root)
