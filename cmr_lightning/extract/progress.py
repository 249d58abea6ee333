"""Progress of an extraction: a bar on a terminal, a line now and then elsewhere."""

import time
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_SECONDS_BETWEEN_LINES = 15.0


class ExtractionProgress:
    """How many rows of `what`, e.g. `pictures`, are done, how fast, and how long the rest will take."""

    def __init__(self, what: str, done: int, total: int) -> None:
        self.what = what
        self.first = self.done = done
        self.total = total
        self._started = self._last_line = time.monotonic()
        columns = BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn()
        self._bar = Progress(TextColumn("{task.description}"), *columns, disable=not Console().is_terminal)
        self._task = self._bar.add_task(what, total=total, completed=done, rate="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        if self._bar.disable and self.done > self.first:
            self._print_line()

    def advance(self, rows: int) -> None:
        """Count rows that were encoded."""
        self.done += rows
        self._bar.update(self._task, completed=self.done, rate=f"{self._rate():.1f}/s")
        if self._bar.disable and time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES:
            self._print_line()

    def _rate(self) -> float:
        return (self.done - self.first) / max(time.monotonic() - self._started, 1e-9)

    def _print_line(self) -> None:
        self._last_line = time.monotonic()
        rate = self._rate()
        remaining = (self.total - self.done) / rate
        print(f"extract {self.done}/{self.total} {self.what}  {rate:.1f}/s  {remaining:.0f} s remaining", flush=True)
