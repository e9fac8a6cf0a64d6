"""Terms of a world model's loss beside energy and guard, each by its weight."""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from openjepa.config import Config
from openjepa.nets.dynamics.mlp import Inverse


class Terms(Config):
    """Weights of the terms; 0 leaves one out."""

    similarity: float = Field(0.0, ge=0)
    """Weight of the mean squared difference of consecutive states (PLDM, EB-JEPA): what changes slowly is kept."""
    inverse: float = Field(0.0, ge=0)
    """Weight of the mean squared error in telling the action from two consecutive states, in z-scores: what the agent
    controls is kept. Without it slow features win that need no action (EB-JEPA: 1 % success in place of 97 %)."""
    inverse_hidden: int = Field(256, ge=1, le=65_536)
    """Width of the inverse model's hidden layers."""
    inverse_layers: int = Field(2, ge=0, le=64)
    """Hidden layers of the inverse model (EB-JEPA: 2, PLDM: 1). With none what the agent moves must lie in the states
    linearly, and a predictor has little to do but where something is in the way."""
    motion: float = Field(0.0, ge=0)
    """Weight of a hinge at 1 on the standard deviation over time of each feature in each window, from the second frame
    on (PLDM's `std_t`)."""

    @property
    def weighty(self) -> bool:
        """Whether any term counts."""
        return max(self.similarity, self.inverse, self.motion) > 0

    def build(self, shape: tuple[int, ...], condition_dim: int) -> "TermsOf":
        """The module for states of this shape and actions of `condition_dim` numbers."""
        return TermsOf(self, shape, condition_dim)


class TermsOf(nn.Module):
    """`(states [B, T, *L], actions [B, T-1, A'])` to the weighted sum and the terms by name, detached."""

    def __init__(self, config: Terms, shape: tuple[int, ...], condition_dim: int) -> None:
        super().__init__()
        self.config = config
        self.inverse = (
            Inverse(shape, config.inverse_hidden, config.inverse_layers, condition_dim)
            if config.inverse
            else None
        )

    def forward(self, states: Tensor, actions: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        config, terms = self.config, {}
        if config.similarity:
            terms["similarity"] = (states[:, 1:] - states[:, :-1]).square().mean()
        if self.inverse is not None:
            terms["inverse"] = F.mse_loss(self.inverse(states[:, :-1], states[:, 1:]), actions)
        if config.motion:
            later = states[:, 1:].flatten(2).float()
            terms["motion"] = F.relu(1 - (later.var(1) + 1e-4).sqrt()).mean()
        total = torch.zeros((), device=states.device)
        for name, value in terms.items():
            total = total + getattr(config, name) * value
        return total, {name: value.detach() for name, value in terms.items()}
