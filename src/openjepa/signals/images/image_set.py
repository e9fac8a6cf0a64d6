"""A set of images of one size, in memory or decoded as they are read."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from openjepa.common.contents import Contents, of_array
from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.signals.base import Labels
from openjepa.signals.images.decode import BROKEN, PictureHeader
from openjepa.signals.images.statistics import Statistics, measure
from openjepa.signals.images.values import Kept, stored, together
from openjepa.signals.parts import digest_labels
from openjepa.signals.readers.folders import Names
from openjepa.signals.readers.skipped import (
    Skipped,
    attempt,
    attempt_all,
    nothing,
    reason_of,
    say,
    say_skipped,
)
from openjepa.signals.readers.skipping import Indices, SkippingSet

IN_MEMORY_BYTES = 2**30
"""Sets whose decoded pixels need no more than this live in memory."""
DEFAULT_SIZE = 224
FAR_SHRUNK = 4.0
"""Times that images may be shrunk without a word."""
T = TypeVar("T")


class PixelSource(Protocol):
    """Encoded images by number. Picklable; holds no open file, so that it works in forked and spawned workers."""

    @property
    def labels(self) -> np.ndarray | None:
        """int64 `[N]`; `None` without labels."""
        ...

    @property
    def surveyed(self) -> int:
        """How many images, from the first, `inspect` can cheaply be asked about."""
        ...

    @property
    def threaded(self) -> bool:
        """Whether `inspect` and `decode` may be called from several threads."""
        ...

    def __len__(self) -> int: ...

    def name(self, row: int) -> str:
        """The image's name in messages."""
        ...

    def inspect(self, row: int) -> PictureHeader:
        """Size and mode; raises one of `BROKEN`."""
        ...

    def decode(self, row: int, size: tuple[int, int], channels: int) -> Tensor:
        """uint8 or float32 `[channels, *size]`; raises one of `BROKEN`."""
        ...

    def contents(self) -> Contents | None:
        """A checksum over everything, if there is a cheap one."""
        ...


class ImageSet(SkippingSet):
    """Images of one size, map-style.

    Attributes:
        shape: `(C, H, W)` of what `read` returns.
        in_memory: whether `read` only copies; else it decodes files and is better called in worker processes.
        bytes: whether its values are.
        shrunk: how many times smaller images are than in their files, along a side, in the median.
        most_shrunk: the same of the one that is shrunk most; `None`: all alike.
        tiles: parts of an image along a side that are read one by one (`tiles.TiledImages`).
    """

    noun: ClassVar[str] = "images"
    tiles = 1

    def __init__(
        self,
        name: str,
        pixels: "LoadedImages | DecodedImages",
        *,
        labels: Labels | np.ndarray | None = None,
        classes: list[str] | None = None,
        splits: tuple[str, ...] = ("train",),
        skipped: Sequence[Skipped] = (),
        keys: Names | None = None,
        shrunk: float = 1.0,
        most_shrunk: float | None = None,
    ) -> None:
        known = labels if labels is None or isinstance(labels, Labels) else _labels(labels, classes)
        super().__init__(name, pixels, labels=known, splits=splits, skipped=skipped, keys=keys)
        self._pixels, self._statistics = pixels, None
        self.shape, self.in_memory = pixels.shape, isinstance(pixels, LoadedImages)
        self.bytes, self.shrunk = pixels.bytes, shrunk
        self.most_shrunk = shrunk if most_shrunk is None else most_shrunk

    @property
    def statistics(self) -> Statistics:
        """What values its images hold, measured once; of a set that is decoded as it is read, on some of them."""
        if self._statistics is None:
            self._statistics = measure(self)
        return self._statistics

    @property
    def far_shrunk(self) -> bool:
        """Whether an image is so much smaller than in its file that small objects may be lost."""
        return self.most_shrunk > FAR_SHRUNK

    @property
    def remark(self) -> str:
        """What a user should know of how images are read, in a sentence; empty for nothing."""
        return (
            f"{self._shrunk_by()}: where objects are small, cut them up with --signal.tiles auto"
            if self.far_shrunk
            else ""
        )

    def _shrunk_by(self) -> str:
        most, usual = f"{self.most_shrunk:.3g}", f"{self.shrunk:.3g}"
        times = f"{most} times" if most == usual else f"up to {most} times ({usual} in the median)"
        return f"images are shrunk {times}, to {self.tiles * self.shape[-1]} px"

    def read(self, indices: Indices, rng: Rng | None = None) -> Tensor:
        """`[B, C, H, W]`: bytes as uint8, other numbers, as they are in the data, as float32 (see `values`).

        An image that cannot be decoded is replaced by the next readable one with the same label, always the same
        one, and named in `skipped`.

        Raises:
            UserError: no image of the set, or of that label, can be decoded.
        """
        return self._whole(indices)

    def _whole(self, indices: Indices) -> Tensor:
        """Images as they were opened, `[B, C, H, W]`."""
        chosen = torch.as_tensor(indices, dtype=torch.long)
        if isinstance(self._pixels, LoadedImages):
            return self._pixels.images.index_select(0, self._rows.index_select(0, chosen))
        return torch.stack([self._one(i) for i in chosen.tolist()])

    def subset(self, indices: Indices) -> Self:
        """The images at `indices`, in that order; shares the pixels."""
        found = super().subset(indices)
        found._statistics = None
        return found

    def describe(self) -> dict[str, Any]:
        """Name, number, shape, a SHA-256 over shape, labels and some pixels, one over all, and what was skipped."""
        self.tell()
        digest = hashlib.sha256(repr((len(self), self.shape)).encode())
        digest.update(self.read(self._fingerprinted()).numpy().tobytes())
        digest_labels(digest, self.labels)
        known = {} if self._statistics is None else {"values": self._statistics.describe()}
        return {
            "name": self.name,
            self.noun: len(self),
            "shape": list(self.shape),
            **known,
            "fingerprint": digest.hexdigest(),
            "contents": self._contents,
            "skipped": [[skipped.name, skipped.reason] for skipped in self.skipped],
        }

    @cached_property
    def _contents(self) -> Contents | None:
        """A checksum over the whole source, also where this is a part of it."""
        return self._pixels.contents()

    def _one(self, index: int) -> Tensor:
        assert isinstance(self._pixels, DecodedImages)
        for row in self._stand_ins(index):
            image = self._pixels.get(row)
            if image is not None:
                return image
        raise UserError(f"{self.name}: none of its images can be decoded; are the files complete?")


def _labels(values: np.ndarray, classes: list[str] | None) -> Labels:
    return Labels(values, None if classes is None else tuple(classes))


class LoadedImages:
    """All pixels in one tensor `[N, C, H, W]`, uint8 or float32."""

    def __init__(self, images: Tensor) -> None:
        self.images = images
        self.shape = (images.shape[1], images.shape[2], images.shape[3])
        self.bytes = images.dtype == torch.uint8

    def __len__(self) -> int:
        return len(self.images)

    def damaged(self) -> list[Skipped]:
        return []

    def contents(self) -> Contents:
        return of_array(self.images)


class DecodedImages:
    """Pixels decoded when asked for. Which images failed is shared between processes."""

    def __init__(
        self, source: PixelSource, rows: Tensor, size: tuple[int, int], channels: int, kind: Kept
    ) -> None:
        self.source, self.rows, self.size, self.kind = source, rows, size, kind
        self.shape, self.bytes = (channels, *size), kind == "bytes"
        self.failed = torch.zeros(len(rows), dtype=torch.bool).share_memory_()

    def __len__(self) -> int:
        return len(self.rows)

    def get(self, row: int) -> Tensor | None:
        """`[C, H, W]`, or `None` for an image that cannot be decoded."""
        if self.failed[row]:
            return None
        image = _attempt(lambda: self.source.decode(int(self.rows[row]), self.size, self.shape[0]))
        if isinstance(image, str):
            self.failed[row] = True
            return None
        return stored(image, self.kind)

    def contents(self) -> Contents | None:
        return self.source.contents()

    def damaged(self) -> list[Skipped]:
        found = []
        for row in self.rows[self.failed].tolist():
            reason = _attempt(lambda row=row: self.source.decode(row, self.size, self.shape[0]))
            found.append(
                Skipped(self.source.name(row), reason if isinstance(reason, str) else "was unreadable")
            )
        return found


def build(
    name: str,
    source: PixelSource,
    *,
    size: int | None,
    channels: int | None,
    classes: list[str] | None = None,
    splits: tuple[str, ...] = ("train",),
    skipped: Sequence[Skipped] = (),
    key: Callable[[int], str] = str,
) -> ImageSet:
    """Look at every header, settle the size and the channels, and hold the set in memory if it is small.

    Args:
        key: what the source's images are called, by row.

    Raises:
        UserError: nothing readable.
    """
    headers = attempt_all(lambda row: _attempt(lambda: source.inspect(row)), source.surveyed, source.threaded)
    failed = {row: header for row, header in enumerate(headers) if isinstance(header, str)}
    known = {row: header for row, header in enumerate(headers) if isinstance(header, PictureHeader)}
    kind, others = _kept(known)
    failed |= others
    known = {row: header for row, header in known.items() if row not in others}
    if not known:
        raise _nothing(
            name, len(source), [*skipped, *(Skipped(source.name(r), why) for r, why in failed.items())]
        )
    hw, channels = settle(list(known.values()), size, channels)
    rows = [row for row in range(len(source)) if row not in failed]
    if fits_in_memory(len(rows), hw, channels, kind):
        images = torch.empty(
            len(rows), channels, *hw, dtype=torch.uint8 if kind == "bytes" else torch.float32
        )

        def load(i: int) -> None:
            images[i] = stored(source.decode(rows[i], hw, channels), kind)

        outcome = attempt_all(lambda i: _attempt(lambda: load(i)), len(rows), source.threaded)
        bad = {i: why for i, why in enumerate(outcome) if isinstance(why, str)}
        failed |= {rows[i]: why for i, why in bad.items()}
        good = [i for i in range(len(rows)) if i not in bad]
        rows = [rows[i] for i in good]
        pixels = LoadedImages(images if not bad else images[torch.tensor(good, dtype=torch.long)])
    else:
        pixels = DecodedImages(source, torch.tensor(rows), hw, channels, kind)
    missing = [*skipped, *(Skipped(source.name(row), why) for row, why in sorted(failed.items()))]
    if not rows:
        raise _nothing(name, len(source), missing)
    say_skipped(name, missing, len(rows), ImageSet.noun)
    if cut := sum(header.cut for header in known.values()):
        say(
            f"{name}: {cut:,} images have 16 bits a colour, of which only the upper 8 are read: give arrays of them"
        )
    labels = None if source.labels is None else source.labels[rows]
    if labels is not None and (labels < 0).all():
        labels = None
    keys, shrunk = Names([key(row) for row in rows]), shrinkage(hw, list(known.values()))
    known_of = {"labels": labels, "classes": classes, "keys": keys}
    return ImageSet(
        name,
        pixels,
        splits=splits,
        skipped=missing,
        shrunk=float(np.median(shrunk)),
        most_shrunk=max(shrunk),
        **known_of,
    )


def shrinkage(size: tuple[int, int], headers: Sequence[PictureHeader]) -> list[float]:
    """How many times smaller each image becomes along a side."""
    return [min(header.height / size[0], header.width / size[1]) for header in headers]


def _kept(headers: Mapping[int, PictureHeader]) -> tuple[Kept, dict[int, str]]:
    """How the set's values are kept, and which images do not fit in with the others, and why."""
    of = {kind: [row for row, h in headers.items() if h.kind == kind] for kind in ("bytes", "numbers")}
    if len(of["numbers"]) > len(of["bytes"]) > 0:
        return "numbers", dict.fromkeys(
            of["bytes"], "bytes, where most have more than 8 bits: give them one scale"
        )
    if len(of["bytes"]) >= len(of["numbers"]) > 0:
        why = "it has more than 8 bits, where most have bytes: give them one scale"
        return "bytes", dict.fromkeys(of["numbers"], why)
    return together(header.kind for header in headers.values()), {}


def fits_in_memory(count: int, size: tuple[int, int], channels: int, kind: Kept) -> bool:
    """Whether that many decoded images are few enough to be held."""
    return count * channels * size[0] * size[1] * (1 if kind == "bytes" else 4) <= IN_MEMORY_BYTES


def settle(
    headers: Sequence[PictureHeader], size: int | None, channels: int | None
) -> tuple[tuple[int, int], int]:
    """The output's (height, width) and channels: as asked, else what all images share, else 224 and 3."""
    sizes = {(header.height, header.width) for header in headers}
    if size is not None:
        hw = (size, size)
    else:
        hw = sizes.pop() if len(sizes) == 1 else (DEFAULT_SIZE, DEFAULT_SIZE)
    given = {header.channels for header in headers}
    return hw, channels or (given.pop() if len(given) == 1 else 3)


def _attempt(action: Callable[[], T]) -> T | str:
    """The action's result, or why the image is unreadable."""
    return attempt(action, BROKEN, _reason)


def _reason(error: BaseException) -> str:
    return "not an image" if type(error).__name__ == "UnidentifiedImageError" else reason_of(error)


def _nothing(name: str, count: int, skipped: Sequence[Skipped]) -> UserError:
    what = (
        f"none of its {count} files is a readable image"
        if count
        else "it holds no files that could be images"
    )
    return nothing(
        name,
        what,
        skipped,
        "a folder of JPEG, PNG, WebP, BMP, GIF, TIFF or PPM files, or tar shards of key.jpg and key.cls",
    )
