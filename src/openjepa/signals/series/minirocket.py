"""MiniRocket: shares of positive outputs of 84 fixed kernels, dilated, with biases that are quantiles of outputs.

Dempster, Schmidt & Webb, KDD 2021, arXiv:2012.08791. Series of several channels as in its multivariate form: each
kernel and dilation sums over some channels, drawn once. Series of unequal lengths count their own steps alone.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

LENGTH = 9
"""Of a kernel: three of its weights are 2, six are -1."""
PER_KERNEL = 32
"""Dilations of a kernel, at most."""
GOLDEN = (5**0.5 + 1) / 2


@dataclass(frozen=True, eq=False)
class Dilated:
    """One dilation.

    Attributes:
        weight: `[84, C * 9]`.
        biases: `[84, q]`.
        padded: `[84]` bool, whether steps count whose kernel reaches beyond the ends.
    """

    dilation: int
    weight: Tensor
    biases: Tensor
    padded: Tensor

    def outputs(self, values: Tensor) -> Tensor:
        """`[B, C, T] -> [B, 84, T]`, zeros beyond the ends."""
        reach = self.dilation * (LENGTH // 2)
        wide = F.pad(values, (reach, reach))
        steps = values.shape[-1]
        shifted = [wide[..., i * self.dilation : i * self.dilation + steps] for i in range(LENGTH)]
        return self.weight @ torch.stack(shifted, 2).flatten(1, 2)

    def shares(self, values: Tensor, lengths: Tensor) -> Tensor:
        """`[B, 84 * q]`: shares of steps whose output is above each bias."""
        found, steps = self.outputs(values), torch.arange(values.shape[-1])
        reach = self.dilation * (LENGTH // 2)
        whole = steps < lengths[:, None]
        inner = (steps >= reach) & (steps < lengths[:, None] - reach)
        inner = torch.where(inner.any(1, keepdim=True), inner, whole)
        counted = torch.where(self.padded[:, None], whole[:, None], inner[:, None])  # [B, 84, T]
        found = torch.where(counted, found, -torch.inf)
        count = counted.sum(-1)
        above = [(found > bias[:, None]).sum(-1) / count for bias in self.biases.unbind(1)]
        return torch.stack(above, -1).flatten(1)


@dataclass(frozen=True, eq=False)
class RandomConvolutions:
    """All dilations; called with standardised values `[B, C, T]` and what is valid, gives `[B, count]`."""

    parts: tuple[Dilated, ...]

    @property
    def count(self) -> int:
        return sum(part.biases.numel() for part in self.parts)

    def __call__(self, values: Tensor, valid: Tensor | None = None) -> Tensor:
        values, lengths = _settled(values, valid)
        return torch.cat([part.shares(values, lengths) for part in self.parts], 1)


def fit_kernels(
    values: Tensor, valid: Tensor | None, count: int, random: np.random.Generator
) -> RandomConvolutions:
    """Dilations up to the length of the series, biases from random ones of them; about `count` features."""
    values, lengths = _settled(values, valid)
    kernels = _kernels()
    channels, steps = values.shape[1:]
    per_kernel = max(1, count // len(kernels))
    most = min(per_kernel, PER_KERNEL)
    top = np.log2(max(1, (steps - 1) / (LENGTH - 1)))
    scale = per_kernel / most
    dilations, each = np.unique(np.floor(np.logspace(0, top, most, base=2)).astype(int), return_counts=True)
    each = np.floor(each * scale).astype(int)
    for i in range(per_kernel - int(each.sum())):
        each[i % len(each)] += 1
    quantile = (np.arange(1, per_kernel * len(kernels) + 1) * GOLDEN) % 1
    parts, used = list[Dilated](), 0
    for number, (dilation, several) in enumerate(zip(dilations.tolist(), each.tolist(), strict=True)):
        weight = _weights(kernels, channels, random)
        padded = torch.from_numpy((number + np.arange(len(kernels))) % 2 == 0)
        part = Dilated(dilation, weight, torch.empty(len(kernels), several), padded)
        seen = random.integers(len(values), size=len(kernels))
        rows, which = np.unique(seen, return_inverse=True)
        found = part.outputs(values[torch.from_numpy(rows)])
        for k, row in enumerate(which.tolist()):
            own = found[row, k, : int(lengths[rows[row]])]
            wanted = torch.from_numpy(quantile[used : used + several]).to(own.dtype)
            part.biases[k] = own.quantile(wanted)
            used += several
        parts.append(part)
    return RandomConvolutions(tuple(parts))


def _settled(values: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Zeros after the end of each series, and its length."""
    if valid is None:
        return values, torch.full((len(values),), values.shape[-1])
    steps = torch.arange(1, values.shape[-1] + 1)
    lengths = (valid.any(1) * steps).amax(-1)
    return torch.where(steps <= lengths[:, None, None], values, 0), lengths


def _kernels() -> Tensor:
    """`[84, 9]`."""
    found = torch.full((84, LENGTH), -1.0)
    for row, places in zip(found, combinations(range(LENGTH), 3), strict=True):
        row[list(places)] = 2.0
    return found


def _weights(kernels: Tensor, channels: int, random: np.random.Generator) -> Tensor:
    """`[84, C * 9]`: each kernel on the channels that it draws, 2^U of them, at most nine."""
    if channels == 1:
        return kernels
    counts = np.floor(2 ** random.uniform(0, np.log2(min(channels, LENGTH) + 1), len(kernels))).astype(int)
    on = np.zeros((len(kernels), channels), np.float32)
    for row, count in zip(on, counts.tolist(), strict=True):
        row[random.choice(channels, count, replace=False)] = 1
    return (torch.from_numpy(on)[..., None] * kernels[:, None]).flatten(1)
