"""Images with a class for every pixel: pairs `name.jpg` and `name.png`, in a folder or a tar archive."""

import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from openjepa.errors import UserError
from openjepa.signals.images.decode import BROKEN, FORMATS, PIXELS, decode
from openjepa.signals.readers.skipped import Skipped, say_skipped

PICTURES = (".jpg", ".jpeg")
MASK = ".png"
VOID = 255
"""What a pixel without a class is, whatever number the files use."""
MOST = 2**31
"""Bytes of a set's pixels and classes, which are held in memory."""


@dataclass(frozen=True, eq=False)
class PixelSet:
    """N images of one size in memory, with a class for each pixel.

    Attributes:
        images: uint8 `[N, C, H, W]`.
        classes: uint8 `[N, H, W]`; `VOID` where a pixel has none.
        names: of the K classes.
        keys: of the images, with their folders.
        groups: int64 `[N]`, what no split may cut (drives, scenes), or `None`.
    """

    images: Tensor
    classes: Tensor
    names: tuple[str, ...]
    keys: tuple[str, ...]
    groups: NDArray[np.int64] | None = None

    noun: ClassVar[str] = "images"

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, rows: NDArray[Any]) -> "PixelSet":
        """Some of them, by a mask or by indices."""
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        groups = None if self.groups is None else self.groups[rows]
        chosen = torch.from_numpy(rows)
        keys = tuple(self.keys[i] for i in rows)
        return PixelSet(self.images[chosen], self.classes[chosen], self.names, keys, groups)


def open_pixels(
    path: str | Path,
    names: Sequence[str],
    *,
    void: int | None = None,
    group: Callable[[str], str] | None = None,
) -> PixelSet:
    """Pairs of a photo and the classes of its pixels, a grey or palette PNG of the same size.

    Args:
        path: a folder, with sub-folders or without, or a tar archive. Photos without classes, and classes without a
            photo, are left out and said.
        names: of the classes 0..K-1.
        void: the number of pixels that have no class; a number of K or more has none either.
        group: what an image is of, by its key (its path below `path` without suffix).

    Raises:
        UserError: nothing is there, nothing in it is readable, or images differ in size.
    """
    path = Path(path).expanduser()
    files = _files(path)
    stems = {name.rpartition(".")[0] for name in files}
    pairs, skipped = [], []
    for stem in sorted(stems):
        photo = next((stem + suffix for suffix in PICTURES if stem + suffix in files), None)
        if photo is None or stem + MASK not in files:
            skipped.append(Skipped(photo or stem + MASK, "its pair is missing"))
            continue
        try:
            pairs.append((stem, *_pair(files[photo](), files[stem + MASK](), len(names), void)))
        except BROKEN as error:
            skipped.append(Skipped(stem, str(error).splitlines()[0] if str(error) else type(error).__name__))
    if not pairs:
        raise UserError(f"{path} holds no pair of name.jpg and name.png that can be read")
    sizes = {tuple(classes.shape) for _, _, classes in pairs}
    if len(sizes) > 1:
        raise UserError(f"{path}: images are of {len(sizes)} sizes, such as {sorted(sizes)[0]}: give one")
    say_skipped(str(path), skipped, len(pairs), "images")
    keys = tuple(stem for stem, _, _ in pairs)
    of = None if group is None else np.unique([group(key) for key in keys], return_inverse=True)[1]
    return PixelSet(
        torch.stack([image for _, image, _ in pairs]),
        torch.stack([classes for _, _, classes in pairs]),
        tuple(names),
        keys,
        None if of is None else of.astype(np.int64),
    )


def _files(path: Path) -> dict[str, Callable[[], bytes]]:
    """What gives the bytes of each photo and mask, by its name below `path`."""
    wanted = (*PICTURES, MASK)
    if path.is_dir():
        found = [file for file in path.rglob("*") if file.suffix.lower() in wanted and file.is_file()]
        return {file.relative_to(path).as_posix(): file.read_bytes for file in found}
    if not path.is_file():
        raise UserError(
            f"{path} does not exist: give a folder or a tar archive of pairs name.jpg and name.png"
        )
    held: dict[str, Callable[[], bytes]] = {}
    total = 0
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if not member.isfile() or not member.name.lower().endswith(wanted):
                    continue
                total += member.size
                if total > MOST:
                    raise UserError(f"{path} holds more than {MOST >> 20} MiB of pictures: give fewer")
                source = archive.extractfile(member)
                assert source is not None
                held[member.name] = source.read().__bytes__
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{path} cannot be read as a tar archive: {error}") from None
    return held


def _pair(photo: bytes, mask: bytes, count: int, void: int | None) -> tuple[Tensor, Tensor]:
    with Image.open(BytesIO(mask), formats=FORMATS) as opened:
        if opened.width * opened.height > PIXELS:
            raise ValueError(f"{opened.width * opened.height:,} pixels are too many: at most {PIXELS:,}")
        if opened.mode not in ("L", "P", "1", "I;16", "I"):
            raise ValueError(f"classes are in {opened.mode} colours: give a grey or palette PNG")
        values = np.asarray(opened).astype(np.int64)
    classes = np.where((values < 0) | (values >= count) | (values == void), VOID, values)
    size = classes.shape[0], classes.shape[1]
    with Image.open(BytesIO(photo), formats=FORMATS) as opened:
        if (opened.height, opened.width) != size:
            raise ValueError(
                f"the photo has {opened.height}x{opened.width} pixels, its classes {size[0]}x{size[1]}"
            )
    return decode(BytesIO(photo), size, 3), torch.from_numpy(classes.astype(np.uint8))
