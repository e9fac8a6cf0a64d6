"""Frozen features as sources: an encoder's tokens under every pooling in one pass, and two sources side by side."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from openjepa.errors import UserError
from openjepa.evals.pooling import LAYERS, MAX_DIMS, Projection, offered
from openjepa.evals.splits import Images, Rows

Progress = Callable[[str, int, int], None]
"""Called as (what, done, total) while something long runs."""

Features = Iterator[tuple[Rows, dict[str, Tensor]]]
"""Batches: which rows, and their features by pooling."""

SAMPLED = 256  # images by whose features a projection standardises


class Encoder(Protocol):
    """What the evaluations need of a model (`openjepa.jepa.JEPA` has it): features in eval mode, without gradients."""

    @property
    def layout(self) -> Any: ...
    def layers(self, batch: Tensor, count: int, /) -> list[Tensor]: ...


class Source(Protocol):
    """Features of samples under several poolings."""

    @property
    def name(self) -> str:
        """What errors and progress call it."""
        ...

    @property
    def poolings(self) -> dict[str, int]:
        """Name and dimensions of each pooling on offer, cheapest first."""
        ...

    @property
    def default(self) -> str:
        """The pooling where no label is left to choose one by."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What a reader should know of how they were made; below the table."""
        ...

    def stream(self, images: Images, rows: Rows, names: Sequence[str]) -> Features: ...


class Classical(Protocol):
    """Features that a user can have without training a network; a signal names its own (`classical`).

    `fit` looks at unlabelled samples only. `total` is how many will be encoded, for what is bounded in time.
    """

    @property
    def name(self) -> str: ...
    def fit(self, images: Images, *, total: int, seed: int, progress: Progress | None) -> Source: ...


class Encoded:
    """The features of a model's tokens under the poolings that its layers allow (`openjepa.evals.pooling.offered`).

    What would be wider than 4,096 dimensions is projected onto as many.

    Args:
        model: an encoder.
        images: a set like those that will be read; up to 256 samples are encoded to learn sizes and scales.
        name: what errors and progress call the model.
        seed: of the projections.
    """

    default = "mean"
    notes: Sequence[str] = ()

    def __init__(
        self, model: Encoder, images: Images, *, name: str = "model", batch_size: int = 256, seed: int = 0
    ) -> None:
        self.model, self.name, self.batch_size = model, name, batch_size
        layers = self._layers(images.read([0]), LAYERS)
        shapes = [(layer.shape[1], layer.shape[2]) for layer in layers]
        self.tokens, self.dim = shapes[-1]
        self.offered = offered(shapes, model.layout)
        wide = [name for name, pooling in self.offered.items() if pooling.dims > MAX_DIMS]
        self.projections: dict[str, Projection] = {}
        if wide:
            rows = np.unique(np.linspace(0, len(images) - 1, SAMPLED).astype(np.int64))
            parts = [self._layers(images.read(part), LAYERS) for part in _parts(rows, self.batch_size)]
            for name in wide:
                sample = torch.cat([self.offered[name].take(part) for part in parts])
                self.projections[name] = Projection(sample, seed=seed)
        self.poolings = {name: min(MAX_DIMS, pooling.dims) for name, pooling in self.offered.items()}

    def stream(self, images: Images, rows: Rows, names: Sequence[str]) -> Features:
        """Batches of float32 features `[b, dims]` under each named pooling, from one pass over `rows`.

        Raises:
            UserError: a feature is NaN or infinite; the first such sample is named.
        """
        count = LAYERS if any(self.offered[name].deep for name in names) else 1
        for part in _parts(rows, self.batch_size):
            layers = self._layers(images.read(part), count)
            self._check(layers[-1], part)
            yield part, {name: self._pooled(name, layers) for name in names}

    def read_tokens(self, images: Images, rows: Rows) -> Tensor:
        """Last-layer tokens `[len(rows), N, D]`, float32, on the CPU."""
        tokens = self._layers(images.read(rows), 1)[-1]
        self._check(tokens, rows)
        return tokens.float().cpu()

    def _pooled(self, name: str, layers: Sequence[Tensor]) -> Tensor:
        values = self.offered[name].take(layers)
        return self.projections[name](values) if name in self.projections else values.float().cpu()

    def _layers(self, batch: Tensor, count: int) -> list[Tensor]:
        return self.model.layers(batch.to(device_of(self.model)), count)

    def _check(self, tokens: Tensor, rows: Rows) -> None:
        bad = (~tokens.isfinite()).flatten(1).any(1).nonzero()
        if len(bad):
            raise UserError(
                f"{self.name} gives NaN or infinite features for sample {int(rows[int(bad[0])])}: "
                "the weights or the input are broken; probe an earlier checkpoint"
            )


@dataclass(frozen=True)
class Held:
    """Features that are in memory already: those of some rows of a set."""

    rows: Rows
    """Rising."""
    values: Tensor
    """`[len(rows), d]`"""

    def has(self, rows: Rows) -> bool:
        """Whether all of them are held."""
        return bool(np.isin(rows, self.rows).all())

    def take(self, rows: Rows) -> Tensor:
        """`[len(rows), d]`, float32; of rows that are held."""
        return self.values[torch.from_numpy(np.searchsorted(self.rows, rows))].float()


class Joined:
    """Two kinds of features of the same samples side by side; which, says each name.

    Args:
        train: the set that `fitted` is of; any other set that is streamed is the one that `tested` is of.
        fitted, tested: by name, the two kinds.
    """

    notes: Sequence[str] = ()

    def __init__(
        self,
        name: str,
        train: Images,
        fitted: Mapping[str, tuple[Held, Held]],
        tested: Mapping[str, tuple[Held, Held]],
    ) -> None:
        self.name, self.train, self.fitted, self.tested = name, train, fitted, tested
        self.blocks = {name: (a.values.shape[1], b.values.shape[1]) for name, (a, b) in fitted.items()}
        self.poolings = {name: a + b for name, (a, b) in self.blocks.items()}
        self.default = next(iter(self.poolings))

    def stream(self, images: Images, rows: Rows, names: Sequence[str]) -> Features:
        """Batches of float32 features `[b, a + b]` by name."""
        for part in _parts(rows, 4096):
            yield part, {name: self._beside(images, part, name) for name in names}

    def _beside(self, images: Images, rows: Rows, name: str) -> Tensor:
        kinds = self.fitted[name] if images is self.train else self.tested[name]
        if not all(
            kind.has(rows) for kind in kinds
        ):  # one set to fit and to test on: some of it is held as tested
            kinds = self.tested[name]
        return torch.cat([kind.take(rows) for kind in kinds], 1)


class Reader:
    """Reads a source, tells progress, and counts the CPU seconds that the source takes."""

    def __init__(self, source: Source, progress: Progress | None = None) -> None:
        self.source, self.progress = source, progress
        self.seconds, self.images = 0.0, 0

    def read(self, images: Images, rows: Rows, names: Iterable[str]) -> dict[str, Tensor]:
        """Features `[len(rows), dims]` of `rows` (rising) under each named pooling."""
        names = list(names)
        out = {name: torch.empty(len(rows), self.source.poolings[name]) for name in names}
        self.fill(images, rows, out, rows)
        return out

    def fill(self, images: Images, rows: Rows, out: Mapping[str, Tensor], index: Rows) -> None:
        """Write the features of `rows` into `out`, whose rows are those of `index` (both rising)."""
        if not out:
            return
        begun, done = time.process_time(), 0
        for part, features in self.source.stream(images, rows, list(out)):
            where = torch.from_numpy(np.searchsorted(index, part))
            for name, values in features.items():
                out[name][where] = values
            done += len(part)
            if self.progress:
                self.progress(f"features of {self.source.name}", done, len(rows))
        self.seconds += time.process_time() - begun
        self.images += done


def read(
    source: Source, images: Images, rows: Rows, names: Iterable[str], progress: Progress | None = None
) -> dict[str, Tensor]:
    """Features `[len(rows), dims]` of `rows` (rising) under each named pooling."""
    return Reader(source, progress).read(images, rows, names)


def device_of(model: object) -> torch.device:
    """Where the model's parameters are; the CPU if it has none."""
    parameter = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return torch.device("cpu") if parameter is None else parameter.device


def _parts(rows: Rows, size: int) -> Iterator[Rows]:
    return (rows[start : start + size] for start in range(0, len(rows), size))
