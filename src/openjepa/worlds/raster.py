"""Pictures of many worlds at once: smooth-edged shapes blended on float canvases.

World coordinates follow the published Two-Rooms frames: with `size == arena`, pixel i has its centre at i. A canvas is
float32 `[n, 3, size, size]` in 0..255.
"""

import numpy as np
from numpy.typing import NDArray


def centres(size: int, arena: float) -> NDArray[np.float32]:
    """`[size]`: coordinates of the pixels' centres."""
    return ((np.arange(size) + 0.5) * arena / size - 0.5).astype(np.float32)


def boxes_mask(boxes: NDArray, size: int, arena: float) -> NDArray[np.float32]:
    """`[n, R, 4]` boxes (left, top, right, bottom) to `[n, size, size]`, the share of each pixel that they cover."""
    pixel = arena / size
    middle = centres(size, arena)
    low, high = boxes[..., :2].astype(np.float32), boxes[..., 2:].astype(np.float32)
    begins = np.maximum(low[..., None], middle - pixel / 2)
    ends = np.minimum(high[..., None], middle + pixel / 2)
    cover = np.maximum(ends - begins, 0) / np.float32(pixel)  # [n, R, 2, size]
    return np.minimum(cover[:, :, 1].swapaxes(1, 2) @ cover[:, :, 0], 1)


def capsule_mask(
    start: NDArray, end: NDArray, radius: NDArray, size: int, arena: float
) -> NDArray[np.float32]:
    """Thick lines with round ends, from `[n, 2]` to `[n, 2]`, `radius` `[n]`; `[n, size, size]`."""
    middle = centres(size, arena)
    start, along = start.astype(np.float32), (end - start).astype(np.float32)
    x, y = middle[None, None, :] - start[:, 0, None, None], middle[None, :, None] - start[:, 1, None, None]
    ax, ay = along[:, 0, None, None], along[:, 1, None, None]
    share = np.clip((x * ax + y * ay) / np.maximum(ax * ax + ay * ay, 1e-12), 0, 1)
    x, y = x - share * ax, y - share * ay
    return _edge(np.sqrt(x * x + y * y), radius.astype(np.float32)[:, None, None], arena / size)


def paint(mask: NDArray, under: NDArray, over: NDArray) -> NDArray[np.float32]:
    """A canvas of one colour `[n, 3]` with another where the mask `[n, size, size]` is 1."""
    under, over = under.astype(np.float32)[..., None, None], over.astype(np.float32)[..., None, None]
    canvas = (over - under) * mask[:, None]
    canvas += under
    return canvas


def blend(canvas: NDArray, mask: NDArray, colour: NDArray) -> None:
    """Lay a colour `[n, 3]` on the canvas where the mask `[n, size, size]` is 1; in place."""
    change = colour.astype(np.float32)[..., None, None] - canvas
    change *= mask[:, None]
    canvas += change


def disc(canvas: NDArray, centre: NDArray, radius: NDArray, colour: NDArray, arena: float) -> None:
    """Lay a disc on each canvas, `centre` `[n, 2]` and `radius` `[n]` in world units; in place.

    Only the square around the disc is touched.
    """
    n, _, size, _ = canvas.shape
    if n == 0:
        return
    pixel, middle = arena / size, centres(size, arena)
    width = min(size, int(np.ceil(2 * radius.max() / pixel)) + 3)
    corner = np.round((centre + 0.5) / pixel - width / 2).astype(int).clip(0, size - width)
    columns, rows = corner[:, :1] + np.arange(width), corner[:, 1:] + np.arange(width)
    x = middle[columns] - centre[:, :1].astype(np.float32)
    y = middle[rows] - centre[:, 1:].astype(np.float32)
    away = np.sqrt(x[:, None, :] ** 2 + y[:, :, None] ** 2)
    mask = _edge(away, radius.astype(np.float32)[:, None, None], pixel)
    place = np.arange(n)[:, None, None, None], np.arange(3)[:, None, None], rows[:, None, :, None]
    patch = canvas[(*place, columns[:, None, None, :])]
    patch += (colour.astype(np.float32)[..., None, None] - patch) * mask[:, None]
    canvas[(*place, columns[:, None, None, :])] = patch


def finish(canvas: NDArray) -> NDArray[np.uint8]:
    """A canvas to a frame; the canvas is spent."""
    canvas += 0.5
    return canvas.astype(np.uint8)


def _edge(away: NDArray, radius: NDArray, pixel: float) -> NDArray[np.float32]:
    """1 inside, 0 outside, linear over the pixel at the edge."""
    return np.clip((radius - away) / np.float32(pixel) + np.float32(0.5), 0, 1)
