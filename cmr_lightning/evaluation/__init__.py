"""Ranks, protocols, metrics and records: how a method is measured.

The names below are loaded when they are first asked for: protocols and records are read by commands that should not
wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cmr_lightning.evaluation.measurement import Measurement as Measurement
    from cmr_lightning.evaluation.measurement import measure as measure
    from cmr_lightning.evaluation.measurement import measure_composed as measure_composed
    from cmr_lightning.evaluation.metrics import chance as chance
    from cmr_lightning.evaluation.metrics import per_query as per_query
    from cmr_lightning.evaluation.metrics import score as score
    from cmr_lightning.evaluation.protocols import CLASS_LEVEL as CLASS_LEVEL
    from cmr_lightning.evaluation.protocols import COMPOSED_CAPTION as COMPOSED_CAPTION
    from cmr_lightning.evaluation.protocols import COMPOSED_TARGET as COMPOSED_TARGET
    from cmr_lightning.evaluation.protocols import CXC as CXC
    from cmr_lightning.evaluation.protocols import ECCV as ECCV
    from cmr_lightning.evaluation.protocols import FIVE_FOLD as FIVE_FOLD
    from cmr_lightning.evaluation.protocols import INSTANCE_LEVEL as INSTANCE_LEVEL
    from cmr_lightning.evaluation.protocols import Protocol as Protocol
    from cmr_lightning.evaluation.ranks import Ranks as Ranks
    from cmr_lightning.evaluation.ranks import chance_ranks as chance_ranks
    from cmr_lightning.evaluation.ranks import load_ranks as load_ranks
    from cmr_lightning.evaluation.ranks import rank as rank
    from cmr_lightning.evaluation.ranks import save_ranks as save_ranks
    from cmr_lightning.evaluation.ranks import top as top
    from cmr_lightning.evaluation.records import Record as Record
    from cmr_lightning.evaluation.relevance import Compositions as Compositions
    from cmr_lightning.evaluation.relevance import Judgements as Judgements
    from cmr_lightning.evaluation.relevance import Positives as Positives
    from cmr_lightning.evaluation.relevance import Relevance as Relevance

_MODULES = {
    "measurement": ("Measurement", "measure", "measure_composed"),
    "metrics": ("chance", "per_query", "score"),
    "protocols": (
        "CLASS_LEVEL",
        "COMPOSED_CAPTION",
        "COMPOSED_TARGET",
        "CXC",
        "ECCV",
        "FIVE_FOLD",
        "INSTANCE_LEVEL",
        "Protocol",
    ),
    "ranks": ("Ranks", "chance_ranks", "load_ranks", "rank", "save_ranks", "top"),
    "records": ("Record",),
    "relevance": ("Compositions", "Judgements", "Positives", "Relevance"),
}


def __getattr__(name: str) -> object:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
