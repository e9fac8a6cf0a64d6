"""Sound: clips as log-mel spectrograms, whose square patches are tokens."""

import math
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.errors import UserError, warn
from openjepa.jepa import Tokens
from openjepa.signals.audio.augment import SoundAugment, augment_sounds, seen_from_context
from openjepa.signals.audio.batch import Sounds, Waves
from openjepa.signals.audio.classical import classical
from openjepa.signals.audio.opening import open_sounds
from openjepa.signals.audio.picture import sound_picture
from openjepa.signals.audio.sound_set import SoundSet
from openjepa.signals.audio.spectrogram import LogMel
from openjepa.signals.audio.tasks import sound_tasks
from openjepa.signals.base import AugmentedTokens, Signal
from openjepa.signals.images.signal import grid_positions
from openjepa.signals.pictures import Marks, Picture
from openjepa.signals.tasks import Tasks

MOST_TOKENS = 256**2
MEASURED = 1024
"""Clips whose mean and spread are taken, at most."""
SAME_BAND = 0.9
"""A recording's highest frequency below this share of the model's highest band is told of."""


class AudioSignal(Signal):
    """A clip's log-mel spectrogram becomes square patches, each a token at its (frequency, time)."""

    kind: Literal["audio"] = "audio"
    noun: ClassVar[str] = "clips"
    axes: ClassVar[tuple[str, ...]] = ("frequency", "time")

    rate: int = Field(16_000, ge=1000, le=768_000)
    """Samples a second, to which all recordings are resampled."""
    seconds: float = Field(2.08, gt=0, le=3600)
    """The length of a clip; of longer recordings a part is read, at random in training, and shorter ones are padded."""
    clips: Literal["files", "tiles"] = "files"
    """`files`: one clip a recording. `tiles`: as many as lie side by side in it; those of one recording are a group."""
    window: float = Field(0.025, gt=0, le=1)
    """Seconds under the Hann window of a frame."""
    hop: float = Field(0.01, gt=0, le=1)
    """Seconds from frame to frame."""
    fft: int = Field(0, ge=0, le=65_536)
    """Points of the transform; 0: the next power of two."""
    bands: int = Field(80, ge=1, le=4096)
    """Mel bands."""
    low: float = Field(50.0, ge=0)
    """Hz, where the lowest band begins."""
    high: float = Field(0.0, ge=0)
    """Hz, where the highest band ends; 0: half the rate that most training recordings had, at most half of `rate`."""
    floor: float = Field(-80.0, ge=-200, le=0)
    """Decibels of full scale that are added to every band, so that silence is finite and faint noise does not count."""
    level: Literal["keep", "clip", "frame"] = "keep"
    """`clip`: each band's mean over a clip is taken off, with what microphone, room and distance do to it. `frame`:
    each frame's mean over the bands, so that what is left tells the spectrum's shape and not how loud it is."""
    patch: int = Field(16, ge=1, le=1024)
    """Side of a token in bands and in frames."""
    mean: float | None = None
    """What is taken off all values, natural logarithms of power; none: measured on the training clips, as is `std`."""
    std: float | None = Field(None, gt=0)
    names: str = ""
    """What the names of files tell, such as `{label}_{group}_{take}`: {label} is the class, in the place of
    sub-folders; {group} who or what was recorded, whom no split cuts; {fold} a number of the parts into which the data
    are to be split."""
    augment: SoundAugment = SoundAugment()
    """What training does to clips."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.bands % self.patch:
            raise ValueError(f"bands {self.bands} are not a multiple of the patch, {self.patch}")
        if self.frames < self.patch:
            raise ValueError(
                f"a clip of {self.seconds:g} s has {round(self.seconds / self.hop)} frames, fewer than a patch of "
                f"{self.patch}: use longer clips, or a smaller patch or hop"
            )
        if math.prod(self.layout) > MOST_TOKENS:
            raise ValueError(
                f"{self.layout[0]} x {self.layout[1]} patches are more than {MOST_TOKENS:,} tokens: use shorter clips "
                "or larger patches"
            )
        if round(self.hop * self.rate) < 1 or round(self.window * self.rate) < 2:
            raise ValueError(
                f"a window of {self.window:g} s or a hop of {self.hop:g} s is less than a sample or two"
            )
        if self.fft and self.fft < round(self.window * self.rate):
            raise ValueError(
                f"fft {self.fft} is less than the window's {round(self.window * self.rate)} samples"
            )
        if self.high > self.rate / 2:
            raise ValueError(f"high {self.high:g} Hz: {self.rate:,} samples a second show {self.rate / 2:g}")
        if self.low >= (self.high or self.rate / 2):
            raise ValueError(f"low {self.low:g} Hz is not below high, {self.high or self.rate / 2:g}")
        return self

    @property
    def frames(self) -> int:
        """Of a clip."""
        return round(self.seconds / self.hop) // self.patch * self.patch

    @property
    def layout(self) -> tuple[int, int]:
        """Patches along frequency, from the lowest on, and along time."""
        return self.bands // self.patch, self.frames // self.patch

    @property
    def features(self) -> int:
        """Numbers in a raw token."""
        return self.patch**2

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of a spectrogram, for encoders of planes."""
        return self.bands, self.frames

    @property
    def plane_channels(self) -> int:
        """Channels of what `planes` gives."""
        return 1

    def spec(self, rate: int) -> LogMel:
        """How spectrograms are made of recordings that had `rate` samples a second."""
        window = round(self.window * self.rate)
        return LogMel(
            self.rate,
            window,
            round(self.hop * self.rate),
            self.fft or 2 ** math.ceil(math.log2(window)),
            self.bands,
            self.low,
            self.high or max(2 * self.low, min(self.rate, rate) / 2),
            self.floor,
        )

    def open(self, data: Any, split: str = "train", *, adapt: bool = False) -> SoundSet:
        """Clips of `seconds` out of recordings; with `adapt` their files' names must fit `names`."""
        found = open_sounds(data, self, split=split, strict=adapt)
        if adapt:
            self._require_tokens(found)
        return found

    def fitted(self, samples: SoundSet) -> Self:
        """The highest band's end is that of the recordings; mean and std, unless set by hand, are measured on clips."""
        found: dict[str, Any] = {"high": samples.spec.high}
        if self.mean is None or self.std is None:
            rows = np.unique(np.linspace(0, len(samples) - 1, MEASURED).astype(np.int64))
            values, weights = [], []
            for start in range(0, len(rows), 64):
                batch = samples.read(rows[start : start + 64])
                mels = self._levelled(self.spectrograms(batch), batch.valid)
                there = batch.valid[:, None].expand_as(mels)
                values.append((float(mels[there].sum()), float(mels[there].square().sum())))
                weights.append(int(there.sum()))
            total, square = (sum(part) / sum(weights) for part in zip(*values, strict=True))
            mean = self.mean if self.mean is not None else round(total, 4)
            spread = math.sqrt(max(square - total**2, 1e-12))
            found |= {"mean": mean, "std": self.std or float(f"{spread:.4g}")}
        return type(self).parse(self.model_dump(mode="json") | found)

    def changed(self, before: Self) -> str:
        said = []
        if self.high != before.high:
            said.append(f"bands end at {self.high:g} Hz")
        if (self.mean, self.std) != (before.mean, before.std):
            said.append(f"normalising with mean {self.mean:g} and std {self.std:g}")
        return "; ".join(said)

    def check(self, samples: SoundSet) -> None:
        """Warn where recordings cannot have sound in the model's highest bands."""
        if samples.rate / 2 < SAME_BAND * self.high:
            warn(
                f"{samples.name}: most recordings have {samples.rate:,} samples a second and nothing above "
                f"{samples.rate / 2:g} Hz, and the model was trained on sound up to {self.high:g} Hz"
            )

    def classical(self, level: str = "all") -> list[Any]:
        """What a user can have of sound without training, to stand beside a model's features."""
        return classical(self.spectrograms, level)

    def tasks(self, batch: Sounds) -> Tasks:
        mels = self.spectrograms(batch)
        return sound_tasks(Sounds(batch.valid, mels), mels)

    def batch(self, raw: Any) -> Sounds:
        """A user's sound, `[N, S]`, `[S]` or a list of arrays, at the signal's rate, or `Waves`: whole, not cut.

        Raises:
            UserError: no sound, or values that are no numbers.
        """
        if isinstance(raw, Sounds):
            return raw
        patches = math.ceil(self.spec(self.rate).frames(_longest(raw, self.rate)) / self.patch)
        whole = self.model_copy(update={"seconds": patches * self.patch * self.hop, "clips": "files"})
        samples = open_sounds(raw, whole)
        return samples.read(range(len(samples)))

    def spectrograms(self, batch: Sounds) -> Tensor:
        """`[B, bands, T]`, natural logarithms of power, on the batch's device."""
        if batch.mels is not None:
            return batch.mels
        assert batch.waves is not None
        return self.spec(self.rate)(batch.waves)

    def tokenise(self, batch: Sounds) -> Tokens:
        """Raw tokens `[B, F * T, patch²]`, a lowest band's row first; frames that are not there are zero.

        Raises:
            UserError: clips of other bands, or shorter than a token.
        """
        return self._tokens(self.spectrograms(batch), batch.valid)

    def augmented(self, batch: Sounds, rng: Rng) -> AugmentedTokens:
        """Views of each clip, as `augment` says."""
        mels, valid = self.spectrograms(batch), batch.valid
        draws = rng.stream("sound")
        seen = augment_sounds(self.augment, mels, valid, draws)
        context = self._tokens(seen.mels, seen.valid)
        if self.augment.views == 1:
            return AugmentedTokens(context, context)
        other = augment_sounds(self.augment, mels, valid, draws)
        target = self._tokens(other.mels, other.valid)
        return AugmentedTokens(context, target, seen_from_context(seen, other, target.positions, self.patch))

    def planes(self, tokens: Tokens) -> Tensor:
        """The inverse of cutting: normalised spectrograms `[B, 1, bands, T]` from patches that fill a grid."""
        assert tokens.layout is not None
        rows, columns = tokens.layout
        patches = tokens.values.view(-1, rows, columns, self.patch, self.patch)
        return patches.transpose(2, 3).reshape(-1, 1, rows * self.patch, columns * self.patch)

    def restored(self, tokens: Tokens) -> Sounds | None:
        """Clips of raw tokens."""
        if tokens.layout is None or len(tokens.layout) != 2:
            return None
        mels = self.planes(tokens)[:, 0].float() * (self.std or 1.0) + (self.mean or 0.0)
        valid = torch.ones(len(mels), mels.shape[2], dtype=torch.bool, device=mels.device)
        if tokens.valid is not None:
            valid = tokens.valid.unflatten(1, tokens.layout).any(1).repeat_interleave(self.patch, 1)
            valid = valid & (self.planes(tokens)[:, 0] != 0).any(1)  # a last patch is padded in part
        return Sounds(valid, mels)

    def picture(self, batch: Any, row: int, marks: Marks | None = None) -> Picture:
        """The spectrogram, low bands at the bottom; its patches hidden, outlined, or in colours, as `marks` say."""
        clip = self.batch(batch)[row : row + 1].to("cpu")
        mels = self.spectrograms(clip)[0]
        return sound_picture(mels.numpy(), clip.valid[0].numpy(), self.patch, marks)

    def _require_tokens(self, samples: SoundSet) -> None:
        """UserError where no recording is as long as half a token, a warning where some are not."""
        short, token = int((2 * samples.lengths < self.patch).sum()), f"{self.patch * self.hop:g} s"
        if short == len(samples):
            raise UserError(
                f"{samples.name}: all of its recordings are shorter than half a token of {token}: use a smaller "
                "signal.patch or signal.hop, or longer recordings"
            )
        if short:
            warn(
                f"{samples.name}: {short:,} of {len(samples):,} clips are shorter than half a token of {token}"
            )

    def _levelled(self, mels: Tensor, valid: Tensor) -> Tensor:
        if self.level == "keep":
            return mels
        if self.level == "frame":
            return mels - mels.mean(1, keepdim=True)
        there = valid[:, None].to(mels.dtype)
        return mels - (mels * there).sum(-1, keepdim=True) / there.sum(-1, keepdim=True).clamp_min(1)

    def _tokens(self, mels: Tensor, valid: Tensor) -> Tokens:
        if mels.shape[1] != self.bands or mels.shape[2] < self.patch:
            raise UserError(
                f"clips of {mels.shape[1]} bands and {mels.shape[2]} frames do not fit {self.bands} bands and patches "
                f"of {self.patch}: use longer clips of this signal"
            )
        columns, rows = mels.shape[2] // self.patch, self.bands // self.patch
        used = columns * self.patch
        mels, valid = mels[..., :used], valid[:, :used]
        values = (self._levelled(mels, valid) - (self.mean or 0.0)) / (self.std or 1.0)
        values = torch.where(valid[:, None], values, 0)
        patches = values.unflatten(2, (columns, self.patch)).unflatten(1, (rows, self.patch))
        patches = patches.transpose(2, 3).flatten(3).flatten(1, 2)
        there = valid.unflatten(1, (columns, self.patch)).sum(-1) * 2 >= self.patch
        there[:, 0] = True  # of the shortest clip too
        present = None if bool(there.all()) else there[:, None].expand(-1, rows, -1).flatten(1)
        return Tokens(patches, grid_positions(rows, columns, mels.device), (rows, columns), present)


def _longest(raw: Any, rate: int) -> int:
    """Samples at `rate` of the longest recording."""
    values, own = (raw.values, raw.rate) if isinstance(raw, Waves) else (raw, rate)
    values = (
        values if isinstance(values, list) else [values] if getattr(values, "ndim", 2) == 1 else list(values)
    )
    try:
        rates = np.broadcast_to(np.asarray(own, dtype=np.float64), (len(values),))
        return max(
            (math.ceil(len(v) * rate / r) for v, r in zip(values, rates.tolist(), strict=True)), default=0
        )
    except (TypeError, ValueError, ZeroDivisionError):
        return 0  # for `open_sounds` to refuse
