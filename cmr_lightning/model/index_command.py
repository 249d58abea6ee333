"""`index`: embed a folder of pictures, a table, or a part of a data set, so that it can be searched."""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from cmr_lightning.errors import UserError
from cmr_lightning.model.index import Index
from cmr_lightning.model.index_approximate import add_approximate
from cmr_lightning.model.index_items import IndexItems, PartItems, items_of
from cmr_lightning.model.index_update import update_index
from cmr_lightning.model.loading import trained_data
from cmr_lightning.model.model_options import add_model_options, load_model

_APPROXIMATE = "HNSW32"


def main(arguments: Sequence[str]) -> None:
    """Make an index, or bring it up to date.

    Raises:
        UserError: If the model cannot be loaded, there is nothing to index, or the folder is of another model.
    """
    options = _options(arguments)
    model = load_model(options.model, options)
    items = _items(options)
    start = time.perf_counter()
    changes = update_index(options.output, items, model)
    seconds = time.perf_counter() - start
    galleries = Index(options.output).manifest.galleries
    counts = " and ".join(f"{gallery.count:,} {kind}" for kind, gallery in galleries.items())
    print(
        f"{options.output} holds {counts}: {changes.embedded:,} embedded, {changes.kept:,} known, "
        f"{changes.dropped:,} dropped, {len(changes.damaged):,} damaged and left out, in {seconds:.3g} s."
    )
    if options.faiss is not None:
        for kind, made in add_approximate(options.output, options.faiss, options.faiss_parameters).items():
            print(
                f"{made.description} of the {kind} finds {made.recall:.2%} of the {made.k} nearest, measured on "
                f"{made.queries}."
            )


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m cmr_lightning index",
        description="Embed pictures and texts, so that `search` finds them; given again, it takes up what has changed.",
    )
    parser.add_argument("model", metavar="MODEL", help="folder of a run, or a checkpoint")
    parser.add_argument(
        "items",
        metavar="ITEMS",
        type=Path,
        nargs="?",
        help="folder of pictures, searched with all folders below it, or table with columns image, text or both",
    )
    parser.add_argument("--output", metavar="INDEX", type=Path, required=True, help="folder of the index")
    parser.add_argument(
        "--part", choices=("train", "val", "test"), help="part of the model's own data set, in place of ITEMS"
    )
    parser.add_argument("--root", type=Path, help="folder of a table's pictures (default: that of the table)")
    parser.add_argument(
        "--faiss",
        nargs="?",
        const=_APPROXIMATE,
        metavar="INDEX",
        help=f"also write an approximate index of FAISS, and measure its recall (default: {_APPROXIMATE})",
    )
    parser.add_argument("--faiss-parameters", default="", help="how much of it is searched, such as efSearch=128")
    add_model_options(parser)
    options = parser.parse_args(arguments[1:])
    if (options.items is None) == (options.part is None):
        raise UserError("Give a folder or a table to index, or --part of the model's own data set, and not both.")
    if options.faiss is None and options.faiss_parameters:
        raise UserError("--faiss-parameters is for an approximate index; give --faiss as well.")
    return options


def _items(options: argparse.Namespace) -> IndexItems:
    if options.part is None:
        return items_of(options.items, options.output, options.root)
    return PartItems(trained_data(options.model, options.trust), options.part)
