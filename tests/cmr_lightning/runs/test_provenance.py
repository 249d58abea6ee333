import platform
import subprocess

import torch

from cmr_lightning.runs.provenance import git_revision, hardware, versions


def test_versions_are_those_of_installed_packages():
    found = versions(("torch", "no-such-package"))
    assert found == {"python": platform.python_version(), "torch": torch.__version__}


def test_revision_of_a_checkout(tmp_path):
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        command = ["git", *identity, *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()

    tracked, foreign = tmp_path / "file", tmp_path / ".venv" / "package" / "file"
    foreign.parent.mkdir(parents=True)
    for file in (tracked, foreign):
        file.write_text("one")
    assert git_revision(tracked) is None
    git("init")
    assert git_revision(tracked) is None
    git("add", "file")
    git("commit", "-m", "first")
    git("tag", "v1")
    assert git_revision(tracked) == git("rev-parse", "HEAD")
    assert git_revision(foreign) is None
    tracked.write_text("two")
    assert git_revision(tracked) == git("rev-parse", "HEAD") + "-dirty"


def test_hardware_names_the_machine():
    found = hardware()
    assert set(found) == {"system", "cpu", "cores", "threads", "gpus"}
    assert found["cpu"]
    assert found["threads"] == torch.get_num_threads()
    assert len(found["gpus"]) == torch.cuda.device_count()
