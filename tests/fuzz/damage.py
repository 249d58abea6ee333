"""Ways to damage bytes and values, drawn from a seeded generator."""

import random
from collections.abc import Callable
from pathlib import Path

ODD_VALUES = (
    "-1",
    "0",
    ".nan",
    ".inf",
    "-.inf",
    "''",
    "[]",
    "[1, 2]",
    "{}",
    "null",
    "true",
    "1e30",
    "abc",
    "é\\u200b",
    "1_0",
)
"""Values in YAML that few settings take."""


def damage_bytes(content: bytes, chance: random.Random) -> tuple[bytes, str]:
    """Flip a bit, cut, double, empty, or overwrite a stretch of bytes; return them and what was done."""
    at = chance.randrange(max(1, len(content)))

    def flipped() -> bytes:
        return content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]

    ways: dict[str, Callable[[], bytes]] = {
        "flip a bit": flipped,
        "cut off": lambda: content[:at],
        "cut in front": lambda: content[at:] if at else b"",
        "empty": lambda: b"",
        "double": lambda: content + content,
        "overwrite": lambda: content[:at] + chance.randbytes(16) + content[at + 16 :],
        "insert zeros": lambda: content[:at] + bytes(8) + content[at:],
        "other content": lambda: chance.randbytes(200),
    }
    way = chance.choice(list(ways)) if content else "other content"
    return ways[way](), f"{way} at {at} of {len(content)}"


def damage_file(path: Path, chance: random.Random) -> str:
    """Damage a file, delete it, or put a folder in its place; return what was done."""
    if chance.random() < 0.1:
        path.unlink()
        if chance.random() < 0.5:
            path.mkdir()
            return f"a folder in place of {path.name}"
        return f"{path.name} deleted"
    content, what = damage_bytes(path.read_bytes(), chance)
    path.write_bytes(content)
    return f"{path.name}: {what}"


def damage_text(text: str, chance: random.Random) -> tuple[bytes, str]:
    """Change a text file as people do by accident: lines, indentation, keys, values, encodings."""
    lines = text.splitlines()
    at = chance.randrange(len(lines))
    line = lines[at]
    key, colon, _ = line.partition(": ")

    def with_line(*new: str) -> bytes:
        return ("\n".join([*lines[:at], *new, *lines[at + 1 :]]) + "\n").encode()

    ways: dict[str, Callable[[], bytes]] = {
        "delete line": lambda: with_line(),
        "double line": lambda: with_line(line, line),
        "indent": lambda: with_line(f"  {line}"),
        "outdent": lambda: with_line(line.lstrip()),
        "tab": lambda: with_line(f"\t{line}"),
        "misspell": lambda: with_line(line.replace(key, key + "x", 1)),
        "odd value": lambda: with_line(f"{key}: {chance.choice(ODD_VALUES)}") if colon else with_line(line + " :"),
        "new key": lambda: with_line(line, f"{line[: len(line) - len(line.lstrip())]}unheard_of: 1"),
        "UTF-16": lambda: text.encode("utf-16"),
        "Latin-1": lambda: (text + "# é\n").encode("latin-1"),
        "bytes": lambda: damage_bytes(text.encode(), chance)[0],
    }
    way = chance.choice(list(ways))
    return ways[way](), f"{way} in line {at + 1}: {line.strip()[:60]!r}"
