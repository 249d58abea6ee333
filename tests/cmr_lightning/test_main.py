from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from importlib import import_module

import pytest

import cmr_lightning
from cmr_lightning import __main__ as program
from cmr_lightning.__main__ import COMMANDS, main, usage
from cmr_lightning.errors import UserError
from tests.building import ROOT

HEAVY = ("torch", "numpy", "pytorch_lightning", "matplotlib", "jsonargparse")


def python(code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--version"], ["no-such-command"]])
def test_what_needs_no_torch_does_not_import_it(arguments: list[str]) -> None:
    said = python(
        "import json, sys\n"
        "from cmr_lightning.__main__ import main\n"
        f"main({arguments!r})\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    imported = json.loads(said.splitlines()[-1])
    assert "cmr_lightning.__main__" in imported
    assert not set(HEAVY) & set(imported)


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_help_lists_every_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert printed.strip() == usage()
    for command in ("fit", "validate", "test", "predict", "report"):
        assert f"\n  {command} " in printed


def test_windows_is_told_where_to_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert main(["report"]) == 2
    assert capsys.readouterr().err == "error: cmr_lightning runs on Linux and macOS; on Windows, run it in WSL.\n"


def test_a_reader_who_has_read_enough_is_no_error() -> None:
    code = (
        "import sys\n"
        "from cmr_lightning import __main__ as program\n"
        "program.usage = lambda: 'much to read\\n' * 100_000\n"
        "sys.exit(program.main(['--help']))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    program_ = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=-1, stderr=-1)
    assert program_.stdout is not None
    assert program_.stderr is not None
    assert program_.stdout.readline() == b"much to read\n"
    program_.stdout.close()
    assert program_.stderr.read() == b""
    assert program_.wait() == 128 + signal.SIGPIPE


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_main(command: str) -> None:
    assert callable(import_module(COMMANDS[command][0]).main)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{cmr_lightning.__version__}\n"


def test_unknown_command_exits_2_and_shows_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fitt"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "no command 'fitt'" in said.err
    assert usage() in said.err


def test_errors_for_people_are_printed_and_others_are_raised(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Fake:
        def __init__(self, error: Exception) -> None:
            self.error = error

        def main(self, arguments: list[str]) -> None:
            raise self.error

    monkeypatch.setattr(program, "import_module", lambda name: Fake(UserError("The file is missing; get it.")))
    assert main(["fit"]) == 2
    assert capsys.readouterr().err == "error: The file is missing; get it.\n"
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(program, "import_module", lambda name: Fake(full))
    assert main(["fit"]) == 2
    assert capsys.readouterr().err.startswith("error: The disk is full;")
    for fault in (KeyError("a fault"), OSError(errno.EIO, "a fault")):
        monkeypatch.setattr(program, "import_module", lambda name, fault=fault: Fake(fault))
        with pytest.raises(type(fault), match="a fault"):
            main(["fit"])
