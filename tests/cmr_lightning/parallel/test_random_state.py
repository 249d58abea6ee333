import random

import numpy as np
import pytest
import torch

from cmr_lightning.parallel.random_state import random_state, set_random_state


def draw() -> tuple[float, ...]:
    return torch.rand(1).item(), random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn()  # noqa: NPY002


def test_goes_on_where_it_was_asked() -> None:
    draw()
    state = random_state(torch.device("cpu"))
    drawn = draw()
    set_random_state(state, torch.device("cpu"))
    assert draw() == drawn


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_device_goes_on_too(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    device, state = torch.device(kind), torch.tensor([1, 2, 3], dtype=torch.uint8)
    given: list[torch.Tensor] = []
    monkeypatch.setattr(f"torch.{kind}.get_rng_state", lambda *_: state)
    monkeypatch.setattr(f"torch.{kind}.set_rng_state", lambda state, *_: given.append(state))
    set_random_state(random_state(device), device)
    assert given == [state]
    set_random_state(random_state(torch.device("cpu")), device)  # of a checkpoint that another device wrote
    assert given == [state]
