"""Logarithmic mel spectrograms of whole batches, on whatever device the sound is."""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad

CHUNK_FRAMES = 8192
"""Frames of all rows together that are transformed at once: bounds the memory that a long recording takes."""


@dataclass(frozen=True)
class LogMel:
    """How sound becomes a spectrogram: frames under a Hann window, power in bands evenly apart on the mel scale.

    A band's value is the natural logarithm of the mean power in it, `floor` added, so that digital silence is finite.
    White noise of variance v has log v in every band, whatever the window and the bands are.

    Attributes:
        rate: samples a second.
        window, hop: samples under the window, and from frame to frame.
        fft: points of the transform, at least `window`.
        bands: how many.
        low, high: Hz, the edges of the lowest and of the highest band.
        floor: decibels relative to full scale.
    """

    rate: int
    window: int
    hop: int
    fft: int
    bands: int
    low: float
    high: float
    floor: float

    def frames(self, samples: int) -> int:
        """How many a sound of so many samples has: one for each hop that is half full at least, and never none."""
        return max(1, (samples + self.hop // 2) // self.hop)

    @property
    def before(self) -> int:
        """Samples that the first frame reaches back: the frame's middle is that of its hop."""
        return (self.window - self.hop) // 2

    def span(self, frames: int) -> int:
        """Samples under `frames` windows."""
        return (frames - 1) * self.hop + self.window

    def whole(self, sound: Tensor) -> Tensor:
        """`[B, bands, frames]` of sounds `[B, S]`, with silence before and after."""
        frames = self.frames(sound.shape[1])
        after = self.span(frames) - self.before - sound.shape[1]
        return self(pad(sound, (max(0, self.before), max(0, after)))[:, max(0, -self.before) :])

    def __call__(self, sound: Tensor) -> Tensor:
        """`[B, bands, T]` of sounds `[B, span(T)]`, whose first window begins at their first sample."""
        frames = (sound.shape[1] - self.window) // self.hop + 1
        hann = torch.hann_window(self.window, dtype=torch.float32, device=sound.device)
        bank = mel_bank(self).to(sound.device)
        windows = sound.float().unfold(1, self.window, self.hop)  # [B, T, window]
        each = max(1, CHUNK_FRAMES // len(sound))
        parts = [self._bands(windows[:, i : i + each], hann, bank) for i in range(0, frames, each)]
        return torch.cat(parts, 1).transpose(1, 2)

    def _bands(self, windows: Tensor, hann: Tensor, bank: Tensor) -> Tensor:
        """`[B, t, bands]`."""
        spectrum = torch.fft.rfft(windows * hann, n=self.fft)
        power = (spectrum.real.square() + spectrum.imag.square()) / hann.square().sum()
        return (power @ bank + 10 ** (self.floor / 10)).log()


def to_mel(hertz: float) -> float:
    """O'Shaughnessy's scale, as HTK has it."""
    return 2595 * math.log10(1 + hertz / 700)


@lru_cache(maxsize=64)
def mel_bank(spec: LogMel) -> Tensor:
    """Weights `[fft // 2 + 1, bands]`: triangles on the mel scale, each of sum 1.

    A triangle is integrated over each frequency's share of the axis, not sampled in its middle: where bands are
    narrower than the transform resolves, none is empty.
    """
    low, high = to_mel(spec.low), to_mel(spec.high)
    mels = torch.linspace(low, high, spec.bands + 2, dtype=torch.float64)
    edges = 700 * (10 ** (mels / 2595) - 1)
    step = spec.rate / spec.fft
    borders = (torch.arange(spec.fft // 2 + 2, dtype=torch.float64) - 0.5) * step
    left, middle, right = edges[:-2], edges[1:-1], edges[2:]

    def below(x: Tensor) -> Tensor:
        """Area of each triangle below frequencies `[F]`: `[F, bands]`."""
        rising = (x[:, None].clamp(left, middle) - left).square() / (2 * (middle - left))
        falling = (right - x[:, None].clamp(middle, right)).square() / (2 * (right - middle))
        return rising + (right - middle) / 2 - falling

    area = below(borders).diff(dim=0)
    return (area / area.sum(0)).float()
