"""Fusion: an image and a text that says what to change in it become one query.

The forms of Vo et al., "Composing Text and Image for Image Retrieval - An Empirical Odyssey" (TIRG), CVPR 2019, arXiv
1812.07119, in its code.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from cmr_lightning.encoders.images import with_maps
from cmr_lightning.ranges import Checked, Probability, Width


class Fusion(Checked, nn.Module, ABC):
    """Makes a query of an image and a text.

    Args:
        dim: Size D of the common space, in which images and texts arrive.
        encoder: The image encoder, for a fusion that changes its last feature map.
    """

    reads_image: ClassVar[bool] = True
    reads_text: ClassVar[bool] = True

    on_map: ClassVar[bool] = False
    """True for a fusion that changes the last map `(N, C, h, w)` of the image, which is pooled afterwards."""

    def __init__(self, dim: Width, encoder: nn.Module) -> None:
        super().__init__()
        del dim, encoder

    @abstractmethod
    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        """Fuse images `(N, D)` with texts `(N, D)` to queries `(N, D)`, or maps `(N, C, h, w)` with texts to maps."""


class ImageOnly(Fusion):
    """The image as it is. What a fusion must beat: the text does not matter."""

    reads_text = False

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        """Return the images `(N, D)`."""
        return image


class TextOnly(Fusion):
    """The text as it is. What a fusion must beat: the image does not matter."""

    reads_image = False

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        """Return the texts `(N, D)`."""
        return text


class Concatenation(Fusion):
    """Image and text side by side through two layers: BN, ReLU, 2D to 2D, BN, ReLU, dropout of `dropout`, 2D to D."""

    def __init__(self, dim: Width, encoder: nn.Module, dropout: Probability = 0.1) -> None:
        super().__init__(dim, encoder)
        both = 2 * dim
        self.layers = nn.Sequential(
            nn.BatchNorm1d(both),
            nn.ReLU(),
            nn.Linear(both, both),
            nn.BatchNorm1d(both),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(both, dim),
        )

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        """Fuse images and texts `(N, D)` to queries `(N, D)`."""
        return self.layers(torch.cat([image, text], dim=1))


class TIRGFusion(Fusion):
    """Text-image residual gating: the image through a gate, and what the text adds to it.

        query = a0 sigmoid(gate(x, t)) x + a1 residual(x, t)

    Both see [x; t] through a batch normalisation of their own and ReLU; `gate` is then one linear layer, `residual` two
    with ReLU between them. a0 and a1 are learned from 1 and 10.
    """

    def __init__(self, dim: Width, encoder: nn.Module) -> None:
        super().__init__(dim, encoder)
        both = 2 * dim
        self.gate = nn.Sequential(nn.BatchNorm1d(both), nn.ReLU(), nn.Linear(both, dim))
        self.residual = nn.Sequential(
            nn.BatchNorm1d(both), nn.ReLU(), nn.Linear(both, both), nn.ReLU(), nn.Linear(both, dim)
        )
        self.a = nn.Parameter(torch.tensor([1.0, 10.0]))

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        """Fuse images and texts `(N, D)` to queries `(N, D)`."""
        both = torch.cat([image, text], dim=1)
        return self.a[0] * self.gate(both).sigmoid() * image + self.a[1] * self.residual(both)


class TIRGLastMap(Fusion):
    """Text-image residual gating on the last feature map: what the text changes may depend on the place.

    As `TIRGFusion`, with x the map and t the text at each of its places; gate and residual are two 3x3 convolutions
    behind a batch normalisation, with ReLU between them.

    Raises:
        UserError: If the image encoder makes no feature maps.
    """

    on_map = True

    def __init__(self, dim: Width, encoder: nn.Module) -> None:
        super().__init__(dim, encoder)
        remedy = "choose TimmEncoder with a CNN, or TIRGFusion, which changes vectors"
        channels = with_maps(encoder, "TIRGLastMap changes the last", remedy).channels()
        both = channels + dim
        self.gate, self.residual = (
            nn.Sequential(
                nn.BatchNorm2d(both),
                nn.Conv2d(both, both, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(both, channels, 3, padding=1),
            )
            for _ in range(2)
        )
        self.a = nn.Parameter(torch.tensor([1.0, 10.0]))

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        """Fuse maps `(N, C, h, w)` and texts `(N, D)` to maps `(N, C, h, w)`."""
        both = torch.cat([image, text[:, :, None, None].expand(-1, -1, *image.shape[2:])], dim=1)
        return self.a[0] * self.gate(both).sigmoid() * image + self.a[1] * self.residual(both)
