"""Pictures of samples, as a signal draws them: pixels and drawings, with marks on their tokens."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Cells = NDArray[np.bool_]

GOOD, EVEN, BAD = (11, 122, 117), (244, 240, 230), (200, 80, 30)
"""Of an error of 0, of the mean predictor's, of twice that and more."""
FAINT = 60
"""Opacity, of 255, of what is hidden but faintly shown."""
BEHIND = 71
"""Opacity of a sample behind its errors."""
COLOURS = 6
"""Blocks that are outlined in colours of their own, the page's `--s1` to `--s6`."""


@dataclass(frozen=True, eq=False)
class Marks:
    """What a picture tells of each of a sample's N tokens, in their order; a picture is asked for one thing at a time.

    Attributes:
        hidden: bool `[N]`, which are not shown.
        faint: whether these are faintly shown all the same.
        blocks: bool `[M, N]`, parts to outline, each by itself (see `COLOURS`).
        error: `[N]`, how far the prediction of each is off, as a share of what predicting the mean costs: 0 is exact, 1
            no better than the mean; NaN where nothing was predicted (see `against_even`).
        colour: uint8 `[N, 3]`, shown in the place of the sample.
        layout: sides of the grid that the marks fill, of an encoder that gives fewer tokens than it is given; `None`:
            the sample's own.
    """

    hidden: Cells | None = None
    faint: bool = False
    blocks: Cells | None = None
    error: NDArray[np.floating] | None = None
    colour: Pixels | None = None
    layout: tuple[int, ...] | None = None


@dataclass(frozen=True, eq=False)
class Picture:
    """A sample to look at.

    Attributes:
        pixels: uint8 `[H, W, 3]`, or `[H, W, 4]` with opacity; `None` of a drawing alone.
        drawing: an SVG element that is laid over the pixels, or is all there is; whatever text of files is in it is
            escaped.
        wide: whether it needs the width of the page: strips of frames, traces.
        smooth: whether enlarged pixels are interpolated.
    """

    pixels: Pixels | None = None
    drawing: str = ""
    wide: bool = False
    smooth: bool = False


def to_rgb(image: NDArray[np.floating] | Pixels) -> Pixels:
    """`[C, H, W]`, uint8 or float in 0..1, as uint8 `[H, W, 3]`; more than three channels show the first three."""
    values = (image if image.dtype == np.uint8 else np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    values = values[:3] if len(values) >= 3 else np.repeat(values[:1], 3, 0)
    return np.ascontiguousarray(values.transpose(1, 2, 0))


def only(image: Pixels, cells: Cells, elsewhere: int = 0) -> Pixels:
    """`[H, W, 4]`: the image where `cells` `[rows, columns]` are true, of opacity `elsewhere` (0..255) where not."""
    alpha = np.where(cells, 255, elsewhere).astype(np.uint8)
    return np.dstack([image, enlarge(alpha, (image.shape[0], image.shape[1]))])


def heat(image: Pixels, errors: NDArray[np.floating]) -> Pixels:
    """`[H, W, 4]`: colours where `errors` `[rows, columns]` are numbers, over the faint image."""
    size = (image.shape[0], image.shape[1])
    known = enlarge(np.isfinite(errors), size)
    colours = np.dstack([enlarge(against_even(errors), size), np.full(size, 255, np.uint8)])
    behind = np.dstack([image, np.full(size, BEHIND, np.uint8)])
    return np.where(known[..., None], colours, behind)


def flat(image: Pixels) -> Pixels:
    """`[H, W, 4]` with opacity, over black, as `[H, W, 3]`."""
    return (image[..., :3] * (image[..., 3:] / 255)).round().astype(np.uint8)


def enlarge(grid: NDArray, size: tuple[int, int]) -> NDArray:
    """A grid `[rows, columns, ...]` as hard cells on `size` (height, width) pixels."""
    rows = np.arange(size[0]) * grid.shape[0] // size[0]
    columns = np.arange(size[1]) * grid.shape[1] // size[1]
    return grid[rows][:, columns]


def smooth(grid: Pixels, side: int) -> Pixels:
    """A small colour grid `[rows, columns, 3]` interpolated so that its longer side has `side` pixels."""
    scale = side / max(grid.shape[:2])
    size = (max(1, round(grid.shape[1] * scale)), max(1, round(grid.shape[0] * scale)))
    return np.asarray(Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC))


def outlines(blocks: Cells) -> str:
    """A drawing that outlines blocks `[M, rows, columns]`, each in its colour, over pixels of any size."""
    paths = [
        f'<path d="{outline(cells)}" style="stroke:var(--s{i % COLOURS + 1})"/>'
        for i, cells in enumerate(blocks)
    ]
    box = f"0 0 {blocks.shape[2]} {blocks.shape[1]}"
    return f'<svg aria-hidden="true" preserveAspectRatio="none" viewBox="{box}">{"".join(paths)}</svg>'


def outline(cells: Cells) -> str:
    """An SVG path around the true cells of `[rows, columns]`, one unit per cell."""
    padded = np.pad(cells, 1)
    parts = []
    for r, c in np.argwhere(cells).tolist():
        if not padded[r, c + 1]:
            parts.append(f"M{c} {r}h1")
        if not padded[r + 2, c + 1]:
            parts.append(f"M{c} {r + 1}h1")
        if not padded[r + 1, c]:
            parts.append(f"M{c} {r}v1")
        if not padded[r + 1, c + 2]:
            parts.append(f"M{c + 1} {r}v1")
    return "".join(parts)


def against_even(ratio: NDArray[np.floating]) -> Pixels:
    """Colours `[..., 3]` of ratios: 0 teal, 1 pale, 2 and more orange."""
    x = np.clip(np.nan_to_num(ratio, nan=2.0), 0, 2)[..., None]
    low, middle, high = (np.array(colour, float) for colour in (GOOD, EVEN, BAD))
    below, above = low + (middle - low) * x, middle + (high - middle) * (x - 1)
    return np.where(x < 1, below, above).round().astype(np.uint8)
