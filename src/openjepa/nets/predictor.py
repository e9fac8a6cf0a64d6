"""From `s_x` and a condition to `ŝ_y`."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from openjepa.config import Choice
from openjepa.jepa import View, gather
from openjepa.nets.positions import require_room, rescale, sincos
from openjepa.nets.transformer import Block, Placed, initialise


class Narrow(Placed):
    """A narrow transformer over context tokens and one mask token per hidden token (I-JEPA, V-JEPA)."""

    kind: Literal["transformer"] = "transformer"
    width: int = Field(384, ge=8, le=65_536)
    depth: int = Field(6, ge=1, le=256)
    joint: bool = False
    """False: once per target block, blocks unaware of one another (I-JEPA). True: all blocks in one sequence,
    V-JEPA's way and cheaper."""

    def build(self, width: int, grid: tuple[int, int], condition: str) -> "TokenPredictor":
        return TokenPredictor(self, width, grid, condition)


class Identity(Choice):
    """No predictor: `ŝ_y = s_x` (LeJEPA). Context and target must have equal tokens."""

    kind: Literal["none"] = "none"

    def build(self, width: int, grid: tuple[int, int], condition: str) -> "IdentityPredictor":
        return IdentityPredictor()


Predictor = Annotated[Narrow | Identity, Field(discriminator="kind")]


class TokenPredictor(nn.Module):
    """`s_x [B, K, D]`, where it was kept, where to predict: `[B, M, T, D]`."""

    def __init__(self, config: Narrow, width: int, grid: tuple[int, int], condition: str) -> None:
        super().__init__()
        require_room(config.width, len(grid))
        self.config, self.trained_grid, self.condition = config, grid, condition
        self.enter = nn.Linear(width, config.width)
        self.mask_token = nn.Parameter(torch.zeros(config.width))
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, config.mlp_ratio, config.norm_eps) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width, config.norm_eps)
        self.leave = nn.Linear(config.width, width)
        initialise(self, config.init)
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(self, s_x: Tensor, context: View, target: View) -> Tensor:
        known = self.enter(s_x) + self._where(
            context, context.keep if s_x.shape[1] != _count(context) else None
        )
        if target.select is None:
            place = self._where(target, None).unsqueeze(1).expand(len(s_x), 1, -1, -1)
        else:
            place = self._where(target, target.select)
        queries = place if self.condition == "positions" else torch.zeros_like(place)
        queries = self.mask_token + queries
        batch, blocks, hidden = queries.shape[:3]
        if self.config.joint:
            x = torch.cat([known, queries.flatten(1, 2)], 1)
        else:
            x = torch.cat([known.repeat_interleave(blocks, 0), queries.flatten(0, 1)], 1)
        *earlier, last = self.blocks
        for block in earlier:
            x = block(x)
        asked = last(x, known.shape[1])  # of the context nothing is wanted any more
        return self.leave(self.norm(asked)).view(batch, blocks, hidden, -1)

    def _where(self, view: View, index: Tensor | None) -> Tensor:
        positions = rescale(view.tokens.positions, view.tokens.grid, self.trained_grid)
        embedded = sincos(positions, self.config.width) * self.config.position_scale
        return embedded if index is None else gather(embedded, index)


class IdentityPredictor(nn.Module):
    def forward(self, s_x: Tensor, context: View, target: View) -> Tensor:
        return s_x.unsqueeze(1)


def _count(view: View) -> int:
    return view.tokens.values.shape[1]
