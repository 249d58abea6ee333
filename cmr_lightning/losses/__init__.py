"""Loss terms: pure functions of tensors, each a scalar to be minimised with a weight >= 0.

A term that is meant to hurt a discriminator already carries its sign. Every term computes in float32 at least, also
under autocast, and stays finite for half-precision inputs. Embeddings are `(N, D)`, and row i of the images and row i
of the texts are a pair; relations are `(N, N)` bool, in which own pairs always match and are never negatives. Terms
that compare the modalities as a whole take images `(N, D)` and texts `(M, D)` in any order.
"""

from cmr_lightning.losses.adversarial import (
    AdversarialMode,
    adversarial_modality,
    adversarial_rotation,
    binary_entropy,
    modality_loss,
    rotation_loss,
)
from cmr_lightning.losses.centring import centring, class_centring
from cmr_lightning.losses.conditioning import class_product
from cmr_lightning.losses.contrastive import batch_classification, info_nce, pairwise_likelihood, soft_triplet
from cmr_lightning.losses.coral import coral
from cmr_lightning.losses.distances import cross_difference, inter_class, intra_class, pair_distance, paired_difference
from cmr_lightning.losses.gradient_penalty import unit_slope_penalty, zero_centred_penalty
from cmr_lightning.losses.hinge import Mining, Positives, Reduction, bidirectional_triplet, invariance_triplet
from cmr_lightning.losses.label import label_calibration, label_loss, label_regression
from cmr_lightning.losses.mmd import maximum_mean_discrepancy
from cmr_lightning.losses.mutual_information import (
    Estimator,
    donsker_varadhan,
    jensen_shannon,
    mutual_information,
    noise_contrastive,
)
from cmr_lightning.losses.projection import cross_modal_projection, projection_classification
from cmr_lightning.losses.relations import same_class, same_image
from cmr_lightning.losses.sinkhorn import sinkhorn_divergence

__all__ = [
    "AdversarialMode",
    "Estimator",
    "Mining",
    "Positives",
    "Reduction",
    "adversarial_modality",
    "adversarial_rotation",
    "batch_classification",
    "bidirectional_triplet",
    "binary_entropy",
    "centring",
    "class_centring",
    "class_product",
    "coral",
    "cross_difference",
    "cross_modal_projection",
    "donsker_varadhan",
    "info_nce",
    "inter_class",
    "intra_class",
    "invariance_triplet",
    "jensen_shannon",
    "label_calibration",
    "label_loss",
    "label_regression",
    "maximum_mean_discrepancy",
    "modality_loss",
    "mutual_information",
    "noise_contrastive",
    "pair_distance",
    "paired_difference",
    "pairwise_likelihood",
    "projection_classification",
    "rotation_loss",
    "same_class",
    "same_image",
    "sinkhorn_divergence",
    "soft_triplet",
    "unit_slope_penalty",
    "zero_centred_penalty",
]
