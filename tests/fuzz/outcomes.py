"""How a command ended that was given an odd input, and how the ends of many are counted."""

import contextlib
import io
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from cmr_lightning.__main__ import main
from cmr_lightning.errors import UserError

Outcome = Literal["refused", "right", "traceback", "silent"]
"""Refused in a sentence; done rightly; ended by an error of the program; or done wrongly without a word."""

_MOST_LINES = 3


@dataclass(frozen=True)
class Case:
    """One odd input: its kind, what was done to it, and how it ended."""

    kind: str
    what: str
    outcome: Outcome
    said: str = ""

    @property
    def bad(self) -> bool:
        """Whether it should have ended otherwise."""
        return self.outcome in ("traceback", "silent")


def command(arguments: Sequence[str], is_right: Callable[[], bool]) -> tuple[Outcome, str]:
    """Run a command in this process; where it succeeds, ask `is_right` whether it did what it should."""
    output, errors = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            code = main(list(arguments))
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        return "traceback", traceback.format_exc(limit=-3)
    said = errors.getvalue().strip()
    if "Traceback" in said or code not in (0, 2):
        return "traceback", f"code {code}: {said}"
    if code == 0:
        return ("right" if is_right() else "silent"), said
    complaint = said[said.rfind("error:") :]
    if not complaint.startswith("error:") or complaint.count("\n") >= _MOST_LINES:
        return "traceback", f"no short sentence: {said[-500:]}"
    return "refused", complaint


def call(action: Callable[[], bool]) -> tuple[Outcome, str]:
    """Do something that returns whether its result is right, or raises UserError."""
    try:
        return ("right" if action() else "silent"), ""
    except UserError as error:
        return "refused", str(error)
    except BaseException:
        return "traceback", traceback.format_exc(limit=-3)


def table(cases: Sequence[Case]) -> Iterator[str]:
    """Write how many cases of each kind ended how, then those that ended badly."""
    outcomes: list[Outcome] = ["refused", "right", "traceback", "silent"]
    counts = Counter((case.kind, case.outcome) for case in cases)
    yield f"{'kind':<14}" + "".join(f"{outcome:>11}" for outcome in outcomes)
    for kind in dict.fromkeys(case.kind for case in cases):
        yield f"{kind:<14}" + "".join(f"{counts[kind, outcome]:>11}" for outcome in outcomes)
    yield f"{'all':<14}" + "".join(f"{sum(case.outcome == outcome for case in cases):>11}" for outcome in outcomes)
    for case in cases:
        if case.bad:
            yield f"\n{case.outcome}: {case.kind}, {case.what}\n{case.said}"
