import torch
from torch import nn

from cmr_lightning.batch import Features, Pixels, Tokens, Words
from cmr_lightning.encoders import BagOfWords, Thumbnail, fixed_view


def test_thumbnail_is_the_mean_colour_of_each_cell() -> None:
    pictures = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    seen = Thumbnail(cells=2)(pictures).view(2, 3, 2, 2)
    for row in range(2):
        for column in range(2):
            cell = pictures[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].float() / 255
            assert torch.allclose(seen[:, :, row, column], cell.mean((2, 3)))


def test_bag_of_words_tells_which_words_occur_and_no_more() -> None:
    ids = torch.tensor([[1, 5, 7, 5, 2], [1, 7, 2, 0, 0]])
    seen = BagOfWords(9)(Tokens(ids, ids != 0))
    assert seen.tolist() == [[0, 1, 0, 1, 0], [0, 0, 0, 1, 0]]  # words 4 to 8


def test_bag_of_words_does_not_see_what_is_masked() -> None:
    ids = torch.tensor([[1, 5, 2, 8, 8]])
    assert BagOfWords(9)(Tokens(ids, torch.tensor([[True, True, True, False, False]]))).tolist() == [[0, 1, 0, 0, 0]]


def test_view_and_its_size_fit_the_source() -> None:
    sources = {
        Pixels(20): torch.randint(0, 256, (2, 3, 20, 20), dtype=torch.uint8),
        Words(9, 5): Tokens(torch.ones(2, 5, dtype=torch.long), torch.ones(2, 5, dtype=torch.bool)),
        Features(7): torch.randn(2, 7),
    }
    for source, content in sources.items():
        view, size = fixed_view(source)
        assert view(content).shape == (2, size)
    assert isinstance(fixed_view(Features(7))[0], nn.Identity)
