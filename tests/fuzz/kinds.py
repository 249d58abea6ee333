"""The kinds of odd input: each draws one, gives it to a command, and knows what would be right."""

import io
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from cmr_lightning.runs.settings import look_up
from cmr_lightning.store import FeatureStore, Manifest, Rows, StoreWriter
from datamodules.inputs.pictures import Pictures
from tests.fuzz.damage import ODD_VALUES, damage_bytes, damage_file, damage_text
from tests.fuzz.outcomes import Case, call, command
from tests.trained_album import Album

SIDE = 24
_ROWS = 150


class World:
    """What is damaged, always in a copy: a tested run with its data, a feature store and a picture."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.album = Album(folder / "album")
        if (self.album.fit(), self.album.do("test")) != (0, 0):
            raise RuntimeError("The undamaged run failed.")
        self.record = self.album.record()
        self.rows = torch.from_numpy(np.random.default_rng(0).normal(size=(_ROWS, 6)).astype(np.float32))
        names = Rows([f"{number}.jpg" for number in range(_ROWS)])
        manifest = Manifest("E", "0f", "crop", "32", names.checksum(), "float32", tuple(self.rows.shape))
        with StoreWriter(folder / "store", names, manifest) as writer:
            for rows in writer.claims():
                writer.write(rows, self.rows[rows.start : rows.stop])
            writer.finish()
        gradient = np.linspace(0, 255, SIDE, dtype=np.uint8)
        self.picture = np.stack(
            [np.tile(gradient, (SIDE, 1)), np.tile(gradient[:, None], SIDE), np.full((SIDE, SIDE), 90)], 2
        )

    def copy(self, name: str) -> Path:
        """Copy one of its folders to a new place, anew each time."""
        copy = self.folder / "copy" / name
        shutil.rmtree(copy, ignore_errors=True)
        return shutil.copytree(self.folder / name, copy)


def _same_metrics(world: World, record: Path) -> bool:
    return json.loads(record.read_text())["metrics"] == world.record["metrics"]


def config(world: World, chance: random.Random) -> Case:
    """Change the text of an experiment, and train it; all that it says must have had its effect."""
    folder = world.copy("album")
    shutil.rmtree(folder / "run")
    path = folder / "album.yaml"
    content, what = damage_text(path.read_text(), chance)
    path.write_bytes(content)

    def obeyed() -> bool:
        said, done = (yaml.safe_load(file.read_bytes()) for file in (path, folder / "run" / "config.yaml"))
        return all(_agrees(look_up(done, key), value) for key, value in _leaves(said) if value is not None)

    outcome, said = command(["fit", f"--config={path}", f"--run_dir={folder / 'run'}"], obeyed)
    if outcome == "refused" and (folder / "run").exists():
        return Case("config", what, "silent", f"left a folder: {said}")
    return Case("config", what, outcome, said)


def _leaves(content: Any, key: str = "") -> list[tuple[str, Any]]:
    if not isinstance(content, dict):
        return [(key, content)]
    return [leaf for name, value in content.items() for leaf in _leaves(value, f"{key}.{name}" if key else str(name))]


def _agrees(done: Any, said: Any) -> bool:
    plain = all(isinstance(value, int | float | str) for value in (done, said))
    short = str(done).rpartition(".")[2] == str(said).rpartition(".")[2]  # the name of a class, with or without module
    return done == said or (plain and short) or _float(done) == _float(said) is not None


def _float(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def setting(world: World, chance: random.Random) -> Case:
    """Give an odd value for a setting on the command line; where it is accepted, the config must have it."""
    folder = world.copy("album")
    shutil.rmtree(folder / "run")
    resolved = yaml.safe_load((world.album.run / "config.yaml").read_text())
    key = chance.choice([key.replace(".init_args", "") for key, _ in _leaves(resolved) if "class_path" not in key])
    value = chance.choice(ODD_VALUES)
    arguments = ["fit", f"--config={folder / 'album.yaml'}", f"--run_dir={folder / 'run'}"]

    def obeyed() -> bool:
        if key == "run_dir":
            return (folder / "elsewhere" / "config.yaml").exists()
        if not (folder / "run" / "config.yaml").exists():  # nothing is kept, as was asked for
            return key == "trainer.fast_dev_run"
        done = yaml.safe_load((folder / "run" / "config.yaml").read_text())
        return key == "experiment" or _agrees(look_up(done, key), yaml.safe_load(value))

    if key == "run_dir":
        value = str(folder / "elsewhere")
    outcome, said = command([*arguments, f"--{key}={value.strip(chr(39))}"], obeyed)
    if outcome == "refused" and (folder / "run").exists():
        outcome = "silent"
    return Case("setting", f"--{key}={value}", outcome, said)


def table(world: World, chance: random.Random) -> Case:
    """Change the table of the data, and test the trained run: no other number may take the place of its record."""
    folder = world.copy("album")
    path = folder / "pairs.csv"
    content, what = (
        damage_text(path.read_text(), chance) if chance.random() < 0.5 else damage_bytes(path.read_bytes(), chance)
    )
    path.write_bytes(content)

    def kept() -> bool:
        others = list((folder / "run" / "other_conditions").glob("*/record.json"))
        named = all(
            json.loads(other.read_text())["data_checksum"] != world.record["data_checksum"]
            or json.loads(other.read_text())["differences"]
            for other in others
        )
        return _same_metrics(world, folder / "run" / "record.json") and named

    run = folder / "run" / "config.yaml"
    return Case("table", what, *command(["test", f"--config={run}", f"--data.root={folder}"], kept))


_SAVED = {"png": {}, "bmp": {}, "tiff": {}, "gif": {}, "webp": {"lossless": True}, "jpeg": {"quality": 95}}


def picture(world: World, chance: random.Random) -> Case:
    """Store a picture in some way, or damage it: it must look the same, or be refused."""
    kind = chance.choice(list(_SAVED))
    original = Image.fromarray(world.picture.astype(np.uint8))
    modes = ["RGB", "RGBA", "P", "CMYK", "L", "LA", "1"]
    mode = chance.choice([*modes, "I;16"] if kind in ("png", "tiff") else modes)
    folder = world.folder / "pictures"
    folder.mkdir(exist_ok=True)
    path = folder / f"a.{chance.choice([kind, 'jpg', 'png'])}"
    file = io.BytesIO()
    try:
        converted = (
            Image.fromarray(np.asarray(original.convert("L")).astype(np.uint16) * 257)
            if mode == "I;16"
            else original.convert(mode)
        )
        converted.save(file, kind, **_SAVED[kind])  # type: ignore[arg-type]
    except (OSError, ValueError):
        return picture(world, chance)  # this format has no such mode
    damaged = chance.random() < 0.6
    content, what = damage_bytes(file.getvalue(), chance) if damaged else (file.getvalue(), "whole")
    path.write_bytes(content)
    settings = Pictures(crop=SIDE, resize=SIDE, workers=0)

    def looks_right() -> bool:
        seen = settings.content(folder, [path.name], training=False).rows(torch.tensor([0]))[0].permute(1, 2, 0).numpy()
        with Image.open(path) as again:
            expected = np.asarray(converted.convert("RGB") if not damaged and mode != "I;16" else again.convert("RGB"))
        if mode == "I;16":
            expected = np.asarray(original.convert("L").convert("RGB"))
        return damaged or np.abs(seen.astype(int) - expected).mean() < 12

    return Case("picture", f"{mode} as {kind} in {path.name}: {what}", *call(looks_right))


def store(world: World, chance: random.Random) -> Case:
    """Damage a file of a feature store: it is refused, or holds the same rows."""
    folder = world.copy("store")
    what = damage_file(chance.choice(sorted(folder.iterdir())), chance)

    def same() -> bool:
        read = FeatureStore(folder)
        numbers = read.numbers([f"{number}.jpg" for number in range(_ROWS)])
        return torch.equal(read.read(numbers), world.rows)

    return Case("store", what, *call(same))


def run_folder(world: World, chance: random.Random) -> Case:
    """Damage a file of a run, then test or report it beside a whole one: nothing may change without a word."""
    folder = world.copy("album") / "run"
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    what = damage_file(chance.choice(files), chance)
    if chance.random() < 0.5:
        done = lambda: all(_same_metrics(world, path) for path in folder.rglob("record.json"))  # noqa: E731
        return Case("run folder", f"test, {what}", *command(["test", f"--config={folder / 'config.yaml'}"], done))
    report = folder.parent / "report"
    arguments = ["report", str(world.album.run), str(folder), f"--output={report}"]
    figure = f"{world.record['metrics'][world.record['protocol']]['mean']:.3f}"
    return Case(
        "run folder", f"report, {what}", *command(arguments, lambda: figure in (report / "report.md").read_text())
    )


_OPTIONS = (
    "--config=experiments/shapes/daml.yaml", "--config=/bin/ls", "--config=nowhere.yaml", "--config=.", "--config",
    "--run_dir=/proc/nowhere", "--run_dir=", "--resume=true", "--overwrite=maybe", "--ckpt_path=nowhere.ckpt",
    "--experiment=../../out", "--experiment=a\nb", "--seed_everything=-5", "--unheard_of=1", "--model=Nothing",
    "--data=Nothing", "--model.unheard=1", "--trainer.devices=99", "--jobs=0", "--jobs=many", "--count=-3", "--k=0",
    "--print_config=x", "extra", "--", "-x", "--output=/proc/nowhere", "--cluster=moon", "--name=..", "--dry-run",
)  # fmt: skip
_COMMANDS = ("fit", "validate", "test", "predict", "search", "benchmark", "sweep", "extract", "report", "results",
             "prepare", "unheard", "")  # fmt: skip


def command_line(world: World, chance: random.Random) -> Case:
    """Give a command options that it does not have, or nothing to work on: it is refused."""
    arguments = [chance.choice(_COMMANDS), *chance.sample(_OPTIONS, chance.randint(1, 3))]
    return Case("command line", " ".join(map(repr, arguments)), *command(arguments, lambda: False))


KINDS: tuple[Callable[[World, random.Random], Case], ...] = (
    config, setting, table, picture, store, run_folder, command_line,
)  # fmt: skip
