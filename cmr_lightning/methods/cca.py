"""Canonical correlation analysis, in closed form.

Hotelling, "Relations between two sets of variates", Biometrika 28, 1936, DOI 10.1093/biomet/28.3-4.321; as a baseline
of cross-modal retrieval: Rasiwasia et al., "A new approach to cross-modal multimedia retrieval", ACM MM 2010, DOI
10.1145/1873951.1873987.

Objective, for n centred pairs with images X `(n, p)` and texts Y `(n, q)`:

    S_xx = X'X / n + r tr(X'X / n) / p I        S_yy likewise        S_xy = X'Y / n
    M = S_xx^(-1/2) S_xy S_yy^(-1/2) = U diag(s) V'
    image -> (x - mean) S_xx^(-1/2) U_d         text -> (y - mean) S_yy^(-1/2) V_d

Where this differs from the paper: pictures and words, where a data set serves them in place of features, are seen as
colours of a coarse grid and as sets of words. The ridge r is ours. It is needed where features are linearly dependent
(topic posteriors sum to one, so S_yy is singular), and it is scale-free: a share of the mean variance.
"""

import torch
from torch import Tensor

from cmr_lightning.batch import Batch, DataSpec, Text
from cmr_lightning.closed_form import ClosedForm
from cmr_lightning.encoders import fixed_view
from cmr_lightning.errors import UserError
from cmr_lightning.ranges import NonNegative, Width


class CCA(ClosedForm):
    """Linear maps under which paired images and texts correlate most.

    Args:
        spec: What the model knows of the data.
        components: Size d of the common space, at most the smaller number of features.
        ridge: Regularisation r, a share of the mean variance of the features.

    Raises:
        UserError: If there are fewer features than components.
    """

    image_mean: Tensor
    text_mean: Tensor
    image_map: Tensor
    text_map: Tensor
    correlations: Tensor

    def __init__(self, spec: DataSpec, components: Width = 7, ridge: NonNegative = 1e-3) -> None:
        super().__init__(spec)
        self.image_view, image_size = fixed_view(spec.image)
        self.text_view, text_size = fixed_view(spec.text)
        if components > min(image_size, text_size):
            raise UserError(
                f"model.components is {components}, more than the {min(image_size, text_size)} features of the "
                f"smaller modality."
            )
        self.ridge = ridge
        for modality, size in (("image", image_size), ("text", text_size)):
            self.register_buffer(f"{modality}_mean", torch.zeros(size, dtype=torch.float64))
            self.register_buffer(f"{modality}_map", torch.zeros(size, components, dtype=torch.float64))
        self.register_buffer("correlations", torch.zeros(components, dtype=torch.float64))

    def solve(self, pairs: Batch) -> None:
        """Fit means and maps, in float64."""
        images, texts = self.image_view(pairs.image).double(), self.text_view(pairs.text).double()
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
        """Embed images by their canonical components `(N, d)`."""
        return (self.image_view(images).double() - self.image_mean) @ self.image_map

    def embed_texts(self, texts: Text) -> Tensor:
        """Embed texts by their canonical components `(N, d)`."""
        return (self.text_view(texts).double() - self.text_mean) @ self.text_map


def whitening(centred: Tensor, ridge: float) -> Tensor:
    """Compute the inverse square root `(p, p)` of the regularised covariance of centred rows `(n, p)`.

    Examples:
        >>> rows = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        >>> whitened = rows @ whitening(rows, ridge=0.0)
        >>> (whitened.T @ whitened / 4).round(decimals=4)
        tensor([[1., 0.],
                [0., 1.]])
    """
    covariance = centred.T @ centred / len(centred)
    covariance += ridge * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=covariance.dtype)
    values, vectors = torch.linalg.eigh(covariance)
    return vectors @ torch.diag(values.rsqrt()) @ vectors.T
