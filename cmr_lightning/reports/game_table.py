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
    "modalities' centroids. Lengths: those of images by those of texts."
)


def game_cells(row: Row) -> list[str]:
    """Format the figures of a row that has a game."""
    game = row.game
    if game is None:
        raise TypeError(f"{row.experiment} has no figures of a game.")
    figures = game.figures
    values = (figures.share, figures.accuracy, figures.probe, game.twin_probe, game.probe_raw, game.gap)
    shown = ["–" if value is None else number(value, beside=0.0) for value in values]
    lengths = "–" if game.length_ratio is None else f"{game.length_ratio:.2f}"
    return [row.experiment, game.word, *shown, lengths, str(figures.items)]
