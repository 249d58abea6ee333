import torch

from tests.toy import Toy


def test_a_batch_is_moved_only_where_it_is_not_yet() -> None:
    data = Toy()
    batch = next(iter(data.train_dataloader()))
    assert data.transfer_batch_to_device(batch, torch.device("cpu"), 0) is batch
    moved = data.transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert type(moved) is type(batch)
    assert {tensor.device.type for tensor in moved} == {"meta"}
