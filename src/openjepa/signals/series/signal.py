"""Series of one or several channels: patches of consecutive steps are tokens."""

from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from openjepa.config import Positive
from openjepa.errors import UserError, warn
from openjepa.jepa import Tokens
from openjepa.signals.base import Signal
from openjepa.signals.pictures import Marks, Picture
from openjepa.signals.series.batch import SeriesBatch
from openjepa.signals.series.classical import classical
from openjepa.signals.series.opening import open_series
from openjepa.signals.series.picture import picture
from openjepa.signals.series.series_set import SeriesSet
from openjepa.signals.series.tasks import series_tasks
from openjepa.signals.tasks import Tasks

MOST_TOKENS = 256**2
LEAST_MEASURED = 0.5
"""Share of a token's values that must have been measured: of fewer, it is not there."""
OTHER_UNITS = 0.05
"""Series whose spread is less than this share of the training data's, or more than its inverse, are probably in other
units."""


class SeriesSignal(Signal):
    """Series, or windows of longer ones, become tokens, one a patch of consecutive steps."""

    kind: Literal["series"] = "series"
    noun: ClassVar[str] = "series"

    length: int = Field(320, ge=0, le=1_000_000)
    """Steps of a sample: a window of a longer series; a shorter one is padded, and where all of the training data are
    shorter, it is the longest of them. 0: each series whole."""
    patch: int = Field(32, ge=1, le=65_536)
    """Steps of a token."""
    tokens: Literal["apart", "channel", "time"] = "apart"
    """`apart`: each channel is a sample of its own, which all share the encoder. `channel`: a token holds a patch of
    one channel, and knows which. `time`: a token holds a patch of all channels."""
    norm: Literal["data", "sample", "none"] = "data"
    """What each channel is brought to mean 0 and deviation 1: `mean` and `std`; its own in each sample, which takes
    out level and size; nothing."""
    clip: float | None = Field(None, gt=0)
    """Values beyond so many deviations are cut to it."""
    channels: tuple[str, ...] = ()
    """Names of the training data's channels; taken from the data."""
    mean: tuple[float, ...] = ()
    """The mean of each channel; taken from the training data unless set by hand."""
    std: tuple[Positive, ...] = ()
    """The deviation of each channel, likewise."""
    stride: int = Field(0, ge=0, le=1_000_000)
    """Steps from a window to the next where none is drawn; 0: side by side, and for forecasts every step."""
    season: int = Field(0, ge=0, le=1_000_000)
    """Steps after which the series repeat, such as 24 of hourly data; 0: not known. The forecasts that repeat the last
    season stand beside the model's."""
    parts: tuple[float, float, float] | None = (0.7, 0.1, 0.2)
    """The parts of a single series: its first steps to train on, the next to validate and to test, as shares or
    numbers of steps; none: all to train on."""
    columns: tuple[str, ...] = ()
    """Columns of a table that are channels; none: all that hold numbers and do not say when."""
    by: str = ""
    """Column of a table by which rows are of one series or of another; empty: all are of one."""
    label: str = ""
    """Column of a table that holds the class, of a series or of each step."""
    group: str = ""
    """Column of a table that says whom or what a series is of: no split cuts one."""

    @model_validator(mode="after")
    def _fits(self) -> "SeriesSignal":
        if self.length and self.length < self.patch:
            raise ValueError(
                f"series of {self.length} steps are shorter than a patch of {self.patch}: use a smaller patch"
            )
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values and len(values) not in (1, len(self.channels) or len(values)):
                raise ValueError(f"{name} has {len(values)} numbers for {len(self.channels)} channels")
        if self.rows * self.steps > MOST_TOKENS:
            raise ValueError(f"{self.rows} x {self.steps} patches are more than {MOST_TOKENS:,} tokens")
        if self.parts is not None and (min(self.parts) < 0 or self.parts[0] <= 0):
            raise ValueError(f"parts {list(self.parts)} must be numbers from 0 up, the first above 0")
        return self

    @property
    def axes(self) -> tuple[str, ...]:  # ty: ignore[incompatible-property-override]
        """What the coordinates of a token's position are."""
        return ("channel", "step") if self.tokens == "channel" else ("step",)

    @property
    def rows(self) -> int:
        """Channels that have tokens of their own."""
        return max(1, len(self.channels)) if self.tokens == "channel" else 1

    @property
    def steps(self) -> int:
        """Patches of a channel, the last of which may be padded."""
        return max(1, -(-self.length // self.patch))

    @property
    def features(self) -> int:
        """Numbers in a raw token."""
        return self.patch * self.width

    @property
    def width(self) -> int:
        """Channels in a token."""
        return max(1, len(self.channels)) if self.tokens == "time" else 1

    @property
    def layout(self) -> tuple[int, ...]:
        """Channels and patches of a sample, or its patches alone."""
        return (self.rows, self.steps) if self.tokens == "channel" else (self.steps,)

    def open(self, data: Any, split: str = "train", *, adapt: bool = False) -> SeriesSet:
        """Samples of `length` steps, as `open_series` reads them."""
        found = data if isinstance(data, SeriesSet) else open_series(data, self, split=split, adapt=adapt)
        if not adapt and self.channels and len(found.channels) != len(self.channels):
            raise UserError(
                f"{found.name}: its series have {len(found.channels)} channels, those trained on {len(self.channels)}"
            )
        return found

    def fitted(self, samples: SeriesSet) -> Self:
        """Channels and length are those of the data; mean and deviation too, unless set by hand."""
        longest = samples.length
        if longest < self.patch:
            raise UserError(
                f"{samples.name}: the longest series has {longest} steps, fewer than a patch of {self.patch}: use "
                f"--signal.patch {max(1, longest // 8)}"
            )
        mean, std = samples.statistics()
        measured = {
            "channels": samples.channels,
            "length": longest,
            "mean": self.mean or mean,
            "std": self.std or std,
        }
        return type(self).parse(self.model_dump(mode="json") | measured)

    def changed(self, before: Self) -> str:
        said = []
        if self.channels != before.channels:
            said.append(f"the data have {len(self.channels)} channel{'s' * (len(self.channels) > 1)}")
        if self.length != before.length:
            said.append(f"samples have {self.length} steps")
        if (self.mean, self.std) != (before.mean, before.std):
            said.append("mean and deviation are those of the data")
        return "; ".join(said)

    def check(self, samples: SeriesSet) -> None:
        """Warn where series are in other units than those that were trained on."""
        if self.norm != "data" or not self.std:
            return
        _, std = samples.statistics()
        ratio = np.median(np.array(std) / np.array(self.std))
        if not OTHER_UNITS < ratio < 1 / OTHER_UNITS:
            warn(
                f"{samples.name}: its values spread {ratio:.3g} times as much as those of the training data: are they "
                "in other units?"
            )

    def classical(self, level: str = "all") -> list[Any]:
        """Values, statistics and random convolutions (MiniRocket), to stand beside a model's features."""
        return classical(self.standardised, level)

    def tasks(self, batch: SeriesBatch) -> Tasks:
        return series_tasks(batch, self.standardised)

    def batch(self, raw: Any) -> SeriesBatch:
        """A user's array `[N, C, T]`, `[N, T]` of one channel, or `[T]`; NaN where nothing was measured.

        Where each channel is a sample, those of a series follow one another. Series shorter than `length` are padded.

        Raises:
            UserError: another shape, longer series, or one without any number.
        """
        if isinstance(raw, SeriesBatch):
            return raw
        values = torch.as_tensor(np.asarray(raw, np.float32) if not isinstance(raw, Tensor) else raw).float()
        values = values[None, None] if values.dim() == 1 else values[:, None] if values.dim() == 2 else values
        count = max(1, len(self.channels))
        if values.dim() != 3 or values.shape[1] != count:
            raise UserError(
                f"series of shape {list(values.shape)} are not [N, {count}, T], of {count} channels"
            )
        if values.shape[-1] > self.length:
            raise UserError(
                f"series of {values.shape[-1]} steps are longer than the {self.length} trained on: cut them"
            )
        there = values.isfinite()
        if len(empty := (~there.flatten(1).any(1)).nonzero()):
            raise UserError(f"series {int(empty[0])} holds no number: remove it")
        if not bool(there.all()):
            values = _carried(values, there)
        missing = self.length - values.shape[-1]
        if missing:
            values, there = F.pad(values, (0, missing), mode="replicate"), F.pad(there, (0, missing))
        valid = None if bool(there.all()) else there
        if self.tokens != "apart":
            return SeriesBatch(values, valid)
        channel = torch.arange(count).repeat(len(values))[:, None]
        flat = None if valid is None else valid.flatten(0, 1)[:, None]
        return SeriesBatch(values.flatten(0, 1)[:, None], flat, channel.to(values.device))

    def standardised(self, batch: SeriesBatch) -> Tensor:
        """Values `[B, C, T]` as the model sees them."""
        values = batch.values
        if self.norm == "sample":
            there = torch.ones_like(values) if batch.valid is None else batch.valid.to(values.dtype)
            count = there.sum(-1, keepdim=True).clamp_min(1)
            centred = values - (values * there).sum(-1, keepdim=True) / count
            deviation = ((centred.square() * there).sum(-1, keepdim=True) / count).sqrt()
            values = centred / torch.where(
                deviation > 1e-6 * values.abs().amax(-1, keepdim=True), deviation, 1
            )
        elif self.norm == "data" and self.mean:
            mean, std = (values.new_tensor(part) for part in (self.mean, self.std))
            if batch.channel is not None and len(mean) > 1:
                mean, std = mean[batch.channel], std[batch.channel]  # [B, 1]
            values = (values - mean[..., None]) / std[..., None]
        return values if self.clip is None else values.clamp(-self.clip, self.clip)

    def tokenise(self, batch: SeriesBatch) -> Tokens:
        """Raw tokens `[B, N, features]` at (channel, patch) or (patch)."""
        values, valid = self.standardised(batch), batch.valid
        length = values.shape[-1]
        steps = -(-length // self.patch)
        if missing := steps * self.patch - length:
            there = torch.ones_like(values, dtype=torch.bool) if valid is None else valid
            values, valid = F.pad(values, (0, missing), mode="replicate"), F.pad(there, (0, missing))
        patches = values.unflatten(-1, (steps, self.patch))  # [B, C, T, patch]
        measured = None if valid is None else valid.unflatten(-1, (steps, self.patch)).float().mean(-1)
        at = torch.arange(steps, device=values.device, dtype=torch.float32)
        if self.tokens == "channel":
            rows = torch.arange(patches.shape[1], device=values.device, dtype=torch.float32)
            positions = torch.cartesian_prod(rows, at)[None]
            layout: tuple[int, ...] = (patches.shape[1], steps)
            flat, share = patches.flatten(1, 2), None if measured is None else measured.flatten(1)
        else:
            positions, layout = at[None, :, None], (steps,)
            flat, share = patches.transpose(1, 2).flatten(2), None if measured is None else measured.mean(1)
        return Tokens(flat, positions, layout, None if share is None else self._there(share))

    def _there(self, share: Tensor) -> Tensor | None:
        """Tokens of which enough was measured; of a sample without any the best one; `None`: all."""
        there = (share >= LEAST_MEASURED) | (share >= share.amax(1, keepdim=True))
        return None if bool(there.all()) else there

    def picture(self, batch: Any, row: int, marks: Marks | None = None) -> Picture:
        """Curves of the channels."""
        one = self.batch(batch)[row : row + 1].to("cpu")
        shown = self.standardised(one)[0]
        names = self.channels or tuple(str(i) for i in range(len(shown)))
        if one.channel is not None:
            names = (names[int(one.channel[0, 0])],)
        there = torch.ones_like(shown, dtype=torch.bool) if one.valid is None else one.valid[0]
        return picture(shown.numpy(), there.numpy(), names, self.patch, marks, each=self.tokens == "channel")

    def restored(self, tokens: Tokens) -> SeriesBatch | None:
        """Series of raw tokens, in their own units where these are the data's."""
        if tokens.layout is None or self.norm == "sample":
            return None
        if self.tokens == "channel":
            values = tokens.values.unflatten(1, tokens.layout).flatten(2)
        else:
            values = tokens.values.unflatten(2, (-1, self.patch)).transpose(1, 2).flatten(2)
        if self.mean and self.tokens == "apart" and len(self.mean) > 1:
            return None  # of which channel they are, tokens do not tell
        if self.norm == "data" and self.mean:
            mean, std = (values.new_tensor(part)[:, None] for part in (self.mean, self.std))
            values = values * std + mean
        valid = None
        if tokens.valid is not None:
            cells = tokens.valid.unflatten(1, (self.rows, -1)).repeat_interleave(self.patch, 2)
            valid = cells.expand(-1, values.shape[1], -1)
        values = values[..., : self.length]
        valid = None if valid is None else valid[..., : self.length]
        channel = None if self.tokens != "apart" else torch.zeros_like(values[:, :, 0], dtype=torch.long)
        return SeriesBatch(values, valid, channel)


def _carried(values: Tensor, there: Tensor) -> Tensor:
    """Gaps filled with the value before them, beginnings with the first value; 0 where a channel has none."""
    steps = torch.arange(values.shape[-1], device=values.device)
    last = torch.where(there, steps, -1).cummax(-1).values
    first = torch.where(there, steps, values.shape[-1]).amin(-1, keepdim=True).clamp_max(values.shape[-1] - 1)
    return torch.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0).gather(
        -1, torch.where(last >= 0, last, first)
    )
