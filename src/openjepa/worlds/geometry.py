"""Points that move among boxes: exact contact, and what is in sight of what."""

import numpy as np
from numpy.typing import NDArray

SKIN = 1e-4
"""Gap that a stopped point keeps from what stopped it; wide enough to survive float32."""


def contact(position: NDArray, step: NDArray, boxes: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """The point where a straight step first meets a box (the slab method).

    Touching a face or a corner is no contact: only entering the inside is.

    Args:
        position: `[n, 2]`, outside of every box.
        step: `[n, 2]` displacement.
        boxes: `[n, R, 4]` as left, top, right, bottom.

    Returns:
        The share of the step that is free, `[n]` in 0..1; the box that is met, `[n]`, -1 for none; the axis of its
        face, `[n]`.
    """
    p, d = position[:, None], step[:, None]
    low, high = boxes[..., :2], boxes[..., 2:]
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b = (low - p) / d, (high - p) / d
        slack = SKIN / np.abs(step).max(1, keepdims=True)
    enter, leave = np.minimum(a, b), np.maximum(a, b)
    still = np.broadcast_to(d == 0, enter.shape)
    within = (low < p) & (p < high)
    enter = np.where(still, np.where(within, -np.inf, np.inf), enter)
    leave = np.where(still, np.where(within, np.inf, -np.inf), leave)
    first, last = enter.max(-1), leave.min(-1)
    hit = (first < last) & (last > 0) & (first >= -slack) & (first <= 1)
    first = np.where(hit, first, np.inf)
    nearest = first.argmin(1)
    rows = np.arange(len(p))
    met = np.where(hit.any(1), nearest, -1)
    return np.clip(first[rows, nearest], 0, 1), met, enter[rows, nearest].argmax(-1)


def travel(position: NDArray, step: NDArray, boxes: NDArray, slide: bool = False) -> NDArray:
    """`[n, 2]`: a step that ends where it meets a box or, sliding, goes on along the face that it met."""
    share, box, axis = contact(position, step, boxes)
    end = position + share[:, None] * step
    met = np.flatnonzero(box >= 0)
    if len(met) == 0:
        return end
    axes, moves = axis[met], step[met]
    forward = moves[np.arange(len(met)), axes] > 0
    face = boxes[met, box[met], np.where(forward, axes, axes + 2)]
    end[met, axes] = face + np.where(forward, -SKIN, SKIN)
    if slide:
        rest = (1 - share[met, None]) * moves
        rest[np.arange(len(met)), axes] = 0
        end[met] = travel(end[met], rest, boxes[met])
    return end


def sees(start: NDArray, end: NDArray, boxes: NDArray) -> NDArray:
    """Whether the straight way between two points `[n, 2]` is free, `[n]`."""
    return contact(start, end - start, boxes)[1] < 0


def inside(position: NDArray, boxes: NDArray) -> NDArray:
    """Whether a point `[n, 2]` lies inside one of its boxes `[n, R, 4]`, `[n]`."""
    p = position[:, None]
    within = (boxes[..., :2] < p) & (p < boxes[..., 2:])
    return np.any(np.all(within, axis=-1), axis=-1)


def clears(start: NDArray, end: NDArray, discs: NDArray) -> NDArray:
    """Whether the straight way between two points `[n, 2]` stays out of a disc `[n, 3]` (x, y, radius), `[n]`."""
    way, centre = end - start, discs[:, :2] - start
    share = np.clip((way * centre).sum(1) / np.maximum((way**2).sum(1), 1e-12), 0, 1)
    return np.linalg.norm(centre - share[:, None] * way, axis=1) >= discs[:, 2]


def shortest(nodes: NDArray, boxes: NDArray, discs: NDArray | None = None) -> tuple[NDArray, NDArray]:
    """Shortest ways from the first node to the last, through nodes that see one another.

    Args:
        nodes: `[n, V, 2]`; those inside a box are passed over.
        boxes: `[n, R, 4]`.
        discs: `[n, 3]` as x, y, radius, to stay out of as well.

    Returns:
        Their lengths, `[n]` (infinite where there is none), and the first node to go to, `[n, 2]`.
    """
    ends = nodes[:, 0], nodes[:, -1]
    length, first = np.linalg.norm(ends[1] - ends[0], axis=1), ends[1].copy()
    discs = np.zeros((len(nodes), 3)) if discs is None else discs
    hidden = np.flatnonzero(~(sees(*ends, boxes) & clears(*ends, discs)))
    if len(hidden):
        length[hidden], first[hidden] = _through(nodes[hidden], boxes[hidden], discs[hidden])
    return length, first


def _through(nodes: NDArray, boxes: NDArray, discs: NDArray) -> tuple[NDArray, NDArray]:
    """`shortest` where the last node is not in sight of the first: all pairs, by Floyd and Warshall."""
    n, count = nodes.shape[:2]
    i, j = np.triu_indices(count, 1)
    a, b = nodes[:, i].reshape(-1, 2), nodes[:, j].reshape(-1, 2)
    walls = np.repeat(boxes, len(i), axis=0)
    free = (
        sees(a, b, walls)
        & clears(a, b, np.repeat(discs, len(i), axis=0))
        & ~inside(a, walls)
        & ~inside(b, walls)
    )
    free = free.reshape(n, -1)
    length = np.full((n, count, count), np.inf)
    length[:, i, j] = length[:, j, i] = np.where(free, np.linalg.norm(a - b, axis=-1).reshape(n, -1), np.inf)
    edge = np.where(length[:, 0] > 0, length[:, 0], np.inf)  # who stands on a node goes on to another
    for k in range(1, count - 1):
        length = np.minimum(length, length[:, :, k, None] + length[:, k, None, :])
    length[:, -1, -1] = 0
    through = edge[:, 1:] + length[:, 1:, -1]
    return through.min(1), nodes[np.arange(n), 1 + through.argmin(1)]
