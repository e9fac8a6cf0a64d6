"""Electrodes on a head: windows of several channels as tokens, one a channel and second."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from openjepa.errors import UserError, warn
from openjepa.jepa import Tokens
from openjepa.signals.base import Signal
from openjepa.signals.electrodes.alignment import Alignment
from openjepa.signals.electrodes.batch import Recordings
from openjepa.signals.electrodes.classical import classical
from openjepa.signals.electrodes.montage import Place, canonical, electrodes, place
from openjepa.signals.electrodes.opening import open_recordings
from openjepa.signals.electrodes.picture import TraceWindow, picture
from openjepa.signals.electrodes.recording_set import RecordingSet
from openjepa.signals.electrodes.tasks import recording_tasks
from openjepa.signals.pictures import Marks, Picture
from openjepa.signals.tasks import Tasks

MOST_TOKENS = 256**2
NAMED = 1e-3
"""Distance on the head within which a place has an electrode's name in a picture."""
OTHER_UNITS = 0.05
"""Recordings whose spread is less than this share of the training data's, or more than its inverse, are probably in
other units."""


class ElectrodeSignal(Signal):
    """Windows of a recording become tokens, one a channel and second, each at its electrode's place and its time."""

    kind: Literal["electrodes"] = "electrodes"
    noun: ClassVar[str] = "windows"
    axes: ClassVar[tuple[str, ...]] = ("channel", "second")

    rate: float = Field(128.0, gt=0, le=100_000)
    """Samples a second, to which all channels are resampled."""
    seconds: float = Field(16.0, gt=0, le=86_400)
    """The length of a window in seconds."""
    band: tuple[float, float] | None = (0.5, 40.0)
    """Lowest and highest frequency in Hz that are kept; none: the recordings are filtered already."""
    patch: int = Field(128, ge=1, le=65_536)
    """Samples from a token to the next one of its channel."""
    overlap: int = Field(24, ge=0, le=65_536)
    """Samples after it that a token also holds, and a window after its last token: convolutions without padding, whose
    field is longer than their stride, then give one output a token. 0 for a linear stem."""
    windows: Literal["tiles", "events"] = "tiles"
    """`tiles`: side by side through each recording, labelled by its sub-folder or else by the annotation over their
    middle. `events`: where annotations begin, labelled by these."""
    offset: float = Field(0.0, ge=-3600, le=3600)
    """Seconds after the beginning of an annotation at which the window of an event begins."""
    align: Alignment = "none"
    """What each person's recordings are freed of when they are opened, by all that is there of that person, without
    labels: `covariance`, how strong electrodes are and how they go together (Euclidean alignment, arXiv:1808.05464);
    `spectrum`, also how strong each frequency is. Arrays given to a model from Python are taken as they are."""
    channels: tuple[str, ...] = ()
    """Electrodes of the training data, in the order of the channel table; taken from the data."""
    places: tuple[Place, ...] = ()
    """The place of each of them on a head of radius 1: right, front, up."""
    scale: float = Field(0.0, ge=0)
    """Microvolts that become 1; 0: the standard deviation of the training data."""
    clip: float | None = Field(20.0, gt=0)
    """Values beyond so many scales are cut to it: bursts of muscles and of cables."""
    subject: str = r"(?:^|[/_])sub-([A-Za-z0-9]+)|(?:^|/)(S\d+)R\d+\."
    """A regular expression whose first group that matches in a file's path names the person: no split cuts one. Where
    it does not match, the file's header names the person, else each file is a person."""

    @model_validator(mode="after")
    def _fits(self) -> "ElectrodeSignal":
        if self.band is not None and not 0 <= self.band[0] < self.band[1]:
            raise ValueError(f"band {list(self.band)} must be two frequencies in ascending order")
        if self.band is not None and self.band[1] > self.rate / 2:
            raise ValueError(
                f"band reaches {self.band[1]:g} Hz: {self.rate:g} samples a second show {self.rate / 2:g}"
            )
        if self.steps < 1:
            raise ValueError(
                f"a window of {self.seconds:g} s has {round(self.seconds * self.rate)} samples, fewer than a patch of "
                f"{self.patch}: use a smaller patch or longer windows"
            )
        if len(self.channels) != len(self.places):
            raise ValueError(f"{len(self.channels)} channels have {len(self.places)} places: give one each")
        if max(1, len(self.channels)) * self.steps > MOST_TOKENS:
            raise ValueError(
                f"{len(self.channels)} channels of {self.steps} patches are more than {MOST_TOKENS:,} tokens"
            )
        return self

    @property
    def steps(self) -> int:
        """Tokens of one channel in a window."""
        return round(self.seconds * self.rate) // self.patch

    @property
    def samples(self) -> int:
        """Samples of one channel in a window."""
        return self.steps * self.patch + self.overlap

    @property
    def features(self) -> int:
        """Numbers in a raw token."""
        return self.patch + self.overlap

    @property
    def layout(self) -> tuple[int, int]:
        """Channels and patches of a window of the training data."""
        return len(self.channels), self.steps

    def open(self, data: Any, split: str = "train", *, adapt: bool = False) -> RecordingSet:
        """Windows of `seconds`; recordings keep their own electrodes, whichever the model was trained on."""
        return open_recordings(data, self, split=split)

    def fitted(self, samples: RecordingSet) -> Self:
        """Electrodes are those of the recordings, and the scale, unless set by hand, is their spread.

        Electrodes that the signal has already stay, in their order, and others are added: a run goes on with more.
        """
        known = dict(zip(self.channels, self.places, strict=True))
        for channel, where in zip(samples.channels, samples.places, strict=True):
            known.setdefault(channel, where)
        changed = {"channels": tuple(known), "places": tuple(known.values())}
        scale = self.scale or float(f"{samples.spread:.4g}")
        return type(self).parse(self.model_dump(mode="json") | changed | {"scale": scale})

    def changed(self, before: Self) -> str:
        said = []
        if self.channels != before.channels:
            said.append(f"the data have {len(self.channels)} electrodes")
        if self.scale != before.scale:
            said.append(f"{self.scale:g} µV become 1")
        return "; ".join(said)

    def check(self, samples: RecordingSet) -> None:
        """Warn where recordings are in other units than those that were trained on, or of other electrodes."""
        spread = samples.spread
        if self.scale and not OTHER_UNITS < spread / self.scale < 1 / OTHER_UNITS:
            warn(
                f"{samples.name}: its values spread {spread:.3g} µV, those of the training data {self.scale:.3g}: are "
                "they in other units?"
            )
        if new := [name for name in samples.channels if name not in self.channels]:
            warn(
                f"{samples.name}: {len(new)} of {len(samples.channels)} electrodes were not trained on "
                f"({', '.join(new[:6])}): the model knows them by their places alone"
            )

    def classical(self, level: str = "all") -> list[Any]:
        """Power in frequency bins and covariances in tangent space, to stand beside a model's features."""
        return classical(self.rate, level)

    def tasks(self, batch: Recordings) -> Tasks:
        return recording_tasks(batch, self.rate)

    def batch(self, raw: Any, channels: Sequence[str] | None = None) -> Recordings:
        """A user's array of windows at the signal's rate, `[N, C, S]` or one `[C, S]`, in microvolts.

        Args:
            channels: their names; `None`: those of the training data, in their order.

        Raises:
            UserError: another shape, values that are no numbers, names that are no electrodes'.
        """
        if isinstance(raw, Recordings):
            return raw
        values = torch.as_tensor(np.asarray(raw, np.float32) if not isinstance(raw, Tensor) else raw).float()
        values = values.unsqueeze(0) if values.dim() == 2 else values
        where = self.places if channels is None else tuple(map(place, channels))
        if values.dim() != 3 or values.shape[1] != len(where):
            raise UserError(
                f"windows of shape {list(values.shape)} are not [N, {len(where)}, samples]: "
                + ("name their channels" if channels is None else f"{len(where)} channels are named")
            )
        if channels is not None and (
            unknown := [canonical(c) for c, p in zip(channels, where, strict=True) if p is None]
        ):
            raise UserError(
                f"channel {unknown[0]} is no electrode of the 10-5 system: leave it out or rename it"
            )
        if len(bad := (~values.isfinite()).flatten(1).any(1).nonzero()):
            raise UserError(f"window {int(bad[0])} holds values that are no numbers: mend or remove it")
        places = values.new_tensor(where).expand(len(values), -1, -1)
        return Recordings(values, places, torch.ones(values.shape[:2], dtype=torch.bool))

    def tokenise(self, batch: Recordings) -> Tokens:
        """Raw tokens `[B, C * T, patch + overlap]`, channel by channel, at (right, front, up, second).

        Raises:
            UserError: windows shorter than a token.
        """
        places = batch.places
        if len(places) > 1 and bool((places == places[:1]).all()):
            places = places[:1]
        return self._cut(batch.values, places, None if bool(batch.valid.all()) else batch.valid)

    @property
    def traced_meaning(self) -> str:
        return f"microvolts at {self.rate:g} samples a second, of the channels {', '.join(self.channels)}"

    def traced_input(self, count: int) -> Tensor:
        return (self.scale or 1.0) * torch.randn(count, len(self.channels), self.samples)

    def traced(self, samples: Tensor) -> Tokens:
        return self._cut(samples, samples.new_tensor(self.places).unsqueeze(0), None)

    def _cut(self, values: Tensor, places: Tensor, valid: Tensor | None) -> Tokens:
        """Tokens of windows `[B, C, S]` at places `[1 or B, C, 3]`."""
        if values.shape[-1] < self.features:
            raise UserError(
                f"windows of {values.shape[-1]} samples are shorter than a token of {self.features}: "
                "use longer windows, or a smaller signal.patch"
            )
        values = values / (self.scale or 1.0)
        if self.clip is not None:
            values = values.clamp(-self.clip, self.clip)
        patches = values.unfold(-1, self.features, self.patch)  # [B, C, T, F]
        channels, steps = patches.shape[1:3]
        times = torch.arange(steps, device=values.device, dtype=torch.float32) * (self.patch / self.rate)
        positions = torch.cat(
            [
                places.unsqueeze(2).expand(-1, -1, steps, -1),
                times.view(1, 1, -1, 1).expand(len(places), channels, -1, -1),
            ],
            -1,
        )
        there = None if valid is None else valid.repeat_interleave(steps, 1)
        return Tokens(patches.flatten(1, 2), positions.flatten(1, 2), (channels, steps), there)

    def picture(self, batch: Any, row: int, marks: Marks | None = None) -> Picture:
        """Traces and a map of the head."""
        window = self.batch(batch)[row : row + 1].to("cpu")
        tokens = self.tokenise(window)
        assert tokens.layout is not None
        where = window.places[0]
        known = torch.tensor([*self.places, *electrodes().values()])
        away, nearest = torch.cdist(where, known).min(1)
        names = [*self.channels, *electrodes()]
        called = [
            names[i] if near < NAMED else "" for i, near in zip(nearest.tolist(), away.tolist(), strict=True)
        ]
        shown = TraceWindow(
            window.values[0].numpy(),
            where.numpy(),
            called,
            window.valid[0].numpy(),
            self.patch,
            tokens.layout[1],
        )
        return picture(shown, marks)

    def restored(self, tokens: Tokens) -> Recordings | None:
        """Windows of raw tokens, in microvolts; beyond `clip` they are cut off."""
        if tokens.layout is None or len(tokens.layout) != 2:
            return None
        patches = tokens.values.unflatten(1, tokens.layout)
        values = torch.cat([patches[..., : self.patch].flatten(2), patches[:, :, -1, self.patch :]], -1)
        places = tokens.positions.unflatten(1, tokens.layout)[:, :, 0, :3].expand(len(values), -1, -1)
        valid = torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
        if tokens.valid is not None:
            valid = tokens.valid.unflatten(1, tokens.layout)[:, :, 0]
        return Recordings(values * (self.scale or 1.0), places, valid)
