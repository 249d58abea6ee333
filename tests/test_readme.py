"""Every command of the README is run, on fewer pictures and for a shorter time than a reader would."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from cmr_lightning.__main__ import main

ROOT = Path(__file__).parents[1]
SMALL = ["--data.num_train=60", "--data.num_val=20", "--data.num_test=20", "--data.batch_size=30"]


def commands() -> list[list[str]]:
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


@pytest.mark.slow
def test_python_commands_run_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    ran = 0
    for command in commands():
        if command[:3] != ["python", "-m", "cmr_lightning"]:
            continue
        small = [*SMALL, "--trainer.max_epochs=1"] if command[3] == "fit" else []
        with_print = "--print_config" in command
        try:
            assert main([*command[3:], *small]) == 0
        except SystemExit as exit_:
            assert with_print
            assert exit_.code == 0
        ran += 1
    assert ran >= 5
    assert (tmp_path / "runs/shapes/daml/seed0/record.json").exists()


def test_make_commands_exist() -> None:
    targets = [command[1] for command in commands() if command[0] == "make"]
    assert {"demo", "test"} <= set(targets)
    for target in targets:
        planned = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False)
        assert planned.returncode == 0, planned.stderr


def test_every_file_that_is_linked_exists() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", (ROOT / "README.md").read_text())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
