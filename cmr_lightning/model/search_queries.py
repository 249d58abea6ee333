"""Queries as people give them: a text, a picture, or a picture with a text that says what to change."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cmr_lightning.errors import UserError
from cmr_lightning.model.trained_model import Model


@dataclass(frozen=True)
class Query:
    """One query; at least one of both is there.

    Attributes:
        text: Its text.
        image: Its picture.
    """

    text: str | None = None
    image: Path | None = None

    def __post_init__(self) -> None:
        if self.text is None and self.image is None:
            raise UserError("A query is a text, a picture or both; this one is empty.")
        if self.text is not None and not self.text.strip():
            raise UserError("The text of a query is empty; write what to look for.")
        if self.image is not None and not self.image.is_file():
            raise UserError(f"There is no picture {self.image}.")

    @property
    def has(self) -> tuple[bool, bool]:
        """Whether there is a text, and a picture."""
        return self.text is not None, self.image is not None

    def __str__(self) -> str:
        """Return it for headings."""
        return " + ".join(str(part) for part in (self.image, self.text) if part is not None)


def bare(words: str) -> Query:
    """Return the query of somebody who gives one without saying what it is: a picture if there is a file of that name.

    Raises:
        UserError: If it is empty.

    Examples:
        >>> bare("two dogs on a beach")
        Query(text='two dogs on a beach', image=None)
    """
    path = Path(words).expanduser()
    is_file = len(words) < 4096 and "\0" not in words and bool(words.strip()) and _is_file(path)
    return Query(image=path) if is_file else Query(text=words)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a sentence may be too long for the name of a file
        return False


def queries_in(file: Path) -> Iterator[Query]:
    """Read queries from a file, one a line: a bare one, or a picture and a text with a tab between them.

    Raises:
        UserError: If the file cannot be read, holds no query, or a line is no query.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}, a file of queries, cannot be read as text in UTF-8 ({error}).") from error
    if not any(line.strip() for line in lines):
        raise UserError(f"{file} holds no queries; write one a line.")
    for number, line in enumerate(lines, 1):
        if line.strip():
            picture, tab, text = line.partition("\t")
            try:
                yield Query(text.strip(), Path(picture.strip()).expanduser()) if tab else bare(line.strip())
            except UserError as error:
                raise UserError(f"{file}, line {number}: {error}") from error


def embed(queries: Sequence[Query], model: Model) -> NDArray[np.float32]:
    """Embed queries, all of one kind at once, as points `(Q, D)` in their order.

    Raises:
        UserError: If the model does not answer queries of a kind, or a picture cannot be read.
    """
    points: dict[int, NDArray[np.float32]] = {}
    for has_text, has_image in ((True, False), (False, True), (True, True)):
        rows = [row for row, query in enumerate(queries) if query.has == (has_text, has_image)]
        if rows:
            _refuse_unanswered(has_text, has_image, model)
            texts = [queries[row].text or "" for row in rows]
            images = [queries[row].image or "" for row in rows]
            if has_text and has_image:
                found = model.embed_queries(images, texts)
            else:
                found = model.embed_texts(texts) if has_text else model.embed_images(images)
            points |= dict(zip(rows, found, strict=True))
    return np.stack([points[row] for row in range(len(queries))])


def _refuse_unanswered(has_text: bool, has_image: bool, model: Model) -> None:
    if has_text and has_image and not model.composed:
        raise UserError(f"{model.method} was trained on texts and pictures apart; give a text or a picture, not both.")
    if has_text and not has_image and model.composed:
        raise UserError(f"{model.method} answers a picture with a text that says what to change; give both.")
