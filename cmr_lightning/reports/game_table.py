"""The figures behind the states of games, row by row, as text."""

from cmr_lightning.reports.board import Row
from cmr_lightning.reports.board_tables import number

GAME_HEADER = (
    "experiment",
    "game",
    "share of the gradient",
    "discriminator",
    "probe",
    "probe without",
    "probe with lengths",
    "gap",
    "lengths",
    "n",
)

GAME_NOTE = (
    "Discriminator and probe: accuracy on n pairs of the validation part, 0.5 is chance; the probe is trained afresh, "
    "and stands once more for the same method without the adversary, where the table has it. Gap: distance of the "
    "modalities' centroids. Lengths: those of images by those of texts. Of four rotations, 0.25 is chance."
)


def game_lines(row: Row) -> list[list[str]]:
    """Format the figures of a row, a line for each term that aligns; none where they are not known."""
    game = row.game
    if game is None:
        return []
    lines = []
    for term, played in game.terms.items():
        figures, whole = played.figures, term == "alignment"
        values = [figures.share, figures.accuracy, figures.probe, played.twin_probe]
        values += [game.probe_raw, game.gap, game.length_ratio] if whole else [None] * 3
        shown = ["–" if value is None else number(value, beside=0) for value in values]
        name = row.experiment if whole else f"{row.experiment}, {term}"
        lines.append([name, "–" if played.state == "none" else played.state, *shown, str(figures.items)])
    return lines
