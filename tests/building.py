"""Experiments as the command line builds them, made so small that a test can run them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from torch import nn

from cmr_lightning.cli import RetrievalCLI
from tests.cmr_lightning.encoders.tiny_bert import tiny_bert
from tests.datamodules.published import DATASETS

ROOT = Path(__file__).parents[1]
EXPERIMENTS = sorted(
    path
    for path in (ROOT / "experiments").glob("*/*.yaml")
    if path.parent.name not in ("sweeps", "benchmarks", "claims", "features")
)
"""Every experiment of the project, `experiments/<dataset>/<method>.yaml`."""

_TINY_WITHOUT_FILES: dict[str, dict[str, int]] = {
    "shapes": {"num_train": 64, "num_val": 40, "num_test": 40, "picture_size": 32, "batch_size": 8},
    "shapes_composed": {"num_train": 16, "num_val": 8, "num_test": 8, "modifications": 5, "batch_size": 8},
}


class Built(RetrievalCLI):
    """An experiment whose parts are built as for a command, which is then not run."""

    def _run_subcommand(self, subcommand: str) -> None:
        pass


def read(experiment: Path) -> dict[str, Any]:
    return yaml.safe_load(experiment.read_text())


def method_of(experiment: Path) -> str:
    return read(experiment)["model"]["class_path"].rpartition(".")[2]


def dataset_of(experiment: Path) -> str:
    """Name of the data set: several folders of experiments may be of one that is read from files."""
    root = read(experiment)["data"].get("init_args", {}).get("root")
    return Path(root).name if root else experiment.parent.name


def tiny(experiment: Path) -> list[str]:
    """Options that make an experiment end within seconds, without any weights from elsewhere."""
    dataset = dataset_of(experiment)
    sizes = _TINY_WITHOUT_FILES[dataset] if dataset in _TINY_WITHOUT_FILES else DATASETS[dataset].TINY
    return [
        *(f"--data.{name}={value}" for name, value in sizes.items()),
        *_tiny_encoders(read(experiment)),
        "--trainer.max_epochs=1",
        "--trainer.limit_train_batches=2",
        "--trainer.num_sanity_val_steps=0",
        "--trainer.check_val_every_n_epoch=1",
        "--trainer.accelerator=cpu",
    ]


def _tiny_encoders(experiment: dict[str, Any]) -> list[str]:
    model, data = experiment["model"].get("init_args", {}), experiment["data"].get("init_args", {})
    options = []
    if _class_of(data, "image") == "Pictures":
        options += ["--data.image.init_args.crop=32", "--data.image.init_args.resize=36"]
    if _class_of(data, "text") == "SubwordTokens":
        options.append(f"--data.text.init_args.tokenizer={tiny_bert()}")
    if _class_of(model, "image_encoder") == "TimmEncoder":
        pictures = "--model.init_args.image_encoder.init_args"
        options += [f"{pictures}.model=test_resnet", f"{pictures}.model_args={{}}", f"{pictures}.weights=none"]
    if _class_of(model, "text_encoder") == "TextTransformer":
        options.append(f"--model.init_args.text_encoder.init_args.model={tiny_bert()}")
    if "components" in model:  # no more than there are words
        options.append(f"--model.init_args.components={min(model['components'], 10)}")
    if _class_of(model, "critic") == "DotProductCritic":
        options.append("--model.init_args.critic.init_args.units=64")
    return options


def _class_of(settings: dict[str, Any], key: str) -> str | None:
    """Class that a setting names; None where it is absent, or a word such as `tfidf`."""
    value = settings.get(key)
    return value["class_path"] if isinstance(value, dict) else None


def build(experiment: Path, run_dir: Path, options: Sequence[str] = ()) -> Built:
    return Built(["fit", f"--config={experiment}", f"--run_dir={run_dir}", *tiny(experiment), *options])


def trainer(**settings: Any) -> pl.Trainer:
    """A trainer that neither speaks nor writes nor measures."""
    quiet = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "limit_val_batches": 0,
    }
    return pl.Trainer(**{**quiet, **settings})


def sgd(lr: float) -> Callable[..., torch.optim.Optimizer]:
    return lambda parameters: torch.optim.SGD(parameters, lr=lr)


def without_dropout(model: nn.Module) -> None:
    """Make a model deterministic in training."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, nn.RNNBase):
            module.dropout = 0.0


_TOY = """\
# python -m cmr_lightning fit --config toy.yaml
model:
  class_path: DAML
  init_args:
    dim: 8
    image_encoder: {class_path: FeatureMLP, init_args: {hidden: [16], dropout: 0.1}}
    text_encoder:
      class_path: FeatureMLP
      init_args: {hidden: [16], dropout: "${model.init_args.image_encoder.init_args.dropout}"}
    alignment: {class_path: ModalityAdversary}
    generator_optimizer: {class_path: Adam, init_args: {lr: 1.0e-2}}
data: {class_path: tests.toy.Toy}
trainer: {max_epochs: 2, log_every_n_steps: 4, accelerator: cpu}
"""


def write_toy(path: Path) -> Path:
    """Write an experiment that runs in a second: DAML on the toy data, six updates an epoch."""
    path.write_text(_TOY)
    return path
