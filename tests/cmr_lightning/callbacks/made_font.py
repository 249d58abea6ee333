"""A font that is made on the spot, as one that a machine has and matplotlib does not bring."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager


@contextmanager
def font_with(characters: str, path: Path) -> Iterator[str]:
    """Give the machine a font in which these characters are black squares; yields the name of its family."""
    pen = TTGlyphPen(None)
    corners = ((100, 0), (100, 800), (900, 800), (900, 0))
    pen.moveTo(corners[0])
    for corner in corners[1:]:
        pen.lineTo(corner)
    pen.closePath()
    square = pen.glyph()
    names = {character: f"uni{ord(character):04X}" for character in sorted(set(characters))}
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder([".notdef", *names.values()])
    font.setupCharacterMap({ord(character): name for character, name in names.items()})
    font.setupGlyf(dict.fromkeys([".notdef", *names.values()], square))
    font.setupHorizontalMetrics(dict.fromkeys([".notdef", *names.values()], (1000, 100)))
    font.setupHorizontalHeader(ascent=900, descent=-100)
    font.setupNameTable({"familyName": "Made Squares", "styleName": "Regular"})
    font.setupOS2(usWeightClass=400)
    font.setupPost()
    font.save(path)
    before = list(font_manager.fontManager.ttflist)
    font_manager.fontManager.addfont(path)
    try:
        yield "Made Squares"
    finally:
        font_manager.fontManager.ttflist[:] = before
