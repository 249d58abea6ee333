"""DAML: deep adversarial metric learning for cross-modal retrieval.

Xu, He, Lu, Gao, Ji, "Deep adversarial metric learning for cross-modal retrieval", World Wide Web 22, 2019, DOI
10.1007/s11280-018-0541-x. Not to be confused with Duan et al., "Deep Adversarial Metric Learning", CVPR 2018, which
makes hard negatives within one modality.

Objective, f the embeddings of one modality m in {v, t}, d² the squared distance, D the modality classifier:

    intra        Σ_m mean_ij P_ij d²(f_i, f_j)             P: i and j of the same class
    inter        Σ_m mean_ij Q_ij [mu - d²(f_i, f_j)]₊     Q: of different classes
    pair         1/n Σ_i ||v_i - t_i||²
    label        cross-entropy of a linear classifier shared by the modalities, on both
    alignment    1/2n Σ_i log D(v_i) + log(1 - D(t_i))     by `ModalityAdversary`

    generator:      min  intra + alpha inter + beta pair + label' label + lambda alignment
    discriminator:  min  -1/2n Σ_i log D(v_i) + log(1 - D(t_i))

Where this differs from the paper: the paper says which terms there are, small intra-class and large inter-class
variation, a small difference of the modalities of a pair, an adversarial regulariser; no code of it is public. All
else is our choice: all pairs of a batch where deep coupled metric learning (Liong et al. 2017), on which the metric
part is modelled, takes the k nearest (`neighbours`); the hinge of `inter` (`margin: null` is the unbounded -d²);
embeddings scaled to length 1 inside the metric terms; every weight. The paper's regulariser Σ ||W||² is
`generator_optimizer.weight_decay`. `label` is not in its abstract and weighs 0 by default, but 1 in the experiments,
whose scores rest on it: benchmarks run DAML once with it and once without (`no_label`).
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from cmr_lightning.batch import Batch
from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.game.alignments import AlignmentFactory, ModalityAdversary
from cmr_lightning.losses import cross_difference, inter_class, intra_class, label_loss, paired_difference
from cmr_lightning.ranges import Count, SquaredMargin
from cmr_lightning.retriever import Labelled, Retriever, sum_of


class DAML(Retriever):
    """Metric learning within and between modalities against a modality classifier.

    Args:
        margin: mu, a squared distance in 0 to 4 beyond which other classes do not count; null for the unbounded form.
        neighbours: Nearest items of the own and of other classes that count; null for all of the batch.
        pairing: The texts to which `pair` draws an image: its own, or all of its class.
        alignment: Class and arguments of the adversary; None for none.
        **kwargs: Options of `Retriever`.
    """

    terms: ClassVar[Mapping[str, float]] = {"intra": 1.0, "inter": 1.0, "pair": 1.0, "label": 0.0}

    def __init__(
        self,
        margin: SquaredMargin | None = 1.0,
        neighbours: Count | None = None,
        pairing: Literal["own", "class"] = "own",
        alignment: AlignmentFactory | None = ModalityAdversary,
        **kwargs: Any,
    ) -> None:
        super().__init__(alignment=alignment, **kwargs)
        self.margin = margin
        self.neighbours = neighbours
        self.pairing = pairing
        self.classifier = nn.Linear(self.dim, self.spec.num_classes)

    def generator_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        """Compute the term `pair`."""
        if self.pairing == "own":
            return {"pair": paired_difference(*embeddings.pair)}
        return {"pair": cross_difference(*embeddings.pair, self.related(batch))}

    def label_losses(self, images: Labelled, texts: Labelled) -> dict[str, Tensor]:
        """Compute `intra`, `inter` and `label`, each the sum over the modalities."""
        both = (images, texts)
        return {
            "intra": sum_of(intra_class(m.points, m.same, self.neighbours) for m in both),
            "inter": sum_of(inter_class(m.points, m.same, self.margin, self.neighbours) for m in both),
            "label": sum_of(label_loss(self.classifier(m.points), m.label) for m in both),
        }
