"""Batches by step: which samples a step sees depends on the seed and the step alone.

So a run continues in mid-epoch from its step number, and any number of processes or workers sees the same batches.
"""

import warnings
from collections.abc import Generator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.recipes.base import Training
from openjepa.signals.base import Samples
from openjepa.training.stopping import ignore_first

PREFETCH = 4


class Batches:
    """The global batches of a run, and one process's rows of them.

    An epoch is a seeded permutation; what is left at its end is dropped.

    Args:
        samples: the set.
        rows: those of it to train on, `[N]`.
        training: sizes, seed and workers.
        rank, world: this process, and how many share a batch.

    Raises:
        UserError: fewer samples than a batch, or a batch that does not divide among processes and micro-batches.
    """

    def __init__(
        self, samples: Samples, rows: Tensor, training: Training, rank: int = 0, world: int = 1
    ) -> None:
        size, parts = training.batch_size, world * training.accumulate
        if len(rows) < size:
            raise UserError(
                f"{samples.name} has {len(rows)} {samples.noun} to train on (and {len(samples) - len(rows)} held out), "
                f"fewer than train.batch_size {size}: use at most {len(rows)}"
            )
        if size % parts:
            raise UserError(
                f"train.batch_size {size} does not divide among {world} processes with {training.accumulate} "
                f"micro-batches each: use a multiple of {parts}"
            )
        self.samples, self.training_rows, self.training = samples, rows, training
        self.share = size // world
        self.start = rank * self.share
        self._epoch: tuple[int, Tensor] | None = None

    def rows(self, step: int) -> Tensor:
        """Samples of the global batch of `step`, as numbers in the whole set, `[batch_size]`."""
        size = self.training.batch_size
        epoch, place = divmod(step, len(self.training_rows) // size)
        return self.training_rows[self._order(epoch)[place * size : (place + 1) * size]]

    def stream(self, first: int) -> Generator[Any]:
        """This process's part of the batches of steps `first` to the last: `batch_size / world` samples each.

        Sets in memory are read in place, others by worker processes ahead of time, which end when the stream is closed.
        """
        wanted = ((self._mine(step), self._rng(step)) for step in range(first, self.training.steps))
        if self.samples.in_memory or self.training.workers == 0:
            yield from (self.samples.read(rows, rng) for rows, rng in wanted)
            return
        loader = DataLoader(
            _Reader(self.samples),
            batch_size=None,
            sampler=wanted,
            num_workers=self.training.workers,
            prefetch_factor=PREFETCH,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),
            worker_init_fn=ignore_first,
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
            batches = iter(loader)
        for batch in batches:
            if isinstance(batch, str):
                raise UserError(batch)
            yield batch

    def _rng(self, step: int) -> Rng:
        """By which samples of a step are cut at random while they are read."""
        training = self.training
        rng = Rng(training.seed, step, start=self.start, total=training.batch_size, steps=training.steps)
        return rng.stream("read")

    def _mine(self, step: int) -> Tensor:
        return self.rows(step)[self.start : self.start + self.share]

    def _order(self, epoch: int) -> Tensor:
        if self._epoch is None or self._epoch[0] != epoch:
            # the number of draw 0, which Rng never uses
            seed = (self.training.seed * 1_000_003 + epoch) * 1_009 % (2**63 - 1)
            generator = torch.Generator().manual_seed(seed)
            self._epoch = epoch, torch.randperm(len(self.training_rows), generator=generator)
        return self._epoch[1]


class _Reader(Dataset):
    """Reads whole batches in a worker; a mistake of the user's travels as its sentence, not as a traceback."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def __getitem__(self, index: tuple[Tensor, Rng]) -> Any:
        try:
            return self.samples.read(*index)
        except UserError as error:
            return str(error)
