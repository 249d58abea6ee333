"""Fonts for the texts of data sets in pictures: matplotlib's own, and those of this machine that have what it lacks."""

import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from matplotlib import font_manager, rcParams
from matplotlib.ft2font import FT2Font

SUBSTITUTE = "□"
"""Stands where no font has a character."""

_BOXES = "Last Resort"
"""A font that shows boxes for all characters there are."""


class Fonts(NamedTuple):
    """Families of fonts, the usual ones first, and the characters that none of them has."""

    families: list[str]
    missing: frozenset[str]


def fonts_for(texts: Iterable[str]) -> Fonts:
    """Find fonts on this machine that have the characters of some texts.

    Examples:
        >>> fonts_for(["a dog"]) == Fonts(rcParams["font.family"], frozenset())
        True
    """
    usual = _characters(font_manager.findfont(font_manager.FontProperties()))
    missing = frozenset(filter(_is_drawn, "".join(texts))) - usual
    families = list(rcParams["font.family"])
    while missing and (able := [font for font in _others() if not missing.isdisjoint(_characters(font.fname))]):
        best = max(able, key=lambda font: len(missing & _characters(font.fname)))
        families.append(best.name)
        missing -= _characters(best.fname)
    return Fonts(families, missing)


def _is_drawn(character: str) -> bool:
    """Tell whether a character would be drawn, were it half of one, of which no font has any."""
    return character.isprintable() or unicodedata.category(character) == "Cs"


def _others() -> list[font_manager.FontEntry]:
    """List the upright fonts of usual weight, which are those that matplotlib takes of a family."""
    upright = [font for font in font_manager.fontManager.ttflist if font.style == "normal"]
    return [font for font in upright if font.weight in (400, "normal", "regular") and not font.name.startswith(_BOXES)]


@cache
def _characters(file: str) -> frozenset[str]:
    try:
        font = FT2Font(file)
    except (RuntimeError, OSError):  # fonts of bitmaps, such as of emoji, or of a kind that FreeType does not know
        return frozenset()
    return frozenset(map(chr, font.get_charmap())) if font.scalable else frozenset()
