"""Every command of the README is run, on fewer pictures and for a shorter time than a reader would."""

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cmr_lightning.__main__ import main
from tests.building import ROOT, tiny
from tests.datamodules.published.pascal_sentence import write as write_pascal_sentence

SHAPES = ["--data.num_train=60", "--data.num_val=20", "--data.num_test=20", "--data.batch_size=30"]


def commands() -> list[list[str]]:
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


def smaller(command: list[str]) -> list[str]:
    """Options that make a command of the README end within seconds, without network."""
    name, config = command[3], Path(next((word for word in command if word.endswith(".yaml")), ""))
    if name == "fit":
        return [*(SHAPES if config.parent.name == "shapes" else tiny(config)), "--trainer.max_epochs=1"]
    if name == "sweep":
        return [*SHAPES, "--trainer.max_epochs=1", "--count=1"]
    if name == "extract":
        pictures = "--data.init_args.image.init_args"
        weights = ["--image.init_args.model=test_resnet", "--image.init_args.weights=none"]
        return [*weights, f"{pictures}.resize=36", f"{pictures}.crop=32"]
    return []


@pytest.mark.slow
def test_python_commands_run_in_their_order(
    invented_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_pictures: None
) -> None:
    write_pascal_sentence(tmp_path / "data" / "pascal_sentence", pictures=True)
    for folder in invented_data.iterdir():
        if folder.name != "pascal_sentence":
            (tmp_path / "data" / folder.name).symlink_to(folder)
    monkeypatch.delenv("CMR_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    ran = []
    for command in commands():
        if command[:3] != ["python", "-m", "cmr_lightning"]:
            continue
        incomplete = 2 if command[3] == "prepare" and "--check" in command else 0  # the miniature lacks what is checked
        try:
            assert main([*command[3:], *smaller(command)]) == incomplete, command
        except SystemExit as exit_:
            assert {"--print_config", "--list"} & set(command)
            assert exit_.code == 0
        ran.append(command[3])
    assert {"fit", "test", "report", "prepare", "extract", "benchmark", "sweep", "index", "search"} <= set(ran)
    assert (tmp_path / "runs/shapes/daml/seed0/record.json").exists()
    section = (ROOT / "README.md").read_text().partition("## In Python\n")[2].partition("\n## ")[0]
    loading, training = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    found: dict[str, Any] = {}
    exec(loading, found)
    assert (found["texts"].shape, found["images"].shape) == ((2, found["model"].dim), (1, found["model"].dim))
    section = (ROOT / "README.md").read_text().partition("## Search\n")[2].partition("\n## ")[0]
    (searching,) = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    exec(searching, found)
    assert found["found"].item.path.endswith(".png")
    exec(training, found)
    assert found["module"].global_step > 0


def test_the_example_outside_this_repository_is_trained_and_tested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_pictures: None
) -> None:
    section = (ROOT / "README.md").read_text().partition("outside this repository\n")[2].partition("\n## ")[0]
    for language, name in (("python", "mine.py"), ("yaml", "mine.yaml")):
        (block,) = re.findall(rf"```{language}\n(.*?)```", section, flags=re.DOTALL)
        (tmp_path / name).write_text(block)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # as `python -m` does
    assert main(["fit", "--config=mine.yaml"]) == 0
    assert main(["test", "--config=runs/mine/seed0/config.yaml"]) == 0
    record = json.loads(Path("runs/mine/seed0/record.json").read_text())
    assert (record["method"], record["dataset"]) == ("CentredInfoNCE", "Colours")
    assert record["encoders"]["image"] == "Patches"


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
