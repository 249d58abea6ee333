"""`search`: find the items of an index that are nearest to texts, pictures, or pictures with texts."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cmr_lightning.errors import UserError
from cmr_lightning.files.checksum import sha256_of
from cmr_lightning.files.whole_file import write_whole
from cmr_lightning.model.index import Found, Index
from cmr_lightning.model.index_update import refuse_other_model
from cmr_lightning.model.model_options import add_model_options, load_model
from cmr_lightning.model.search_page import page
from cmr_lightning.model.search_queries import Query, bare, embed, queries_in


def main(arguments: Sequence[str]) -> None:
    """Answer the queries of a command line in the terminal, as JSON, or on a page.

    Raises:
        UserError: If there is no such index or model, they do not belong together, or a query cannot be read.
    """
    options = _options(arguments)
    index = Index(options.index)
    queries = _queries(options)
    model = load_model(_model_path(index, options.model), options)
    refuse_other_model(index.manifest, model, index.folder)
    own = [None if query.image is None else sha256_of(query.image) for query in queries]
    answers = index.search(embed(queries, model), options.k, options.find, options.exact, without=own)
    if options.json:
        print(json.dumps([_plain(query, found) for query, found in zip(queries, answers, strict=True)], indent=1))
    else:
        _print(index, queries, answers)
    if options.html is not None:
        options.html.parent.mkdir(parents=True, exist_ok=True)
        write_whole(options.html, page(index, queries, answers))
        if not options.json:
            print(f"Wrote {options.html}.")


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m cmr_lightning search", description="Find the nearest items of an index, which `index` makes."
    )
    parser.add_argument("index", metavar="INDEX", type=Path, help="folder of the index")
    parser.add_argument(
        "query", metavar="QUERY", nargs="?", help="a picture, if there is a file of that name, otherwise a text"
    )
    parser.add_argument("--text", help="a text; with a picture, what to change in it (composed models)")
    parser.add_argument("--image", type=Path, help="a picture")
    parser.add_argument(
        "--file",
        type=Path,
        help="file with a query on each line: as QUERY, or a picture and a text with a tab between them",
    )
    parser.add_argument("--k", type=int, default=10, help="number of items for each query (default: 10)")
    parser.add_argument("--find", choices=("images", "texts"), help="what to find (default: images, if there are any)")
    parser.add_argument("--exact", action="store_true", help="compare every item though there is an approximate index")
    parser.add_argument("--html", metavar="PAGE", type=Path, help="also write a page with pictures")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--model", help="the model, where it is no longer at the place that the index names")
    add_model_options(parser)
    options = parser.parse_args(arguments[1:])
    if options.k < 1:
        raise UserError(f"--k is {options.k}, but should be at least 1.")
    if (options.query, options.text, options.image, options.file) == (None, None, None, None):
        raise UserError("There is no query; give a text or a picture, or --file with several.")
    return options


def _queries(options: argparse.Namespace) -> list[Query]:

    queries = [] if options.file is None else list(queries_in(options.file))
    text, image = options.text, options.image
    if options.query is not None:
        given = bare(options.query)
        if (text is not None and given.text is not None) or (image is not None and given.image is not None):
            raise UserError(f"{options.query!r} comes beside another query of its kind; several go into a --file.")
        text, image = text if given.text is None else given.text, image if given.image is None else given.image
    if text is not None or image is not None:
        queries.insert(0, Query(text, None if image is None else image.expanduser()))
    return queries


def _model_path(index: Index, given: str | None) -> str:
    """Return where the model is.

    Raises:
        UserError: If nobody says.
    """
    path = given or index.manifest.model.path
    if not path:
        raise UserError(f"{index.folder} was made by a model that was in memory only; give one as --model.")
    if given is None and not Path(path).exists():
        raise UserError(f"The model of {index.folder} is no longer at {path}; give its place as --model.")
    return path


# What is printed -----------------------------------------------------------------------------------------------------


def _print(index: Index, queries: Sequence[Query], answers: Sequence[Sequence[Found]]) -> None:

    console = Console()
    for query, found in zip(queries, answers, strict=True):
        console.print(_table(index, query, found))
        if not found:
            console.print("Nothing was found.")


def _table(index: Index, query: Query, found: Sequence[Found]) -> Table:

    table = Table(title=Text(str(query)), title_justify="left", box=SIMPLE_HEAD)
    table.add_column("rank", justify="right")
    table.add_column("score", justify="right")
    table.add_column("name", overflow="fold")
    table.add_column("caption")
    for one in found:
        file = index.file(one.item)
        gone = " (its file is gone)" if one.kind == "images" and file is not None and not file.exists() else ""
        name = one.item.id if one.kind == "images" else one.item.id.rpartition("#")[0] or one.item.id
        caption = one.item.caption.partition("\n")[0]
        table.add_row(str(one.rank), f"{one.score:.3f}", Text(f"{name}{gone}"), Text(caption))
    return table


def _plain(query: Query, found: Sequence[Found]) -> dict[str, Any]:
    """Return a query and its results as they are in JSON."""
    results = [
        {
            "rank": one.rank,
            "score": round(one.score, 6),
            "id": one.item.id,
            "path": one.item.path,
            "captions": one.item.caption.split("\n") if one.item.caption else [],
        }
        for one in found
    ]
    return {"text": query.text, "image": None if query.image is None else str(query.image), "results": results}
