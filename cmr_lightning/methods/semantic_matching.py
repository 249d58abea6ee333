"""Semantic matching, in closed form: the class posteriors of each modality are its embeddings.

Rasiwasia, Costa Pereira, Coviello, Doyle, Lanckriet, Levy, Vasconcelos, "A new approach to cross-modal multimedia
retrieval", ACM Multimedia 2010, DOI 10.1145/1873951.1873987; there called SM.

Objective, for each modality by itself, n items x with classes y, W and b its own:

    min  -1/n Σ_i log p(x_i)[y_i] + ||W||² / 2nC        p(x) = softmax(W x + b)
    image or text -> p(x)

Images and texts are compared by the angle between their posteriors. No pair is ever looked at: what the modalities have
in common are the names of the classes.

Where this differs from the paper. The paper's: multi-class logistic regression for each modality, posteriors as the
common space. Ours: the strengths of regularisation, which features are standardised, the cosine (the paper compares
several distances). Where items have several labels, each class has a logistic regression of its own against all other
items, and p(x) holds its probability for each class; these do not sum to one. Pictures and words, where a data set
serves them in place of features, are seen as colours of a coarse grid and as sets of words.
"""

import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from cmr_lightning.batch import Batch, DataSpec, Text
from cmr_lightning.closed_form import ClosedForm
from cmr_lightning.encoders import fixed_view
from cmr_lightning.errors import UserError
from cmr_lightning.ranges import Count, Positive


class SemanticMatching(ClosedForm):
    """Class posteriors of logistic regression on each modality.

    Args:
        spec: What the model knows of the data.
        image_c: C > 0 of the images, the inverse of the regularisation.
        text_c: C > 0 of the texts.
        standardize_images: Bring image features to mean 0 and variance 1 first.
        standardize_texts: The same for texts; not for tf-idf, where it magnifies the rarest words.
        max_iter: Most iterations of the solver, L-BFGS.

    Raises:
        UserError: If some class has no training image, or all of them.
    """

    image_weight: Tensor
    image_bias: Tensor
    text_weight: Tensor
    text_bias: Tensor

    def __init__(
        self,
        spec: DataSpec,
        image_c: Positive = 1.0,
        text_c: Positive = 1.0,
        standardize_images: bool = True,
        standardize_texts: bool = False,
        max_iter: Count = 1000,
    ) -> None:
        super().__init__(spec)
        if not all(0 < count < spec.num_images for count in spec.class_counts):
            raise UserError(
                "SemanticMatching needs training items with and without each class, but some class has none or all of "
                "them; choose another split, or check the labels."
            )
        self.image_c, self.text_c = image_c, text_c
        self.standardize_images, self.standardize_texts = standardize_images, standardize_texts
        self.max_iter = max_iter
        self.image_view, image_size = fixed_view(spec.image)
        self.text_view, text_size = fixed_view(spec.text)
        for modality, size in (("image", image_size), ("text", text_size)):
            self.register_buffer(f"{modality}_weight", torch.zeros(spec.num_classes, size, dtype=torch.float64))
            self.register_buffer(f"{modality}_bias", torch.zeros(spec.num_classes, dtype=torch.float64))

    def solve(self, pairs: Batch) -> None:
        """Fit both regressions, in float64."""
        for modality, features, c, standardize in (
            ("image", self.image_view(pairs.image), self.image_c, self.standardize_images),
            ("text", self.text_view(pairs.text), self.text_c, self.standardize_texts),
        ):
            try:
                weight, bias = regress(features.double().numpy(), pairs.label.numpy(), c, standardize, self.max_iter)
            except ConvergenceWarning as warning:
                raise UserError(
                    f"The logistic regression of the {modality}s did not converge in {self.max_iter} iterations; raise "
                    f"model.max_iter, or lower model.{modality}_c."
                ) from warning
            self.get_buffer(f"{modality}_weight").copy_(torch.from_numpy(weight))
            self.get_buffer(f"{modality}_bias").copy_(torch.from_numpy(bias))

    def embed_images(self, images: Tensor) -> Tensor:
        """Embed images by their class posteriors `(N, C)`."""
        return self._posteriors(self.image_view(images).double() @ self.image_weight.T + self.image_bias)

    def embed_texts(self, texts: Text) -> Tensor:
        """Embed texts by their class posteriors `(N, C)`."""
        return self._posteriors(self.text_view(texts).double() @ self.text_weight.T + self.text_bias)

    def _posteriors(self, logits: Tensor) -> Tensor:
        return logits.sigmoid() if self.spec.multi_label else logits.softmax(dim=1)


def regress(
    features: np.ndarray, label: np.ndarray, c: float, standardize: bool, max_iter: int
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a logistic regression of class indices `(n,)`, or multi-hot labels `(n, C)`, on features `(n, D)`.

    Returns:
        Weights `(C, D)` and biases `(C,)` for features as they come, also where `standardize` scales them for the fit.

    Raises:
        ConvergenceWarning: If `max_iter` iterations were not enough.
    """
    scaler = StandardScaler(with_mean=standardize, with_std=standardize).fit(features)
    inputs = scaler.transform(features)
    targets = [label] if label.ndim == 1 else list(label.T)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        fits = [LogisticRegression(C=c, max_iter=max_iter).fit(inputs, target) for target in targets]
    weight = np.concatenate([fit.coef_ for fit in fits])
    bias = np.concatenate([fit.intercept_ for fit in fits])
    if label.ndim == 1 and len(weight) == 1:  # two classes: scikit-learn has one logit, which softmax compares with 0
        weight, bias = np.concatenate([0 * weight, weight]), np.concatenate([0 * bias, bias])
    if standardize:
        weight = weight / scaler.scale_
        bias = bias - weight @ scaler.mean_
    return weight, bias
