from itertools import islice

import pytest
import torch

from cmr_lightning.errors import UserError
from datamodules.families.composed_data import ComposedLoader
from tests.toy import Toy, ToyComposed


def step_of(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (target - source).round(decimals=3)


def test_a_batch_holds_queries_with_their_own_targets() -> None:
    data = ToyComposed()
    part = data.part("train")
    steps = step_of(part.image[part.owner], part.image[part.target])
    of_text = {tuple(text): step for text, step in zip(part.text.tolist(), steps, strict=True)}
    batches = list(data.train_dataloader())
    for batch in batches:
        assert torch.equal(batch.image, part.image[batch.image_id])
        assert torch.equal(batch.label, part.label[batch.image_id])
        expected = torch.stack([of_text[tuple(text)] for text in batch.text.text.tolist()])
        assert torch.allclose(step_of(batch.text.source, batch.image), expected, atol=2e-3)
    assert len({i for batch in batches for i in batch.image_id.tolist()}) == 64  # four batches of 72, none twice


def test_targets_of_one_caption_share_their_id_where_captions_are_measured() -> None:
    data = ToyComposed(relevance="caption")
    part = data.part("train")
    batch = next(iter(data.train_dataloader()))
    rows = [(part.image == image).all(1).nonzero().item() for image in batch.image]
    assert batch.image_id.tolist() == [row // 2 for row in rows]


def test_each_epoch_draws_its_queries_the_same_after_a_resume() -> None:
    torch.manual_seed(0)
    loader = ToyComposed(drawn=True).train_dataloader()
    first, second = ([batch.image_id.tolist() for batch in loader] for _ in range(2))
    assert first != second
    assert len({i for batch in first for i in batch}) < 64  # drawn with replacement
    torch.manual_seed(0)
    stopped = ToyComposed(drawn=True).train_dataloader()
    list(stopped)
    started = [batch.image_id.tolist() for batch in islice(stopped, 2)]
    resumed = ToyComposed(drawn=True).train_dataloader()
    resumed.load_state_dict(stopped.state_dict())
    assert started + [batch.image_id.tolist() for batch in resumed] == second


def test_processes_share_an_epoch() -> None:
    data = ToyComposed(drawn=True)
    part = data.part("train")
    whole = ComposedLoader(part, data.epoch, "target", 8, seed=3)
    shares = [ComposedLoader(part, data.epoch, "target", 8, seed=3, rank=rank, world_size=2) for rank in range(2)]
    served = sorted(i for share in shares for batch in share for i in batch.image_id.tolist())
    assert served == sorted(i for batch in islice(whole, 8) for i in batch.image_id.tolist())


def test_evaluation_serves_every_image_and_every_query_once_with_its_source() -> None:
    data = ToyComposed()
    assert data.spec.relevance == "composed"
    data.eval_batch_size = 7
    part = data.part("val")
    images, queries = data.val_dataloader()
    assert torch.equal(torch.cat([items.content for items in images]), part.image)
    sources = torch.cat([items.content.source for items in queries])
    texts = torch.cat([items.content.text for items in queries])
    assert torch.equal(sources, part.image[part.owner])
    assert torch.equal(texts, part.text)
    assert torch.equal(torch.cat([items.image_id for items in queries]), part.owner)
    assert torch.equal(torch.cat([items.position for items in queries]), torch.arange(72))
    assert len(queries) == 11


def test_what_is_asked_for_is_part_of_the_checksum() -> None:
    other = ToyComposed()
    target = other.part("train").target
    target[:2] = target[:2].flip(0)
    assert ToyComposed().checksum() == ToyComposed().checksum() != other.checksum()


def test_a_query_for_its_own_source_is_refused() -> None:
    class Idle(ToyComposed):
        def read(self, part):
            found = super().read(part)
            found.target[5] = found.owner[5]
            return found

    with pytest.raises(UserError, match=r"Idle: 1 train queries ask for the very image .* 'step"):
        Idle().spec  # noqa: B018


def test_a_part_without_queries_is_a_fault_of_the_program() -> None:
    class Plain(ToyComposed):
        def read(self, part):
            return Toy().read(part)

    with pytest.raises(TypeError, match="Plain reads a Part, which has no composed queries"):
        Plain().part("train")


def test_batch_larger_than_an_epoch_is_refused() -> None:
    with pytest.raises(UserError, match="more than an epoch of ToyComposed has"):
        ToyComposed(batch_size=100).train_dataloader()
