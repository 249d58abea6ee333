from typing import Any

import pytest

from cmr_lightning.runs.settings import changes, dotted, look_up, put


@pytest.fixture
def config() -> dict[str, Any]:
    optimizer = {"class_path": "Adam", "init_args": {"lr": 0.1}}
    arguments = {"dim": 8, "weights": {"pair": 1.0}, "optimizer": optimizer, "discriminator": "ModalityClassifier"}
    model = {"class_path": "DAML", "init_args": arguments}
    return {"model": model, "data": {"class_path": "Toy"}, "trainer": {"max_epochs": 2}}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.dim", 8),
        ("model.init_args.dim", 8),
        ("model.weights.pair", 1.0),
        ("model.optimizer.lr", 0.1),
        ("model.init_args.optimizer.init_args.lr", 0.1),
        ("model.optimizer.class_path", "Adam"),
        ("model.discriminator", "ModalityClassifier"),
        ("trainer.max_epochs", 2),
        ("trainer.max_steps", None),
        ("model.dim.size", None),
    ],
)
def test_looks_up_what_the_command_line_would_set(config: dict[str, Any], key: str, value: Any) -> None:
    assert look_up(config, key) == value


PUT = """model.dim model.init_args.dim model.weights.label model.optimizer.lr model.optimizer.betas
model.discriminator.hidden data.batch_size trainer.max_steps seed_everything"""


@pytest.mark.parametrize("key", PUT.split())
def test_what_is_put_is_looked_up(config: dict[str, Any], key: str) -> None:
    put(config, key, [3, 4])
    assert look_up(config, key) == [3, 4]


def test_values_come_among_the_arguments_of_their_class(config: dict[str, Any]) -> None:
    put(config, "model.optimizer.lr", 0.5)
    put(config, "model.optimizer", "SGD")
    put(config, "model.discriminator.hidden", [4])
    put(config, "data.batch_size", 3)
    arguments = config["model"]["init_args"]
    assert arguments["optimizer"] == {"class_path": "SGD", "init_args": {"lr": 0.5}}
    assert arguments["discriminator"] == {"class_path": "ModalityClassifier", "init_args": {"hidden": [4]}}
    assert config["data"] == {"class_path": "Toy", "init_args": {"batch_size": 3}}


def test_a_class_is_written_by_its_short_name_and_compared_by_its_whole_one(config: dict[str, Any]) -> None:
    config["model"] |= {"class_path": "mine.DAML", "dict_kwargs": {"extra": None, "own": [1, 2]}}
    config["data"]["init_args"] = {}
    written = {"model": "DAML", "model.own": "[1, 2]", "model.optimizer": "Adam", "data": "Toy"}
    assert written.items() <= dotted(config).items()
    assert not {"model.extra", "model.class_path", "model.init_args", "data.init_args"} & set(dotted(config))
    other = {**config, "model": {**config["model"], "class_path": "theirs.DAML"}, "data": {"class_path": "Shapes"}}
    assert changes(config, other) == {"model": ("mine.DAML", "theirs.DAML"), "data": ("Toy", "Shapes")}
