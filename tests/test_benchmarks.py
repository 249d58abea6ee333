"""What `make speed` runs; measuring itself is left to people, as machines are shared and noisy."""

from importlib import import_module

import pytest

from tests.benchmarks import __main__ as command


@pytest.mark.parametrize("name", command.SCRIPTS)
def test_each_measurement_says_how_it_is_run(name):
    assert f"python -m tests.benchmarks.{name}" in import_module(f"tests.benchmarks.{name}").__doc__


def test_all_are_run_unless_some_are_named(monkeypatch):
    ran = []

    def run(call, check):
        ran.append(call[1:])
        return type("Done", (), {"returncode": int(call[-1].endswith("store"))})

    monkeypatch.setattr(command.subprocess, "run", run)
    assert command.main([]) == 1
    assert [call[-1].removeprefix("tests.benchmarks.") for call in ran] == command.SCRIPTS
    assert {"ranking", "training", "pixels_to_recall"} < set(command.SCRIPTS)
    ran.clear()
    assert command.main(["ranking"]) == 0
    assert ran == [["-m", "tests.benchmarks.ranking"]]


def test_an_unknown_name_is_told(capsys):
    assert command.main(["rankings"]) == 2
    assert "there is no measurement rankings; there are alignments" in capsys.readouterr().err
