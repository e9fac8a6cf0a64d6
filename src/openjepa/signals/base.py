"""What a signal is, and what the trainer asks of its samples: whole batches by number."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.config import Choice
from openjepa.errors import UserError
from openjepa.jepa import Tokens
from openjepa.signals.pictures import Marks, Picture, Pixels
from openjepa.signals.tasks import Tasks

HELD_OUT, HELD_OUT_SHARE, LEAST_HELD_OUT = 512, 0.02, 8


@dataclass(frozen=True, eq=False)
class Batch:
    """B samples of several fields, each a tensor `[B, ...]` or `None`; a signal derives its own dataclass.

    Samples of one field, such as images, are a plain tensor.
    """

    def __len__(self) -> int:
        return len(next(value for value in self._tensors().values()))

    def __getitem__(self, rows: slice | Tensor, /) -> Self:
        """Some of the samples: a slice, a mask `[B]` or indices."""
        return self._mapped(lambda value: value[rows])

    @property
    def device(self) -> torch.device:
        return next(value for value in self._tensors().values()).device

    def to(self, device: torch.device | str, /) -> Self:
        """The same on another device; from pinned memory without waiting."""
        return self._mapped(lambda value: value.to(device, non_blocking=True))

    def pin_memory(self) -> Self:
        """In page-locked memory, as torch's loader asks for."""
        return self._mapped(Tensor.pin_memory)

    def finite(self) -> Tensor:
        """Which samples hold finite numbers alone, `[B]` bool."""
        return torch.stack([_finite(value) for value in self._tensors().values()]).all(0)

    def _tensors(self) -> dict[str, Tensor]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> Self:
        return replace(self, **{name: change(value) for name, value in self._tensors().items()})


@dataclass(frozen=True, eq=False)
class Labels:
    """What is known of samples beside themselves.

    Attributes:
        values: `[N]` int64 classes, -1 where a sample has none; or `[N]` or `[N, V]` floating variables.
        names: the classes' names, or those of the variables.
        groups: `[N]` int64, who or what a sample is of (speaker, subject, recording): no split cuts a group.
        folds: `[N]` int64, the parts into which the data are to be split, where they come with some.
        group_names: what groups are called, by their numbers, where they have names.
    """

    values: NDArray[Any]
    names: tuple[str, ...] | None = None
    groups: NDArray[np.int64] | None = None
    folds: NDArray[np.int64] | None = None
    group_names: Mapping[int, str] | None = None

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: NDArray[Any]) -> "Labels":
        """Those of some samples, by a mask or by indices."""
        groups, folds = (None if part is None else part[rows] for part in (self.groups, self.folds))
        return Labels(self.values[rows], self.names, groups, folds, self.group_names)


class Samples(Protocol):
    """A set of samples, map-style.

    Attributes:
        name: where they come from.
        noun: what messages call several of them, e.g. `images`.
        in_memory: whether `read` only copies; else it decodes files and is better called in worker processes.
        labels: of every sample, for probes; `None` where nothing is known.
        to_have_more: how the same data give more samples, for the end of a sentence that says they are too few; a set
            need not have it.
    """

    @property
    def name(self) -> str: ...
    @property
    def noun(self) -> str: ...
    @property
    def in_memory(self) -> bool: ...
    @property
    def labels(self) -> Labels | None: ...
    def __len__(self) -> int: ...

    def read(self, indices: Any, rng: Rng | None = None) -> Any:
        """A batch; raises UserError where nothing can be read.

        Args:
            rng: of a training step; what is cut at random, such as a clip of a film, is cut by it. Without it the cut
                is always the same, the middle one.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Plain data for `run.json`: name, number (under `noun`), shape, fingerprint of the contents, skipped files."""
        ...


@dataclass(frozen=True, eq=False)
class AugmentedTokens:
    """What a training step sees of a batch: views of each sample, as tokens on one grid.

    Attributes:
        context: what contexts are parts of.
        target: what targets are of; the same tokens, or those of another view of each sample.
        place: `[B, N, P]`, where the target's tokens lie as the context counts; `None`: at their own positions.
    """

    context: Tokens
    target: Tokens
    place: Tensor | None = None


class Signal(Choice):
    """What a sample is: how data are opened, how a sample becomes tokens, how it is judged and looked at."""

    noun: ClassVar[str] = "samples"
    """What messages call several samples."""
    axes: ClassVar[tuple[str, ...]] = ()
    """What the coordinates of a token's position are."""

    @classmethod
    def by_hand(
        cls, plain: Mapping[str, Any], saved: Mapping[str, Any], changes: Mapping[str, str]
    ) -> dict[str, Any]:
        """Plain data of the signal, in which what neither `saved` nor an option has set is left to the data."""
        return dict(plain)

    @property
    @abstractmethod
    def features(self) -> int:
        """Numbers in a raw token."""

    @property
    def modalities(self) -> tuple[int, ...]:
        """Numbers in a raw token of each kind, where there are several kinds, each embedded by a map of its own."""
        return (self.features,)

    @property
    @abstractmethod
    def layout(self) -> tuple[int, ...] | None:
        """Sides of the grid that the tokens of a sample fill in row order; `None` where they fill none."""

    @abstractmethod
    def open(self, data: Any, split: str = "train", *, adapt: bool = False) -> Any:
        """The samples that `data` names or holds; with `adapt` as they are, else converted to what the config says.

        Raises:
            UserError: data that cannot be read, or not be used.
        """

    def from_array(self, array: Any, given: Mapping[str, Any], name: str = "array") -> Any:
        """The samples of a user's array, at their own size. `given`: options of the config that the user sets."""
        return self.open(array, adapt=True)

    def suited(self, samples: Any, given: Mapping[str, Any]) -> dict[str, Any]:
        """Options of the config by which the signal takes samples of an array's size."""
        return {}

    @abstractmethod
    def fitted(self, samples: Any) -> Self:
        """The signal with what the samples decide: channels, mean and spread."""

    def changed(self, before: Self) -> str:
        """What `fitted` has changed, in a sentence for the run's log; empty where that says nothing new."""
        return ""

    def check(self, samples: Any) -> None:
        """Warn where samples seem to differ from those that the model was trained on."""

    @abstractmethod
    def batch(self, raw: Any) -> Any:
        """A user's array of samples as a batch. Raises UserError for what cannot be one."""

    @abstractmethod
    def tokenise(self, batch: Any) -> Tokens:
        """The raw tokens of a batch. Raises UserError where the batch does not fit."""

    def augmented(self, batch: Any, rng: Rng) -> AugmentedTokens:
        """The tokens that a training step hides some of: those of the batch as it is, where a signal has no views."""
        tokens = self.tokenise(batch)
        return AugmentedTokens(tokens, tokens)

    @property
    def traced_meaning(self) -> str:
        """What the numbers of `traced_input` are, for whoever runs an exported model."""
        return ""

    def traced_input(self, count: int) -> Tensor:
        """`count` random samples of the training size as a user's array has them, for a model that is exported.

        Raises:
            UserError: samples are not one array.
        """
        raise UserError(f"models of {self.noun} cannot be exported: a sample of theirs is no single array")

    def traced(self, samples: Tensor) -> Tokens:
        """`tokenise` of samples such as `traced_input` gives, without looking at any of their values."""
        return self.tokenise(samples)

    @abstractmethod
    def tasks(self, batch: Any) -> Tasks:
        """Questions without labels about a held-out batch, by which health compares features."""

    def classical(self, level: str = "all") -> Sequence[Any]:
        """What a user can have of the samples without training (`openjepa.evals.features.Classical`).

        Args:
            level: `none`, `quick` or `all`.
        """
        return ()

    def picture(self, batch: Any, row: int, marks: Marks | None = None) -> Picture | None:
        """One sample of a batch to look at, with marks on its tokens; `None` where there is nothing to see."""
        return None

    def film(self, batch: Any, row: int, marks: Marks | None = None) -> Sequence[Pixels]:
        """One sample of a batch as frames uint8 `[H, W, 3]` that play one after the other; none where it does not
        move."""
        return ()

    def restored(self, tokens: Tokens) -> Any:
        """A batch for `picture`, of raw tokens such as a view's; `None` where they do not tell what it was."""
        return None


B = TypeVar("B", Tensor, Batch)


def move(batch: B, device: torch.device) -> B:
    """The batch on a device; from pinned memory without waiting."""
    return batch.to(device, non_blocking=True) if isinstance(batch, Tensor) else batch.to(device)  # ty: ignore


def pieces(batch: Tensor | Batch, count: int) -> Sequence[Any]:
    """`count` equal parts in order."""
    size = len(batch) // count
    return [batch[i * size : (i + 1) * size] for i in range(count)]


def finite(batch: Tensor | Batch) -> Tensor:
    """Which samples hold finite numbers alone, `[B]` bool."""
    return _finite(batch) if isinstance(batch, Tensor) else batch.finite()


def _finite(values: Tensor) -> Tensor:
    return values.flatten(1).isfinite().all(1)


def hold_out(samples: Samples) -> tuple[Tensor, Tensor]:
    """Indices to train on, ascending, and indices of the held-out samples that health is measured on.

    At most 512 and at most 2 %, but at least 8 (see `drawn`).

    Raises:
        UserError: fewer than 16 samples.
    """
    if len(samples) < 2 * LEAST_HELD_OUT:
        raise UserError(
            f"{samples.name} has {len(samples)} {samples.noun}: give at least {2 * LEAST_HELD_OUT}, "
            f"of which {LEAST_HELD_OUT} are held out{getattr(samples, 'to_have_more', '')}"
        )
    count = max(LEAST_HELD_OUT, min(HELD_OUT, int(len(samples) * HELD_OUT_SHARE)))
    return drawn(len(samples), count)


def drawn(total: int, count: int, groups: NDArray[np.int64] | None = None) -> tuple[Tensor, Tensor]:
    """Rows that are left, ascending, and `count` that are drawn at random; whole groups of at least as many in all.

    The same ones whatever a run's seed: a folder lists its samples class by class, so its end would be one class. Of
    groups one at least is left.
    """
    generator = torch.Generator().manual_seed(0)
    if groups is None:
        order = torch.randperm(total, generator=generator)
        return order[count:].sort().values, order[:count]
    numbers, member = np.unique(groups, return_inverse=True)
    taken, found = np.zeros(len(numbers), bool), np.zeros(total, bool)
    for group in torch.randperm(len(numbers), generator=generator).tolist()[:-1]:
        taken[group] = True
        found = taken[member]
        if found.sum() >= count:
            break
    return torch.from_numpy(np.flatnonzero(~found)), torch.from_numpy(np.flatnonzero(found))
