import threading

import pytest
import torch

from cmr_lightning.batch import Features, Pixels, Tokens
from datamodules.content import Stored, ahead, fingerprints, form, size, take


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


def test_batches_read_ahead_come_in_order():
    assert list(ahead(lambda number: number * 10, range(7))) == [0, 10, 20, 30, 40, 50, 60]
    assert list(ahead(lambda number: number, [])) == []


def test_no_more_is_read_than_asked_for_and_the_depth():
    read = []
    batches = ahead(lambda number: read.append(number) or number, range(100), depth=2)
    assert next(batches) == 0
    assert next(batches) == 1
    batches.close()
    assert len(read) <= 4


def test_reading_stops_when_the_loop_is_left():
    threads = threading.active_count()
    for number in ahead(lambda number: number, range(1000)):
        if number == 3:
            break
    del number
    assert threading.active_count() == threads


def test_reading_stops_when_the_loop_fails():
    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        for _ in ahead(lambda number: number, range(1000)):
            raise KeyboardInterrupt
    assert threading.active_count() == threads


def test_an_error_comes_at_its_batch():
    def read(number):
        if number == 2:
            raise ValueError("batch 2")
        return number

    seen = []
    with pytest.raises(ValueError, match="batch 2"):
        seen.extend(ahead(read, range(5)))
    batches = ahead(read, range(5))
    assert [next(batches), next(batches)] == [0, 1]
    with pytest.raises(ValueError, match="batch 2"):
        next(batches)
