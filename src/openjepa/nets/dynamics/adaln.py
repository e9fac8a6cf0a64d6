"""LeWM's predictor: a causal transformer over frames, every block steered by the actions (AdaLN-zero)."""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from openjepa.config import Choice
from openjepa.nets.dynamics.actions import ActionEncoder, Smoothed
from openjepa.nets.dynamics.base import Grid, Memory
from openjepa.nets.dynamics.causal import CausalDynamics, feed_forward
from openjepa.nets.transformer import Attention, KeysValues


class AdaLN(Choice):
    """A causal transformer at the width of the states, on one vector a frame (LeWM) or on a frame's patch tokens.

    Maes et al., arXiv:2603.19312; sizes of the released `lewm.yaml`. Every frame has learned positions, and the action
    that follows it shifts, scales and gates its tokens in every block; the gates begin at 0, the block as the identity.
    """

    kind: Literal["adaln"] = "adaln"
    history: int = Field(3, ge=1, le=1024)
    """Frames that it looks back on, the newest included."""
    depth: int = Field(6, ge=1, le=256)
    heads: int = Field(16, ge=1, le=1024)
    head_width: int = Field(64, ge=1, le=4096)
    """Width of each head, whatever the states' width."""
    hidden: int = Field(2048, ge=1, le=65_536)
    """Hidden width of the MLP in every block."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout of attention weights, attention outputs and in the MLP; 0.1 matters (the paper: 96 % against 78 %
    without)."""
    residual: bool = False
    """Whether what the head gives is the change of the newest state (the paper: the state itself). Then what stays as
    it is need not be learned, and long rollouts keep it."""
    actions: ActionEncoder = Smoothed()

    def build(
        self, width: int, condition_dim: int, grid: Grid | None = None, head: nn.Module | None = None
    ) -> "AdaLNDynamics":
        return AdaLNDynamics(self, width, condition_dim, grid, head)


class AdaLNBlock(nn.Module):
    """`x + gate * attention(steered norm(x))`, then the same with the MLP.

    The norm that is steered is followed by another with parameters, as in the released code.
    """

    def __init__(self, config: AdaLN, width: int, condition_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, 1e-6, elementwise_affine=False)
        self.steer = nn.Linear(condition_dim, 6 * width)
        nn.init.zeros_(self.steer.weight)
        nn.init.zeros_(self.steer.bias)
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, config.heads, config.head_width, False, config.dropout)
        self.dropout = nn.Dropout(config.dropout)
        self.mlp = feed_forward(width, config.hidden, config.dropout)

    def forward(
        self, x: Tensor, first: int, *, condition: Tensor, memory: KeysValues, mask: Tensor | None
    ) -> Tensor:
        """Tokens `[N, k * n, D]` and the condition `[N, k, C]` of their k steps give the tokens from number `first`
        on."""
        steering = self.steer(F.silu(condition)).repeat_interleave(x.shape[1] // condition.shape[1], 1)
        shift, scale, *later = steering.chunk(6, -1)
        steered = self.attention_norm(self.norm(x) * (1 + scale) + shift)
        gate1, shift, scale, gate2 = (part[:, first:] for part in later)
        x = x[:, first:] + gate1 * self.dropout(self.attention(steered, first, memory=memory, mask=mask))
        return x + gate2 * self.mlp(self.norm(x) * (1 + scale) + shift)


class AdaLNDynamics(CausalDynamics):
    """States `[N, k, D]`, or tokens `[N, k, n, D]` where there is a grid."""

    def __init__(
        self, config: AdaLN, width: int, condition_dim: int, grid: Grid | None, head: nn.Module | None
    ) -> None:
        tokens = 1 if grid is None else grid[0] * grid[1]
        super().__init__((width,) if grid is None else (tokens, width), condition_dim, config.history, head)
        self.tokens, self.residual = tokens, config.residual
        self.positions = nn.Parameter(torch.randn(config.history, self.tokens, width))
        self.actions = config.actions.build(condition_dim, width)
        condition_dim = config.actions.out(condition_dim, width)
        self.blocks = nn.ModuleList(AdaLNBlock(config, width, condition_dim) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)

    def extend(self, states: Tensor, actions: Tensor, memory: Memory, newest: bool = False) -> Tensor:
        found = super().extend(states, actions, memory, newest)
        return found + states[:, -found.shape[1] :] if self.residual else found

    def predict(self, states: Tensor, actions: Tensor, memory: Memory, newest: bool) -> Tensor:
        past, steps = memory.steps, states.shape[1]
        tokens = states.view(*states.shape[:2], self.tokens, -1)
        x = tokens + self.positions[past : past + steps]
        x = self.attend(x, memory, newest, condition=self.actions(actions))
        return self.norm(x).view(len(states), -1, *states.shape[2:])
