"""The lock by which one command at a time writes into a run's folder."""

from contextlib import ExitStack
from typing import Self

from pytorch_lightning.utilities.rank_zero import rank_zero_only

from cmr_lightning.files.file_lock import locked
from cmr_lightning.runs.run import Run


class RunLock:
    """Locks the folder of a run, once it is known, until the end of the context; of several processes the first does.

    A run's folder that does not exist yet is locked when it is made: a command that fails before leaves none.
    """

    def __init__(self) -> None:
        self._held = ExitStack()
        self._taken = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    @rank_zero_only
    def take(self, run: Run) -> None:
        """Lock a folder, which is made if necessary, unless this was done before.

        Raises:
            UserError: If another process holds it.
        """
        if not self._taken:
            self._held.enter_context(locked(run.lock))
            self._taken = True
