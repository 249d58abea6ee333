"""`python -m cmr_lightning`: imports what a command needs only when that command is given, so help comes at once."""

from __future__ import annotations

import os
import signal

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # until `main` can answer Ctrl-C, with as little as is imported by now
    signal.signal(signal.SIGINT, lambda *_: os.write(2, b"\nStopped by Ctrl-C.\n") and os._exit(130))

import io
import select
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from types import FrameType

import cmr_lightning
from cmr_lightning.errors import Terminated, explain, explain_interruption, interruption
from cmr_lightning.files.config_files import A_CONFIG_IS_CODE, check_config_files

COMMANDS: dict[str, tuple[str, str]] = {
    "prepare": ("prepare.prepare_data", "fetch and verify the files of a data set: <dataset>, or --list"),
    "fit": ("command_line.experiment_command", "train an experiment: --config experiments/<dataset>/<method>.yaml"),
    "validate": (
        "command_line.experiment_command",
        "measure a run's best checkpoint on the validation part: --config RUN/config.yaml",
    ),
    "test": (
        "command_line.experiment_command",
        "measure it on the test part, write RUN/record.json: --config RUN/config.yaml",
    ),
    "predict": ("command_line.experiment_command", "write the test part's embeddings: --config RUN/config.yaml"),
    "index": ("model.index_command", "embed pictures and texts to be searched: RUN FOLDER|TABLE --output INDEX"),
    "search": ("model.search_command", "find what is in an index: INDEX 'two dogs on a beach', or INDEX photo.jpg"),
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

{trust}

`python -m cmr_lightning <command> --help` lists a command's options."""


def usage() -> str:
    """Return the help text, with one line per command."""
    commands = "\n".join(f"  {command:<10}{purpose}" for command, (_, purpose) in COMMANDS.items())
    return _USAGE.format(version=cmr_lightning.__version__, commands=commands, trust=A_CONFIG_IS_CODE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, by default that of the process; exceptions end here, as a sentence on the standard error.

    Returns:
        0, or 2 if there is something for the user to fix, or 1 if the program is at fault.

    Raises:
        SystemExit: If the command was interrupted (130 after Ctrl-C, 143 after SIGTERM), or printed help.
    """
    try:
        code = _run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except BrokenPipeError as error:
        if not _reader_has_gone(sys.stdout.fileno()):
            return _answer(error)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more when it exits
        return 128 + signal.SIGPIPE
    except BaseException as error:
        return _answer(error)
    return code


def _answer(error: BaseException) -> int:
    """Print what an error means, and return or raise its exit code."""
    if os.environ.get("CMR_DEBUG", "0") not in ("", "0") and not isinstance(error, SystemExit):
        traceback.print_exception(error)
    if (stop := interruption(error)) is not None:
        code, sentence = explain_interruption(stop)
        print(f"\n{sentence}", file=sys.stderr)
        raise SystemExit(code) from None
    if not isinstance(error, Exception):
        raise error
    code, sentence = explain(error)
    print(f"error: {sentence}", file=sys.stderr)
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
    check_config_files(arguments[1:])
    import_module(f"cmr_lightning.{COMMANDS[command][0]}").main(arguments)
    return 0


def _begin_process() -> None:
    """Say at once what runs, as imports take seconds, and let signals end it as Ctrl-C does."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may lack a character of a caption
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # as it is in the background of a shell
        signal.signal(signal.SIGINT, _stop)
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows lacks one
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _stop)
    if sys.argv[1:] and sys.argv[1] in COMMANDS:
        print(f"cmr_lightning {cmr_lightning.__version__}: {sys.argv[1]}", file=sys.stderr, flush=True)


def _stop(number: int, frame: FrameType | None) -> None:
    """Raise what ends the command, or end it at once while it imports, where an exception may be lost, or abort."""
    if number != signal.SIGINT:
        signal.signal(number, signal.SIG_DFL)  # a second one ends it at once
        if os.getpid() != _PROCESS:  # one that was forked from this one, such as a reader of pictures
            os.kill(os.getpid(), number)
            return
    stop = Terminated(number)
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            code, sentence = explain_interruption(stop)
            os.write(sys.stderr.fileno(), f"\n{sentence}\n".encode())
            os._exit(code)
        frame = frame.f_back
    raise stop


_PROCESS = os.getpid()

if __name__ == "__main__":
    _begin_process()
    sys.exit(main())
