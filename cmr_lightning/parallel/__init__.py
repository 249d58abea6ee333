"""Several processes that train as one, and the precision of two players."""

# ruff: noqa: F401 (the public names of this folder)

from cmr_lightning.parallel.gathering import Processes, gather_batch, gather_objects, gather_rows
from cmr_lightning.parallel.strategy import TwoPlayerDDP
from cmr_lightning.parallel.two_player_precision import Player, TwoPlayerPrecision
