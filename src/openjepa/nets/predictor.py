"""From `s_x` and a condition to `ŝ_y`.

All are built alike, `config.build(ports)`, into a network from a context's features and the pair to predictions.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from openjepa.config import Choice, OneOf
from openjepa.jepa import Pair, Tokens, View, gather
from openjepa.nets.modalities import Kinds
from openjepa.nets.positions import (
    PositionsKind,
    Relative,
    Rotary,
    RotaryPositions,
    SinCos,
    placed,
)
from openjepa.nets.transformer import Block, Placed, TransformerConfig, initialise, mlp


@dataclass(frozen=True)
class Ports:
    """What a predictor is built between.

    Attributes:
        signal: an `openjepa.signals.base.Signal`, whose tokens it predicts.
        width: D of `s_x`.
        out: D of `ŝ_y`.
        condition: the kind of condition: `positions` where it is told where hidden tokens lie.
        kinds: how many kinds of pairs there are, each with its own mask token.
        positions: the encoder's, for a predictor that shares them.
    """

    signal: Any
    width: int
    out: int
    condition: str = "positions"
    kinds: int = 1
    positions: nn.Module | None = None


class Narrow(Placed):
    """A narrow transformer over context tokens and one mask token per hidden token (I-JEPA, V-JEPA)."""

    kind: Literal["transformer"] = "transformer"
    width: int = Field(384, ge=8, le=65_536)
    depth: int = Field(6, ge=1, le=256)
    joint: bool = False
    """False: once per target block, blocks unaware of one another (I-JEPA). True: all blocks in one sequence,
    V-JEPA's way and cheaper."""
    positions: PositionsKind = SinCos()
    """What is added to context and mask tokens, or turns them."""
    mask_init: Literal["normal", "zero"] = "normal"
    """Mask tokens at the start: drawn with std 0.02, or zero (V-JEPA)."""
    mask_tokens: Literal["kind", "one"] = "kind"
    """One mask token for each kind of pair (V-JEPA), or one for all (what V-JEPA 2's released code does with clips of
    one length)."""
    enter: int | None = Field(None, ge=1, le=65_536)
    """Width of a hidden layer between the encoder's features and the first block (V-JEPA 2.1, where they are of
    several levels: the encoder's width); none: a linear map."""
    context: bool = False
    """Whether tokens that the context sees are predicted from what has become of them, through a head of their own,
    where they are asked for (V-JEPA 2.1)."""

    @model_validator(mode="after")
    def _whole(self) -> "Narrow":
        if self.context and not self.joint:
            raise ValueError("context needs all blocks in one sequence: use joint true")
        return self

    def build(self, ports: Ports) -> "TokenPredictor":
        return TokenPredictor(self, ports)


class Identity(Choice):
    """No predictor: `ŝ_y = s_x` (LeJEPA). Context and target must have equal tokens."""

    kind: Literal["none"] = "none"

    def build(self, ports: Ports) -> "IdentityPredictor":
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

    def build(self, ports: Ports) -> "MapPredictor":
        return MapPredictor(self, ports)


class InPlace(TransformerConfig):
    """A transformer over all that the encoder gives, whose mask tokens were among its inputs (SimMIM, LoMaR, SAR-JEPA).

    What has become of them is the prediction. Positions are relative.
    """

    kind: Literal["in-place"] = "in-place"
    width: int = Field(512, ge=8, le=65_536)
    depth: int = Field(8, ge=1, le=256)
    heads: int = Field(16, ge=1, le=1024)

    def build(self, ports: Ports) -> "PlacePredictor":
        return PlacePredictor(self, ports)


Predictor = Annotated[Narrow | Convolutional | InPlace | Identity, OneOf("predictor")]


def mask_tokens(ports: Ports, width: int) -> nn.Parameter:
    """Zeros for the mask token `[width]`, or `[kinds, width]` where there are several kinds of pairs."""
    return nn.Parameter(torch.zeros(*((ports.kinds,) if ports.kinds > 1 else ()), width))


def queries_of(mask_token: Tensor, place: Tensor, pair: Pair, condition: str) -> Tensor:
    """Mask tokens `[B, M, T, width]` for what a pair asks for, with their places, of `[B, N, width]`, if told."""
    asked = pair.picked(place)
    token = mask_token_of(mask_token, pair)
    return token + (asked if condition == "positions" else torch.zeros_like(asked))


def mask_token_of(mask_token: Tensor, pair: Pair) -> Tensor:
    """The mask token `[width]` of a pair's kind."""
    return mask_token if mask_token.dim() == 1 else mask_token[pair.kind]


class TokenPredictor(nn.Module):
    """`s_x [B, K, D]`, where it was kept, where to predict: `[B, M, T, D]`."""

    def __init__(self, config: Narrow, ports: Ports) -> None:
        super().__init__()
        self.config, self.condition = config, ports.condition
        hidden = config.enter
        self.enter: nn.Module = nn.Linear(ports.width, config.width)
        if hidden:
            self.enter = nn.Sequential(
                nn.Linear(ports.width, hidden), nn.GELU(), nn.Linear(hidden, config.width)
            )
        kinds = getattr(ports.signal, "modalities", ())
        self.modalities = tuple(kinds) if len(kinds) > 1 else ()
        self.mask_token = mask_tokens(
            ports if config.mask_tokens == "kind" else replace(ports, kinds=1), config.width
        )
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, config.mlp_ratio, config.norm_eps) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width, config.norm_eps)
        self.leave = nn.Linear(config.width, ports.out)
        self.leave_context = nn.Linear(config.width, ports.out) if config.context else None
        initialise(self, config.init)
        self.kinds = Kinds(len(self.modalities), config.width) if self.modalities else None
        if config.mask_init == "normal":
            nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.positions = config.positions.build(ports.signal, config.width)
        if isinstance(self.positions, RotaryPositions):
            self.positions.require_room(config.width // config.heads)

    def forward(self, s_x: Tensor, pair: Pair) -> Tensor:
        visible = pair.visible if self.leave_context is not None else 0
        if visible:
            return self._with_context(s_x, pair, visible)
        known, queries, mask, turn = self._prepared(s_x, pair)
        x = self._sequence(known, queries)
        *earlier, last = self.blocks
        for block in earlier:
            x = block(x, mask=mask, turn=turn)
        asked = last(x, known.shape[1], mask=mask, turn=turn)  # of the context nothing is wanted any more
        return self.leave(self.norm(asked)).view(*queries.shape[:3], -1)

    def _with_context(self, s_x: Tensor, pair: Pair, visible: int) -> Tensor:
        """What is hidden through one head, then what the context keeps through the other: `[B, 1, T, D]`."""
        assert pair.select is not None and self.leave_context is not None
        hidden = replace(pair, select=pair.select[..., :-visible], valid=None, visible=0)
        known, queries, mask, turn = self._prepared(s_x, hidden)
        x = self._sequence(known, queries)
        for block in self.blocks:
            x = block(x, mask=mask, turn=turn)
        seen, asked = self.norm(x).tensor_split([known.shape[1]], 1)
        return torch.cat([self.leave(asked), self.leave_context(seen)], 1).unsqueeze(1)

    def _prepared(self, s_x: Tensor, pair: Pair) -> tuple[Tensor, Tensor, Tensor | None, Rotary | None]:
        """Context tokens `[B, K, width]`, mask tokens `[B, M, T, width]`, what blocks may look at and turn by."""
        context, target = pair.context, pair.target[0]
        kept = context.keep if s_x.shape[1] != _count(context) else None
        here = _at(self._embedded(context.tokens, None), kept)
        place = self._embedded(target.tokens, pair.place).expand(len(s_x), -1, -1)
        known, turn = self.enter(s_x), None
        if isinstance(self.positions, RotaryPositions):
            there = pair.picked(place) if self.condition == "positions" else pair.picked(place) * 0
            queries = mask_token_of(self.mask_token, pair).expand(*there.shape[:3], -1)
            turn = self._turn(here.expand(len(s_x), -1, -1), there)
        else:
            known = known + here
            queries = queries_of(self.mask_token, place, pair, self.condition)
        if self.kinds is not None:
            kind = self.modalities.index(context.tokens.values.shape[-1])
            known, queries = self.kinds(known, kind), self.kinds(queries, kind)
        return known, queries, self._mask(pair, kept is not None, known.shape[1], queries), turn

    def _sequence(self, known: Tensor, queries: Tensor) -> Tensor:
        """Of `[B, K, ...]` and `[B, M, T, ...]` what blocks are given: `[B, K + M * T, ...]` jointly, else
        `[B * M, K + T, ...]`."""
        if self.config.joint:
            return torch.cat([known, queries.flatten(1, 2)], 1)
        return torch.cat([known.repeat_interleave(queries.shape[1], 0), queries.flatten(0, 1)], 1)

    def _turn(self, here: Tensor, there: Tensor) -> Rotary:
        """What blocks turn by, of coordinates of the context `[B, K, P]` and of what is asked for `[B, M, T, P]`."""
        assert isinstance(self.positions, RotaryPositions)
        return self.positions.turn(self._sequence(here, there), self.config.width // self.config.heads)

    def _embedded(self, tokens: Tokens, place: Tensor | None) -> Tensor:
        embedded = placed(self.positions, tokens, place)
        return (
            embedded * self.config.position_scale if isinstance(self.config.positions, SinCos) else embedded
        )

    def _mask(self, pair: Pair, dropped: bool, known: int, queries: Tensor) -> Tensor | None:
        """Which tokens there are to look at, `[B or B * M, 1, 1, K + T]`; `None`: all."""
        there = pair.context.present if dropped else pair.context.tokens.valid
        asked = pair.asked
        if there is None and asked is None:
            return None
        there = queries.new_ones(len(queries), known, dtype=torch.bool) if there is None else there
        asked = queries.new_ones(queries.shape[:3], dtype=torch.bool) if asked is None else asked
        return self._sequence(there, asked)[:, None, None]


def _at(embedded: Tensor, index: Tensor | None) -> Tensor:
    return embedded if index is None else gather(embedded, index)


class MapPredictor(nn.Module):
    """`s_x [B, K, D]`, where it was kept, where to predict: `[B, M, T, D]`."""

    def __init__(self, config: Convolutional, ports: Ports) -> None:
        super().__init__()
        self.config, self.condition = config, ports.condition
        self.positions = SinCos().build(ports.signal, config.width)
        self.enter = nn.Linear(ports.width, config.width)
        self.mask_token = nn.Parameter(torch.zeros(config.width))
        self.blocks = nn.Sequential(
            *(MapBlock(config.width, config.kernel, config.mlp_ratio) for _ in range(config.depth))
        )
        self.norm = nn.LayerNorm(config.width)
        self.leave = nn.Linear(config.width, ports.out)
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(self, s_x: Tensor, pair: Pair) -> Tensor:
        context = pair.context
        tokens = context.tokens
        assert tokens.layout is not None
        x = self.enter(s_x)
        if context.keep is not None and s_x.shape[1] != _count(context):
            filled = self.mask_token.to(x.dtype).expand(len(x), _count(context), -1)
            x = filled.scatter(1, context.keep.unsqueeze(-1).expand_as(x), x)
        if self.condition == "positions":
            x = x + self.positions(tokens) * self.config.position_scale
        x = self.blocks(x.unflatten(1, tokens.layout)).flatten(1, 2)
        return self.leave(self.norm(pair.in_place(x)))


class MapBlock(nn.Module):
    """`x + mlp(norm(depthwise(x)))`, `[B, h, w, D]` (ConvNeXt's block, arXiv:2201.03545)."""

    def __init__(self, width: int, kernel: int, mlp_ratio: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width)
        self.depthwise.to(memory_format=torch.channels_last)
        self.norm = nn.LayerNorm(width)
        self.mlp = mlp(width, mlp_ratio)

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.depthwise(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x + self.mlp(self.norm(mixed))


class PlacePredictor(nn.Module):
    """`s_x [B, N, D]` of all tokens, hidden ones too, and which of them to predict: `[B, M, T, D]`."""

    def __init__(self, config: InPlace, ports: Ports) -> None:
        super().__init__()
        self.enter = nn.Linear(ports.width, config.width)
        positions = Relative()
        self.positions, buckets = positions.build(ports.signal, config.width), positions.buckets(ports.signal)
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, config.mlp_ratio, config.norm_eps, buckets=buckets)
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width, config.norm_eps)
        self.leave = nn.Linear(config.width, ports.out)
        initialise(self, config.init)

    def forward(self, s_x: Tensor, pair: Pair) -> Tensor:
        tokens = pair.context.tokens
        near = self.positions.near(self.positions(tokens))
        mask = None if tokens.valid is None else tokens.valid[:, None, None]
        x = self.enter(s_x)
        for block in self.blocks:
            x = block(x, mask=mask, near=near)
        return self.leave(self.norm(pair.in_place(x)))


class IdentityPredictor(nn.Module):
    def forward(self, s_x: Tensor, pair: Pair) -> Tensor:
        return s_x.unsqueeze(1)


def _count(view: View) -> int:
    return view.tokens.values.shape[1]
