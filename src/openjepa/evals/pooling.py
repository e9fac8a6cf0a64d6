"""Poolings of an encoder's last layers into one vector an image, on offer by name."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, layer_norm

LAYERS = 4  # I-JEPA's linear protocol: the last layer, or the last four concatenated
MAX_DIMS = 4096  # wider poolings are projected onto so many dimensions

Grid = tuple[int, int]


@dataclass(frozen=True)
class Pooling:
    """Layers `[B, N, D]` each, last layer last, to `[B, dims]`."""

    dims: int
    take: Callable[[Sequence[Tensor]], Tensor]
    deep: bool = False
    """Whether it looks at more than the last layer."""


def offered(shapes: Sequence[tuple[int, int]], grid: Grid) -> dict[str, Pooling]:
    """The poolings of layers with these (N, D), by name, cheapest first.

    Of the last layer, whose tokens fill `grid`: `mean`; `grid2`, `grid3`, `grid4` (averaged to at most 2x2, 3x3, 4x4
    cells, concatenated); `flat`, all tokens. Of several: `last4`, their means. Of several with one shape: `blend4` and
    so on, the layers, each layer-normalised, averaged, on the finest of these grids. Of several with unequal maps, the
    stages of a convolutional network: `stage1 mean`, `stage1 grid2`, `stage1 grid4` and so on for all but the last,
    and `stages grid2`, `stages grid4`, all of them concatenated.
    """
    grids = [_grid_of(n, grid) for n, _ in shapes]
    last, (tokens, dim) = len(shapes) - 1, shapes[-1]
    found = {"mean": Pooling(dim, lambda layers: layers[-1].mean(1))}
    cells = {f"grid{g}": _cells(grids[-1], g) for g in (2, 3, 4)} | {"flat": tokens}
    distinct = {count: name for name, count in reversed(cells.items()) if count > 1}
    for count, name in distinct.items():
        take = _flat if name == "flat" else _on(last, grids[-1], int(name[-1]))
        found[name] = Pooling(count * dim, take)
    if len(shapes) > 1:
        found["last4"] = Pooling(
            sum(d for _, d in shapes),
            lambda layers: torch.cat([layer.mean(1) for layer in layers], 1),
            deep=True,
        )
        if all(shape == shapes[-1] for shape in shapes):
            finest = max((int(name[-1]) for name in found if name.startswith("grid")), default=1)
            found[f"blend{finest}"] = Pooling(
                _cells(grids[-1], finest) * dim, _blend(grids[-1], finest), deep=True
            )
        elif any(n != tokens for n, _ in shapes):
            found |= _stages(shapes, grids)
    return dict(sorted(found.items(), key=lambda item: item[1].dims))


def _stages(shapes: Sequence[tuple[int, int]], grids: Sequence[Grid]) -> dict[str, Pooling]:
    found = {}
    for i, ((_, dim), grid) in enumerate(zip(shapes[:-1], grids, strict=False)):
        for name, g in (("mean", 1), ("grid2", 2), ("grid4", 4)):
            found[f"stage{i + 1} {name}"] = Pooling(_cells(grid, g) * dim, _on(i, grid, g), deep=True)
    for g in (2, 4):
        takes = [_on(i, grid, g) for i, grid in enumerate(grids)]
        dims = sum(_cells(grid, g) * dim for (_, dim), grid in zip(shapes, grids, strict=True))
        found[f"stages grid{g}"] = Pooling(dims, _together(takes), deep=True)
    return found


class Projection:
    """A seeded orthogonal projection of standardised features `[B, d]` onto fewer dimensions, in O(d) a sample.

    The dimensions are shuffled and dealt out, with random signs, to `dims` sums: rows of a matrix with orthogonal
    rows, which keeps inner products in expectation and needs no matrix.

    Args:
        sample: features `[n, d]` of some images, whose mean and deviation standardise.
    """

    def __init__(self, sample: Tensor, dims: int = MAX_DIMS, seed: int = 0) -> None:
        d = sample.shape[1]
        random = torch.Generator().manual_seed(seed)
        self.order = torch.randperm(d, generator=random)
        self.dims, self.rest = dims, -d % dims
        deviation, self.mean = torch.std_mean(sample.float().cpu(), 0, correction=0)
        floor = 1e-2 * deviation.mean().clamp_min(1e-12)  # what hardly varies in the sample is not blown up
        signs = torch.randint(0, 2, (d,), generator=random) * 2 - 1
        self.scale = signs / deviation.clamp_min(floor) / math.sqrt(math.ceil(d / dims))

    def __call__(self, features: Tensor) -> Tensor:
        """`[B, dims]` on the CPU."""
        values = ((features.float().cpu() - self.mean) * self.scale)[:, self.order]
        return torch.nn.functional.pad(values, (0, self.rest)).unflatten(1, (-1, self.dims)).sum(1)


def _grid_of(tokens: int, grid: Grid) -> Grid:
    """The token grid, a multiple or a part of it, a square, or else a strip."""
    rows, columns = grid
    scale = math.sqrt(tokens / max(1, rows * columns))
    guess = round(rows * scale), round(columns * scale)
    side = math.isqrt(tokens)
    return next((g for g in (grid, guess, (side, side)) if math.prod(g) == tokens), (1, tokens))


def _cells(grid: Grid, most: int) -> int:
    return min(most, grid[0]) * min(most, grid[1])


def _flat(layers: Sequence[Tensor]) -> Tensor:
    return layers[-1].flatten(1)


def _average(tokens: Tensor, grid: Grid, most: int) -> Tensor:
    image = tokens.transpose(1, 2).unflatten(2, grid)
    return adaptive_avg_pool2d(image, (min(most, grid[0]), min(most, grid[1]))).flatten(1)


def _on(layer: int, grid: Grid, most: int) -> Callable[[Sequence[Tensor]], Tensor]:
    # Counted from the end: where only the last layer is asked for, the list has one.
    return lambda layers: _average(layers[layer if layer < len(layers) - 1 else -1], grid, most)


def _blend(grid: Grid, most: int) -> Callable[[Sequence[Tensor]], Tensor]:
    def take(layers: Sequence[Tensor]) -> Tensor:
        blended = torch.stack([layer_norm(layer, layer.shape[-1:]) for layer in layers]).mean(0)
        return _average(blended, grid, most)

    return take


def _together(takes: Sequence[Callable[[Sequence[Tensor]], Tensor]]) -> Callable[[Sequence[Tensor]], Tensor]:
    return lambda layers: torch.cat([take(layers) for take in takes], 1)
