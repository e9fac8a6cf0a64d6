"""From `s_x` and a condition to `ŝ_y`."""

from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
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


class Convolutional(Choice):
    """Convolutions over the grid of tokens, a mask token in each hidden place; all blocks in one pass (CNN-JEPA)."""

    kind: Literal["convolutional"] = "convolutional"
    width: int = Field(128, ge=8, le=65_536)
    depth: int = Field(3, ge=1, le=256)
    """Blocks: a depthwise convolution, a layer norm and an MLP, with a residual."""
    kernel: int = Field(5, ge=1, le=255)
    """Side in tokens of the depthwise convolutions, odd."""
    mlp_ratio: float = Field(2.0, gt=0)
    """Hidden width of the MLP over width."""
    position_scale: float = Field(1.0, ge=0)
    """Factor on the fixed positions, which are added where `condition` is `positions`."""

    @model_validator(mode="after")
    def _odd(self) -> "Convolutional":
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, so that the map keeps its size: use {self.kernel + 1}")
        return self

    def build(self, width: int, grid: tuple[int, int], condition: str) -> "MapPredictor":
        return MapPredictor(self, width, grid, condition)


Predictor = Annotated[Narrow | Convolutional | Identity, Field(discriminator="kind")]


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
        positions = view.tokens.positions if view.place is None else view.place
        positions = rescale(positions, view.tokens.grid, self.trained_grid)
        embedded = sincos(positions, self.config.width) * self.config.position_scale
        return embedded if index is None else gather(embedded, index)


class MapPredictor(nn.Module):
    """`s_x [B, K, D]`, where it was kept, where to predict: `[B, M, T, D]`."""

    def __init__(self, config: Convolutional, width: int, grid: tuple[int, int], condition: str) -> None:
        super().__init__()
        require_room(config.width, len(grid))
        self.config, self.trained_grid, self.condition = config, grid, condition
        self.enter = nn.Linear(width, config.width)
        self.mask_token = nn.Parameter(torch.zeros(config.width))
        self.blocks = nn.Sequential(
            *(MapBlock(config.width, config.kernel, config.mlp_ratio) for _ in range(config.depth))
        )
        self.norm = nn.LayerNorm(config.width)
        self.leave = nn.Linear(config.width, width)
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(self, s_x: Tensor, context: View, target: View) -> Tensor:
        tokens = context.tokens
        assert tokens.grid is not None
        x = self.enter(s_x)
        if context.keep is not None and s_x.shape[1] != _count(context):
            filled = self.mask_token.to(x.dtype).expand(len(x), _count(context), -1)
            x = filled.scatter(1, context.keep.unsqueeze(-1).expand_as(x), x)
        if self.condition == "positions":
            where = rescale(tokens.positions, tokens.grid, self.trained_grid)
            x = x + sincos(where, self.config.width) * self.config.position_scale
        x = self.blocks(x.unflatten(1, tokens.grid)).flatten(1, 2)
        x = x.unsqueeze(1) if target.select is None else gather(x, target.select)
        return self.leave(self.norm(x))


class MapBlock(nn.Module):
    """`x + mlp(norm(depthwise(x)))`, `[B, h, w, D]` (ConvNeXt's block, arXiv:2201.03545)."""

    def __init__(self, width: int, kernel: int, mlp_ratio: float) -> None:
        super().__init__()
        hidden = round(width * mlp_ratio)
        self.depthwise = nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width)
        self.depthwise.to(memory_format=torch.channels_last)
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.depthwise(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x + self.mlp(self.norm(mixed))


class IdentityPredictor(nn.Module):
    def forward(self, s_x: Tensor, context: View, target: View) -> Tensor:
        return s_x.unsqueeze(1)


def _count(view: View) -> int:
    return view.tokens.values.shape[1]
