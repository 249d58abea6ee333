"""The data sets that `prepare` knows, and the tables that the README and the cards have of them.

`python -m cmr_lightning.prepare.data_sets` writes the tables from the facts on the classes.
"""

import re
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import datamodules
from cmr_lightning.errors import UserError
from datamodules.base import CrossModalData
from datamodules.facts import card_table, readme_table


def data_sets() -> dict[str, type[CrossModalData]]:
    """Return the project's data sets by name, including `Pairs` and those that are drawn."""
    subclasses = {kind for base in CrossModalData.__subclasses__() for kind in _with_subclasses(base)}
    kinds = [kind for kind in subclasses if kind.__module__.startswith(f"{datamodules.__name__}.")]
    return {kind.facts.name: kind for kind in sorted(kinds, key=lambda kind: kind.__name__) if "facts" in vars(kind)}


def published() -> dict[str, type[CrossModalData]]:
    """Return the project's data sets whose files come from elsewhere, by name."""
    return {name: kind for name, kind in data_sets().items() if kind.facts.origins}


def data_set(name: str) -> type[CrossModalData]:
    """Return a data set by its name, or one outside the project by its class path.

    Raises:
        UserError: If there is none of that name.

    Examples:
        >>> data_set("pascal_sentence").__name__
        'PascalSentence'
    """
    known = published()
    if name in known:
        return known[name]
    module, _, kind = name.rpartition(".")
    with suppress(ImportError, AttributeError, ValueError):
        if (found := getattr(import_module(module), kind)).facts.origins:
            return found
    raise UserError(f"There is no data set {name!r} to prepare; there are {', '.join(known)}.")


def tables(root: Path) -> dict[Path, str]:
    """Return the README, which is in the folder `root`, and the cards with their tables as the facts have them."""
    kinds = data_sets().values()
    readme = root / "README.md"
    texts = {readme: _replaced(readme.read_text(), readme_table({kind.__name__: kind.facts for kind in kinds}))}
    for kind in kinds:
        card = root / "datamodules" / kind.facts.card_file
        table = card_table(kind.__name__, kind.facts, getattr(kind, "orientation", ""))
        texts[card] = _replaced(texts.get(card) or card.read_text(), table)
    return texts


def _with_subclasses(kind: type[CrossModalData]) -> set[type[CrossModalData]]:
    return {kind}.union(*(_with_subclasses(subclass) for subclass in kind.__subclasses__()))


def _replaced(text: str, table: str) -> str:
    """Return a text with the table that begins with the same line replaced."""
    first = re.escape(table.partition("\n")[0])
    return re.sub(rf"^{first}\n(^\|.*\n)+", lambda _: table, text, flags=re.MULTILINE)


if __name__ == "__main__":
    for path, text in tables(Path(datamodules.__file__).parents[1]).items():
        path.write_text(text)
