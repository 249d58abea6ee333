"""What a validation shows of a game: figures of items that trained nobody."""

from typing import Any

import torch
from torch import Tensor

from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.evaluation.game_state import figures_of, state_of
from cmr_lightning.game.game_log import NO_GAME
from cmr_lightning.game.probe import drawn_pairs, probe
from cmr_lightning.game.turns import TwoPlayerModel
from cmr_lightning.losses import maximum_mean_discrepancy
from cmr_lightning.losses.arithmetic import unit
from cmr_lightning.parallel.gathering import gather_rows


def held_out_figures(model: TwoPlayerModel) -> dict[str, Any]:
    """Measure the game on what the model embedded in its last validation, by the names of `AdversarialDiagnostics`.

    There is none where the validation part has fewer than two pairs.
    """
    pairs, label = _validation_pairs(model)
    if len(label) < 2:
        return {}
    images, texts = pairs.pair
    as_trained = Embeddings(images.to(model.dtype), texts.to(model.dtype))  # where all is in half precision
    directions = unit(images), unit(texts)
    figures = {
        **NO_GAME,
        **{name: value.item() for name, value in model.discriminator_state(as_trained, (label, label)).items()},
        "mode": model.adversarial_mode,
        "probe_accuracy": probe(torch.stack(directions, dim=1)),
        "probe_accuracy_raw": probe(torch.stack([images, texts], dim=1)),
        "gradient_share": model.game.share("alignment"),
        "modality_gap": modality_gap(pairs).item(),
        "mmd": maximum_mean_discrepancy(*directions, unbiased=True).item(),
        "length_ratio": length_ratio(pairs).item(),
        "items": len(label),
    }
    figures["state"] = state_of(figures_of(figures))
    for term, game in model.own_games().items():
        points, logits = gather_rows([game.points, game.logits]) if model.trainer.world_size > 1 else game[:2]
        views = points.shape[1]
        right = logits.argmax(-1) == torch.arange(views, device=logits.device)
        told = {"accuracy": right.float().mean().item(), "probe_accuracy": probe(unit(points))}
        figures |= {f"{term}_{name}": value for name, value in {**told, "views": views, "mode": game.mode}.items()}
        figures[f"{term}_share"] = model.game.share(term)
        figures[f"{term}_state"] = state_of(figures_of(figures, term))
    return figures


def _validation_pairs(model: TwoPlayerModel) -> tuple[Embeddings, Tensor]:
    """Return images of the validation part, each with one of its texts, or with a query that it answers, and labels."""
    part = model.trainer.datamodule.part("val")  # type: ignore[attr-defined]
    images, texts = drawn_pairs(part.target if model.spec.relevance == "composed" else part.owner)
    if model.embedded is None:
        raise TypeError(f"{type(model).__name__} was not validated.")
    of_images, of_texts = model.embedded.pair
    pairs = Embeddings(of_images[images.to(of_images.device)], of_texts[texts.to(of_texts.device)])
    return pairs, part.label[images].to(of_images.device)


def modality_gap(embeddings: Embeddings) -> Tensor:
    """Compute the distance of the centroids of images and texts after scaling each item to length 1, 0 to 2.

    Examples:
        >>> modality_gap(Embeddings(torch.tensor([[3.0, 0.0]]), torch.tensor([[-1.0, 0.0]])))
        tensor(2.)
    """
    images, texts = (torch.nn.functional.normalize(e.float(), dim=1).mean(0) for e in embeddings.pair)
    return (images - texts).norm()


def length_ratio(embeddings: Embeddings) -> Tensor:
    """Compute the mean length of images over that of texts.

    Examples:
        >>> length_ratio(Embeddings(torch.tensor([[3.0, 4.0]]), torch.tensor([[2.0, 0.0], [0.0, 3.0]])))
        tensor(2.)
    """
    images, texts = (points.float().norm(dim=1).mean() for points in embeddings.pair)
    return images / texts.clamp(min=torch.finfo(torch.float32).tiny)
