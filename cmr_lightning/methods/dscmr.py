"""DSCMR: deep supervised cross-modal retrieval.

Zhen, Hu, Wang, Peng, "Deep Supervised Cross-Modal Retrieval", CVPR 2019.

Embeddings of image x and text z, f and g encoders of one modality each, W and P linear layers shared by both:

    v = W relu(f(x))        t = W relu(g(z))

Objective, y the one-hot class, S_ij whether i and j are of the same class, theta half the cosine of two embeddings:

    label        1/n Σ_i ||P v_i - y_i|| + ||P t_i - y_i||                                J1
    likelihood   Σ over {vv, vt, tt} of 1/n² Σ_ij log(1 + e^theta_ij) - S_ij theta_ij     J2
    pair         1/n Σ_i ||v_i - t_i||                                                    J3

    generator:  min  label + lambda likelihood + mu pair

Where this differs from the paper. Its norms are the unsquared ones of the authors' code, as are the weights 1, 1e-3
and 1e-1, the layers that are shared, and the ReLU before the first of them; with `FeatureMLP` without hidden layers as
encoders, the network is that of the code. Ours: batches are shuffled, where the code reads the items sorted by class
and so sees two or three classes in a batch; the epoch is chosen on validation, where the code keeps the one that is
best on test; the y of an item with several labels is multi-hot.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn.functional import relu

from cmr_lightning.batch import Batch, Text, one_hot
from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.losses import label_regression, pair_distance, pairwise_likelihood
from cmr_lightning.ranges import Width
from cmr_lightning.retriever import ImageEncoder, Labelled, Retriever, TextEncoder, sum_of


class DSCMR(Retriever):
    """Supervision in the label space and in the common space, by layers that both modalities share.

    Args:
        image_encoder: Class and arguments of the image encoder f.
        text_encoder: Class and arguments of the text encoder g.
        dim: Size D of the common space.
        width: Size of what the encoders give, the input of the shared layer W.
        **kwargs: Options of `Retriever`.
    """

    terms: ClassVar[Mapping[str, float]] = {"label": 1.0, "likelihood": 1e-3, "pair": 1e-1}

    def __init__(
        self,
        image_encoder: ImageEncoder,
        text_encoder: TextEncoder,
        dim: Width = 1024,
        width: Width = 2048,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            image_encoder=lambda source, dim: image_encoder(source, width),  # whatever the size of the common space
            text_encoder=lambda source, dim: text_encoder(source, width),
            dim=dim,
            **kwargs,
        )
        self.common = nn.Linear(width, dim)
        self.classifier = nn.Linear(dim, self.spec.num_classes)

    def embed_images(self, images: Tensor) -> Tensor:
        """Embed images, as `Batch.image`, as points `(N, D)`."""
        return self.common(relu(self.image_encoder(images)))

    def embed_texts(self, texts: Text) -> Tensor:
        """Embed texts, as `Batch.text`, as points `(N, D)`."""
        return self.common(relu(self.text_encoder(texts)))

    def generator_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        """Compute the terms `likelihood` and `pair`."""
        return {
            "likelihood": pairwise_likelihood(*embeddings.pair, self.related(batch)),
            "pair": pair_distance(*embeddings.pair),
        }

    def label_losses(self, images: Labelled, texts: Labelled) -> dict[str, Tensor]:
        """Compute the term `label`."""
        hot = [one_hot(m.label, self.spec.num_classes) for m in (images, texts)]
        predicted = [self.classifier(m.points) for m in (images, texts)]
        return {"label": sum_of(map(label_regression, predicted, hot))}
