"""Loading a trained model from what `fit` wrote, without the data and without the network."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from cmr_lightning.batch import DataSpec
from cmr_lightning.embedding_model import EmbeddingModel
from cmr_lightning.errors import UserError
from cmr_lightning.experiment import build_data, build_model
from cmr_lightning.extract.extract_features import named_device
from cmr_lightning.model.known_classes import refuse_strangers
from cmr_lightning.model.readers import readers
from cmr_lightning.model.trained_model import Model
from cmr_lightning.runs.checkpoint_files import Trained, read_checkpoint
from cmr_lightning.runs.run import Run
from datamodules import CrossModalData, TrainedOn


def load(
    source: str | Path,
    device: str = "cpu",
    precision: str | int | None = None,
    trust: bool = False,
    image_weights: str | Path | None = None,
    text_weights: str | Path | None = None,
) -> Model:
    """Load a trained model.

    Its checkpoint has all that it needs: neither the data nor the network, nor the weights that its encoders started
    from. Only a model on stored features needs the weights of the encoder that made these, and looks for them when it
    is first given a picture or a text.

    Args:
        source: Folder of a run, of which the best checkpoint is taken, or a checkpoint.
        device: `cpu`, `cuda`, `cuda:1` and so on; `auto` for a GPU if there is one.
        precision: Type of the numbers that the model computes with, as Lightning names them; None for that of the
            training.
        trust: Whether the checkpoint may name classes of other packages, which are imported: your own, for example.
        image_weights: File or folder with weights of the encoder of stored picture features; None for where timm keeps
            them.
        text_weights: Folder with the encoder of stored text features and its tokenizer; None for their names on the
            hub.

    Raises:
        UserError: If there is no such model, its checkpoint is damaged, names classes of other packages or was written
            by an earlier version, or this machine does not have the device.
    """
    path = find_checkpoint(Path(source))
    content = read_checkpoint(path)
    trained = Trained.of(path, content)
    if "protocol" not in content:
        raise UserError(f"{path} was written by an earlier version; train again.")
    config = trained.config
    if not trust:
        refuse_strangers([config["model"], config["data"]], path)
    trained_on = TrainedOn.from_plain(trained.trained_on)
    place = named_device(device)
    data = build_data(config["data"])
    return Model(
        build_trained(config, content, trained_on.spec),
        readers(data, trained_on, place, image_weights, text_weights),
        trained_on,
        content["protocol"],
        place,
        config["trainer"]["precision"] if precision is None else precision,
        data.eval_batch_size,
        str(source),
    )


def trained_data(source: str | Path, trust: bool = False) -> CrossModalData:
    """Return the data set that a model was trained on, with the words and whatever else it had learned.

    Args:
        source: Folder of a run, or a checkpoint.
        trust: As for `load`.

    Raises:
        UserError: As for `load`, or if the data set has changed since in what the model reads.
    """
    trained = Trained.read(find_checkpoint(Path(source)))
    if not trust:
        refuse_strangers(trained.config["data"], trained.path)
    data = build_data(trained.config["data"])
    data.restore(TrainedOn.from_plain(trained.trained_on).learned)
    return data


def find_checkpoint(source: Path) -> Path:
    """Find the checkpoint of a run's folder, or return that which `source` is.

    Raises:
        UserError: If `source` is neither.
    """
    source = source.expanduser()
    run = Run(source)
    if source.is_file():
        return source
    if run.best.is_file():
        return run.best
    if run.started:
        raise UserError(f"The run {source} has no {run.best.relative_to(source)} yet; let `fit` reach a validation.")
    raise UserError(f"{source} is neither the folder of a run nor a checkpoint.")


def build_trained(config: dict[str, Any], content: dict[str, Any], spec: DataSpec) -> EmbeddingModel:
    """Build the model of a resolved config, without the files that its encoders started from, with its weights."""
    settings = deepcopy(config["model"])
    for name, arguments in content.get("encoders", {}).items():
        if arguments:
            settings["init_args"][name].setdefault("init_args", {}).update(arguments)
    if "compile" in settings.get("init_args", {}):
        settings["init_args"]["compile"] = None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config["seed_everything"])  # embeddings of `Random` follow from it
        module = build_model(settings, spec)
    module.on_load_checkpoint(content)
    module.load_state_dict(content["state_dict"])
    return module
