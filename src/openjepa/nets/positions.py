"""Embeddings of positions: added to tokens (sine-cosine, a learned table), or told between two of them (rotary, which
turn queries and keys, and relative ones).

Every kind is built alike, `config.build(signal, width)`, into a module from tokens to what is added to them,
`[1 or B, N, width]`; of those between tokens, to the coordinates `[1 or B, N, P]` that blocks compare. Encoders and
predictors use them.
"""

import math
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from openjepa.common.distributed import wide
from openjepa.config import Choice
from openjepa.errors import UserError
from openjepa.jepa import Tokens
from openjepa.nets.channels import Channels


class SinCos(Choice):
    """Fixed sine-cosine embeddings of the tokens' positions, of any number of axes."""

    kind: Literal["sincos"] = "sincos"

    def build(self, signal: Any, width: int) -> "SinCosPositions":
        """Raises UserError when `width` is too narrow for the signal's axes."""
        return SinCosPositions(signal, width)


class Learned(Choice):
    """A learned table over the grid of tokens; resized where a sample has another grid of two axes."""

    kind: Literal["learned"] = "learned"

    def build(self, signal: Any, width: int) -> "LearnedPositions":
        """Raises UserError for a signal whose tokens fill no grid."""
        return LearnedPositions(signal, width)


RotaryStyle = Literal["interleaved", "tiled"]


class RoPE(Choice):
    """Rotary positions of any number of axes: nothing is added to tokens, blocks turn queries and keys by them."""

    kind: Literal["rotary"] = "rotary"
    style: RotaryStyle = "interleaved"
    """`tiled` is V-JEPA 2's released code, see `rotary`."""
    grid: int | None = Field(None, ge=2, le=4096)
    """Rows and columns are scaled so that the first lies at 0 and the last at this number less one, whatever the
    resolution (V-JEPA 2.1: 16); none: token coordinates as they are (V-JEPA 2)."""

    def build(self, signal: Any, width: int) -> "RotaryPositions":
        """Raises UserError for `grid` and a signal whose tokens fill none."""
        return RotaryPositions(self, signal)


class PlaceMLP(Choice):
    """A network of two layers on the coordinates (Point-JEPA)."""

    kind: Literal["mlp"] = "mlp"
    hidden: int = Field(128, ge=1, le=65_536)

    def build(self, signal: Any, width: int) -> "MLPPositions":
        return MLPPositions(self, len(signal.axes), width)


EXACT, LOGARITHMIC, FARTHEST = 1.9, 8.0, 3
"""Offsets that are buckets of their own; at how many times these the logarithm has doubled them; the last bucket."""


class Relative(Choice):
    """Contextual relative positions (iRPE, Wu et al., arXiv:2107.14222: product, on keys).

    Each block learns a vector for each bucket of offsets between two tokens, shared by its heads, whose product with
    the query is added to the score. On each axis the buckets are 0, 1, 2 to 3, and all that is farther, to both sides.
    """

    kind: Literal["relative"] = "relative"

    def build(self, signal: Any, width: int) -> "RelativePositions":
        return RelativePositions()

    @staticmethod
    def buckets(signal: Any) -> int:
        """How many there are for the signal's axes."""
        return (2 * FARTHEST + 1) ** len(signal.axes)


PositionsKind = Annotated[SinCos | Learned | Channels | RoPE | PlaceMLP, Field(discriminator="kind")]
EncoderPositions = Annotated[
    SinCos | Learned | Channels | RoPE | PlaceMLP | Relative, Field(discriminator="kind")
]
"""Those, and what only tokens that all stand in one sequence can have."""


class PairwisePositions(nn.Module):
    """Positions that are not added to tokens, but told between two of them. It has no parameters."""

    def forward(self, tokens: Tokens) -> Tensor:
        """Coordinates `[1 or B, N, P]`."""
        return tokens.positions


class SinCosPositions(nn.Module):
    """`Tokens -> [1 or B, N, width]`."""

    def __init__(self, signal: Any, width: int) -> None:
        super().__init__()
        require_room(width, len(signal.axes))
        self.trained, self.width = signal.layout, width

    def forward(self, tokens: Tokens) -> Tensor:
        return sincos(rescale(tokens.positions, tokens.layout, self.trained), self.width)


class LearnedPositions(nn.Module):
    """`Tokens -> [1, N, width]`."""

    def __init__(self, signal: Any, width: int) -> None:
        super().__init__()
        if signal.layout is None:
            raise UserError("positions learned needs tokens that fill a grid: use positions sincos")
        self.trained = tuple(signal.layout)
        self.position_table = nn.Parameter(torch.randn(1, *self.trained, width) * 0.02)

    def forward(self, tokens: Tokens) -> Tensor:
        table, layout = self.position_table, tokens.layout
        if layout is not None and tuple(layout) != self.trained:
            if len(layout) != 2:
                raise UserError(
                    f"positions learned were trained on a grid of {list(self.trained)}, a sample has {list(layout)}: "
                    "only grids of two axes are resized; use positions sincos"
                )
            table = self.resized(layout)
        return table.flatten(1, -2)

    def resized(self, layout: tuple[int, ...]) -> Tensor:
        """The table `[1, *layout, width]` of another grid of as many axes, at most three."""
        mode = {1: "linear", 2: "bicubic", 3: "trilinear"}[len(layout)]
        return F.interpolate(self.position_table.movedim(-1, 1), layout, mode=mode).movedim(1, -1)


class RotaryPositions(PairwisePositions):
    """`Tokens -> [1 or B, N, P]`: the coordinates by which blocks turn."""

    def __init__(self, config: RoPE, signal: Any) -> None:
        super().__init__()
        if config.grid and signal.layout is None:
            raise UserError("positions.grid needs tokens that fill a grid: leave it out")
        self.config, self.axes = config, len(signal.axes)

    def forward(self, tokens: Tokens) -> Tensor:
        places = tokens.positions
        if self.config.grid is None:
            return places
        assert tokens.layout is not None
        sides = tokens.layout[-2:]
        last = [(self.config.grid - 1) / max(side - 1, 1) for side in sides]
        return places * places.new_tensor([1.0] * (self.axes - len(sides)) + last)

    def turn(self, places: Tensor, heads_width: int) -> "Rotary":
        """What turns the queries and keys `[B, heads, N, heads_width]` of tokens at `[1 or B, N, P]`."""
        return rotary(places.unsqueeze(1), heads_width, self.config.style)

    def require_room(self, heads_width: int) -> None:
        """Raises UserError when heads are too narrow for a pair of numbers an axis."""
        rotary_pairs(heads_width, self.axes)


class RelativePositions(PairwisePositions):
    """`Tokens -> [1 or B, N, P]`: the coordinates whose differences blocks look up."""

    def near(self, places: Tensor) -> Tensor:
        """The bucket of the offset of each token from each other, `[1 or B, N, N]`, of places `[1 or B, N, P]`.

        Where samples share their places they share the table, which is many times faster than one a sample.
        """
        offset = wide(places.unsqueeze(2) - places.unsqueeze(1))
        size = offset.abs()
        far = EXACT * (1 + (size / EXACT).clamp_min(1).log() / math.log(LOGARITHMIC))
        step = torch.where(size <= EXACT, size, far).round().clamp_max(FARTHEST)
        found = torch.zeros(offset.shape[:-1], dtype=torch.long, device=places.device)
        for bucket in (offset.sign() * step).long().to(places.device).unbind(-1):
            found = found * (2 * FARTHEST + 1) + bucket + FARTHEST
        return found


class MLPPositions(nn.Module):
    """`Tokens -> [1 or B, N, width]`."""

    def __init__(self, config: PlaceMLP, axes: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(axes, config.hidden), nn.GELU(), nn.Linear(config.hidden, width)
        )

    def forward(self, tokens: Tokens) -> Tensor:
        return self.layers(tokens.positions)


def placed(positions: nn.Module, tokens: Tokens, place: Tensor | None) -> Tensor:
    """Embedded positions of tokens that lie at `place` `[B, N, P]`; `None`: at their own."""
    return positions(tokens if place is None else replace(tokens, positions=place))


def sincos(positions: Tensor, width: int) -> Tensor:
    """Embed positions `[..., P]` (in patches, seconds, metres) as `[..., width]`.

    The width is split equally among the P axes, rounded up to even parts, and what is then too much is cut off at the
    end (V-JEPA). Each part is all sines, then all cosines, at frequencies 10000^(-2i/part). So that released weights
    fit, two axes are taken in reverse order, as in MAE and I-JEPA, whose `get_2d_sincos_pos_embed` puts the *column*
    first, and any other number in their own order, as in V-JEPA (time, row, column). Being a function of continuous
    positions, it needs no table: another resolution is another set of positions.

    Raises:
        UserError: less than one pair of numbers an axis.
    """
    axes = positions.shape[-1]
    require_room(width, axes)
    half = math.ceil(width / (2 * axes))
    ordered = wide(positions.flip(-1) if axes == 2 else positions)
    frequency = 10000.0 ** -(torch.arange(half, device=ordered.device, dtype=torch.float64) / half)
    angle = ordered.unsqueeze(-1) * frequency
    return torch.cat([angle.sin(), angle.cos()], -1).flatten(-2)[..., :width].float().to(positions.device)


def require_room(width: int, axes: int) -> None:
    """Raises UserError when positions on so many axes cannot be embedded in `width` numbers."""
    if width < 2 * axes:
        raise UserError(
            f"width {width} is too narrow for sine-cosine positions on {axes} axes: at least {2 * axes}"
        )


def rescale(positions: Tensor, layout: tuple[int, ...] | None, trained: tuple[int, ...] | None) -> Tensor:
    """Positions on a grid moved onto the extent of the grid seen in training, cell centre to cell centre."""
    if layout is None or trained is None or tuple(layout) == tuple(trained):
        return positions
    if len(layout) != positions.shape[-1]:  # a grid of other things than coordinates, such as electrodes
        return positions
    ratio = positions.new_tensor([there / here for there, here in zip(trained, layout, strict=True)])
    return (positions + 0.5) * ratio - 0.5


@dataclass(frozen=True, eq=False)
class Rotary:
    """Turns queries and keys `[..., N, D]` by their positions; numbers beyond the first R stay as they are.

    Attributes:
        cos: `[N, R]`, or with axes before that broadcast, such as samples and heads.
        sin: likewise.
    """

    cos: Tensor
    sin: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        turned, rest = x.tensor_split([self.cos.shape[-1]], -1)
        a, b = turned.unflatten(-1, (-1, 2)).unbind(-1)
        quarter = torch.stack([-b, a], -1).flatten(-2)
        return torch.cat([(turned * self.cos + quarter * self.sin).to(x.dtype), rest], -1)


def rotary(positions: Tensor, width: int, style: RotaryStyle = "interleaved") -> Rotary:
    """Rotary embedding (RoPE) of positions `[..., N, P]` for heads of `width` numbers.

    The P axes get equal, even shares of the width; what is left over is not turned. Within a share, pairs of
    neighbours turn by position * 10000^(-i/pairs). A token at 0 on an axis is not turned there at all, so one that
    has a time but no place lies at `(time, 0, 0)`.

    `tiled` is V-JEPA 2's released code (`src/models/utils/modules.py`), kept there for its checkpoints: the two
    numbers of a pair turn at different frequencies, so that scores depend on more than differences of positions.

    Raises:
        UserError: heads too narrow for a pair per axis.
    """
    pairs = rotary_pairs(width, positions.shape[-1])
    exact = wide(positions)
    frequency = 10000.0 ** -(torch.arange(pairs, device=exact.device, dtype=torch.float64) / pairs)
    angle = exact.unsqueeze(-1) * frequency
    angle = angle.repeat_interleave(2, -1) if style == "interleaved" else torch.cat([angle, angle], -1)
    angle = angle.flatten(-2)
    return Rotary(*(part.float().to(positions.device) for part in (angle.cos(), angle.sin())))


def rotary_pairs(width: int, axes: int) -> int:
    """Pairs of numbers that turn by each axis; UserError when there is no room for one."""
    pairs = width // axes // 2
    if pairs == 0:
        raise UserError(
            f"heads of width {width} have no room for {axes}-D rotary positions: at least {2 * axes}"
        )
    return pairs
