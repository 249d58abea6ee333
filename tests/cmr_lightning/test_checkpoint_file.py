from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cmr_lightning.__main__ import main
from cmr_lightning.checkpoint_file import WholeCheckpointIO
from tests.building import write_toy


def test_a_save_that_is_cut_off_keeps_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoints" / "last.ckpt"
    io = WholeCheckpointIO()
    io.save_checkpoint({"epoch": 1}, path)
    save = torch.save

    def cut_off(content: object, file: object) -> None:
        save({}, file)
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", cut_off)
    with pytest.raises(KeyboardInterrupt):
        io.save_checkpoint({"epoch": 2}, path)
    assert io.load_checkpoint(path) == {"epoch": 1}
    assert list(path.parent.iterdir()) == [path]


def test_training_saves_in_this_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used = set()
    save = WholeCheckpointIO.save_checkpoint

    def noted(io: WholeCheckpointIO, checkpoint: dict[str, Any], path: Any, **options: Any) -> None:
        used.add(Path(path).name)
        save(io, checkpoint, path, **options)

    monkeypatch.setattr(WholeCheckpointIO, "save_checkpoint", noted)
    assert main(["fit", f"--config={write_toy(tmp_path / 'toy.yaml')}", f"--run_dir={tmp_path / 'run'}"]) == 0
    assert used == {"best.ckpt", "last.ckpt"}
