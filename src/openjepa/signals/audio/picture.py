"""A spectrogram to look at, with marks on its patches."""

import numpy as np
from numpy.typing import NDArray

from openjepa.signals import pictures
from openjepa.signals.pictures import Marks, Picture, Pixels

TALL = 96
"""Least height of a picture in pixels."""
WIDE = 2.5
"""Times as wide as high from which a picture takes the page's width."""
LOUDEST, SOFTEST = 0.995, 0.05
"""Shares of a clip's values that are brightest and darkest."""
STOPS = np.array(
    [(8, 6, 28), (46, 22, 88), (112, 32, 110), (178, 52, 92), (232, 96, 60), (250, 168, 74), (252, 240, 190)],
    float,
)
"""Colours from soft to loud."""
COLOURED = 96
"""Longer side in pixels of a picture of the patches' colours."""


def sound_picture(
    mels: NDArray[np.floating], valid: NDArray[np.bool_], patch: int, marks: Marks | None
) -> Picture:
    """Of `[bands, T]`: time to the right, low bands at the bottom; what is not there is left blank."""
    rows, columns = mels.shape[0] // patch, mels.shape[1] // patch
    mels, valid = mels[: rows * patch, : columns * patch], valid[: columns * patch]
    scale = max(1, -(-TALL // mels.shape[0]))
    image = _enlarged(_coloured(mels, valid)[::-1], scale)
    wide = image.shape[1] > WIDE * image.shape[0]
    marks = marks or Marks()
    grid = marks.layout or (rows, columns)

    def turned(values: NDArray, *more: int) -> NDArray:
        """Marks `[N, ...]` on the grid, high bands first."""
        return values.reshape(*grid, *more)[::-1]

    if marks.colour is not None:
        cells = pictures.smooth(np.ascontiguousarray(turned(marks.colour, 3)), COLOURED)
        return Picture(_blank(cells, valid), wide=wide, smooth=True)
    if marks.error is not None:
        return Picture(_blank(pictures.heat(image, turned(marks.error)), valid), wide=wide)
    drawing = ""
    if marks.blocks is not None:
        drawing = pictures.outlines(np.stack([turned(block) for block in marks.blocks]))
    if marks.hidden is not None:
        image = pictures.only(image, ~turned(marks.hidden), pictures.FAINT if marks.faint else 0)
    return Picture(_blank(image, valid), drawing, wide=wide)


def _coloured(mels: NDArray[np.floating], valid: NDArray[np.bool_]) -> Pixels:
    """`[bands, T, 3]`."""
    sound = mels[:, valid] if valid.any() else mels
    low, high = np.quantile(sound, (SOFTEST, LOUDEST))
    share = np.clip((mels - low) / max(high - low, 1e-6), 0, 1) * (len(STOPS) - 1)
    below = np.minimum(share.astype(int), len(STOPS) - 2)
    part = (share - below)[..., None]
    return (STOPS[below] * (1 - part) + STOPS[below + 1] * part).round().astype(np.uint8)


def _blank(image: Pixels, valid: NDArray[np.bool_]) -> Pixels:
    """The image `[H, W, 3 or 4]`, transparent at the times that are not there."""
    if valid.all():
        return image
    there = pictures.enlarge(valid[None], (image.shape[0], image.shape[1]))
    alpha = image[..., 3] if image.shape[2] == 4 else np.full(image.shape[:2], 255, np.uint8)
    return np.dstack([image[..., :3], np.where(there, alpha, 0).astype(np.uint8)])


def _enlarged(image: Pixels, scale: int) -> Pixels:
    return np.ascontiguousarray(image.repeat(scale, 0).repeat(scale, 1))
