"""ACMR: adversarial cross-modal retrieval.

Wang, Yang, Xu, Hanjalic, Shen, "Adversarial Cross-Modal Retrieval", ACM Multimedia 2017, DOI
10.1145/3123266.3123326.

Objective, v and t the embeddings of n images and their texts, y their classes, p a linear softmax classifier shared by
the modalities, D the modality classifier's probability of an image:

    label        -1/n Σ_i log p(v_i)[y_i] + log p(t_i)[y_i]
    pair         1/n Σ_i ||v_i - t_i|| + lam mean_k [mu - ||v_i - t_k||]₊     k of other classes
                 + the same with the roles of v and t exchanged
    alignment    1/2n Σ_i log D(v_i) + log(1 - D(t_i))        by `ModalityAdversary`

    generator:      min  beta label + alpha pair + alignment
    discriminator:  min  -1/2n Σ_i log D(v_i) + log(1 - D(t_i))

Where this differs from the paper. The paper's: the three terms and what each is made of, unsquared distances in
`pair`, a small lam, the generator playing against the classifier's loss. Ours:

- an image's positive is its own text, and its negatives k are all items of other classes in the batch, averaged;
- means over the batch, and the 1/2 before the adversary's loss: with the default weights 1, the paper's balance of
  `label`, `pair` and adversary is one of many that `weights` can express;
- mu, alpha and beta, which differ from data set to data set;
- one update of each player in turn, where the paper updates the generator several times to one of the discriminator;
- the ramp of the adversary's weight is that of the authors' code. The paper's regulariser Σ ||W||² is
  `generator_optimizer.weight_decay`.

Where the public code differs from the paper; none of it is repeated here. Its adversary never reaches the encoders:
the gradient reversal stands before the discriminator, but of the two optimizers that run, the discriminator's alone
minimises the domain loss, and the third, which would carry the reversed gradient on, is made and never run. No
optimizer that runs holds the label classifier, so that labels act through a random matrix. Its hinge is taken of sums
over the batch, not per triplet. Its negatives are mined by cosine in the input space. A variant's `similar` is one norm
over the whole batch, and its squared distances, made of sums in place of squared norms, can be negative. Batches come
in one fixed order, and in testing, too, an incomplete last batch is dropped: 640 of 693 Wikipedia items are measured.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from cmr_lightning.batch import Batch
from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.game.alignments import AlignmentFactory, ModalityAdversary
from cmr_lightning.losses import invariance_triplet, label_loss
from cmr_lightning.ranges import NonNegative
from cmr_lightning.retriever import Labelled, Retriever, sum_of


class ACMR(Retriever):
    """Label prediction and a triplet constraint across modalities against a modality classifier.

    Args:
        margin: mu >= 0, a distance of unscaled embeddings beyond which items of other classes do not count.
        negatives: lam >= 0, weight of the items of other classes within `pair`.
        alignment: Class and arguments of the adversary; None for none.
        **kwargs: Options of `Retriever`.
    """

    terms: ClassVar[Mapping[str, float]] = {"label": 1.0, "pair": 1.0}

    def __init__(
        self,
        margin: NonNegative = 1.0,
        negatives: NonNegative = 0.05,
        alignment: AlignmentFactory | None = ModalityAdversary,
        **kwargs: Any,
    ) -> None:
        super().__init__(alignment=alignment, **kwargs)
        self.margin = margin
        self.negatives = negatives
        self.classifier = nn.Linear(self.dim, self.spec.num_classes)

    def generator_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        """Compute the term `pair`."""
        return {"pair": invariance_triplet(*embeddings.pair, self.related(batch), self.margin, self.negatives)}

    def label_losses(self, images: Labelled, texts: Labelled) -> dict[str, Tensor]:
        """Compute the term `label`."""
        return {"label": sum_of(label_loss(self.classifier(m.points), m.label) for m in (images, texts))}
