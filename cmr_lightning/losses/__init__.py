"""Loss terms: pure functions of tensors, each a scalar to be minimised with a weight >= 0.

A term that is meant to hurt a discriminator already carries its sign. Every term computes in float32 at least, also
under autocast, and stays finite for half-precision inputs.
"""

from cmr_lightning.losses.acmr import invariance_triplet
from cmr_lightning.losses.composed import batch_classification, soft_triplet
from cmr_lightning.losses.contrastive import info_nce
from cmr_lightning.losses.label import label_calibration, label_loss
from cmr_lightning.losses.likelihood import label_regression, pair_distance, pairwise_likelihood
from cmr_lightning.losses.metric import cross_difference, inter_class, intra_class, paired_difference
from cmr_lightning.losses.modality import AdversarialMode, adversarial_modality, binary_entropy, modality_loss
from cmr_lightning.losses.mutual_information import (
    Estimator,
    donsker_varadhan,
    jensen_shannon,
    mutual_information,
    noise_contrastive,
)
from cmr_lightning.losses.projection import cross_modal_projection, projection_classification
from cmr_lightning.losses.relations import same_class, same_image
from cmr_lightning.losses.rotation import adversarial_rotation, rotation_loss
from cmr_lightning.losses.triplet import Mining, Reduction, bidirectional_triplet

__all__ = [
    "AdversarialMode",
    "Estimator",
    "Mining",
    "Reduction",
    "adversarial_modality",
    "adversarial_rotation",
    "batch_classification",
    "bidirectional_triplet",
    "binary_entropy",
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
    "soft_triplet",
]
