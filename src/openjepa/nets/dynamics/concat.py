"""DINO-WM's predictor: a causal transformer over patches, each with the action written beside its features."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from openjepa.config import Choice
from openjepa.nets.dynamics.base import Grid, Memory
from openjepa.nets.dynamics.causal import CausalDynamics, feed_forward
from openjepa.nets.transformer import Attention, KeysValues


class ConcatPredictor(Choice):
    """A transformer at the width of the features and what stands beside them, causal from frame to frame.

    Zhou et al., arXiv:2411.04983, section 3; sizes of the released `conf/predictor/vit.yaml`: 19 M parameters on DINOv2
    ViT-S/14. Every place of every frame has a learned position.
    """

    kind: Literal["concat"] = "concat"
    history: int = Field(3, ge=1, le=1024)
    """Frames that it looks back on, the newest included."""
    action: int = Field(10, ge=1, le=65_536)
    """Numbers of the action's embedding, a linear map, that stand beside every patch's features."""
    depth: int = Field(6, ge=1, le=256)
    heads: int = Field(16, ge=1, le=1024)
    head_width: int = Field(64, ge=1, le=4096)
    """Width of each head, whatever the states' width."""
    hidden: int = Field(2048, ge=1, le=65_536)
    """Hidden width of the MLP in every block."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout of attention weights, attention outputs and in the MLP."""

    def build(
        self, width: int, condition_dim: int, grid: Grid | None = None, head: nn.Module | None = None
    ) -> "ConcatDynamics":
        return ConcatDynamics(self, width, condition_dim, grid, head)


class PlainBlock(nn.Module):
    """`x + attention(norm(x))`, then `x + mlp(norm(x))`, with dropout; queries, keys and values without bias."""

    def __init__(self, config: ConcatPredictor, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, config.heads, config.head_width, False, config.dropout)
        self.dropout = nn.Dropout(config.dropout)
        self.mlp = feed_forward(width, config.hidden, config.dropout)

    def forward(self, x: Tensor, first: int, *, memory: KeysValues, mask: Tensor | None) -> Tensor:
        attended = self.attention(self.norm(x), first, memory=memory, mask=mask)
        x = x[:, first:] + self.dropout(attended)
        return x + self.mlp(x)


class ConcatDynamics(CausalDynamics):
    """States `[N, k, n, D]`, or `[N, k, D]` where there is no grid."""

    def __init__(
        self,
        config: ConcatPredictor,
        width: int,
        condition_dim: int,
        grid: Grid | None,
        head: nn.Module | None,
    ) -> None:
        tokens = 1 if grid is None else grid[0] * grid[1]
        super().__init__((width,) if grid is None else (tokens, width), condition_dim, config.history, head)
        self.tokens, wide = tokens, width + config.action
        self.tell = nn.Linear(condition_dim, config.action)
        self.positions = nn.Parameter(torch.randn(config.history, tokens, wide))
        self.blocks = nn.ModuleList(PlainBlock(config, wide) for _ in range(config.depth))
        self.norm = nn.LayerNorm(wide)

    def predict(self, states: Tensor, actions: Tensor, memory: Memory, newest: bool) -> Tensor:
        past, steps = memory.steps, states.shape[1]
        tokens = states.reshape(*states.shape[:2], self.tokens, -1)
        condition = self.tell(actions).unsqueeze(2).expand(-1, -1, self.tokens, -1)
        x = torch.cat([tokens, condition], -1) + self.positions[past : past + steps]
        x = self.attend(x, memory, newest)
        return self.norm(x)[..., : tokens.shape[-1]].reshape(len(states), -1, *states.shape[2:])
