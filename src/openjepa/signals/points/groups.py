"""Groups of points: farthest-point sampling, neighbours, and the order of groups along a line through space."""

from typing import Literal

import torch
from torch import Tensor

from openjepa.jepa import gather

Order = Literal["greedy", "z-order", "hilbert", "none"]
BITS = 10
"""Of each coordinate along a space-filling curve."""


def farthest(points: Tensor, count: int) -> Tensor:
    """Indices `[B, count]` of points `[B, P, 3]`: the first one, then always the one farthest from those chosen.

    Where a cloud has fewer different points, some are chosen again.
    """
    away = points.new_full(points.shape[:2], torch.inf)
    chosen = torch.zeros(len(points), count, dtype=torch.long, device=points.device)
    rows = torch.arange(len(points), device=points.device)
    for i in range(1, count):
        last = points[rows, chosen[:, i - 1]].unsqueeze(1)
        away = torch.minimum(away, (points - last).square().sum(-1))
        chosen[:, i] = away.argmax(1)
    return chosen


def neighbours(points: Tensor, centres: Tensor, count: int) -> Tensor:
    """Indices `[B, N, count]` of the points `[B, P, 3]` nearest to each centre `[B, N, 3]`, nearest first."""
    return (
        torch.cdist(centres, points, compute_mode="donot_use_mm_for_euclid_dist")
        .topk(count, 2, largest=False)
        .indices
    )


def ordered(centres: Tensor, order: Order) -> Tensor:
    """Indices `[B, N]` of centres `[B, N, 3]` in an order in which neighbours along it lie near one another."""
    if order == "greedy":
        return greedy(centres)
    if order == "z-order":
        return _interleaved(_whole(centres)).argsort(1)
    if order == "hilbert":
        return _interleaved(_hilbert(_whole(centres))).argsort(1)
    return torch.arange(centres.shape[1], device=centres.device).expand(centres.shape[:2])


def greedy(centres: Tensor) -> Tensor:
    """From the centre with the smallest sum of coordinates always on to the nearest that is left (Point-JEPA)."""
    batch, number = centres.shape[:2]
    rows = torch.arange(batch, device=centres.device)
    between = torch.cdist(centres, centres, compute_mode="donot_use_mm_for_euclid_dist")
    path = torch.zeros(batch, number, dtype=torch.long, device=centres.device)
    path[:, 0] = centres.sum(-1).argmin(1)
    between[rows, :, path[:, 0]] = torch.inf
    for i in range(1, number):
        path[:, i] = between[rows, path[:, i - 1]].argmin(1)
        between[rows, :, path[:, i]] = torch.inf
    return path


def grouped(points: Tensor, count: int, size: int, order: Order) -> tuple[Tensor, Tensor]:
    """Groups `[B, count, size, 3]` about their centres, and these, `[B, count, 3]`, in order."""
    centres = gather(points, farthest(points, count))
    centres = gather(centres, ordered(centres, order))
    return gather(points, neighbours(points, centres, size)) - centres.unsqueeze(2), centres


def _whole(centres: Tensor) -> Tensor:
    """Coordinates in each cloud's box as whole numbers of `BITS` bits."""
    low, high = centres.amin(1, keepdim=True), centres.amax(1, keepdim=True)
    side = (high - low).amax(-1, keepdim=True).clamp_min(1e-12)
    return ((centres - low) / side * (2**BITS - 1)).round().long()


def _interleaved(whole: Tensor) -> Tensor:
    """Bits of three coordinates `[..., 3]` in turns, the highest first: Morton's number."""
    code = torch.zeros(whole.shape[:-1], dtype=torch.long, device=whole.device)
    for bit in range(BITS - 1, -1, -1):
        for axis in range(3):
            code = code << 1 | (whole[..., axis] >> bit & 1)
    return code


def _hilbert(whole: Tensor) -> Tensor:
    """Coordinates whose interleaved bits are the place along Hilbert's curve (Skilling, AIP Conf. Proc. 707, 2004)."""
    x = list(whole.unbind(-1))
    bit = 1 << BITS - 1
    while bit > 1:
        low = bit - 1
        for axis in range(3):
            up = (x[axis] & bit) != 0
            swapped = (x[0] ^ x[axis]) & low
            first = torch.where(up, x[0] ^ low, x[0] ^ swapped)
            x[axis] = torch.where(up, x[axis], x[axis] ^ swapped)
            x[0] = first
        bit >>= 1
    for axis in (1, 2):
        x[axis] = x[axis] ^ x[axis - 1]
    turn = torch.zeros_like(x[0])
    bit = 1 << BITS - 1
    while bit > 1:
        turn = torch.where((x[2] & bit) != 0, turn ^ (bit - 1), turn)
        bit >>= 1
    return torch.stack([part ^ turn for part in x], -1)
