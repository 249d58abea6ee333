"""Mixed fp16 precision for two players: a loss scaler for each."""

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

    Lightning shares one scaler between optimizers and lets every step change the scale, so that gradients which one
    player has accumulated would be unscaled by a factor that the other has changed meanwhile. Here the training step
    announces whose turn it is, and each player keeps a scale of its own. Gradients are unscaled before clipping for
    every optimizer, fused ones included.

    A loss or gradient that overflows costs its player that update, which `skipped` counts, and halves its scale.
    The device `cpu` is slow, and meant for tests.
    """

    def __init__(self, device: str = "cuda") -> None:
        players: tuple[Player, ...] = ("generator", "discriminator")
        self._scalers = {player: torch.amp.GradScaler(device) for player in players}
        super().__init__("16-mixed", device, scaler=self._scalers["generator"])
        self.skipped: Counter[Player] = Counter()
        self._turn: Player = "generator"

    def turn(self, player: Player) -> None:
        """Assign the following backward passes and steps to a player.

        Examples:
            >>> precision = TwoPlayerPrecision("cpu")
            >>> precision.turn("discriminator")
            >>> sorted(precision.state_dict())
            ['discriminator', 'generator', 'skipped']
        """
        self._turn = player
        self.scaler = self._scalers[player]

    def pre_backward(self, tensor: Tensor, module: pl.LightningModule) -> Tensor:  # type: ignore[override]
        """Scale the loss, or replace it by NaN if it overflowed, so that its gradients are not finite either."""
        return super().pre_backward(tensor * torch.where(tensor.isfinite(), 1.0, torch.nan), module)

    def optimizer_step(  # type: ignore[override]
        self, optimizer: Optimizer, model: pl.LightningModule, closure: Callable[[], Any], **kwargs: Any
    ) -> Any:
        """Unscale, let the hooks clip, step unless a gradient overflowed, and adapt this player's scale.

        Raises:
            UserError: If gradients are not finite at a scale of 1, which the range of fp16 does not explain.
        """
        scaler = self._scalers[self._turn]
        closure()
        scaler.unscale_(optimizer)
        self._after_closure(model, optimizer)
        result = scaler.step(optimizer, **kwargs)
        scale = scaler.get_scale()
        scaler.update()
        if scaler.get_scale() < scale:
            self.skipped[self._turn] += 1
        if scaler.get_scale() < 1:
            raise UserError(
                f"Training stopped, because the {self._turn}'s gradients went out of range {self.skipped[self._turn]} "
                f"times, and no scale helps; a smaller learning rate or trainer.precision=bf16-mixed usually does."
            )
        return result

    def state_dict(self) -> dict[str, Any]:
        """Return the states of both scalers, and the updates missed."""
        states: dict[str, Any] = {player: scaler.state_dict() for player, scaler in self._scalers.items()}
        return {**states, "skipped": dict(self.skipped)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore both scalers, and the updates missed."""
        for player, scaler in self._scalers.items():
            scaler.load_state_dict(state_dict[player])
        self.skipped = Counter(state_dict["skipped"])
