"""Encoders of frames, whichever network is inside: a view of whole frames gives each frame's tokens."""

from abc import ABC, abstractmethod
from typing import Annotated, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from openjepa.config import OneOf
from openjepa.errors import UserError
from openjepa.jepa import View
from openjepa.nets.backbones import Backbone
from openjepa.nets.convolutional import Conv, ConvEncoder
from openjepa.nets.dynamics.base import Grid
from openjepa.nets.frozen import FrozenNet
from openjepa.nets.timm import Timm
from openjepa.nets.transformer import ViT
from openjepa.signals.images.signal import ImageSignal

Frame = tuple[int, int, int]


class PatchViT(ViT):
    """Our token transformer on a frame's square patches."""

    patch: int = Field(14, ge=1, le=4096)
    """Side in pixels."""


FrameNet = Annotated[Conv | PatchViT | Timm | FrozenNet, OneOf("encoder")]


class FrameEncoder(nn.Module, ABC):
    """A `View` of frames as single tokens (see `hiding.future`) to `[N, n, D]`: a vector is one token, a map h * w.

    Attributes:
        width: D.
        grid: `(h, w)` of the tokens in row order; (1, 1) of a vector.
        net: the network.
    """

    net: nn.Module

    def __init__(self, frame: Frame, width: int, grid: Grid) -> None:
        super().__init__()
        self.frame, self.width, self.grid = frame, width, grid

    def forward(self, view: View) -> Tensor:
        return self.layers(view, 1)[-1]

    @abstractmethod
    def layers(self, view: View, count: int) -> list[Tensor]:
        """The last `count` layers' outputs, as far as the network has them, last layer last."""

    def finish(self, tokens: Tensor) -> Tensor:
        """The encoder's last norm, `[N, n, D] -> [N, n, D]`, which predictions may end in as well."""
        return tokens

    def layout(self, layout: Grid) -> Grid:
        """Rows and columns of the output."""
        return self.grid

    def pixels(self, view: View) -> Tensor:
        """`[N, C, H, W]`."""
        return view.tokens.values.view(-1, *self.frame)


class ConvFrames(FrameEncoder):
    """`Conv`'s vector or map."""

    def __init__(self, config: Conv, frame: Frame) -> None:
        net = config.build(frame)
        super().__init__(frame, net.width, net.grid or (1, 1))
        self.net = net

    def layers(self, view: View, count: int) -> list[Tensor]:
        x = self.net(self.pixels(view))
        return [x.unsqueeze(1) if x.dim() == 2 else x.flatten(2).transpose(1, 2)]

    def finish(self, tokens: Tensor) -> Tensor:
        return cast(ConvEncoder, self.net).norm(tokens.transpose(1, 2)).transpose(1, 2)


class PatchFrames(FrameEncoder):
    """A frame's patches through a transformer, or a backbone of timm."""

    def __init__(self, config: PatchViT | Timm, frame: Frame) -> None:
        channels, size, _ = frame
        patch = config.patch if isinstance(config, PatchViT) else size
        if size % patch:
            raise UserError(
                f"frames of {size} px do not divide into patches of {patch} px: set encoder.patch to a divisor"
            )
        signal = ImageSignal.parse(
            {"size": size, "channels": channels, "patch": patch, "mean": (0.0,), "std": (1.0,)}
        )
        net = config.build(signal)
        rows, columns = net.layout(signal.layout)
        super().__init__(frame, net.width, (rows, columns))
        self.net, self.signal = net, signal

    def layers(self, view: View, count: int) -> list[Tensor]:
        return self.net.layers(View(self.signal.cut(self.pixels(view))), count)  # ty: ignore[not-callable]

    def finish(self, tokens: Tensor) -> Tensor:
        norm = getattr(self.net, "norm", None)
        return tokens if norm is None else norm(tokens)


class FrozenFrames(FrameEncoder):
    """A trained image encoder: no gradients, and its norms and dropout stay as in evaluation."""

    def __init__(self, config: FrozenNet, frame: Frame) -> None:
        net = config.build()
        if frame[0] not in (1, 3, net.channels):
            raise UserError(
                f"the frozen encoder takes pictures of {net.channels} channels, states are of {frame[0]}: use "
                "signal.stack 1"
            )
        super().__init__(frame, net.width, net.places)
        self.config, self.net = config, net.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "FrozenFrames":
        return super().train(False)

    def layers(self, view: View, count: int) -> list[Tensor]:
        with torch.no_grad():
            net = cast(Backbone, self.net)
            return [self.finish(net(net.fit(self.pixels(view))))]

    def finish(self, tokens: Tensor) -> Tensor:
        return F.layer_norm(tokens, tokens.shape[-1:]) if self.config.norm == "layer" else tokens


def frame_encoder(config: Conv | PatchViT | Timm | FrozenNet, frame: Frame) -> FrameEncoder:
    """The encoder for frames `(C, H, W)`; UserError where the sizes do not fit."""
    if isinstance(config, FrozenNet):
        return FrozenFrames(config, frame)
    return ConvFrames(config, frame) if isinstance(config, Conv) else PatchFrames(config, frame)
