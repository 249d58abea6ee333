"""How far runs have come: told by the process of a run, shown by the command that started it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from threading import Lock
from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

Tell = Callable[[str, str | None], None]  # takes the name of a run and the phase that it is in; None at its end
STARTING = "starting"  # the phase of a run whose process is being started


class PhaseReporter(pl.Callback):
    """Tells the process that started this one which epoch is trained; nothing where nobody listens."""

    listener: Connection | None = None  # none in a process that was not started by a pool

    @classmethod
    def report(cls, phase: str) -> None:
        """Tell the listener what this process is doing."""
        if cls.listener is not None:
            with suppress(OSError):  # a run does not depend on whoever started it still being there
                cls.listener.send(phase)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the epoch."""
        total = f" of {trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else ""
        self.report(f"fit epoch {trainer.current_epoch + 1}{total}")


class RunsProgress:
    """A bar of the runs that are done, with what the others are doing; lines where the output is not a terminal."""

    def __init__(self, title: str, total: int, completed: int = 0) -> None:
        console = Console()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[phases]}", table_column=Column(no_wrap=True, overflow="ellipsis"), markup=False),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=total, completed=completed, phases="")
        self._phases: dict[str, str | None] = {}
        self._lock = Lock()

    def __enter__(self) -> RunsProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def tell(self, name: str, phase: str | None) -> None:
        """Show what a run is doing, from any thread; None when it has ended."""
        with self._lock:
            self._phases[name] = phase
            phases = [f"{run}: {doing}" for run, doing in self._phases.items() if doing is not None]
            self._bar.update(self._task, phases="; ".join(phases))
        if phase == STARTING and not self._bar.console.is_terminal:
            self.print(f"{name}: {phase}")

    def update(self, **changes: Any) -> None:
        """Change the bar: `completed`, `description`."""
        self._bar.update(self._task, **changes)

    def print(self, line: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(line, markup=False, soft_wrap=True)
