"""Frozen features: every pooling of an encoder's tokens in one pass, raw pixels, and streaming to a file."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, layer_norm

from openjepa.errors import UserError
from openjepa.evals.splits import Images, Rows

Progress = Callable[[str, int, int], None]
"""Called as (what, done, total) while something long runs."""

LAYERS = 4  # I-JEPA's linear protocol: the last layer, or the last four concatenated
DEEP = ("last4", "blend")
"""Poolings that look at more than the last layer."""
MAX_DIMS = 4096  # wider poolings cost minutes on a CPU; "mean" and "last4" are always kept
PIXEL_SIDE = 32  # raw pixels of larger images are averaged down to this height and width


Features = Iterator[tuple[Rows, dict[str, Tensor]]]
"""Batches: which rows, and their features by pooling."""


class Encoder(Protocol):
    """What the evaluations need of a model (`openjepa.jepa.JEPA` has it): features in eval mode, without gradients."""

    @property
    def grid(self) -> tuple[int, int]: ...
    def layers(self, batch: Tensor, count: int, /) -> list[Tensor]: ...


class Source(Protocol):
    """Features of images under several poolings."""

    poolings: dict[str, int]
    """Name and dimensions of each pooling on offer, cheapest first."""

    def stream(self, images: Images, rows: Rows, names: Sequence[str]) -> Features: ...


class Encoded:
    """The features of a model's tokens under the poolings that its grid allows.

    `mean` over all tokens; `grid2`, `grid3`, `grid4`: the token grid averaged to at most 2x2, 3x3, 4x4 cells,
    concatenated; `flat`: all tokens; `last4`: the means of the last four layers, concatenated; `blend4` and so on: the
    last four layers, each layer-normalised, averaged, on the finest of these grids. What would be wider than 4,096
    dimensions is not offered, `mean` and `last4` excepted.

    Args:
        model: an encoder.
        images: a set like those that will be read; one sample is encoded to learn the sizes.
        name: what errors and progress call the model.
    """

    def __init__(
        self,
        model: Encoder,
        images: Images,
        *,
        name: str = "model",
        batch_size: int = 256,
        progress: Progress | None = None,
    ) -> None:
        self.model, self.name, self.batch_size, self.progress = model, name, batch_size, progress
        layers = self._layers(images.read([0]), LAYERS)
        tokens, dim = layers[-1].shape[1:]
        self.grid = model.grid if math.prod(model.grid) == tokens else (1, tokens)
        rows, columns = self.grid
        cells = {f"grid{g}": min(g, rows) * min(g, columns) for g in (2, 3, 4)} | {"flat": tokens}
        distinct = {count: pooling for pooling, count in reversed(cells.items()) if count > 1}
        sizes = {"mean": dim, "last4": sum(layer.shape[2] for layer in layers)}
        sizes |= {pooling: n * dim for n, pooling in distinct.items() if n * dim <= MAX_DIMS}
        if len(layers) == 1:
            del sizes["last4"]
        elif all(layer.shape == layers[-1].shape for layer in layers):
            finest = max((int(name[-1]) for name in sizes if name.startswith("grid")), default=1)
            sizes[f"blend{finest}"] = sizes[f"grid{finest}"] if finest > 1 else dim
        self.poolings = dict(sorted(sizes.items(), key=lambda item: item[1]))
        self.tokens, self.dim = tokens, dim

    def stream(self, images: Images, rows: Rows, names: Sequence[str]) -> Features:
        """Batches of float32 features `[b, dims]` under each named pooling, from one pass over `rows`.

        Raises:
            UserError: a feature is NaN or infinite; the first such sample is named.
        """
        for start in range(0, len(rows), self.batch_size):
            part = rows[start : start + self.batch_size]
            layers = self._layers(
                images.read(part), LAYERS if any(name.startswith(DEEP) for name in names) else 1
            )
            self._check(layers[-1], part)
            yield part, {name: f.float().cpu() for name, f in pool(layers, self.grid, names).items()}
            if self.progress:
                self.progress(f"features of {self.name}", start + len(part), len(rows))

    def read_tokens(self, images: Images, rows: Rows) -> Tensor:
        """Last-layer tokens `[len(rows), N, D]`, float32, on the CPU."""
        tokens = self._layers(images.read(rows), 1)[-1]
        self._check(tokens, rows)
        return tokens.float().cpu()

    def _layers(self, batch: Tensor, count: int) -> list[Tensor]:
        return self.model.layers(batch.to(device_of(self.model)), count)

    def _check(self, tokens: Tensor, rows: Rows) -> None:
        bad = (~tokens.isfinite()).flatten(1).any(1).nonzero()
        if len(bad):
            raise UserError(
                f"{self.name} gives NaN or infinite features for sample {int(rows[int(bad[0])])}: "
                "the weights or the input are broken; probe an earlier checkpoint"
            )


class Pixels:
    """Raw pixels in 0..1 as features, averaged down to 32x32 where images are larger."""

    def __init__(self, images: Images, *, batch_size: int = 1024) -> None:
        channels, height, width = images.shape
        self.size = (min(height, PIXEL_SIDE), min(width, PIXEL_SIDE))
        self.poolings = {"pixels": channels * self.size[0] * self.size[1]}
        self.batch_size = batch_size

    def stream(self, images: Images, rows: Rows, names: Sequence[str]) -> Features:
        """Batches of float32 `[b, C*H*W]` under the one name `pixels`."""
        for start in range(0, len(rows), self.batch_size):
            part = rows[start : start + self.batch_size]
            batch = images.read(part)
            batch = batch.float() if batch.is_floating_point() else batch.float() / 255
            yield part, {"pixels": adaptive_avg_pool2d(batch, self.size).flatten(1)}


def read(source: Source, images: Images, rows: Rows, names: Iterable[str]) -> dict[str, Tensor]:
    """Features `[len(rows), dims]` of `rows` (rising) under each named pooling."""
    names = list(names)
    out = {name: torch.empty(len(rows), source.poolings[name]) for name in names}
    for part, features in source.stream(images, rows, names) if names else ():
        where = torch.from_numpy(np.searchsorted(rows, part))
        for name, values in features.items():
            out[name][where] = values
    return out


def pool(layers: Sequence[Tensor], grid: tuple[int, int], names: Sequence[str]) -> dict[str, Tensor]:
    """Poolings of the last layers' tokens (`[B, N, D]` each, last layer last, N = rows x columns of `grid`)."""
    last, (rows, columns) = layers[-1], grid

    def on_grid(tokens: Tensor, cells: int) -> Tensor:
        image = tokens.transpose(1, 2).unflatten(2, (rows, columns))
        return adaptive_avg_pool2d(image, (min(cells, rows), min(cells, columns))).flatten(1)

    pooled = {}
    for name in names:
        if name == "mean":
            pooled[name] = last.mean(1)
        elif name == "last4":
            pooled[name] = torch.cat([layer.mean(1) for layer in layers], 1)
        elif name == "flat":
            pooled[name] = last.flatten(1)
        elif name.startswith("blend"):
            blend = torch.stack([layer_norm(layer, layer.shape[-1:]) for layer in layers]).mean(0)
            pooled[name] = on_grid(blend, int(name.removeprefix("blend")))
        else:
            pooled[name] = on_grid(last, int(name.removeprefix("grid")))
    return pooled


def device_of(model: object) -> torch.device:
    """Where the model's parameters are; the CPU if it has none."""
    parameter = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return torch.device("cpu") if parameter is None else parameter.device
