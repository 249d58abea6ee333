"""Starting the processes of a training on several devices, and ending all of them when one is lost."""

import os
import signal
import sys
import time
from collections.abc import Callable
from threading import Thread
from typing import Any

from lightning_fabric.utilities.distributed import _set_num_threads_if_needed
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher
from torch import distributed as dist

from cmr_lightning.errors import UserError

_FIRST = "CMR_FIRST_PROCESS"  # environment variable with the id of the process that started the others
_POLL_SECONDS = 1.0
_GRACE_SECONDS = 10.0
"""Time for a process to notice by itself that another was lost, as gloo does and NCCL often does not."""
_LOST = ("gloo/transport", "ncclRemoteError")
"""Parts of the messages with which the backends report that a process on the other side has gone."""


class GroupLauncher(_SubprocessScriptLauncher):
    """Starts one process per device of this machine, and ends all with a message when one is lost.

    Lightning's own launcher then kills all of them, this one included, without a message.
    """

    def launch(self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any) -> Any:
        """Start the other processes, and run the function in this one.

        Raises:
            UserError: If another process was lost.
        """
        environment = self.cluster_environment
        environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        if not environment.creates_processes_externally:
            os.environ[_FIRST] = str(os.getpid())
            os.environ["LOCAL_WORLD_SIZE"] = str(self.num_processes)  # as torchrun sets it, for sharing the cores
            self._call_children_scripts()
        first = os.environ.pop(_FIRST, None)
        if first is not None:
            Thread(target=self._watch, args=(int(first),), name="watch", daemon=True).start()
        _set_num_threads_if_needed(num_processes=self.num_processes)
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            message = self._message() if another_was_lost(error) else None
            self._kill_others()
            if message is None:
                raise
            raise UserError(message) from error

    def _watch(self, first: int) -> None:
        """Wait until a process is lost, then end this one, which might wait for it for ever."""
        while not any(process.poll() for process in self.procs) and first in (os.getpid(), os.getppid()):
            time.sleep(_POLL_SECONDS)
        time.sleep(_GRACE_SECONDS)
        print(f"error: {self._message()}", file=sys.stderr, flush=True)
        self._kill_others()
        os._exit(2)

    def _message(self) -> str:
        time.sleep(_POLL_SECONDS)  # a connection breaks a moment before the system knows how the process ended
        ended = [f"number {i} {_how(p.returncode)}" for i, p in enumerate(self.procs, start=1) if p.poll()]
        return (
            f"A process of this group was lost{': ' if ended else ''}{', '.join(ended)}; the others end with it. The "
            f"checkpoints of the training are intact; continue it with --resume=true."
        )

    def _kill_others(self) -> None:
        for process in self.procs:
            process.kill()
            process.wait()


def another_was_lost(error: BaseException) -> bool:
    """Tell whether an error means that another process of the group no longer answers.

    Examples:
        >>> another_was_lost(RuntimeError("[../gloo/transport/tcp/pair.cc:534] Connection closed by peer"))
        True
    """
    return isinstance(error, dist.DistNetworkError) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in _LOST)
    )


def _how(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
