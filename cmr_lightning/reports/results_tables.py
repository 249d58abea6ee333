"""The tables of `experiments/README.md` and of the project's README, as Markdown."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from statistics import mean

from cmr_lightning.reports.ablations import NO_INTERVAL_MEANS, SAME, SAME_MEANS, Ablation, ablations, bases, suffix
from cmr_lightning.reports.board import Board, Conditions, PublishedResult, Row
from cmr_lightning.reports.board_tables import (
    cell,
    duration,
    markdown_table,
    memory,
    number,
    published_scores,
    scores_of,
    spread,
)
from cmr_lightning.reports.claims import COMPOSED, STANDINGS, Claim
from cmr_lightning.reports.claims import DIRECTIONS as CLAIMED
from cmr_lightning.reports.difference import Difference
from cmr_lightning.reports.effects import EFFECTS_LEGEND
from cmr_lightning.reports.game_table import GAME_HEADER, GAME_NOTE, game_lines
from cmr_lightning.reports.row_game import GAME_LEGEND

BEGIN, END = "<!-- results: written by `python -m cmr_lightning results` -->", "<!-- end of results -->"

_OVERVIEW = {"PascalSentence": "Pascal Sentence", "Wikipedia": "Wikipedia", "Shapes": "Shapes"}
"""Data sets of the README's table, with their names in it."""

_HEAD = Path(__file__).with_name("templates") / "results.md"

_NOTHING = "No records are committed yet."

_DIFFERENCE = (
    "Difference of a method and its variant, paired over seeds, with its 95 % interval for other seeds and queries:"
)

Kept = Mapping[tuple[Conditions, str, str], Mapping[str, Difference]]
"""What was computed from ranks: the differences by conditions, method and variant."""


def all_tables(boards: Sequence[Board], claims: Sequence[Claim], kept: Kept, figures: Mapping[str, str]) -> str:
    """Write the whole of `experiments/README.md`, with those claims that are on the boards' data sets.

    Figures, by their paths, show what terms add.
    """
    standings = "\n".join(f"- *{standing}*: {meaning}" for standing, meaning in STANDINGS.items())
    blocks = [_HEAD.read_text(encoding="utf-8").rstrip(), standings, GAME_LEGEND]
    if figures:
        shown = [f"{cell(title)}\n\n![What the terms add, with intervals]({path})" for path, title in figures.items()]
        blocks += ["## What the terms add", EFFECTS_LEGEND, *shown]
    for dataset in sorted({board.conditions.dataset for board in boards}):
        of_dataset = [board for board in boards if board.conditions.dataset == dataset]
        beside_ours = [published.claim for board in of_dataset for row in board.rows for published in row.published]
        others = [claim for claim in claims if claim.dataset == dataset and claim not in beside_ours]
        blocks += [f"## {cell(dataset)}", *chain(*(_board(board, kept) for board in of_dataset))]
        blocks += _claims(others)
    return "\n\n".join(blocks if boards else [*blocks, _NOTHING]) + "\n"


def overview(boards: Sequence[Board], kept: Kept) -> str:
    """Write the README's table: of each of the best-known data sets the board with most experiments."""
    chosen = {
        name: max(of_dataset, key=lambda board: len(board.rows))
        for dataset, name in _OVERVIEW.items()
        if (of_dataset := [board for board in boards if board.conditions.dataset == dataset])
    }
    if not chosen:
        return _NOTHING
    columns = {name: _labelled(board) for name, board in chosen.items()}
    labels = dict.fromkeys(label for rows in columns.values() for label in rows)
    shown = (*CLAIMED, "game")
    header = ["method", *(f"{name}: {column}" if column == "i2t" else column for name in chosen for column in shown)]
    lines = [[cell(label), *chain(*(_scores(rows.get(label)) for rows in columns.values()))] for label in labels]
    protocols = ", ".join(f"`{p}`" for p in dict.fromkeys(board.conditions.protocol for board in chosen.values()))
    return "\n\n".join(
        [
            f"{protocols} on the test part, mean ± standard deviation.",
            markdown_table(header, lines),
            GAME_LEGEND,
            "\n".join(f"- {name}: {_runs(board)}. {_conditions(board)}." for name, board in chosen.items()),
            *_ablations_side_by_side(chosen, kept),
        ]
    )


def insert(text: str, content: str) -> str:
    """Replace what stands between the two marks of a README."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{content}\n\n{END}{rest.partition(END)[2]}"


def _board(board: Board, kept: Kept) -> list[str]:
    directions = list(board.protocol.columns)
    rows: list[list[str]] = []
    for root, family in _families(board.rows).items():
        for row in family:
            name = root if row is family[0] else f"– {suffix(row, root)}"
            cost = [duration(row.fit_seconds), memory(row.peak_memory) or "–"]
            scores = map(scores_of, row.summaries.values())
            who = [row.game_word, row.encoder or "–", row.seeds, row.selection]
            cells = [name, row.record.method, *scores, *who, *cost]
            rows.append([*map(cell, cells)])
            rows += [_published(published, directions) for published in row.published]
    header = ["experiment", "method", *directions, "game", "encoders", "seeds", "checkpoint", "fit", "memory"]
    return [
        f"### {cell(board.conditions.protocol)}",
        f"{_conditions(board)}. {_provenance(board)}",
        markdown_table(header, rows),
        *_ablations_of(board, kept),
        *_games(board),
        *_other_protocols(board),
    ]


def _published(published: PublishedResult, directions: Sequence[str]) -> list[str]:
    claim, scores = published.claim, published_scores(published, directions, "ours")
    source = cell(f"{claim.source} ({claim.standing})")
    return [f"*published: {source}*", cell(claim.method), *scores, "", cell(claim.encoder), *[""] * 4]


def _ablations_of(board: Board, kept: Kept) -> list[str]:
    found = ablations(board)
    if not found:
        return []
    rows = []
    for ablation in found:
        of_pair = _gains(board, ablation, kept)
        same, pairs = ablation.identical, len(ablation.pairs)
        count = f"{pairs}, {same} of them {SAME}" if 0 < same < pairs else str(pairs)
        rows.append([ablation.method.experiment, ablation.removed, *of_pair.values(), ablation.method.game_word, count])
    header = ["experiment", "less its variant", *board.protocol.columns, "game", "pairs"]
    gains = [gain for row in rows for gain in row[2:-2]]
    return [_DIFFERENCE, markdown_table(header, (map(cell, row) for row in rows)), *_explained(gains)]


def _gains(board: Board, ablation: Ablation, kept: Kept) -> dict[str, str]:
    """Format the differences of a method and its variant by direction."""
    of_pair = kept.get((board.conditions, ablation.method.experiment, ablation.variant.experiment), {})
    return {d: ablation.gain(d, board.protocol.scale, of_pair) for d in board.protocol.columns}


def _explained(gains: Sequence[str]) -> list[str]:
    """Explain what stands in place of an interval, if anything does."""
    reasons = {SAME_MEANS: SAME in gains, NO_INTERVAL_MEANS: any(g not in ("–", SAME) and "[" not in g for g in gains)}
    found = " ".join(reason for reason, applies in reasons.items() if applies)
    return [found] if found else []


def _ablations_side_by_side(chosen: Mapping[str, Board], kept: Kept) -> list[str]:
    """Show the ablations of several boards beside each other, for the mean of both directions."""
    gains: dict[tuple[str, str], dict[str, str]] = {}
    games: dict[tuple[str, str], dict[str, str]] = {}
    for name, board in chosen.items():
        labels = {row.experiment: label for label, row in _labelled(board).items()}
        for ablation in ablations(board):
            pair = labels[ablation.method.experiment], ablation.removed
            gains.setdefault(pair, {})[name] = _gains(board, ablation, kept)["mean"]
            games.setdefault(pair, {})[name] = ablation.method.game_word
    if not gains:
        return []
    columns = chain.from_iterable((name, "game") for name in chosen)
    rows = [
        [*pair, *chain.from_iterable((gains[pair].get(name, "–"), games[pair].get(name, "–")) for name in chosen)]
        for pair in gains
    ]
    table = markdown_table(["method", "less its variant", *columns], (map(cell, row) for row in rows))
    return [_DIFFERENCE, table, *_explained([gain for of_boards in gains.values() for gain in of_boards.values()])]


def _games(board: Board) -> list[str]:
    """Show the figures behind the states of games."""
    rows = [map(cell, line) for row in chain(*_families(board.rows).values()) for line in game_lines(row)]
    return _folded("The adversarial game, mean over runs", GAME_HEADER, rows, GAME_NOTE) if rows else []


def _other_protocols(board: Board) -> list[str]:
    """Show the other metrics of the same rankings, which need no runs of their own."""
    shared = set.intersection(*(set(run.record.metrics) for row in board.rows for run in row.runs))
    protocols = [p for p in board.rows[0].record.metrics if p in shared and p != board.conditions.protocol]
    if not protocols:
        return []
    directions = board.protocol.directions
    rows = []
    for row in chain(*_families(board.rows).values()):
        means = [[mean(run.record.metrics[p][d] for run in row.runs) for d in directions] for p in protocols]
        rows.append([cell(row.experiment), *(" / ".join(map(number, values)) for values in means)])
    title = f"Under other protocols, mean over runs, {' / '.join(directions)}"
    return _folded(title, ["experiment", *map(cell, protocols)], rows)


def _claims(claims: Sequence[Claim]) -> list[str]:
    if not claims:
        return []
    directions = COMPOSED if any(claim.values.keys() & set(COMPOSED) for claim in claims) else CLAIMED
    rows = []
    for claim in claims:
        scores = [number(claim.values[d]) if d in claim.values else "" for d in directions]
        source = claim.source if claim.note is None else f"{claim.source}: {claim.note}"
        origin = [claim.encoder, claim.protocol, claim.standing, source]
        rows.append(map(cell, [claim.method, claim.metric, *scores, *origin]))
    header = ["method", "metric", *directions, "encoder", "protocol", "standing", "source"]
    return _folded(f"Published numbers under other or unknown conditions ({len(claims)})", header, rows)


def _folded(title: str, header: Sequence[str], rows: Iterable[Iterable[str]], *notes: str) -> list[str]:
    return [f"<details><summary>{title}</summary>", *notes, markdown_table(header, rows), "</details>"]


def _families(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Put each experiment that is no variant together with its variants, and those of its variants."""
    varied = bases(rows)
    families = {row.experiment: [row] for row in rows if row.experiment not in varied}
    for row in rows:
        if row.experiment in varied:
            families[varied[row.experiment][0]].append(row)
    return families


def _labelled(board: Board) -> dict[str, Row]:
    """Name rows by method and variant, and by experiment too where a board has several of one method."""
    families = _families(board.rows)
    count = Counter(family[0].record.method for family in families.values())
    labels: dict[str, Row] = {}
    for root, (first, *variants) in families.items():
        method = first.record.method
        label = method if count[method] == 1 else f"{method} ({root})"
        labels |= {label: first, **{f"{label}, {suffix(row, root)}": row for row in variants}}
    return labels


def _scores(row: Row | None) -> list[str]:
    if row is None:
        return ["–"] * 4
    found = row.summaries
    return [number(found["i2t"].mean), number(found["t2i"].mean), spread(found["mean"]), cell(row.game_word)]


def _runs(board: Board) -> str:
    counts = sorted({len(row.runs) for row in board.rows})
    return f"{counts[0]} runs a method" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} runs a method"


def _conditions(board: Board) -> str:
    names = [name for name, _, _ in board.conditions.splits]
    named = f"Split {names[0]}" if len(names) == 1 else f"{len(names)} splits, {names[0]} to {names[-1]}"
    regime = f"; trained with {board.conditions.regime}" if board.conditions.regime else ""
    return f"{cell(named)}; {cell(board.conditions.features)}{regime}"


def _provenance(board: Board) -> str:
    """Name the machines and the code that made the runs of a board."""
    records = [run.record for row in board.rows for run in row.runs]
    machines = dict.fromkeys(
        f"{made_on.get('cpu')} with {made_on.get('cores')} cores, {', '.join(made_on.get('gpus', [])) or 'no GPU'}"
        for made_on in (record.hardware for record in records)
    )
    revisions = sorted({_short(r.git_revision) for r in records})
    torch = sorted({r.versions.get("torch", "unknown") for r in records})
    return cell(f"Made on {'; '.join(machines)}; torch {', '.join(torch)}; code {', '.join(revisions)}.")


def _short(revision: str | None) -> str:
    if revision is None:
        return "not from a checkout"
    commit, dirty, _ = revision.partition("-dirty")
    return f"{commit[:10]}{' with changes' if dirty else ''}"
