"""Options of commands that use a trained model."""

import argparse

from cmr_lightning.model.loading import load
from cmr_lightning.model.trained_model import Model


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add what `load` takes."""
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, or auto for a GPU if there is one")
    parser.add_argument("--image-weights", metavar="PATH", help="weights of the encoder of stored picture features")
    parser.add_argument("--text-weights", metavar="PATH", help="folder with the encoder of stored text features")
    parser.add_argument("--trust", action="store_true", help="the checkpoint may name classes of other packages")


def load_model(source: str, options: argparse.Namespace) -> Model:
    """Load the model that a command line names.

    Raises:
        UserError: If it cannot be loaded.
    """
    return load(
        source,
        device=options.device,
        trust=options.trust,
        image_weights=options.image_weights,
        text_weights=options.text_weights,
    )
