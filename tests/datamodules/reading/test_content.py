import torch

from cmr_lightning.batch import Features, Pixels, Tokens
from datamodules.reading.content import Stored, fingerprints, form, size, take


class Doubled(Stored):
    """Stored items whose row r holds 2 r."""

    form = Features(3)

    def __len__(self):
        return 5

    def rows(self, index, generator=None):
        return (2.0 * index)[:, None].expand(-1, 3)

    def fingerprint(self):
        return "doubled"


ROWS = torch.tensor([3, 0, 3])


def test_rows_come_in_the_order_asked_for():
    vectors = torch.arange(10.0).view(5, 2)
    assert torch.equal(take(vectors, ROWS), vectors[[3, 0, 3]])
    tokens = Tokens(torch.arange(10).view(5, 2), torch.ones(5, 2, dtype=torch.bool))
    assert torch.equal(take(tokens, ROWS).ids, tokens.ids[[3, 0, 3]])
    assert take(Doubled(), ROWS)[:, 0].tolist() == [6, 0, 6]


def test_size_and_form():
    assert size(Doubled()) == size(torch.zeros(5, 2)) == 5
    assert form(Doubled()) == Features(3)
    assert form(torch.zeros(5, 2)) == Features(2)
    assert form(torch.zeros(5, 3, 8, 8, dtype=torch.uint8)) == Pixels(8)


def test_fingerprints_change_with_values_shapes_and_types():
    contents = [
        torch.zeros(4, 2),
        torch.zeros(2, 4),
        torch.ones(4, 2),
        torch.zeros(4, 2, dtype=torch.int32),
        Tokens(torch.zeros(4, 2, dtype=torch.int64), torch.ones(4, 2, dtype=torch.bool)),
        Doubled(),
    ]
    assert len({tuple(fingerprints(content)) for content in contents}) == len(contents)
    assert tuple(fingerprints(torch.zeros(4, 2))) == tuple(fingerprints(contents[0]))
