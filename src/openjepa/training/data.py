"""Batches by step: which images a step sees depends on the seed and the step alone.

So a run continues in mid-epoch from its step number, and any number of processes or workers sees the same batches.
"""

import warnings
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from openjepa.errors import UserError
from openjepa.recipes.base import Training
from openjepa.signals.images import ImageSet

HELD_OUT, HELD_OUT_SHARE, LEAST_HELD_OUT = 256, 0.02, 8
PREFETCH = 4


def hold_out(images: ImageSet) -> tuple[Tensor, Tensor]:
    """Indices to train on, ascending, and indices of the held-out images that health is measured on.

    At most 256 and at most 2 %, but at least 8; drawn at random, the same ones whatever the run's seed (a folder
    lists its images class by class, so its end would be one class).

    Raises:
        UserError: fewer than 16 images.
    """
    if len(images) < 2 * LEAST_HELD_OUT:
        raise UserError(
            f"{images.name} has {len(images)} images: give at least {2 * LEAST_HELD_OUT}, "
            f"of which {LEAST_HELD_OUT} are held out"
        )
    count = max(LEAST_HELD_OUT, min(HELD_OUT, int(len(images) * HELD_OUT_SHARE)))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return order[count:].sort().values, order[:count]


class Batches:
    """The global batches of a run, and one process's rows of them.

    An epoch is a seeded permutation; what is left at its end is dropped.

    Args:
        images: the set.
        rows: the images of it to train on, `[N]`.
        training: sizes, seed and workers.
        rank, world: this process, and how many share a batch.

    Raises:
        UserError: fewer images than a batch, or a batch that does not divide among processes and micro-batches.
    """

    def __init__(
        self, images: ImageSet, rows: Tensor, training: Training, rank: int = 0, world: int = 1
    ) -> None:
        size, parts = training.batch_size, world * training.accumulate
        if len(rows) < size:
            raise UserError(
                f"{images.name} has {len(rows)} images to train on (and {len(images) - len(rows)} held out), fewer "
                f"than train.batch_size {size}: use at most {len(rows)}"
            )
        if size % parts:
            raise UserError(
                f"train.batch_size {size} does not divide among {world} processes with {training.accumulate} "
                f"micro-batches each: use a multiple of {parts}"
            )
        self.images, self.training_rows, self.training = images, rows, training
        self.share = size // world
        self.start = rank * self.share
        self._epoch: tuple[int, Tensor] | None = None

    def rows(self, step: int) -> Tensor:
        """Images of the global batch of `step`, as numbers in the whole set, `[batch_size]`."""
        size = self.training.batch_size
        epoch, place = divmod(step, len(self.training_rows) // size)
        return self.training_rows[self._order(epoch)[place * size : (place + 1) * size]]

    def stream(self, first: int) -> Iterator[Tensor]:
        """This process's part of the batches of steps `first` to the last, `[batch_size / world, C, H, W]`.

        Sets in memory are read in place, others by worker processes ahead of time.
        """
        wanted = (self._mine(step) for step in range(first, self.training.steps))
        if self.images.in_memory or self.training.workers == 0:
            yield from map(self.images.read, wanted)
            return
        loader = DataLoader(
            _Reader(self.images),
            batch_size=None,
            sampler=wanted,
            num_workers=self.training.workers,
            prefetch_factor=PREFETCH,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
            batches = iter(loader)
        for batch in batches:
            if isinstance(batch, str):
                raise UserError(batch)
            yield batch

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

    def __init__(self, images: ImageSet) -> None:
        self.images = images

    def __getitem__(self, index: Tensor) -> Tensor | str:
        try:
            return self.images.read(index)
        except UserError as error:
            return str(error)
