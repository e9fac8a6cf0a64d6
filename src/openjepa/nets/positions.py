"""Fixed embeddings of continuous positions: sine-cosine, added to tokens, and rotary, which turns queries and keys."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from openjepa.errors import UserError


def sincos(positions: Tensor, width: int) -> Tensor:
    """Embed positions `[..., P]` (in patches, seconds, metres) as `[..., width]`.

    The width is split equally among the P axes; each part is all sines, then all cosines, at frequencies
    10000^(-2i/(width/P)). As in MAE and I-JEPA, whose `get_2d_sincos_pos_embed` puts the *column* first, axes are
    taken in reverse order, so that released weights fit. Being a function of continuous positions, it needs no table:
    another resolution is another set of positions.

    Raises:
        UserError: width is not a multiple of 2 P.
    """
    axes = positions.shape[-1]
    require_room(width, axes)
    half = width // axes // 2
    frequency = 10000.0 ** -(torch.arange(half, device=positions.device, dtype=torch.float64) / half)
    angle = positions.flip(-1).double().unsqueeze(-1) * frequency
    return torch.cat([angle.sin(), angle.cos()], -1).flatten(-2).float()


def require_room(width: int, axes: int) -> None:
    """Raises UserError when positions on so many axes cannot be embedded in `width` numbers."""
    if width % (2 * axes):
        raise UserError(
            f"width {width} is not a multiple of {2 * axes}, as {axes}-D sine-cosine positions need"
        )


def rescale(positions: Tensor, grid: tuple[int, int] | None, trained: tuple[int, int]) -> Tensor:
    """Positions of a grid moved onto the extent of the grid seen in training, patch centre to patch centre."""
    if grid is None or grid == trained:
        return positions
    ratio = positions.new_tensor([trained[0] / grid[0], trained[1] / grid[1]])
    return (positions + 0.5) * ratio - 0.5


@dataclass(frozen=True, eq=False)
class Rotary:
    """Turns queries and keys `[..., N, D]` by their positions; numbers beyond the first R stay as they are.

    Attributes:
        cos: `[N, R]`.
        sin: `[N, R]`.
    """

    cos: Tensor
    sin: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        turned, rest = x.tensor_split([self.cos.shape[-1]], -1)
        a, b = turned.unflatten(-1, (-1, 2)).unbind(-1)
        quarter = torch.stack([-b, a], -1).flatten(-2)
        return torch.cat([(turned * self.cos + quarter * self.sin).to(x.dtype), rest], -1)


RotaryStyle = Literal["interleaved", "tiled"]


def rotary(positions: Tensor, width: int, style: RotaryStyle = "interleaved") -> Rotary:
    """Rotary embedding (RoPE) of positions `[N, P]` for heads of `width` numbers.

    The P axes get equal, even shares of the width; what is left over is not turned. Within a share, pairs of
    neighbours turn by position * 10000^(-i/pairs). A token at 0 on an axis is not turned there at all, so one that
    has a time but no place lies at `(time, 0, 0)`.

    `tiled` is V-JEPA 2's released code (`src/models/utils/modules.py`), kept there for its checkpoints: the two
    numbers of a pair turn at different frequencies, so that scores depend on more than differences of positions.

    Raises:
        UserError: heads too narrow for a pair per axis.
    """
    axes = positions.shape[-1]
    pairs = width // axes // 2
    if pairs == 0:
        raise UserError(
            f"heads of width {width} have no room for {axes}-D rotary positions: at least {2 * axes}"
        )
    frequency = 10000.0 ** -(torch.arange(pairs, device=positions.device, dtype=torch.float64) / pairs)
    angle = positions.double().unsqueeze(-1) * frequency
    angle = angle.repeat_interleave(2, -1) if style == "interleaved" else torch.cat([angle, angle], -1)
    angle = angle.flatten(-2)
    return Rotary(angle.cos().float(), angle.sin().float())
