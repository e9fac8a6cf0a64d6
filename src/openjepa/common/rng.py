"""Random numbers of one training step, the same on any number of processes."""

import zlib

import torch
from torch import Tensor


class Rng:
    """One step's seeded stream: every process draws for the global batch and keeps the rows of its own samples.

    So two processes hide the same patches of the same samples as one process on the concatenated batch, and a
    resumed run, which only needs `(seed, step)`, continues bit for bit.

    Args:
        seed: the run's seed.
        step: the optimiser step, from 0.
        start: index of this process's first sample in the global batch.
        total: samples in the global batch; `None` when this process holds all of them.
        steps: of the run.

    Examples:
        >>> whole = Rng(seed=0, step=3).uniform(4)
        >>> half = Rng(seed=0, step=3, start=2, total=4).uniform(2)  # the second of two processes
        >>> bool((whole[2:] == half).all())
        True
    """

    def __init__(
        self, seed: int, step: int, *, start: int = 0, total: int | None = None, steps: int | None = None
    ) -> None:
        self.seed, self.step, self.start, self.total, self.steps = seed, step, start, total, steps
        self._draws, self._name = 0, 0

    @property
    def progress(self) -> float:
        """How much of the run is done, 0 at the first step and 1 at the last; 0 outside a run."""
        return 0.0 if not self.steps or self.steps == 1 else min(1.0, self.step / (self.steps - 1))

    def stream(self, name: str) -> "Rng":
        """Draws of a name of their own, of the same step: what others draw does not shift them."""
        named = Rng(self.seed, self.step, start=self.start, total=self.total, steps=self.steps)
        named._name = zlib.crc32(name.encode()) + 1
        return named

    def generator(self) -> torch.Generator:
        """A fresh CPU generator, a function of seed, step and how many were taken before it."""
        self._draws += 1
        mixed = (self.seed * 1_000_003 + self.step) * 1_009 + self._draws + self._name * 6_364_136_223_846_793
        return torch.Generator().manual_seed(mixed % (2**63 - 1))

    def rows(self, batch: int) -> slice:
        """Where this process's `batch` samples lie in the global batch."""
        return slice(self.start, self.start + batch)

    def size(self, batch: int) -> int:
        """Samples in the global batch."""
        return batch if self.total is None else self.total

    def uniform(self, batch: int, *shape: int) -> Tensor:
        """Uniform in [0, 1): `[batch, *shape]`."""
        return torch.rand(self.size(batch), *shape, generator=self.generator())[self.rows(batch)]

    def normal(self, batch: int, *shape: int) -> Tensor:
        """Standard normal: `[batch, *shape]`."""
        return torch.randn(self.size(batch), *shape, generator=self.generator())[self.rows(batch)]

    def shared(self, *shape: int) -> Tensor:
        """Uniform in [0, 1), equal on every process."""
        return torch.rand(*shape, generator=self.generator())
