"""Images from numpy arrays and torch tensors, and from .npy and .npz files of them."""

import lzma
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import torch
from torch import Tensor

from openjepa.common.contents import Contents, of_array, of_files
from openjepa.common.reach import regular
from openjepa.errors import UserError
from openjepa.signals.images.decode import Header, fit, recolour
from openjepa.signals.images.image_set import Held, ImageSet, build, fits_in_memory, settle
from openjepa.signals.images.values import Kept, kind_of, stored, to_tensor, together
from openjepa.signals.readers.splits import SPLITS, pick_split

MEMBER_BYTES = 2**33
"""The largest array in a .npz file, which must be unpacked into memory; a .npy file may be of any size."""
PART = 2**22
"""Values of an array that are converted together."""
LOOKED_AT = 256
"""Images of a large array whose values decide how all are kept."""
FEW = 4
"""Channels that an image has at most where the shape alone shows which axis they are on."""

_IMAGES = ("x", "images", "data", "arr_0")
_LABELS = ("y", "labels", "targets", "arr_1")
_DAMAGED = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, OverflowError, SyntaxError, MemoryError),
    *(NotImplementedError, RuntimeError, zipfile.BadZipFile, tokenize.TokenError),
    *(zlib.error, lzma.LZMAError, struct.error),
)
"""What numpy's and zipfile's readers are known to raise on damaged input."""


class ArraySource:
    """An array, converted part by part."""

    threaded = True

    def __init__(self, images: np.ndarray | Tensor, axis: int, labels: np.ndarray | None) -> None:
        self.images, self.axis, self.labels, self.surveyed = images, axis, labels, 1
        self.kind: Kept = "bytes"

    def __len__(self) -> int:
        return len(self.images)

    def name(self, row: int) -> str:
        return f"image {row}"

    def inspect(self, row: int) -> Header:
        channels, height, width = self.tensor(row, row + 1).shape[1:]
        return Header(height, width, channels, self.kind)

    def decode(self, row: int, size: tuple[int, int], channels: int) -> Tensor:
        return fit(recolour(stored(self.tensor(row, row + 1), self.kind), channels), size)[0]

    def tensor(self, first: int, end: int) -> Tensor:
        """Some of the images, `[n, C, H, W]`."""
        part = to_tensor(self.images[first:end], first)
        return part[:, None] if part.dim() == 3 else part.movedim(self.axis, 1)

    def parts(self) -> Iterator[tuple[int, int]]:
        """Bounds of parts of a size that is quick to convert."""
        step = max(1, PART // max(1, int(np.prod(self.images.shape[1:]))))
        return ((i, min(i + step, len(self))) for i in range(0, len(self), step))

    def contents(self) -> Contents:
        if isinstance(self.images, np.memmap) and self.images.filename:
            path = Path(self.images.filename)
            return of_files([(path.name, path)])
        return of_array(self.images)


def open_arrays(
    images: np.ndarray | Tensor, labels: Any, size: int | None, channels: int | None, name: str = "array"
) -> ImageSet:
    """Images `[N, H, W]`, `[N, H, W, C]` or `[N, C, H, W]` of any whole numbers or floats; labels `[N]`, -1 for none.

    Raises:
        UserError: another shape or type, NaN, or labels that do not go with the images.
    """
    shape = tuple(images.shape)
    if shape[:1] == (0,):
        raise UserError(f"{name}: it holds no images")
    _check_shape(shape, name)
    axis = channel_axis(shape, channels, "first" if isinstance(images, Tensor) else "last", name)
    classes, numbers = _labels(labels, len(images), name)
    source = ArraySource(images, axis, numbers)
    header = source.inspect(0)
    hw, wanted = settle([header], size, channels)
    _check_channels(header.channels, wanted, name)
    held = fits_in_memory(len(images), hw, wanted, "numbers")
    every = np.linspace(0, len(images) - 1, min(LOOKED_AT, len(images))).astype(int).tolist()
    looked_at = source.parts() if held else ((row, row + 1) for row in every)
    source.kind = together(kind_of(source.tensor(*part)) for part in looked_at)
    if not held and not fits_in_memory(len(images), hw, wanted, source.kind):
        return build(name, source, size=size, channels=channels, classes=classes)
    pixels = torch.cat(
        [fit(recolour(stored(source.tensor(*part), source.kind), wanted), hw) for part in source.parts()]
    )
    return ImageSet(name, Held(pixels), labels=numbers, classes=classes)


def _check_shape(shape: tuple[int, ...], name: str = "images") -> None:
    if len(shape) not in (3, 4) or 0 in shape:
        raise UserError(
            f"{name}: images of shape {shape} are none: give [N, H, W], [N, H, W, C] or [N, C, H, W]"
        )


def _check_channels(given: int, wanted: int, name: str) -> None:
    if given != wanted and {given, wanted} != {1, 3}:
        raise UserError(
            f"{name}: images of {given} channels where {wanted} are wanted: give images of {wanted}"
        )


def channel_axis(
    shape: tuple[int, ...], channels: int | None, habit: Literal["first", "last"], name: str = "images"
) -> int:
    """Where the channels of an array `[N, a, b, c]` are: 1 for `[N, C, H, W]`, 3 for `[N, H, W, C]`.

    The channels are the axis, of a and c, that differs from the two others where these are equal (images are square),
    and the one that is 4 or less where the other is more. Where these disagree, or neither says anything, it is the
    axis with as many as `channels`, and where both have as many, what is usual for such an array, its `habit`.

    Raises:
        UserError: it cannot be told.
    """
    if len(shape) == 3:
        return 1
    _, a, b, c = shape
    said = {
        axis for axis, so in ((1, b == c != a), (3, a == b != c), (1, a <= FEW < c), (3, c <= FEW < a)) if so
    }
    if len(said) == 1:
        return said.pop()
    named = [axis for axis, count in ((1, a), (3, c)) if count == channels]
    if named:
        return named[0] if len(named) == 1 else {"first": 1, "last": 3}[habit]
    raise UserError(
        f"{name}: images of shape {shape} may have {a} channels ([N, C, H, W]) or {c} ([N, H, W, C]): say which with "
        f"--signal.channels, in Python channels={a} or channels={c}"
    )


def to_pixels(images: np.ndarray | Tensor, first: int = 0) -> Tensor:
    """uint8 `[N, C, H, W]` of frames, whole numbers in 0..255 or floats in 0..1, which begin at number `first`.

    Raises:
        UserError: another shape, type or range.
    """
    _check_shape((1, *images.shape[1:]))
    axis = channel_axis(tuple(images.shape), None, "first" if isinstance(images, Tensor) else "last")
    x = to_tensor(images, first)
    x = x[:, None] if x.dim() == 3 else x.movedim(axis, 1)
    if x.dtype == torch.uint8 or x.numel() == 0:
        return x.to(torch.uint8)
    low, high = (float(v) for v in x.aminmax())
    if low < 0 or high > 1:
        raise UserError(
            f"images have values from {low:g} to {high:g}: integers must lie in 0..255 and floats in 0..1; "
            "rescale them, and leave normalisation to the model"
        )
    return (x * 255).round().to(torch.uint8)


def _labels(labels: Any, count: int, name: str) -> tuple[list[str] | None, np.ndarray | None]:
    """Class names (for labels that are text) and label numbers."""
    if labels is None:
        return None, None
    try:
        values = np.asarray(labels)
    except ValueError:
        raise UserError(
            f"{name}: its labels are lists of several lengths: give one label per image"
        ) from None
    if values.shape != (count,):
        raise UserError(
            f"{name}: labels have shape {values.shape} for {count} images: give one label per image"
        )
    if values.dtype.kind in "US":
        classes, numbers = np.unique(values.astype(str), return_inverse=True)
        return classes.tolist(), numbers.astype(np.int64)
    if values.dtype.kind not in "iub":
        raise UserError(f"{name}: labels are of type {values.dtype}: give whole numbers or names")
    return None, values.astype(np.int64)


def open_array_file(path: Path, split: str, size: int | None, channels: int | None) -> ImageSet:
    """`.npy`: images, memory-mapped. `.npz`: `x` and, if labelled, `y`; or `x_train`, `y_train`, `x_test`, `y_test`.

    The names `images` and `data`, `labels` and `targets`, also before (`train_images`) or after the split, are
    understood too. Pickled objects are never loaded.
    """
    regular(path)
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            pick_split(str(path), ("train",), split)
            return open_arrays(loaded, None, size, channels, str(path))
        with loaded:
            return _open_npz(path, loaded, split, size, channels)
    except UserError:
        raise
    except _DAMAGED as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is not a readable numpy file of plain numbers ({why})") from None


def _open_npz(path: Path, loaded: Any, split: str, size: int | None, channels: int | None) -> ImageSet:
    def key(names: tuple[str, ...], part: str) -> str | None:
        wanted = names if not part else [f for n in names for f in (f"{n}_{part}", f"{part}_{n}")]
        return next((name for name in wanted if name in loaded), None)

    parts = [part for part in SPLITS if key(_IMAGES, part)]
    split = pick_split(str(path), parts or ("train",), split)
    part = split if parts else ""
    images, labels = key(_IMAGES, part), key(_LABELS, part)
    if images is None:
        held = ", ".join(list(loaded)[:8]) or "nothing"
        raise UserError(f"{path} holds {held}: name the images 'x' and their labels 'y'")
    found = open_arrays(
        _member(path, loaded, images),
        None if labels is None else _member(path, loaded, labels).reshape(-1),
        size,
        channels,
        str(path),
    )
    found.splits = tuple(parts) or ("train",)
    return found


def _member(path: Path, loaded: Any, name: str) -> np.ndarray:
    """An array of a .npz file, once its header says as many bytes as there are, and not too many.

    Raises:
        UserError: too large, or a header that promises what is not there.
    """
    archive: zipfile.ZipFile = loaded.zip
    member = archive.getinfo(name if name in archive.namelist() else f"{name}.npy")
    with archive.open(member) as file:
        claimed = _claimed(file)
    if (size := max(claimed, member.file_size)) > MEMBER_BYTES:
        raise UserError(
            f"{path}: {name} unpacks to {size:,} bytes, and at most {MEMBER_BYTES:,} are read: save it as a .npy file, "
            "which is read in parts"
        )
    if claimed > member.file_size:
        raise UserError(
            f"{path}: {name} is cut off: {claimed:,} bytes are promised, {member.file_size:,} are there"
        )
    return loaded[name]


def _claimed(file: IO[bytes]) -> int:
    """Bytes of data that an array's header promises."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    claimed = dtype.itemsize
    for length in shape:
        claimed *= int(length)
    return claimed
