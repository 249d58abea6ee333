import errno
import os
import signal
import subprocess
import sys
from importlib import import_module
from subprocess import PIPE
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

import cmr_lightning
from cmr_lightning import __main__ as program
from cmr_lightning.__main__ import COMMANDS, main, usage
from cmr_lightning.errors import UserError
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


@pytest.mark.parametrize("error", [KeyError("a fault"), OSError(errno.EIO, "a fault")])
def test_faults_are_raised(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(type(error), match="a fault"):
        run(error, monkeypatch)
