"""Retrievers with critics: they raise the mutual information of what they make, beside a loss of their own."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from cmr_lightning.discriminators import Critic, DotProductCritic
from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.encoders import TimmEncoder, with_maps
from cmr_lightning.losses import Estimator, mutual_information
from cmr_lightning.ranges import CountFromZero
from cmr_lightning.retriever import Retriever


class InformedRetriever(Retriever):
    """A retriever with critics, each of which tells how much a vector knows of another vector or of a feature map.

    A method inherits from it first, and then from the method of the loss beside which it stands. A critic is there only
    where its term has a weight, and has the term's name.

    Args:
        critic: Class and arguments of all critics.
        estimator: Estimator of mutual information: `jsd`, `nce` or `dv`.
        level: The low-level map of the image encoder, by timm's number: 1 to 4 are `layer1` to `layer4` of a ResNet.
        **kwargs: Options of `Retriever`.

    Raises:
        UserError: If a term of the map has a weight and the image encoder makes no feature maps.
    """

    informed: ClassVar[Mapping[str, tuple[str, str]]]
    """The two tensors of `Embeddings` that the critic of each term compares; the second may be `map`."""

    def __init__(
        self, critic: Critic = DotProductCritic, estimator: Estimator = "jsd", level: CountFromZero = 2, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.estimator: Estimator = estimator
        self.level = level
        for term in self.informed:
            self.add_module(term, critic(self.dim, self._size(term)) if self.weights[term] != 0 else None)

    def _size(self, term: str) -> int:
        return self.mapped_encoder.channels(self.level) if self.informed[term][1] == "map" else self.dim

    @property
    def mapped_encoder(self) -> TimmEncoder:
        """The image encoder; UserError if it makes no feature maps."""
        (term,) = (term for term, (_, of) in self.informed.items() if of == "map")
        need = f"{type(self).__name__}'s term {term} needs a"
        remedy = f"set model.weights.{term} to 0, or model.image_encoder to TimmEncoder with a CNN"
        return with_maps(self.image_encoder, need, remedy)

    def critics(self) -> dict[str, nn.Module]:
        """Return the critics by the terms that have a weight."""
        found = {term: getattr(self, term) for term in self.informed}
        return {term: critic for term, critic in found.items() if critic is not None}

    def information(self, embeddings: Embeddings, negatives: Tensor) -> dict[str, Tensor]:
        """Compute the terms that have a weight; `negatives` `(N, N)` marks the pairs that do not belong together."""
        tensors, losses = embeddings.tensors(), {}
        for term, critic in self.critics().items():
            first, second = self.informed[term]
            losses[term] = mutual_information(critic(tensors[first], tensors[second]), negatives, self.estimator)
        return losses

    def after_gathering(self) -> list[nn.Module]:
        """List the discriminator and the critics."""
        return [*super().after_gathering(), *self.critics().values()]
