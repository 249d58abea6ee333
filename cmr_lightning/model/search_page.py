"""The page of a search: one HTML file that needs no other, with small pictures in it."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from cmr_lightning.model.index import Found, Index
from cmr_lightning.model.preprocessing import open_picture
from cmr_lightning.model.search_queries import Query
from cmr_lightning.model.thumbnails import thumbnail


@dataclass(frozen=True)
class Answer:
    """A query with its results, each with its picture as a `data:` URL, if there is one."""

    query: Query
    picture: str | None
    results: Sequence[tuple[Found, str | None]]


def page(index: Index, queries: Sequence[Query], answers: Sequence[Sequence[Found]]) -> str:
    """Render queries and their results as HTML."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("cmr_lightning.model"), PackageLoader("cmr_lightning.reports")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("search.html").render(
        answers=[
            Answer(query, _of_query(query), [(one, _of_result(index, one)) for one in found])
            for query, found in zip(queries, answers, strict=True)
        ],
        manifest=index.manifest,
        counts=[(kind, gallery.count) for kind, gallery in index.manifest.galleries.items()],
    )


def _of_query(query: Query) -> str | None:
    return None if query.image is None else _url(thumbnail(open_picture(query.image, "upright")))


def _of_result(index: Index, found: Found) -> str | None:
    file = index.thumbnail(found.item) if found.kind == "images" else None
    return None if file is None else _url(file.read_bytes())


def _url(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
