import errno
import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from subprocess import PIPE
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

import cmr_lightning
from cmr_lightning import __main__ as program
from cmr_lightning.__main__ import COMMANDS, main, usage
from cmr_lightning.errors import Terminated, UserError
from tests.building import ROOT

HEAVY = ("torch", "numpy", "scipy", "pytorch_lightning", "matplotlib", "jsonargparse", "rich", "datamodules")


def python(code: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=PIPE, stderr=PIPE)


@pytest.mark.parametrize(
    "options",
    [
        ["--config=experiments/shapes/triplet.yaml", "--trainer.callbacks+=WandbWatch"],
        ["--config=experiments/pascal_sentence/daml.yaml", "--data.image=FeatureArchive", "--data.image.path=a.npz"],
        ["--config=experiments/pascal_sentence/daml.yaml", "--data.image=StoredImages", "--data.image.encoder=a"],
    ],
)
def test_short_names_of_classes_do_not_depend_on_what_else_was_imported(options: list[str]) -> None:
    """`benchmark` and `sweep` resolve experiments without what `fit` imports."""
    options = ["fit", *options]
    process = python(f"from cmr_lightning.experiment import resolved_config; resolved_config({options})")
    assert process.wait(60) == 0


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--version"], ["no-such-command"], ["prepare", "--help"]])
def test_what_needs_no_torch_does_not_import_it(arguments: list[str]) -> None:
    at_exit = "import atexit, sys; atexit.register(lambda: print(*sys.modules))"
    process = python(f"{at_exit}; from cmr_lightning.__main__ import main; main({arguments!r})")
    imported = process.communicate()[0].decode().splitlines()[-1].split()
    assert process.returncode == 0
    assert "cmr_lightning.__main__" in imported
    assert not set(HEAVY) & set(imported)


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_help_lists_every_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert printed.strip() == usage()
    assert all(f"\n  {command} " in printed for command in COMMANDS)


def test_windows_is_told_where_to_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert main(["report"]) == 2
    assert capsys.readouterr().err == "error: cmr_lightning runs on Linux and macOS; on Windows, run it in WSL.\n"


def test_closed_pipe_is_no_error() -> None:
    process = python(
        "from cmr_lightning import __main__ as program\n"
        "program.usage = lambda: 'much to read\\n' * 100_000\n"
        "raise SystemExit(program.main(['--help']))\n"
    )
    assert process.stdout.readline() == b"much to read\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 128 + signal.SIGPIPE


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_main(command: str) -> None:
    assert callable(import_module(f"cmr_lightning.{COMMANDS[command][0]}").main)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{cmr_lightning.__version__}\n"


def test_unknown_command_exits_2_and_shows_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fitt"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "no command 'fitt'" in printed.err
    assert usage() in printed.err


def run(error: Exception, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(program, "import_module", lambda name: SimpleNamespace(main=Mock(side_effect=error)))
    return main(["fit"])


@pytest.mark.parametrize(
    ("error", "printed"),
    [
        (UserError("The file is missing; get it."), "error: The file is missing; get it.\n"),
        (OSError(errno.ENOSPC, "No space"), "error: The disk is full; make room, and give the command again.\n"),
    ],
)
def test_errors_for_the_user_are_printed(
    error: Exception, printed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(error, monkeypatch) == 2
    assert capsys.readouterr().err == printed


def test_a_fault_is_told_in_two_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(KeyError("a fault"), monkeypatch) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("error: KeyError: 'a fault' (at ")
    assert "CMR_DEBUG=1" in second


@pytest.mark.parametrize("error", [KeyError("a fault"), UserError("The file is missing; get it.")])
def test_a_traceback_is_printed_when_asked_for(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CMR_DEBUG", "1")
    run(error, monkeypatch)
    printed = capsys.readouterr().err
    assert printed.startswith("Traceback (most recent call last)")
    assert "\nerror: " in printed


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [(KeyboardInterrupt(), 130, "Stopped by Ctrl-C."), (Terminated(signal.SIGTERM), 143, "Stopped by SIGTERM.")],
)
def test_interruptions_end_with_a_sentence(
    error: BaseException, code: int, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "import_module", lambda name: SimpleNamespace(main=Mock(side_effect=error)))
    with pytest.raises(SystemExit) as stop:
        main(["report"])
    assert stop.value.code == code
    assert capsys.readouterr().err == f"\n{sentence}\n"


def test_other_exits_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    exits = Mock(side_effect=SystemExit(3))
    monkeypatch.setattr(program, "import_module", lambda name: SimpleNamespace(main=exits))
    with pytest.raises(SystemExit, match="3"):
        main(["report"])


def test_a_config_is_said_to_be_code() -> None:
    assert "A config is code" in usage()
    assert "Use only configs that you trust" in usage()


# In a process of its own ---------------------------------------------------------------------------------------------


def command(*words: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "cmr_lightning", *words],
        env=environment,
        stdout=PIPE,
        stderr=PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # workers of tests ignore it
    )


@pytest.mark.parametrize("delay", [0.0, 1.0])
@pytest.mark.parametrize(
    ("number", "sentence"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "SIGHUP")]
)
def test_a_signal_while_a_command_starts_ends_it_with_a_sentence(
    number: signal.Signals, sentence: str, delay: float, tmp_path: Path
) -> None:
    """The first line comes at once, while nothing is imported yet."""
    if signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip(f"{number.name} is ignored where these tests run, as nohup asks for")
    process = command("fit", f"--config={ROOT / 'experiments/shapes/daml.yaml'}", f"--run_dir={tmp_path / 'run'}")
    assert process.stderr.readline().decode() == f"cmr_lightning {cmr_lightning.__version__}: fit\n"
    time.sleep(delay)
    process.send_signal(number)
    assert process.communicate(timeout=60)[1].decode() == f"\nStopped by {sentence}.\n"
    assert process.returncode == 128 + number
    assert not (tmp_path / "run").exists()


def test_a_signal_that_is_ignored_stays_so() -> None:
    """As `nohup` asks for."""
    code = (
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from cmr_lightning import __main__ as program; program._begin_process()\n"
        "signal.raise_signal(signal.SIGHUP); print('lives')"
    )
    assert python(code).communicate()[0] == b"lives\n"


def test_a_terminal_without_a_character_is_no_fault() -> None:
    code = "from cmr_lightning import __main__ as program; program._begin_process(); print('caf\\xe9 \\u4e2d')"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    assert done.stdout == b"caf\\xe9 \\u4e2d\n"
