"""The tables of `experiments/README.md` and of the project's README, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import mean

from cmr_lightning.reports.board import Board, MeasuredRun, PublishedResult, Row
from cmr_lightning.reports.board_tables import cell, difference, duration, interval, memory, number, spread
from cmr_lightning.reports.claims import COMPOSED, STANDINGS, Claim
from cmr_lightning.reports.claims import DIRECTIONS as CLAIMED
from cmr_lightning.reports.statistics import summary

BEGIN, END = "<!-- results: written by `python -m cmr_lightning results` -->", "<!-- end of results -->"

_OVERVIEW = {"PascalSentence": "Pascal Sentence", "Wikipedia": "Wikipedia", "Shapes": "Shapes"}
"""Data sets of the README's table, and how people call them."""

_HEAD = """\
<!-- Written by `python -m cmr_lightning results` from results/*.jsonl; what is changed here is lost. -->

# Experiments and their results

`<data set>/<method>.yaml` are experiments, `benchmarks` runs many of them, `sweeps` searches for their settings,
`features` says what pretrained encoders are asked for, `claims` holds published numbers and `results` the records of
our own runs, a line each. This page is written from the last two:

```bash
python -m cmr_lightning results                                # this page and the README's table again
python -m cmr_lightning results runs/benchmarks/class_level    # the same, after keeping the records of a benchmark
```

All numbers are of the test part; mAP is from 0 to 1, recall in percent, and protocols are explained in the
[README](../README.md#protocols). ± is the standard deviation over runs, brackets hold the 95 % interval of their mean
(Student's t): somewhat too short where they are on several splits, whose training parts overlap, and not corrected for
the number of comparisons. Times are means, memory is the largest of a row's runs. A published number stands below ours
with the difference only where data set, method, protocol and features agree; all others are listed at the end of a data
set and compare with nothing here. How a published number is known:
"""

_NOTHING = "No records are committed yet."

_SAME = "the same weights"
_SAME_MEANS = (
    f"Where it says {_SAME}, the checkpoints of a pair were chosen before the two differ: nothing is measured there."
)

RunPairs = Sequence[tuple[MeasuredRun, MeasuredRun]]
"""Runs of a method and of its variant with the same seed and split."""


def all_tables(boards: Sequence[Board], claims: Sequence[Claim]) -> str:
    """The whole of `experiments/README.md`.

    Args:
        boards: The leaderboards.
        claims: Published numbers, of which those on the boards' data sets are shown.
    """
    blocks = [_HEAD, *(f"- *{standing}*: {meaning}" for standing, meaning in STANDINGS.items()), ""]
    for dataset in sorted({board.conditions.dataset for board in boards}):
        blocks.append(f"## {cell(dataset)}\n")
        of_dataset = [board for board in boards if board.conditions.dataset == dataset]
        blocks += [block for board in of_dataset for block in _board(board)]
        subtracted = [published.claim for board in of_dataset for row in board.rows for published in row.published]
        blocks += _claims([claim for claim in claims if claim.dataset == dataset and claim not in subtracted])
    return "\n".join(blocks if boards else [*blocks, f"{_NOTHING}\n"])


def overview(boards: Sequence[Board]) -> str:
    """The README's table: of each of the best-known data sets the board with most experiments."""
    chosen = {
        name: max(of_dataset, key=lambda board: len(board.rows))
        for dataset, name in _OVERVIEW.items()
        if (of_dataset := [board for board in boards if board.conditions.dataset == dataset])
    }
    if not chosen:
        return _NOTHING
    columns = {name: dict(_by_label(board)) for name, board in chosen.items()}
    labels = dict.fromkeys(label for rows in columns.values() for label in rows)
    header = ["method", *(f"{name}: {d}" if d == "i2t" else d for name in chosen for d in CLAIMED)]
    lines = [_line(header), _rule(header)]
    for label in labels:
        cells = [text for rows in columns.values() for text in _three(rows.get(label))]
        lines.append(_line([cell(label), *cells]))
    said = [f"- {name}: {_runs(board)}. {_conditions(board)}." for name, board in chosen.items()]
    protocols = ", ".join(f"`{p}`" for p in dict.fromkeys(board.conditions.protocol for board in chosen.values()))
    said_first = f"{protocols} on the test part, mean ± standard deviation."
    return "\n".join([said_first, "", *lines, "", *said, "", *_gains(chosen)]).rstrip()


def is_marked(text: str) -> bool:
    """Whether a README says where its table goes."""
    return BEGIN in text and END in text


def between_marks(text: str, content: str) -> str:
    """A README with other content between its two marks."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{content}\n\n{END}{rest.partition(END)[2]}"


def variants(rows: Sequence[Row]) -> dict[str, str]:
    """Which rows are variants of which: `wikipedia/daml_no_adversary` of `wikipedia/daml`, by its method and name."""
    names = {row.experiment: row.record.method for row in rows}
    return {
        name: max(bases, key=len)
        for name, method in names.items()
        if (bases := [base for base in names if name.startswith(f"{base}_") and names[base] == method])
    }


def _board(board: Board) -> Iterator[str]:
    yield f"### {cell(board.conditions.protocol)}\n"
    yield f"{_conditions(board)}. {_made(board)}\n"
    directions = list(board.rows[0].summaries)
    header = ["experiment", "method", *directions, "encoders", "seeds", "checkpoint", "fit", "memory"]
    yield _line(header)
    yield _rule(header)
    for row, base in _with_variants(board.rows):
        yield _row(row, base)
        yield from (_published(published, directions) for published in row.published)
    yield ""
    yield from _without(board)
    yield from _other_protocols(board)


def _row(row: Row, base: str | None) -> str:
    name = row.experiment if base is None else f"– {_variant_words(row.experiment, base)}"
    scores = [" ".join(filter(None, (spread(found), interval(found)))) for found in row.summaries.values()]
    cost = [duration(row.fit_seconds), memory(row.peak_memory) or "–"]
    told = [name, row.record.method, *scores, row.encoder or "–", row.seeds, row.selection, *cost]
    return _line(map(cell, told))


def _published(published: PublishedResult, directions: Sequence[str]) -> str:
    claim = published.claim
    scores = [
        f"{number(claim.values[d])} (ours {difference(published.differences[d])})" if d in claim.values else ""
        for d in directions
    ]
    source = f"{claim.source} ({claim.standing})"
    return _line([f"*published: {cell(source)}*", cell(claim.method), *scores, cell(claim.encoder), *[""] * 4])


def _without(board: Board) -> Iterator[str]:
    """What a method gains over its variants, paired over runs with the same seed and split."""
    found = list(_against_variants(board))
    if not found:
        return
    directions = board.protocol.columns
    header = ["experiment", "less its variant", *directions, "pairs"]
    yield "Difference of a method and its variant, paired over seeds:\n"
    yield _line(header)
    yield _rule(header)
    for one, other, pairs in found:
        told = [one.experiment, _variant_words(other.experiment, one.experiment)]
        scores = [_gain(pairs, direction, board) for direction in directions]
        yield _line(map(cell, [*told, *scores, _count(pairs)]))
    yield ""
    if any(_same(pairs) for _, _, pairs in found):
        yield f"{_SAME_MEANS}\n"


def _gains(chosen: Mapping[str, Board]) -> Iterator[str]:
    """The same of several boards side by side, for the mean of both directions."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for name, board in chosen.items():
        labels = {row.experiment: label for label, row in _by_label(board)}
        for one, other, pairs in _against_variants(board):
            pair = labels[one.experiment], _variant_words(other.experiment, one.experiment)
            found.setdefault(pair, {})[name] = _gain(pairs, "mean", board)
    if not found:
        return
    header = ["method", "less its variant", *chosen]
    yield "Difference of a method and its variant, paired over seeds, with the 95 % interval of its mean:\n"
    yield _line(header)
    yield _rule(header)
    for pair, gains in found.items():
        yield _line(map(cell, [*pair, *(gains.get(name, "–") for name in chosen)]))
    if any(_SAME in gains.values() for gains in found.values()):
        yield f"\n{_SAME_MEANS}"


def _against_variants(board: Board) -> Iterator[tuple[Row, Row, RunPairs]]:
    """Methods, variants of them, and their runs with the same seed and split."""
    rows = {row.experiment: row for row in board.rows}
    for name, base in sorted(variants(board.rows).items()):
        if pairs := _paired(rows[base], rows[name]):
            yield rows[base], rows[name], pairs


def _gain(pairs: RunPairs, direction: str, board: Board) -> str:
    if _same(pairs) == len(pairs):
        return _SAME
    found = summary([one.value(direction) - other.value(direction) for one, other in pairs])
    digits = 2 if board.protocol.scale == 100 else 4

    def signed(value: float) -> str:
        return f"{value:+z.{digits}f}".replace("-", "−")

    return " ".join([signed(found.mean), *([f"[{', '.join(map(signed, found.interval))}]"] if found.interval else [])])


def _count(pairs: RunPairs) -> str:
    same = _same(pairs)
    return f"{len(pairs)}, {same} of them {_SAME}" if 0 < same < len(pairs) else str(len(pairs))


def _same(pairs: RunPairs) -> int:
    """How many pairs have the same weights: those that agree in every metric, as no two trainings do by chance."""
    return sum(one.record.metrics == other.record.metrics for one, other in pairs)


def _paired(one: Row, other: Row) -> RunPairs:
    theirs = {(run.record.seed, run.record.split["checksum"]): run for run in other.runs}
    both = [(run, theirs.get((run.record.seed, run.record.split["checksum"]))) for run in one.runs]
    return [(ours, its) for ours, its in both if its is not None]


def _other_protocols(board: Board) -> Iterator[str]:
    """The other metrics of the same rankings, which need no runs of their own."""
    shared = set.intersection(*(set(run.record.metrics) for row in board.rows for run in row.runs))
    protocols = [p for p in board.rows[0].record.metrics if p in shared and p != board.conditions.protocol]
    if not protocols:
        return
    directions = [d for d in board.rows[0].summaries if d != "mean"]
    header = ["experiment", *map(cell, protocols)]
    yield f"<details><summary>Under other protocols, mean over runs, {' / '.join(directions)}</summary>\n"
    yield _line(header)
    yield _rule(header)
    for row, _ in _with_variants(board.rows):
        means = [{d: mean(run.record.metrics[p][d] for run in row.runs) for d in directions} for p in protocols]
        yield _line([cell(row.experiment), *(" / ".join(map(number, of.values())) for of in means)])
    yield "\n</details>\n"


def _claims(claims: Sequence[Claim]) -> Iterator[str]:
    if not claims:
        return
    directions = COMPOSED if any(claim.values.keys() & set(COMPOSED) for claim in claims) else CLAIMED
    header = ["method", "metric", *directions, "encoder", "protocol", "standing", "source"]
    yield f"<details><summary>Published numbers under other or unknown conditions ({len(claims)})</summary>\n"
    yield _line(header)
    yield _rule(header)
    for claim in claims:
        scores = [number(claim.values[d]) if d in claim.values else "" for d in directions]
        source = claim.source if claim.note is None else f"{claim.source}: {claim.note}"
        named = [claim.encoder, claim.protocol, claim.standing, source]
        yield _line(map(cell, [claim.method, claim.metric, *scores, *named]))
    yield "\n</details>\n"


def _with_variants(rows: Sequence[Row]) -> Iterator[tuple[Row, str | None]]:
    """Rows in their order, each followed by its variants, with the name of the row that a variant is of."""
    base_of = variants(rows)
    for row in rows:
        if row.experiment not in base_of:
            yield row, None
            yield from ((other, row.experiment) for other in rows if _root(other.experiment, base_of) == row.experiment)


def _root(name: str, base_of: Mapping[str, str]) -> str | None:
    """The experiment that is no variant, of which `name` is a variant, or a variant's variant."""
    base = base_of.get(name)
    return base if base is None or base not in base_of else _root(base, base_of)


def _variant_words(experiment: str, base: str) -> str:
    return experiment.removeprefix(f"{base}_").replace("_", " ")


def _by_label(board: Board) -> Iterator[tuple[str, Row]]:
    """Rows by method, and variant; with the experiment where a board has several of one method."""
    methods = [row.record.method for row, base in _with_variants(board.rows) if base is None]
    for row, base in _with_variants(board.rows):
        if base is None:
            alone = methods.count(row.record.method) == 1
            label = row.record.method if alone else f"{row.record.method} ({row.experiment})"
            yield label, row
        else:
            yield f"{label}, {_variant_words(row.experiment, base)}", row


def _three(row: Row | None) -> list[str]:
    if row is None:
        return ["–"] * 3
    found = row.summaries
    return [number(found["i2t"].mean), number(found["t2i"].mean), spread(found["mean"])]


def _runs(board: Board) -> str:
    counts = sorted({len(row.runs) for row in board.rows})
    return f"{counts[0]} runs a method" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} runs a method"


def _conditions(board: Board) -> str:
    names = [name for name, _, _ in board.conditions.splits]
    named = f"Split {names[0]}" if len(names) == 1 else f"{len(names)} splits, {names[0]} to {names[-1]}"
    return f"{cell(named)}; {cell(board.conditions.features)}"


def _made(board: Board) -> str:
    """Where the runs of a board were made, and with what code."""
    records = [run.record for row in board.rows for run in row.runs]
    machines = dict.fromkeys(
        f"{r.hardware['cpu']} with {r.hardware['cores']} cores, {', '.join(r.hardware['gpus']) or 'no GPU'}"
        for r in records
    )
    revisions = sorted({_short(r.git_revision) for r in records})
    torch = sorted({r.versions["torch"] for r in records})
    return cell(f"Made on {'; '.join(machines)}; torch {', '.join(torch)}; code {', '.join(revisions)}.")


def _short(revision: str | None) -> str:
    if revision is None:
        return "not from a checkout"
    commit, dirty, _ = revision.partition("-dirty")
    return f"{commit[:10]}{' with changes' if dirty else ''}"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _rule(header: Sequence[str]) -> str:
    return f"|{'---|' * len(header)}"
