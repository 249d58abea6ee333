"""Ranks, protocols, metrics and records: how a method is measured."""

# ruff: noqa: F401 (the public names of this folder)

from importlib import import_module
from typing import TYPE_CHECKING

from cmr_lightning.evaluation.protocols import (
    CLASS_LEVEL,
    COMPOSED_CAPTION,
    COMPOSED_TARGET,
    CXC,
    ECCV,
    FIVE_FOLD,
    INSTANCE_LEVEL,
    LABELLED_PAIRS,
    Protocol,
)
from cmr_lightning.evaluation.records import Record

if TYPE_CHECKING:
    from cmr_lightning.evaluation.measurement import Measurement, measure, measure_composed
    from cmr_lightning.evaluation.metrics import chance, per_query, score
    from cmr_lightning.evaluation.ranks import Ranks, chance_ranks, load_ranks, rank, ranking_as, save_ranks, top
    from cmr_lightning.evaluation.relevance import Compositions, Judgements, Positives, Relevance

_NEED_TORCH = ("measurement", "metrics", "ranks", "relevance")


def __getattr__(name: str) -> object:
    """Import what needs torch when it is first used: commands that only read records should not wait for torch."""
    modules = [] if name.startswith("__") else [import_module(f"{__name__}.{file}") for file in _NEED_TORCH]
    for module in modules:
        found = vars(module).get(name)
        if getattr(found, "__module__", None) == module.__name__:
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
