"""Macro-actions: many actions in a row as one short vector z, through a narrow channel.

Zhang et al., "Hierarchical Planning with Latent World Models" (HWM), 2026, arXiv:2604.03208.
"""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from openjepa.common.rng import Rng
from openjepa.config import Config, Width
from openjepa.errors import UserError
from openjepa.latents.base import Inferred
from openjepa.latents.capacity import KL, Capacity, Codes
from openjepa.nets.dynamics.mlp import perceptron


class MacroAction(Config):
    """An encoder of actions alone: no frame is seen, so that z can carry nothing of the future but what is done.

    HWM's released code has a layer norm at the end and no other limit, and a search finds macro-actions that no action
    corresponds to; here the capacity is limited as a latent action's, and what training inferred is kept as bounds.
    """

    width: int = Field(8, ge=1, le=65_536)
    """Z, numbers of z."""
    hidden: tuple[Width, ...] = Field((64, 64), max_length=64)
    capacity: Capacity = KL()
    kept: int = Field(1024, ge=2, le=1_000_000)
    """Inferred z that are kept, the last ones, for `MacroActions.space`."""
    outside: float = Field(0.02, ge=0, lt=0.5)
    """Share of the kept that lies beyond each bound (HWM: 2 %)."""

    def build(self, condition_dim: int) -> "MacroActions":
        """The encoder of blocks of `condition_dim` numbers."""
        return MacroActions(self, condition_dim)


class MacroActions(nn.Module):
    """z-scored blocks of actions `[..., condition_dim]` to z `[..., Z]`.

    Attributes:
        limit: the limit of their capacity.
    """

    seen: Tensor
    filled: Tensor

    def __init__(self, config: MacroAction, condition_dim: int) -> None:
        super().__init__()
        self.config = config
        self.limit = config.capacity.build(config.width)
        self.mlp = perceptron([condition_dim, *config.hidden, self.limit.inputs])
        self.register_buffer("seen", torch.zeros(config.kept, config.width))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))

    def forward(self, actions: Tensor, rng: Rng | None = None) -> Inferred:
        """z, and the price of its information; its mode without `rng`. In training the last ones are kept."""
        inferred = self.limit(self.mlp(actions), rng)
        if self.training:
            self._keep(inferred.z.detach().flatten(0, -2))
        return inferred

    @property
    def space(self) -> Any:
        """The space to plan in: a `worlds.Box` between percentiles of the kept; of a codebook, the count of codes.

        Raises:
            UserError: none was ever inferred.
        """
        if isinstance(self.limit, Codes):
            return len(self.limit.codes)
        from openjepa.worlds.actions import Box

        count = int(self.filled)
        if count == 0:
            raise UserError(
                "macro-actions are planned among those that training has seen, and there are none: train level 2"
            )
        share = torch.tensor([self.config.outside, 1 - self.config.outside], device=self.seen.device)
        low, high = self.seen[:count].quantile(share, 0).cpu().numpy()
        return Box(low, high)

    def decode(self, planned: Tensor) -> Tensor:
        """z of what was planned in `space`: `[..., Z]` itself, or one-hot choices of a code."""
        return planned @ self.limit.codes.detach() if isinstance(self.limit, Codes) else planned

    def penalty(self, planned: Tensor) -> Tensor:
        """How unexpected planned macro-actions are, as -log p up to a constant: `[...]`."""
        return self.limit.penalty(self.decode(planned))

    @torch.no_grad()
    def _keep(self, rows: Tensor) -> None:
        self.seen.copy_(torch.cat([rows, self.seen])[: len(self.seen)])
        self.filled.add_(len(rows)).clamp_(max=len(self.seen))
