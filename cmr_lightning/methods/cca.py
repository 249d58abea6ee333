"""Canonical correlation analysis, in closed form.

Hotelling, "Relations between two sets of variates", Biometrika 28, 1936, DOI 10.1093/biomet/28.3-4.321; as a baseline
of cross-modal retrieval: Rasiwasia et al., "A new approach to cross-modal multimedia retrieval", ACM MM 2010, DOI
10.1145/1873951.1873987.

Objective, for n centred pairs with images X `(n, p)` and texts Y `(n, q)`:

    S_xx = X'X / n + r tr(X'X / n) / p I        S_yy likewise        S_xy = X'Y / n
    M = S_xx^(-1/2) S_xy S_yy^(-1/2) = U diag(s) V'
    image -> (x - mean) S_xx^(-1/2) U_d         text -> (y - mean) S_yy^(-1/2) V_d

Where this differs from the paper: the ridge r is ours. It is needed where features are linearly dependent (topic
posteriors sum to one, so S_yy is singular), and it is scale-free: a share of the mean variance.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cmr_lightning.batch import DataSpec, Features, Pairs, Text
from cmr_lightning.closed_form import ClosedForm
from cmr_lightning.errors import UserError


class CCA(ClosedForm):
    """Linear maps under which paired images and texts correlate most.

    Args:
        spec: What the model knows of the data; both modalities must come as feature vectors.
        components: Size d of the common space, at most the smaller number of features.
        ridge: Regularisation r, a share of the mean variance of the features.

    Raises:
        UserError: If a modality is not given by feature vectors, or there are fewer features than components.
    """

    image_mean: Tensor
    text_mean: Tensor
    image_map: Tensor
    text_map: Tensor
    correlations: Tensor

    def __init__(self, spec: DataSpec, components: int = 7, ridge: float = 1e-3) -> None:
        super().__init__(spec)
        if not (isinstance(spec.image, Features) and isinstance(spec.text, Features)):
            raise UserError(f"CCA needs feature vectors, but the data set serves {spec.image} and {spec.text}.")
        if components > min(spec.image.size, spec.text.size):
            raise UserError(
                f"model.components is {components}, more than the {min(spec.image.size, spec.text.size)} features of "
                f"the smaller modality."
            )
        self.ridge = ridge
        for modality, size in (("image", spec.image.size), ("text", spec.text.size)):
            self.register_buffer(f"{modality}_mean", torch.zeros(size, dtype=torch.float64))
            self.register_buffer(f"{modality}_map", torch.zeros(size, components, dtype=torch.float64))
        self.register_buffer("correlations", torch.zeros(components, dtype=torch.float64))

    def solve(self, pairs: Pairs) -> None:
        """Fit means and maps, in float64."""
        assert isinstance(pairs.text, Tensor)
        images, texts = pairs.image.double(), pairs.text.double()
        components = len(self.correlations)
        self.image_mean.copy_(images.mean(0))
        self.text_mean.copy_(texts.mean(0))
        images, texts = images - images.mean(0), texts - texts.mean(0)
        whiten_images, whiten_texts = whitening(images, self.ridge), whitening(texts, self.ridge)
        left, singular, right = torch.linalg.svd(
            whiten_images @ (images.T @ texts / len(images)) @ whiten_texts, full_matrices=False
        )
        self.image_map.copy_(whiten_images @ left[:, :components])
        self.text_map.copy_(whiten_texts @ right[:components].T)
        self.correlations.copy_(singular[:components])

    def embed_images(self, images: Tensor) -> Tensor:
        """Feature vectors `(N, p)` to canonical components `(N, d)`."""
        return (images.double() - self.image_mean) @ self.image_map

    def embed_texts(self, texts: Text) -> Tensor:
        """Feature vectors `(N, q)` to canonical components `(N, d)`."""
        assert isinstance(texts, Tensor)
        return (texts.double() - self.text_mean) @ self.text_map


def whitening(centred: Tensor, ridge: float) -> Tensor:
    """Inverse square root of the regularised covariance of centred rows `(n, p)`, as `(p, p)`."""
    covariance = centred.T @ centred / len(centred)
    covariance += ridge * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=covariance.dtype)
    values, vectors = torch.linalg.eigh(covariance)
    return vectors @ torch.diag(values.rsqrt()) @ vectors.T
