import errno
import io
import os
import pickle
import warnings
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

import pytest
import pytorch_lightning as pl
import torch

from cmr_lightning.__main__ import main
from cmr_lightning.errors import UserError
from cmr_lightning.runs.checkpoint_files import RunCheckpoints, newest_checkpoint, read_checkpoint
from cmr_lightning.runs.run import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run whose last two checkpoints are of updates 1 and 2."""
    run = Run(tmp_path)
    for update in (1, 2):
        save(run, update)
    return run


def checkpoint(update: int) -> dict[str, Any]:
    """A checkpoint without weights, of an epoch of two updates."""
    told = {"epoch": (update - 1) // 2, "global_step": update, "metrics_rows": 0}
    return {"pytorch-lightning_version": pl.__version__, "state_dict": {}, **told}


def save(run: Run, update: int) -> None:
    RunCheckpoints(run).save_checkpoint(checkpoint(update), run.last)


def test_the_last_two_are_kept(run: Run) -> None:
    assert read_checkpoint(run.last)["global_step"] == 2
    assert read_checkpoint(run.previous)["global_step"] == 1
    assert {path.name for path in run.last.parent.iterdir()} == {"last.ckpt", "previous.ckpt"}


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.99])
def test_truncated_newest_gives_way_to_the_one_before(run: Run, share: float) -> None:
    content = run.last.read_bytes()
    run.last.write_bytes(content[: int(share * len(content))])
    with pytest.warns(UserWarning, match=r"last\.ckpt .*continues from the newest of the others, .*previous\.ckpt"):
        path, found = newest_checkpoint(run)
    assert (path, found["global_step"]) == (run.previous, 1)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_a_flipped_bit_is_found_wherever_it_is(tmp_path: Path, share: float) -> None:
    """Torch reads changed weights without a word."""
    path = tmp_path / "best.ckpt"
    torch.save({**checkpoint(1), "state_dict": {"weight": torch.ones(20_000)}}, path)
    content = bytearray(path.read_bytes())
    content[int(share * len(content))] ^= 4
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"best\.ckpt"):
        read_checkpoint(path)


@pytest.mark.parametrize("time", [0, 2e9])
def test_newest_is_taken_without_a_word_and_not_by_the_time_of_its_file(run: Run, time: float) -> None:
    os.utime(run.last, (time, time))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert newest_checkpoint(run)[0] == run.last


@pytest.mark.parametrize("time", [0, 2e9])
@pytest.mark.parametrize(("requeued", "newest"), [([1], 2), ([3], 3), ([10, 9], 10), ([2], 2)])
def test_what_slurm_requeued_with_is_taken_if_newer(run: Run, requeued: list[int], newest: int, time: float) -> None:
    for number, update in enumerate(requeued, start=1):
        path = run.path / f"hpc_ckpt_{number}.ckpt"
        torch.save(checkpoint(update), path)
        os.utime(path, (time, time))
    assert newest_checkpoint(run)[1]["global_step"] == newest


def test_damaged_last_gives_way_to_what_slurm_requeued_with(run: Run) -> None:
    torch.save(checkpoint(2), run.path / "hpc_ckpt_1.ckpt")
    run.last.write_bytes(b"PK")
    with pytest.warns(UserWarning, match=r"last\.ckpt .*continues from the newest of the others, .*hpc_ckpt_1\.ckpt"):
        assert newest_checkpoint(run)[1]["global_step"] == 2


def test_nothing_that_can_be_read_is_an_error(run: Run) -> None:
    run.last.write_bytes(b"PK")
    run.previous.unlink()
    with pytest.raises(UserError, match=r"last\.ckpt"):
        newest_checkpoint(run)


def saved(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


OBJECTS = [{"state_dict": {}}, {"pytorch-lightning_version": "2.6.0"}, torch.zeros(2)]
FILES = [pickle.dumps({"state_dict": {}}), b"a: 1\n", b"X", b"\x80\x02X\x01\x00\x00\x00\xff", b"\x80\x02h\x07"]


@pytest.mark.parametrize("content", [*map(saved, OBJECTS), *FILES])
def test_what_fit_did_not_write_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"other\.pt (is not loaded: it is no checkpoint of `fit`|is damaged)"):
        read_checkpoint(path)


def test_closed_checkpoint_is_not_called_damaged(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    error = PermissionError(errno.EACCES, "Permission denied", str(run.last))
    # the administrator, as who tests may run, may read everything
    monkeypatch.setattr(torch, "load", Mock(side_effect=error))
    with pytest.raises(UserError, match=r"last\.ckpt cannot be read: Permission denied\.$"):
        read_checkpoint(run.last)


class Weapon:
    """Makes a folder where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("command", ["test", "validate", "predict", "fit"])
def test_malicious_checkpoint_does_nothing(command: str, toy: Path, tmp_path: Path, capsys: Any) -> None:
    harm, weapon = tmp_path / "harm", tmp_path / "weapon.ckpt"
    torch.save({"state_dict": {}, "method": "DAML", "callbacks": Weapon(harm)}, weapon)
    options = [f"--config={toy}", f"--run_dir={tmp_path / 'run'}", f"--ckpt_path={weapon}"]
    assert main([command, *options]) == 2
    assert "is not loaded" in capsys.readouterr().err
    assert not harm.exists()
    torch.load(weapon, weights_only=False)
    assert harm.exists()


@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        (OSError(errno.ENOSPC, "No space"), UserError, r"last\.ckpt .* written: the disk is full; what was"),
        (KeyboardInterrupt(), KeyboardInterrupt, None),
    ],
)
def test_a_save_that_fails_leaves_what_was_there(
    error: BaseException, raised: type, message: str | None, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in run.last.parent.iterdir()}
    monkeypatch.setattr(os, "fsync", Mock(side_effect=error))  # a file may find the disk full only there
    with pytest.raises(raised, match=message):
        save(run, 3)
    assert {path: path.read_bytes() for path in run.last.parent.iterdir()} == before


class FullDisk(pl.Callback):
    """Lets the second epoch's checkpoint go where the system takes no byte."""

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.current_epoch == 1 and trainer.is_global_zero:
            Path(trainer.default_root_dir, "checkpoints", ".last.ckpt.unfinished").symlink_to("/dev/full")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_training_on_a_full_disk_ends_with_a_sentence(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(toy.parent / "run")
    options = [f"--config={toy}", f"--run_dir={run.path}"]
    assert main(["fit", *options, "--trainer.callbacks+=tests.cmr_lightning.runs.test_checkpoint_files.FullDisk"]) == 2
    assert capsys.readouterr().err.count(f"error: {run.last} could not be written: the disk is full;") == 1
    assert {path.name for path in run.last.parent.iterdir()} == {"best.ckpt", "last.ckpt"}
    assert newest_checkpoint(run)[1]["epoch"] == 0
    assert main(["fit", *options, "--resume=true"]) == 0
    assert newest_checkpoint(run)[1]["epoch"] == 1


def test_training_saves_in_this_way(toy: Path) -> None:
    save = RunCheckpoints.save_checkpoint
    with patch.object(RunCheckpoints, "save_checkpoint", autospec=True, side_effect=save) as noted:
        assert main(["fit", f"--config={toy}", f"--run_dir={toy.parent / 'run'}"]) == 0
    assert {Path(call.args[2]).name for call in noted.call_args_list} == {"best.ckpt", "last.ckpt"}
