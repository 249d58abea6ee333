"""The states of all random generators of a process, as tensors."""

import json
import random
from typing import Any

import numpy as np
import torch
from torch import Tensor


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return the states of torch on the CPU and on the device, of Python and of NumPy."""
    kind, key, *rest = np.random.get_state(legacy=True)  # noqa: NPY002  (what libraries draw from)
    states = {
        "cpu": torch.get_rng_state(),
        "python": _encoded(random.getstate()),
        "numpy": _encoded([kind, np.asarray(key).tolist(), *rest]),
    }
    if device.type != "cpu":
        states[device.type] = torch.get_device_module(device).get_rng_state()  # of the current device, Lightning's
    return states


def set_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    """Restore the states that `random_state` returned; a checkpoint of another kind of device lacks that of this one.

    Examples:
        >>> cpu = torch.device("cpu")
        >>> state, drawn = random_state(cpu), random.random()
        >>> set_random_state(state, cpu)
        >>> random.random() == drawn
        True
    """
    torch.set_rng_state(state["cpu"].cpu())
    version, internal, gauss = _decoded(state["python"])
    random.setstate((version, tuple(internal), gauss))
    kind, key, *rest = _decoded(state["numpy"])
    np.random.set_state((kind, np.array(key, dtype=np.uint32), *rest))  # noqa: NPY002
    if device.type != "cpu" and device.type in state:
        torch.get_device_module(device).set_rng_state(state[device.type].cpu())


def _encoded(state: Any) -> Tensor:
    return torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)


def _decoded(state: Tensor) -> Any:
    return json.loads(bytes(state.tolist()))
