"""Convolutional encoders of frames."""

from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from openjepa.common.distributed import BatchNorm
from openjepa.config import Choice, Width
from openjepa.errors import UserError
from openjepa.nets.dynamics.base import Grid


class Conv(Choice):
    """Impala's residual network (arXiv:1802.01561) as EB-JEPA and PLDM have it, to one vector or one map a frame.

    Each stack is a convolution, a max pool that halves the map, and residual blocks. With `halve stride` and no blocks
    it is a plain network of strided convolutions, which tells better where small things are in the time of a short
    training.
    """

    kind: Literal["conv"] = "conv"
    patch: int = Field(1, ge=1, le=4096)
    """Side of the squares that become channels before the first convolution; 1: the published network."""
    channels: tuple[Width, ...] = Field((16, 32, 32), max_length=16)
    """Channels of each stack."""
    blocks: int = Field(2, ge=0, le=64)
    """Residual blocks a stack."""
    halve: Literal["pool", "stride"] = "pool"
    """`pool`: as published; `stride`: the convolution itself takes every second place, and ReLU follows it."""
    batch_norm: bool = False
    """Whether batch norm follows every convolution, and the vector's linear layer (TS-JEPA for remote control)."""
    width: int = Field(512, ge=1, le=65_536)
    """D, numbers of the vector, or of each place of the map."""
    output: Literal["vector", "map"] = "vector"
    norm: bool = True
    """Whether it ends in a layer norm over D."""

    def build(self, frame: tuple[int, int, int]) -> "ConvEncoder":
        """For frames `(C, H, W)`."""
        return ConvEncoder(self, frame)


class ConvEncoder(nn.Module):
    """Frames `[..., C, H, W]`, uint8 in 0..255 or float in 0..1, give `[..., D]` or `[..., D, h, w]`.

    Pixels lie channels last, which is more than twice as fast with so few channels.

    Raises:
        UserError: the frame's sides are no multiples of `patch`.

    Attributes:
        width: D.
        grid: `(h, w)` of a map, `None` for a vector.
        norm: the last layer, for a predictor to end in as well.
    """

    def __init__(self, config: Conv, frame: tuple[int, int, int]) -> None:
        super().__init__()
        self.config, self.width = config, config.width
        (channels, height, width), patch = frame, config.patch
        if height % patch or width % patch:
            raise UserError(
                f"frames of {height} x {width} pixels cannot be cut into squares of {patch}: change encoder.patch"
            )
        self.fold, given = nn.PixelUnshuffle(patch), channels * patch**2
        self.stacks = nn.Sequential(
            *(
                Stack(a, b, config.blocks, config.batch_norm, strided=config.halve == "stride")
                for a, b in pairwise([given, *config.channels])
            )
        )
        grid: Grid = (height // patch, width // patch)
        for _ in config.channels:
            grid = ((grid[0] + 1) // 2, (grid[1] + 1) // 2)
        last = config.channels[-1] if config.channels else given
        if config.output == "map":
            self.grid, self.leave = grid, nn.Conv2d(last, config.width, 1)
        else:
            self.grid = None
            self.leave = nn.Sequential(nn.Flatten(), nn.Linear(last * grid[0] * grid[1], config.width))
            if config.batch_norm:
                self.leave.append(BatchNorm(config.width))
        self.norm = ChannelNorm(config.width) if config.norm else nn.Identity()
        for module in (self.stacks, self.leave):
            module.to(memory_format=torch.channels_last)

    def forward(self, frames: Tensor) -> Tensor:
        pixels = frames.flatten(0, -4) if frames.dim() > 4 else frames
        x = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels
        x = self.fold(x).contiguous(memory_format=torch.channels_last)
        return self.norm(self.leave(self.stacks(x))).unflatten(0, frames.shape[:-3])


def convolution(given: int, channels: int, batch_norm: bool, stride: int = 1) -> nn.Module:
    """A convolution of 3 x 3 pixels, `[N, C, H, W]` to `[N, channels, ceil(H / stride), ceil(W / stride)]`."""
    if not batch_norm:
        return nn.Conv2d(given, channels, 3, stride, padding=1)
    return nn.Sequential(nn.Conv2d(given, channels, 3, stride, padding=1, bias=False), BatchNorm(channels))


class Stack(nn.Module):
    """`[N, C, H, W]` to `[N, channels, ceil(H / 2), ceil(W / 2)]`."""

    def __init__(self, given: int, channels: int, blocks: int, batch_norm: bool, strided: bool) -> None:
        super().__init__()
        self.conv = convolution(given, channels, batch_norm, stride=2 if strided else 1)
        self.after = nn.ReLU() if strided else nn.MaxPool2d(3, 2, padding=1)
        self.blocks = nn.Sequential(*(Residual(channels, batch_norm) for _ in range(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.after(self.conv(x)))


class Residual(nn.Module):
    """`relu(x + conv(relu(conv(x))))`."""

    def __init__(self, channels: int, batch_norm: bool) -> None:
        super().__init__()
        self.conv1, self.conv2 = (convolution(channels, channels, batch_norm) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.conv2(torch.relu(self.conv1(x))))


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the features of vectors `[N, D]` or of every place of maps `[N, D, h, w]`."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)
