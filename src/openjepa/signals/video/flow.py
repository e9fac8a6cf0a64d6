"""Optical flow between frames by pyramidal, iterated least squares (Lucas & Kanade 1981), whole batches at a time."""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, interpolate, pad

from openjepa.signals.images.fisher import gradient

LEAST_SIDE = 8
"""The least side of the coarsest picture."""
RADIUS = 3
"""Pixels around each whose motion is taken for its own, blurred twice."""
STIFF = 3e-3
"""Added to the squared gradients: where there are none, nothing moves."""
STEP = 1.5
"""Most pixels that one iteration moves."""


def optical_flow(first: Tensor, second: Tensor, *, levels: int = 3, warps: int = 2) -> Tensor:
    """Where each pixel of grey frames `[B, 1, H, W]` in 0..1 goes: `[B, 2, H, W]`, pixels to the right and down."""
    pyramid = [(first, second)]
    while len(pyramid) < levels and min(pyramid[-1][0].shape[2:]) >= 2 * LEAST_SIDE:
        pyramid.append((avg_pool2d(pyramid[-1][0], 2), avg_pool2d(pyramid[-1][1], 2)))
    flow = first.new_zeros(len(first), 2, *pyramid[-1][0].shape[2:])
    for a, b in reversed(pyramid):
        if flow.shape[2:] != a.shape[2:]:
            scale = flow.new_tensor([a.shape[3] / flow.shape[3], a.shape[2] / flow.shape[2]])[:, None, None]
            flow = interpolate(flow, a.shape[2:], mode="bilinear", align_corners=False) * scale
        for _ in range(warps):
            flow = flow + _update(a, warp(b, flow))
        flow = _blur(flow, 1)
    return flow


def warp(frames: Tensor, flow: Tensor) -> Tensor:
    """What lies at `place + flow` in each of `[B, C, H, W]`."""
    height, width = frames.shape[2:]
    rows, columns = torch.meshgrid(
        torch.arange(height, dtype=flow.dtype), torch.arange(width, dtype=flow.dtype), indexing="ij"
    )
    x = (columns + flow[:, 0]) * (2 / max(1, width - 1)) - 1
    y = (rows + flow[:, 1]) * (2 / max(1, height - 1)) - 1
    where = torch.stack([x, y], -1)
    return grid_sample(frames, where, mode="bilinear", padding_mode="border", align_corners=True)


def _update(a: Tensor, b: Tensor) -> Tensor:
    across, down = (part / 2 for part in gradient((a + b) / 2))
    change = b - a
    products = [across * across, across * down, down * down, across * change, down * change]
    xx, xy, yy, xt, yt = _blur(torch.cat(products, 1), RADIUS).unbind(1)
    xx, yy = xx + STIFF, yy + STIFF
    moved = torch.stack([xy * yt - yy * xt, xy * xt - xx * yt], 1) / (xx * yy - xy * xy).unsqueeze(1)
    return moved.clamp(-STEP, STEP)


def _blur(values: Tensor, radius: int) -> Tensor:
    for _ in range(2):
        values = avg_pool2d(pad(values, (radius,) * 4, mode="replicate"), 2 * radius + 1, 1)
    return values
