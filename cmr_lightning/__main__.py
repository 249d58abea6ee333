"""`python -m cmr_lightning`: imports what a command needs only when that command is given, so help comes at once."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

import cmr_lightning
from cmr_lightning.errors import message_for_user

COMMANDS: dict[str, tuple[str, str]] = {
    "prepare": ("prepare.prepare_data", "fetch and verify the files of a data set: <dataset>, or --list"),
    "fit": ("cli", "train an experiment: --config experiments/<dataset>/<method>.yaml"),
    "validate": ("cli", "measure a run's best checkpoint on the validation part: --config RUN/config.yaml"),
    "test": ("cli", "measure it on the test part, write RUN/record.json: --config RUN/config.yaml"),
    "predict": ("cli", "write the test part's embeddings: --config RUN/config.yaml"),
    "search": ("model.search", "find the nearest items of every query: RUN/embeddings.npz"),
    "benchmark": (
        "benchmark.benchmark_command",
        "run many experiments with several seeds: --config experiments/benchmarks/<name>.yaml",
    ),
    "sweep": (
        "sweep.sweep_command",
        "search for an experiment's best settings: --config experiments/sweeps/<dataset>_<method>.yaml --count N",
    ),
    "extract": (
        "extract.extract_features",
        "keep a data set's pretrained features: --config experiments/features/<dataset>_<encoder>.yaml",
    ),
    "report": ("reports.report", "put runs side by side, as a table and as report.html: RUN RUN ..."),
    "results": (
        "reports.results",
        "keep the records of a benchmark in experiments/results, and write the tables: runs/benchmarks/<name>",
    ),
}
"""Command -> (module of this package whose `main` runs it, what it does)."""

_USAGE = """\
cmr_lightning {version}: adversarial cross-modal retrieval

usage: python -m cmr_lightning <command> ...

{commands}

`python -m cmr_lightning <command> --help` lists a command's options."""


def usage() -> str:
    """Return the help text, with one line per command."""
    commands = "\n".join(f"  {command:<10}{purpose}" for command, (_, purpose) in COMMANDS.items())
    return _USAGE.format(version=cmr_lightning.__version__, commands=commands)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, by default that of the process; return 0, or 2 if there is something for the user to fix."""
    try:
        code = _run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_has_gone(sys.stdout.fileno()):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more when it exits
        return 128 + signal.SIGPIPE
    return code


def _reader_has_gone(output: int) -> bool:
    """Tell whether the reader of a pipe has closed it, as `| head` does when it has read enough."""
    watch = select.poll()
    watch.register(output, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in watch.poll(0))


def _run(arguments: list[str]) -> int:
    command = arguments[0] if arguments else "--help"
    if command in ("-h", "--help"):
        print(usage())
        return 0
    if command == "--version":
        print(cmr_lightning.__version__)
        return 0
    if command not in COMMANDS:
        print(f"{usage()}\n\nerror: there is no command {command!r}", file=sys.stderr)
        return 2
    if sys.platform == "win32":  # locks of files, signals and measured memory are those of POSIX
        print("error: cmr_lightning runs on Linux and macOS; on Windows, run it in WSL.", file=sys.stderr)
        return 2
    try:
        import_module(f"cmr_lightning.{COMMANDS[command][0]}").main(arguments)
    except Exception as error:
        message = message_for_user(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
