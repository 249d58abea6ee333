"""Peak memory of a run."""

import re
import resource
import sys
from collections.abc import Mapping
from pathlib import Path

_STATUS = Path("/proc/self/status")
_MIB = 1024**2


def peak_memory() -> dict[str, int]:
    """Measure the most memory, in MiB, that this process has held so far.

    It is `process_mib`, its resident set without that of loading workers, and where a GPU was used also `gpu_mib`, what
    tensors took on the fullest one (`torch.cuda.max_memory_allocated`).
    """
    import torch  # here, so that records are read without waiting for it

    found = {"process_mib": _resident() // _MIB}
    if torch.cuda.is_initialized():
        gpus = range(torch.cuda.device_count())
        found["gpu_mib"] = max(torch.cuda.max_memory_allocated(gpu) for gpu in gpus) // _MIB
    return found


def larger(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """Take the larger of each of two peaks.

    Examples:
        >>> larger({"process_mib": 5}, {"process_mib": 3, "gpu_mib": 1})
        {'process_mib': 5, 'gpu_mib': 1}
    """
    return {key: max(one.get(key, 0), other.get(key, 0)) for key in {**one, **other}}


def _resident() -> int:
    """Find the largest resident set, in bytes."""
    # what `getrusage` reports on Linux begins with the peak of the process that started this one
    if _STATUS.exists() and (line := re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text())):
        return int(line[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
