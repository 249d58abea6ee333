from dataclasses import replace
from itertools import islice

import pytest
import torch

from cmr_lightning.batch import Tokens
from cmr_lightning.errors import UserError
from datamodules.reading.loaders import ItemLoader, PairLoader, Part, item_loaders

IMAGES, CAPTIONS = 11, 3
TEXTS = IMAGES * CAPTIONS


def features_part():
    """Image i is the vector (i, -i) with label i % 4; text p is the vector (p,) and belongs to image p // 3."""
    images = torch.arange(IMAGES)
    return Part(
        image=torch.stack([images, -images], 1).float(),
        text=torch.arange(TEXTS).float()[:, None],
        label=images % 4,
        owner=torch.arange(TEXTS) // CAPTIONS,
        image_names=tuple(f"image {i}" for i in range(IMAGES)),
        captions=("",) * TEXTS,
    )


def texts(batches):
    """Which texts each batch serves."""
    return [batch.text[:, 0].int().tolist() for batch in batches]


def flat(batches):
    return [number for batch in texts(batches) for number in batch]


@pytest.mark.parametrize("batch_size", [1, 4, 33])
def test_an_epoch_serves_no_pair_twice_and_drops_less_than_a_batch(batch_size):
    loader = PairLoader(features_part(), batch_size, seed=0)
    batches = list(loader)
    served = flat(batches)
    assert len(batches) == len(loader) == TEXTS // batch_size
    assert all(len(batch.image_id) == batch_size for batch in batches)
    assert len(set(served)) == len(served) == len(loader) * batch_size


def test_pairs_belong_together():
    ids = torch.arange(TEXTS)[:, None] + torch.arange(4)
    tokens = replace(features_part(), text=Tokens(ids, ids % 2 == 0))
    for batch, of_tokens in zip(*(PairLoader(part, 5, seed=0) for part in (features_part(), tokens)), strict=True):
        served = batch.text[:, 0].long()
        image_id = served // CAPTIONS
        assert torch.equal(batch.image_id, image_id)
        assert torch.equal(batch.image, torch.stack([image_id, -image_id], 1).float())
        assert torch.equal(batch.label, image_id % 4)
        assert torch.equal(of_tokens.text.ids, ids[served])
        assert torch.equal(of_tokens.text.mask, tokens.text.mask[served])


def test_order_is_a_function_of_seed_and_epoch_and_leaves_the_global_generator_alone():
    first, second = (PairLoader(features_part(), 4, seed=2**64 - 1) for _ in range(2))
    epochs = [texts(first) for _ in range(3)]
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    assert [texts(second) for _ in range(3)] == epochs
    assert torch.equal(torch.random.get_rng_state(), before)
    assert epochs[0] != epochs[1] != epochs[2]
    assert texts(PairLoader(features_part(), 4, seed=2**63)) != epochs[0]


@pytest.mark.parametrize("served", [0, 1, 3, 7])
@pytest.mark.parametrize("epoch", [0, 2])
def test_an_epoch_that_is_to_begin_or_was_stopped_goes_on_with_the_next_batch(epoch, served):
    whole = PairLoader(features_part(), 4, seed=5)
    epochs = [texts(whole) for _ in range(5)]

    stopped = PairLoader(features_part(), 4, seed=5)
    for _ in range(epoch):
        list(stopped)
    list(islice(stopped, served))
    resumed = PairLoader(features_part(), 4, seed=5)
    resumed.load_state_dict(stopped.state_dict())

    assert texts(resumed) == epochs[epoch][served:]
    assert [texts(resumed), texts(resumed)] == epochs[epoch + 1 : epoch + 3]


def test_an_epoch_of_which_no_more_is_asked_for_is_finished():
    whole, limited, resumed = (PairLoader(features_part(), 4, seed=5) for _ in range(3))
    limited.limit = resumed.limit = 2
    epochs = [texts(whole)[:2] for _ in range(2)]
    assert texts(limited) == epochs[0]
    resumed.load_state_dict(limited.state_dict())
    assert texts(resumed) == epochs[1]


@pytest.mark.parametrize("batch_size", [4, 2, 9])
def test_a_finished_epoch_is_not_served_again_in_batches_of_any_size(batch_size):
    finished, resumed = PairLoader(features_part(), 4, seed=5), PairLoader(features_part(), batch_size, seed=5)
    list(finished)
    resumed.load_state_dict(finished.state_dict())
    assert flat(resumed) == flat(finished)[: len(resumed) * batch_size]


@pytest.mark.parametrize("world_size", [2, 3])
def test_batches_of_several_processes_are_together_those_of_one(world_size):
    alone = PairLoader(features_part(), 2 * world_size, seed=6)
    together = [PairLoader(features_part(), 2, 6, rank, world_size) for rank in range(world_size)]
    for _ in range(2):
        shares = zip(*(texts(loader) for loader in together), strict=True)
        assert [[text for row in zip(*share, strict=True) for text in row] for share in shares] == texts(alone)


def test_a_stopped_epoch_goes_on_with_another_number_of_processes_but_not_with_other_batches():
    stopped = PairLoader(features_part(), 4, seed=5)
    list(islice(stopped, 3))
    assert stopped.state_dict() == {"epoch": 0, "position": 3, "pairs": 4}  # as older checkpoints hold it
    shared = PairLoader(features_part(), 2, seed=5, rank=1, world_size=2)
    shared.load_state_dict(stopped.state_dict())
    assert texts(shared) == [batch[1::2] for batch in texts(PairLoader(features_part(), 4, seed=5))[3:]]
    with pytest.raises(UserError, match=r"batches of 4 pairs, but data\.batch_size is 4 on 2 process"):
        PairLoader(features_part(), 4, seed=5, world_size=2).load_state_dict(stopped.state_dict())


@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_processes_share_items_without_padding(world_size):
    label = torch.arange(TEXTS) % 4
    loaders = [
        ItemLoader(features_part().text, label, torch.arange(TEXTS), 4, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    assert [len(loader) for loader in loaders] == [len(list(loader)) for loader in loaders]
    positions = torch.cat([batch.position for loader in loaders for batch in loader])
    assert torch.equal(positions, torch.arange(TEXTS))


def test_item_loaders_give_images_then_texts_each_once_in_order():
    part = features_part()
    images, captions = item_loaders(part, batch_size=10)
    expected = (part.image, part.label, torch.arange(IMAGES)), (part.text, part.label[part.owner], part.owner)
    for loader, tensors, sizes in zip((images, captions), expected, ([10, 1], [10, 10, 10, 3]), strict=True):
        batches = list(loader)
        assert [len(batch.position) for batch in batches] == sizes
        assert len(loader) == len(list(loader)) == len(sizes)
        served = [torch.cat(tensors) for tensors in list(zip(*batches, strict=True))[:4]]
        torch.testing.assert_close(served, [*tensors, torch.arange(sum(sizes))], rtol=0, atol=0)


def test_queries_and_gallery_of_a_part():
    everything = features_part()
    assert everything.asking("image").tolist() == everything.answering("image").tolist() == list(range(IMAGES))
    part = replace(everything, query=torch.arange(IMAGES) < 2)
    assert part.asking("image").tolist() == [0, 1]
    assert part.asking("text").tolist() == list(range(2 * CAPTIONS))
    assert part.answering("text").tolist() == list(range(2 * CAPTIONS, TEXTS))
