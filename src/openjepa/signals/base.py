"""What the trainer asks of data: whole batches by number, whether of images or of windows of episodes."""

from collections.abc import Sequence
from typing import Any, Protocol, Self, TypeVar

import torch
from torch import Tensor

from openjepa.errors import UserError

HELD_OUT, HELD_OUT_SHARE, LEAST_HELD_OUT = 512, 0.02, 8


class Batch(Protocol):
    """B samples: a tensor `[B, ...]`, or several that belong together (`openjepa.signals.frames.Window`)."""

    def __len__(self) -> int: ...
    def __getitem__(self, rows: slice, /) -> Any: ...
    def to(self, device: torch.device, /) -> Self: ...


class Samples(Protocol):
    """A set of samples, map-style.

    Attributes:
        name: where they come from.
        noun: what messages call several of them, e.g. `images`.
        in_memory: whether `read` only copies; else it decodes files and is better called in worker processes.
    """

    @property
    def name(self) -> str: ...
    @property
    def noun(self) -> str: ...
    @property
    def in_memory(self) -> bool: ...
    def __len__(self) -> int: ...

    def read(self, indices: Any) -> Any:
        """A `Batch`; raises UserError where nothing can be read."""
        ...

    def describe(self) -> dict[str, Any]:
        """Plain data for `run.json`: name, number (under `noun`), shape, fingerprint of the contents, skipped files."""
        ...


B = TypeVar("B", bound=Batch)


def move(batch: B, device: torch.device) -> B:
    """The batch on a device; a tensor in pinned memory without waiting, as a window does by itself."""
    return batch.to(device, non_blocking=True) if isinstance(batch, Tensor) else batch.to(device)  # ty: ignore


def pieces(batch: B, count: int) -> Sequence[B]:
    """`count` equal parts in order."""
    size = len(batch) // count
    return [batch[i * size : (i + 1) * size] for i in range(count)]


def finite(batch: Any) -> Tensor:
    """Which samples hold finite numbers alone, `[B]` bool."""
    parts = [batch] if isinstance(batch, Tensor) else [batch.frames, batch.actions]
    return torch.stack([part.flatten(1).isfinite().all(1) for part in parts]).all(0)


def hold_out(samples: Samples) -> tuple[Tensor, Tensor]:
    """Indices to train on, ascending, and indices of the held-out samples that health is measured on.

    At most 512 and at most 2 %, but at least 8; drawn at random, the same ones whatever the run's seed (a folder
    lists its images class by class, so its end would be one class).

    Raises:
        UserError: fewer than 16 samples.
    """
    if len(samples) < 2 * LEAST_HELD_OUT:
        raise UserError(
            f"{samples.name} has {len(samples)} {samples.noun}: give at least {2 * LEAST_HELD_OUT}, "
            f"of which {LEAST_HELD_OUT} are held out"
        )
    count = max(LEAST_HELD_OUT, min(HELD_OUT, int(len(samples) * HELD_OUT_SHARE)))
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0))
    return order[count:].sort().values, order[:count]
