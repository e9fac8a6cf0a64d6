"""Nets of several channels: convolutions through time that are the same for each, and a trained table of places."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from openjepa.common.distributed import BatchNorm
from openjepa.config import Choice
from openjepa.errors import UserError
from openjepa.jepa import Tokens, View

Layer = tuple[int, int, int]
"""Width, kernel and stride of a convolution."""
PAPER: tuple[Layer, ...] = ((8, 32, 8), (16, 2, 2), (32, 2, 2), (64, 2, 2), (64, 2, 2))
"""Signal-JEPA's, for 128 samples a second: 152 samples are seen by each output, 128 lie between two."""
SAME = 1e-3
"""Distance on a head of radius 1 below which two places are one."""
FAINTEST = 1e-3
"""Power, in units of the signal's scale, that is added before logarithms are taken: a dead channel has some."""
REACH = 0.25
"""Distance on a head of radius 1 over which what was learned of an electrode is told to those that were not trained."""


def stride(layers: Sequence[Layer]) -> int:
    """Samples from an output to the next."""
    return math.prod(step for _, _, step in layers)


def field_of(layers: Sequence[Layer]) -> int:
    """Samples that an output sees."""
    size, step = 1, 1
    for _, kernel, jump in layers:
        size, step = size + (kernel - 1) * step, step * jump
    return size


class ChannelConv(Choice):
    """Convolutions through time, the same for every channel and without padding, whose last outputs are the tokens.

    They see the whole window, so they run before any token is hidden: tokens of one channel then know of one another,
    tokens of different channels do not.
    """

    kind: Literal["channels"] = "channels"
    layers: tuple[Layer, ...] = Field(PAPER, min_length=1, max_length=32)
    """Width, kernel and stride of each; the defaults are Signal-JEPA's, for 128 samples a second."""
    norm: Literal["group", "layer", "none"] = "group"
    """`group`: each feature of the first layer to mean 0 and variance 1 over the window (Signal-JEPA), which takes out
    how strong a channel is; `layer`: the features of every layer, at each time."""

    def build(self, signal: Any) -> "ChannelStem":
        """Raises UserError for layers that do not give one output a token."""
        return ChannelStem(self, signal.patch, signal.overlap)


class ChannelPower(Choice):
    """How strong each frequency is in each token, on a logarithmic scale: a stem that cannot lose it."""

    kind: Literal["power"] = "power"
    highest: float = Field(45.0, gt=0, le=1e6)
    """Hz up to which frequencies are taken; as far apart as a token has seconds."""

    def build(self, signal: Any) -> "PowerStem":
        return PowerStem(self, signal.features, signal.rate)


class PowerStem(nn.Module):
    """`View -> [B, K, frequencies]` of raw tokens `[B, N, samples]`: logarithms of amplitudes under a Hann window.

    Each frequency is brought to mean 0 and variance 1 over the batch's tokens, as batch norm does.
    """

    embeds = False

    def __init__(self, config: ChannelPower, samples: int, rate: float) -> None:
        super().__init__()
        self.width = max(1, min(samples // 2, math.floor(config.highest * samples / rate)))
        self.register_buffer("window", torch.hann_window(samples), persistent=False)
        self.norm = BatchNorm(self.width)

    window: Tensor

    def forward(self, view: View) -> Tensor:
        tokens = view.tokens
        with torch.autocast(tokens.values.device.type, enabled=False):
            values = tokens.values.float()
            spectrum = torch.fft.rfft((values - values.mean(-1, keepdim=True)) * self.window)
            power = spectrum[..., 1 : self.width + 1].abs().square() / len(self.window)
            found = (power + FAINTEST).log()
            there = tokens.valid
            flat = found.flatten(0, 1) if there is None else found[there]
            flat = self.norm(flat)
            if there is None:
                found = flat.view_as(found)
            else:
                found = torch.zeros_like(found).masked_scatter(there.unsqueeze(-1), flat)
        return view.kept(found)

    def layout(self, layout: tuple[int, ...]) -> tuple[int, ...]:
        """The grid of the outputs for an input grid: the same."""
        return layout


class ChannelStem(nn.Module):
    """`View -> [B, K, width]` of raw tokens that fill a layout of channels and times.

    It puts the samples of a channel together again from its tokens.

    Args:
        patch, overlap: of the raw tokens; see `openjepa.signals.electrodes.ElectrodeSignal`.

    Raises:
        UserError: layers that do not give one output a token.
    """

    embeds = True

    def __init__(self, config: ChannelConv, patch: int, overlap: int) -> None:
        super().__init__()
        layers = config.layers
        if stride(layers) != patch or field_of(layers) != patch + overlap:
            raise UserError(
                f"the stem's convolutions step over {stride(layers)} samples and see {field_of(layers)}, and a token "
                f"has {patch} with {overlap} of the next: use --signal.patch {stride(layers)} "
                f"--signal.overlap {field_of(layers) - stride(layers)}"
            )
        self.patch, self.width = patch, layers[-1][0]
        self.layers = nn.Sequential()
        before = 1
        for i, (width, kernel, step) in enumerate(layers):
            conv = nn.Conv1d(before, width, kernel, step, bias=False)
            nn.init.kaiming_normal_(conv.weight)
            self.layers.append(conv)
            if config.norm == "group" and i == 0:
                self.layers.append(nn.GroupNorm(width, width))
            elif config.norm == "layer":
                self.layers.append(_LayerNorm(width))
            self.layers.append(nn.GELU())
            before = width

    def forward(self, view: View) -> Tensor:
        channels, steps = _layout(view.tokens)
        parts = view.tokens.values.unflatten(1, (channels, steps)).flatten(0, 1)  # [B * C, T, F]
        series = torch.cat([parts[:, :, : self.patch].flatten(1), parts[:, -1, self.patch :]], 1)
        found = self.layers(series.unsqueeze(1)).mT  # [B * C, T, width]
        embedded = found.unflatten(0, (-1, channels)).flatten(1, 2)
        return view.kept(embedded)

    def layout(self, layout: tuple[int, ...]) -> tuple[int, ...]:
        """The grid of the outputs for an input grid: the same."""
        return layout


class _LayerNorm(nn.LayerNorm):
    """Over the features of `[B, D, T]`."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.mT).mT


class Channels(Choice):
    """Positions of tokens at (right, front, up, second): a trained table of electrodes, and fixed waves of the time."""

    kind: Literal["channels"] = "channels"
    per_axis: int = Field(10, ge=2, le=4096, multiple_of=2)
    """Numbers for each of an electrode's three coordinates; what is left of the width is for the time."""
    longest: int = Field(600, ge=2, le=1_000_000)
    """Tokens that the slowest wave of the time is made for."""

    def build(self, signal: Any, width: int) -> "ChannelPositions":
        """Raises UserError where the signal names no channels, or the width has no room."""
        return ChannelPositions(self, signal.places, signal.patch / signal.rate, width)


class ChannelPositions(nn.Module):
    """`Tokens -> [1 or B, N, width]`, from positions (right, front, up, second).

    The table begins as cosines and sines of the electrodes' places. Electrodes that it does not have begin as it would
    have begun at their place, plus what it has learned of its own electrodes nearby.

    Args:
        places: `[K, 3]` of the trained electrodes.
        second: from a token to the next, in seconds.
    """

    def __init__(
        self, config: Channels, places: Sequence[Sequence[float]], second: float, width: int
    ) -> None:
        super().__init__()
        if not places:
            raise UserError(
                "the signal names no channels, of which positions are made: train on data, or name them"
            )
        rest = width - 3 * config.per_axis
        if rest < 2 or rest % 2:
            raise UserError(
                f"positions of width {width} have no room for 3 x {config.per_axis} numbers of a place and an even "
                "number of those of the time: use an even width, or a smaller per_axis"
            )
        self.width, self.per_axis, self.longest = width, config.per_axis, config.longest
        self.second, self.rest = second, rest
        self.register_buffer("places", torch.tensor(places, dtype=torch.float32), persistent=False)
        self.table = nn.Parameter(self.start(self.places))

    places: Tensor

    def start(self, places: Tensor) -> Tensor:
        """What a table begins as: `[..., 3] -> [..., 3 * per_axis]`."""
        share = places / (10 * self.places.abs().max())
        wave = torch.arange(0, self.per_axis, 2, device=places.device) / self.per_axis
        angle = share.unsqueeze(-1) * ((1 - wave) * 2 * math.pi).exp()
        return torch.stack([angle.sin(), angle.cos()], -1).flatten(-3)

    def times(self, seconds: Tensor) -> Tensor:
        """`[...] -> [..., rest]`."""
        wave = torch.arange(0, self.rest, 2, device=seconds.device) * (-math.log(self.longest) / self.rest)
        angle = (seconds / self.second).unsqueeze(-1) * wave.exp()
        return torch.stack([angle.sin(), angle.cos()], -1).flatten(-2)

    def forward(self, tokens: Tokens) -> Tensor:
        where, when = tokens.positions[..., :3], tokens.positions[..., 3]
        return torch.cat([self.at(where), self.times(when).to(self.table.dtype)], -1)

    def at(self, where: Tensor) -> Tensor:
        """Of electrodes, `[..., 3] -> [..., 3 * per_axis]`."""
        away = torch.cdist(where, self.places.expand(*where.shape[:-2], -1, -1))
        nearest, which = away.min(-1)
        known = nearest < SAME
        found = self.table[which]
        if bool(known.all()):
            return found
        learned = self.table - self.start(self.places)
        weight = (-0.5 * (away / REACH).square()).exp()
        guessed = self.start(where) + (weight @ learned) / weight.sum(-1, keepdim=True).clamp_min(1.0)
        return torch.where(known.unsqueeze(-1), found, guessed)


def _layout(tokens: Tokens) -> tuple[int, int]:
    layout = tokens.layout
    if layout is None or len(layout) != 2:
        raise UserError("convolutions of channels need tokens that fill a layout of channels and times")
    return layout[0], layout[1]
