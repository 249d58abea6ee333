"""JSON files, whose content is what the code that reads them takes it for."""

from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from cmr_lightning.errors import UserError, system_reason

Form = TypeVar("Form")

MOST_BYTES = 64 * 2**20


def read_json(path: Path, form: type[Form], remedy: str, most_bytes: int = MOST_BYTES) -> Form:
    """Read a file, and return what is in it if it has the form of a type, such as a dataclass.

    Args:
        path: The file.
        form: The type; values are not converted into it.
        remedy: What to do about a file that does not have it, for the message.
        most_bytes: Larger files are not read.

    Raises:
        UserError: If the file cannot be read, is too large, is no JSON, or does not have that form.
    """
    try:
        if path.stat().st_size > most_bytes:
            raise UserError(f"{path} is larger than {most_bytes / 2**20:.3g} MiB; {remedy}.")
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {system_reason(error)}; {remedy}.") from error
    return parse_json(content, form, f"{path}", remedy)


def parse_json(content: bytes | str, form: type[Form], place: str, remedy: str) -> Form:
    """Do the same for text of JSON that stands in a `place`."""
    try:
        return _adapter(cast(Any, form)).validate_json(content, strict=True)
    except ValidationError as error:
        first, *others = error.errors(include_url=False, include_context=False, include_input=False)
        key = "".join(f"{part}: " for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ") + (f", and {len(others)} more" if others else "")
        raise UserError(f"{place} is damaged: {key}{reason}; {remedy}.") from error


@cache
def _adapter(form: Any) -> TypeAdapter[Any]:
    return TypeAdapter(form)
