"""Every extraction of the project, `experiments/features/<dataset>_<store>.yaml`, and the experiments that need it."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm

from cmr_lightning.extract.extract_features import build_parser
from datamodules.inputs.pictures import Pictures
from datamodules.inputs.subword_tokens import SubwordTokens
from tests.building import EXPERIMENTS, ROOT, dataset_of, read
from tests.datamodules.published import DATASETS
from tests.datamodules.published.stores import CONFIGS, read_config

INPUTS = {"StoredImages": "image", "StoredTexts": "text"}


def stores_of(experiment: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Modality and arguments of each store that an experiment reads."""
    for key, value in read(experiment)["data"].get("init_args", {}).items():
        if isinstance(value, dict) and value["class_path"] in INPUTS:
            assert INPUTS[value["class_path"]] == key
            yield key, value["init_args"]


@pytest.fixture(params=CONFIGS, ids=lambda path: path.stem)
def config(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_file_is_named_in_its_first_line_and_after_data_set_and_store(config: Path) -> None:
    first = config.read_text().splitlines()[0]
    assert shlex.split(first) == f"# python -m cmr_lightning extract --config {config.relative_to(ROOT)}".split()
    settings = read_config(config)
    dataset = Path(settings["data"]["init_args"]["root"]).name
    assert dataset in DATASETS
    assert config.stem == f"{dataset}_{settings['name']}"


def test_extract_accepts_the_settings(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMR_DATA", "somewhere")
    parser = build_parser()
    settings = parser.instantiate_classes(parser.parse_args([f"--config={config}"]))
    assert settings.data.root.parent == Path("somewhere")
    assert callable(settings.image)
    assert isinstance(settings.data.image, Pictures)
    assert settings.data.image.augment == "none"
    if settings.text is not None:
        assert isinstance(settings.data.text, SubwordTokens)


def test_encoders_have_weights_and_see_what_they_were_made_for(config: Path) -> None:
    settings = read_config(config)
    image = settings["image"]["init_args"]
    published = timm.get_pretrained_cfg(image["model"], allow_unregistered=False)
    pictures = settings["data"]["init_args"]["image"]["init_args"]
    assert image["weights"] == "hub"
    assert published.hf_hub_id
    assert published.input_size == (3, pictures["crop"], pictures["crop"])
    assert published.interpolation == pictures["interpolation"]
    if "text" in settings:
        tokens = settings["data"]["init_args"]["text"]["init_args"]
        assert tokens["tokenizer"] == settings["text"]["init_args"]["model"]


@pytest.mark.parametrize(
    "experiment",
    [path for path in EXPERIMENTS if any(stores_of(path))],
    ids=lambda path: f"{path.parent.name}/{path.stem}",
)
def test_a_file_makes_the_store_that_an_experiment_reads(experiment: Path) -> None:
    for modality, wanted in stores_of(experiment):
        config = ROOT / "experiments/features" / f"{dataset_of(experiment)}_{wanted['encoder']}.yaml"
        made = read_config(config)
        assert modality in made
        assert made.get("rotations", False) or not wanted.get("rotations", False)
        assert f"made by {config.relative_to(ROOT)}" in experiment.read_text()
