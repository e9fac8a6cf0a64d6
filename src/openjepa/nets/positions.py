"""Fixed sine-cosine embeddings of continuous positions."""

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
