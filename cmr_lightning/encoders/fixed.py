"""Fixed views of pictures and words as vectors, for methods that are linear in their input."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmr_lightning.batch import Input, Pixels, Tokens, Words

_CELLS = 12  # along each side of a picture
_SPECIAL_TOKENS = 4  # padding, start, end and unknown are no words of the text


class Thumbnail(nn.Module):
    """A picture as the mean colours of a grid of `cells` x `cells`."""

    def __init__(self, cells: int = _CELLS) -> None:
        super().__init__()
        self.cells = cells

    def forward(self, pictures: Tensor) -> Tensor:
        """Average pictures `(N, 3, H, W)`, uint8, to colours `(N, 3 cells cells)`, 0 to 1."""
        return F.adaptive_avg_pool2d(pictures.float() / 255, self.cells).flatten(1)


class BagOfWords(nn.Module):
    """A text as the set of its words, of `vocabulary` token ids V.

    Examples:
        >>> ids = torch.tensor([[1, 5, 7, 5, 2]])
        >>> BagOfWords(vocabulary=9)(Tokens(ids, mask=ids > 0))
        tensor([[0., 1., 0., 1., 0.]])
    """

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary

    def forward(self, tokens: Tokens) -> Tensor:
        """Turn tokens `(N, L)` into `(N, V - 4)`: 1 where a word occurs, 0 elsewhere."""
        present = torch.zeros(len(tokens.ids), self.vocabulary, device=tokens.ids.device)
        return present.scatter(1, tokens.ids.masked_fill(~tokens.mask, 0), 1.0)[:, _SPECIAL_TOKENS:]


def fixed_view(source: Input) -> tuple[nn.Module, int]:
    """Make the view that turns `source` into vectors, and say their size; feature vectors stay as they are."""
    if isinstance(source, Pixels):
        return Thumbnail(), 3 * _CELLS**2
    if isinstance(source, Words):
        return BagOfWords(source.vocabulary), source.vocabulary - _SPECIAL_TOKENS
    return nn.Identity(), source.size
