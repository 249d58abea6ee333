"""Mixed fp16 precision for two players: a loss scaler for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import MixedPrecision
from torch import Tensor
from torch.optim import Optimizer

from cmr_lightning.errors import UserError

Player = Literal["generator", "discriminator"]


class TwoPlayerPrecision(MixedPrecision):
    """`16-mixed` with one gradient scaler per player.

    Lightning shares one scaler between optimizers and lets every step change the scale, so gradients that one player
    has accumulated would be un-scaled by a factor that the other player has changed meanwhile. Here the retriever says
    whose turn it is, and each player keeps a scale of its own. Gradients are un-scaled before clipping for every
    optimizer, fused ones included.

    A loss or gradient that overflows costs its player that update and halves its scale; the game goes on. A player
    whose scale has come down to less than 1 has another trouble than the short range of fp16.

    Args:
        device: Type of the device, `cuda` (or `cpu`, where it is slow and meant for tests).

    Attributes:
        skipped: Updates that each player has missed.
    """

    def __init__(self, device: str = "cuda") -> None:
        self._scalers = {p: torch.amp.GradScaler(device) for p in ("generator", "discriminator")}
        super().__init__("16-mixed", device, scaler=self._scalers["generator"])
        self.skipped: Counter[Player] = Counter()
        self._turn: Player = "generator"

    def turn(self, player: Player) -> None:
        """From now on backward passes and steps are `player`'s."""
        self._turn = player
        self.scaler = self._scalers[player]

    def pre_backward(self, tensor: Tensor, module: pl.LightningModule) -> Tensor:  # type: ignore[override]
        """Scale, and let a loss that overflowed show in every gradient, as it may not by itself."""
        return super().pre_backward(tensor * torch.where(tensor.isfinite(), 1.0, torch.nan), module)

    def optimizer_step(  # type: ignore[override]
        self, optimizer: Optimizer, model: pl.LightningModule, closure: Callable[[], Any], **kwargs: Any
    ) -> Any:
        """Un-scale, let the hooks clip, step unless a gradient overflowed, and adapt this player's scale."""
        assert self.scaler is not None
        closure()
        self.scaler.unscale_(optimizer)
        self._after_closure(model, optimizer)
        result = self.scaler.step(optimizer, **kwargs)
        scale = self.scaler.get_scale()
        self.scaler.update()
        if self.scaler.get_scale() < scale:
            self.skipped[self._turn] += 1
        if self.scaler.get_scale() < 1:
            raise UserError(
                f"Training stopped, because the {self._turn}'s gradients went out of range {self.skipped[self._turn]} "
                f"times, and no scale helps; a smaller learning rate or trainer.precision=bf16-mixed usually does."
            )
        return result

    def state_dict(self) -> dict[str, Any]:
        """Both scalers, and what was missed."""
        states: dict[str, Any] = {player: scaler.state_dict() for player, scaler in self._scalers.items()}
        return {**states, "skipped": dict(self.skipped)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Both scalers, and what was missed."""
        for player, scaler in self._scalers.items():
            scaler.load_state_dict(state_dict[player])
        self.skipped = Counter(state_dict["skipped"])
