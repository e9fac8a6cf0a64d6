"""Frozen features as sources: an encoder's tokens under every pooling in one pass, and two sources side by side."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from openjepa.errors import UserError
from openjepa.evals.pooling import LAYERS, MAX_DIMS, PLANE, Projection, offered
from openjepa.evals.splits import Rows
from openjepa.signals.base import Samples, move

Progress = Callable[[str, int, int], None]
"""Called as (what, done, total) while something long runs."""

Features = Iterator[tuple[Rows, dict[str, Tensor]]]
"""Batches: which rows, and their features by pooling."""

SAMPLED = 256  # samples by whose features a projection standardises


class FrozenEncoder(Protocol):
    """What the evaluations need of a model (`openjepa.jepa.JEPA` has it): features in eval mode, without gradients.

    A model of samples that differ in size also has `present(batch)`: which tokens are there, `[B, N]`, or `None`. One
    whose `signal` names other `axes` than rows and columns is pooled along each of them too.
    """

    @property
    def layout(self) -> tuple[int, ...] | None:
        """Sides of the grid of any rank that the tokens fill in row order; `None`: they fill none."""
        ...

    def layers(self, batch: Any, count: int, /) -> list[Tensor]:
        """The last `count` layers' outputs, `[B, N, D]` each, last layer last."""
        ...


class FeatureSource(Protocol):
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

    def stream(self, samples: Samples, rows: Rows, names: Sequence[str]) -> Features:
        """Batches of float32 features `[b, dims]` on the CPU under each named pooling, in the order of `rows`."""
        ...


class Classical(Protocol):
    """Features that a user can have without training a network; a signal names its own (`Signal.classical`).

    `fit` looks at unlabelled samples only: at what `samples.read(rows)` gives, a tensor or the signal's `Batch`.
    `total` is how many will be encoded, for what is bounded in time.
    """

    @property
    def name(self) -> str: ...
    def fit(self, samples: Samples, *, total: int, seed: int, progress: Progress | None) -> FeatureSource: ...


def is_cut_up(samples: Samples) -> bool:
    """Whether what `read` gives is a part of each sample, such as a tile of a picture: features are means over all."""
    return bool(getattr(samples, "cut_up", False))


def rows_at_once(samples: Samples, most: int) -> int:
    """How many samples of a set to ask for together, at most so many."""
    return min(most, getattr(samples, "at_once", most))


class EncodedFeatures:
    """The features of a model's tokens under the poolings that its layers allow (`openjepa.evals.pooling.offered`).

    What would be wider than 4,096 dimensions is projected onto as many.

    Args:
        model: an encoder.
        samples: a set like those that will be read; up to 256 samples are encoded to learn sizes and scales.
        name: what errors and progress call the model.
        seed: of the projections.
        cuts: whether features are the mean over several cuts of each sample (clips of a film, crops), which
            `samples.cuts(rows)` gives, a batch a cut.
        projections: of wide poolings, as they were learned before; `None`: they are learned here.

    Raises:
        UserError: several cuts of samples that offer one.
    """

    default = "mean"
    notes: Sequence[str] = ()

    def __init__(
        self,
        model: FrozenEncoder,
        samples: Samples,
        *,
        name: str = "model",
        batch_size: int = 256,
        seed: int = 0,
        cuts: bool = False,
        projections: Mapping[str, Projection] | None = None,
    ) -> None:
        self.model, self.name, self.batch_size = model, name, rows_at_once(samples, batch_size)
        self.cuts = cuts or is_cut_up(samples)
        if cuts and not hasattr(samples, "cuts"):
            raise UserError(f"{samples.name}: its {samples.noun} are read in one cut: leave out --cuts")
        layers, _ = self._layers(samples.read([0]), LAYERS)
        shapes = [(layer.shape[1], layer.shape[2]) for layer in layers]
        self.tokens, self.dim = shapes[-1]
        self.offered = offered(shapes, model.layout, _axes(model))
        wide = [name for name, pooling in self.offered.items() if pooling.dims > MAX_DIMS]
        self.projections = dict(projections or {})
        if wide and projections is None:
            rows = np.unique(np.linspace(0, len(samples) - 1, SAMPLED).astype(np.int64))
            parts = [self._layers(samples.read(part), LAYERS) for part in _parts(rows, self.batch_size)]
            for name in wide:
                sample = torch.cat([self.offered[name].take(*part) for part in parts])
                self.projections[name] = Projection(sample, seed=seed)
        self.poolings = {name: min(MAX_DIMS, pooling.dims) for name, pooling in self.offered.items()}

    def stream(self, samples: Samples, rows: Rows, names: Sequence[str]) -> Features:
        """Batches of float32 features `[b, dims]` under each named pooling, from one pass over `rows`.

        Raises:
            UserError: a feature is NaN or infinite; the first such sample is named.
        """
        count = LAYERS if any(self.offered[name].deep for name in names) else 1
        for part in _parts(rows, self.batch_size):
            seen = [self._of_cut(batch, part, names, count) for batch in self._batches(samples, part)]
            mean = (
                seen[0] if len(seen) == 1 else {n: torch.stack([s[n] for s in seen]).mean(0) for n in names}
            )
            yield part, mean

    def read_tokens(self, samples: Samples, rows: Rows) -> tuple[Tensor, Tensor | None]:
        """Last-layer tokens `[len(rows), N, D]`, float32, and which are there, on the CPU."""
        return next(self.tokens_of_cuts(samples, rows, cuts=False))

    def tokens_of_cuts(
        self, samples: Samples, rows: Rows, cuts: bool | None = None
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """The same of each cut."""
        for batch in self._batches(samples, rows, self.cuts if cuts is None else cuts):
            layers, valid = self._layers(batch, 1)
            self._check(layers[-1], valid, rows)
            yield layers[-1].float().cpu(), None if valid is None else valid.cpu()

    def _batches(self, samples: Samples, rows: Rows, cuts: bool | None = None) -> Iterable[Any]:
        several = self.cuts if cuts is None else cuts
        return samples.cuts(rows) if several else [samples.read(rows)]  # ty: ignore[missing-attribute]

    def _of_cut(self, batch: Any, rows: Rows, names: Sequence[str], count: int) -> dict[str, Tensor]:
        layers, valid = self._layers(batch, count)
        self._check(layers[-1], valid, rows)
        return {name: self._pooled(name, layers, valid) for name in names}

    def _pooled(self, name: str, layers: Sequence[Tensor], valid: Tensor | None) -> Tensor:
        values = self.offered[name].take(layers, valid)
        return self.projections[name](values) if name in self.projections else values.float().cpu()

    def _layers(self, batch: Any, count: int) -> tuple[list[Tensor], Tensor | None]:
        batch = move(batch, device_of(self.model))
        ask = getattr(self.model, "present", None)
        return self.model.layers(batch, count), None if ask is None else ask(batch)

    def _check(self, tokens: Tensor, valid: Tensor | None, rows: Rows) -> None:
        wrong = ~tokens.isfinite()
        if valid is not None and valid.shape[1] == tokens.shape[1]:
            wrong = wrong & valid[..., None]
        bad = wrong.flatten(1).any(1).nonzero()
        if len(bad):
            raise UserError(
                f"{self.name} gives NaN or infinite features for sample {int(rows[int(bad[0])])}: "
                "the weights or the input are broken; probe an earlier checkpoint"
            )


@dataclass(frozen=True)
class LoadedFeatures:
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
    """Two kinds of features of the same samples side by side, which each name says.

    Args:
        train: the set that `fitted` is of; any other set that is streamed is the one that `tested` is of.
        fitted, tested: by name, the two kinds.
    """

    notes: Sequence[str] = ()

    def __init__(
        self,
        name: str,
        train: Samples,
        fitted: Mapping[str, tuple[LoadedFeatures, LoadedFeatures]],
        tested: Mapping[str, tuple[LoadedFeatures, LoadedFeatures]],
    ) -> None:
        self.name, self.train, self.fitted, self.tested = name, train, fitted, tested
        self.blocks = {name: (a.values.shape[1], b.values.shape[1]) for name, (a, b) in fitted.items()}
        self.poolings = {name: a + b for name, (a, b) in self.blocks.items()}
        self.default = next(iter(self.poolings))

    def stream(self, samples: Samples, rows: Rows, names: Sequence[str]) -> Features:
        """Batches of float32 features `[b, a + b]` by name."""
        for part in _parts(rows, 4096):
            yield part, {name: self._beside(samples, part, name) for name in names}

    def _beside(self, samples: Samples, rows: Rows, name: str) -> Tensor:
        kinds = self.fitted[name] if samples is self.train else self.tested[name]
        if not all(
            kind.has(rows) for kind in kinds
        ):  # one set to fit and to test on: some of it is held as tested
            kinds = self.tested[name]
        return torch.cat([kind.take(rows) for kind in kinds], 1)


class Reader:
    """Reads a source, tells progress, and counts the CPU seconds that the source takes."""

    def __init__(self, source: FeatureSource, progress: Progress | None = None) -> None:
        self.source, self.progress = source, progress
        self.seconds, self.samples = 0.0, 0

    def read(self, samples: Samples, rows: Rows, names: Iterable[str]) -> dict[str, Tensor]:
        """Features `[len(rows), dims]` of `rows` (rising) under each named pooling."""
        names = list(names)
        out = {name: torch.empty(len(rows), self.source.poolings[name]) for name in names}
        self.fill(samples, rows, out, rows)
        return out

    def fill(self, samples: Samples, rows: Rows, out: Mapping[str, Tensor], index: Rows) -> None:
        """Write the features of `rows` into `out`, whose rows are those of `index` (both rising)."""
        if not out:
            return
        begun, done = time.process_time(), 0
        for part, features in self.source.stream(samples, rows, list(out)):
            where = torch.from_numpy(np.searchsorted(index, part))
            for name, values in features.items():
                out[name][where] = values
            done += len(part)
            if self.progress:
                self.progress(f"features of {self.source.name}", done, len(rows))
        self.seconds += time.process_time() - begun
        self.samples += done


def read(
    source: FeatureSource,
    samples: Samples,
    rows: Rows,
    names: Iterable[str],
    progress: Progress | None = None,
) -> dict[str, Tensor]:
    """Features `[len(rows), dims]` of `rows` (rising) under each named pooling."""
    return Reader(source, progress).read(samples, rows, names)


def _axes(model: Any) -> Sequence[str]:
    return getattr(getattr(model, "signal", None), "axes", ()) or PLANE


def device_of(model: object) -> torch.device:
    """Where the model's parameters are; the CPU if it has none."""
    parameter = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return torch.device("cpu") if parameter is None else parameter.device


def _parts(rows: Rows, size: int) -> Iterator[Rows]:
    return (rows[start : start + size] for start in range(0, len(rows), size))
