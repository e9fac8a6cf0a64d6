"""Poolings of an encoder's last layers into one vector a sample, on offer by name."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d, adaptive_avg_pool2d, layer_norm

from openjepa.jepa import fitting, mean_of

LAYERS = 4  # I-JEPA's linear protocol: the last layer, or the last four concatenated
MAX_DIMS = 4096  # wider poolings are projected onto so many dimensions

Layout = tuple[int, ...]
"""Sides of a grid of any rank."""
Layers = Sequence[Tensor]
"""`[B, N, D]` each, last layer last."""
PLANE = ("row", "column")


@dataclass(frozen=True)
class Pooling:
    """Layers `[B, N, D]` each, last layer last, and which tokens are there, to `[B, dims]`."""

    dims: int
    take: Callable[[Layers, Tensor | None], Tensor]
    deep: bool = False
    """Whether it looks at more than the last layer."""


def offered(
    shapes: Sequence[tuple[int, int]], layout: Layout | None, axes: Sequence[str] = PLANE
) -> dict[str, Pooling]:
    """The poolings of layers with these (N, D), by name, cheapest first.

    Of the last layer: `mean`. Where its tokens fill a grid, `layout`: `grid2`, `grid3`, `grid4` (averaged to at most 2,
    3, 4 cells a side, concatenated) and `flat`, all tokens; where the axes are not rows and columns, also `each second`
    and so on, averaged over all axes but one. Where they fill none: `max`, beside the mean. Of several layers: `last4`,
    their means. Of several with one shape: `blend4` and so on, the layers, each layer-normalised, averaged, on the
    finest of these grids. Of several with unequal maps, the stages of a convolutional network: `stage1 mean`, `stage1
    grid2`, `stage1 grid4` and so on for all but the last, and `stages grid2`, `stages grid4`, all of them concatenated.

    Tokens that are not there (`valid` `[B, N]`) enter no mean; a cell without any is 0.
    """
    grids = [_grid_of(n, layout) for n, _ in shapes]
    last, (tokens, dim) = len(shapes) - 1, shapes[-1]
    found = {"mean": Pooling(dim, lambda layers, valid: mean_of(layers[-1], valid))}
    if layout is None:
        found["max"] = Pooling(2 * dim, _mean_and_max)
    else:
        cells = {f"grid{g}": math.prod(_cells(grids[-1], g)) for g in (2, 3, 4)} | {"flat": tokens}
        distinct = {count: name for name, count in reversed(cells.items()) if count > 1}
        for count, name in distinct.items():
            take = _flat if name == "flat" else _on(last, grids[-1], _cells(grids[-1], int(name[-1])))
            found[name] = Pooling(count * dim, take)
        if tuple(axes) != PLANE and len(axes) == len(grids[-1]) > 1:
            found |= _along(last, grids[-1], axes, dim)
    if len(shapes) > 1:
        found["last4"] = Pooling(
            sum(d for _, d in shapes),
            lambda layers, valid: torch.cat([mean_of(layer, valid) for layer in layers], 1),
            deep=True,
        )
        if all(shape == shapes[-1] for shape in shapes):
            finest = max((int(name[-1]) for name in found if name.startswith("grid")), default=1)
            sides = _cells(grids[-1], finest)
            found[f"blend{finest}"] = Pooling(
                math.prod(sides) * dim, _blend(grids[-1], sides if layout else (1,)), deep=True
            )
        elif layout is not None and any(n != tokens for n, _ in shapes):
            found |= _stages(shapes, grids)
    return dict(sorted(found.items(), key=lambda item: item[1].dims))


def _along(last: int, grid: Layout, axes: Sequence[str], dim: int) -> dict[str, Pooling]:
    found = {}
    for i, (axis, side) in enumerate(zip(axes, grid, strict=True)):
        if 1 < side < math.prod(grid):
            sides = tuple(side if j == i else 1 for j in range(len(grid)))
            found[f"each {axis}"] = Pooling(side * dim, _on(last, grid, sides))
    return found


def _stages(shapes: Sequence[tuple[int, int]], grids: Sequence[Layout]) -> dict[str, Pooling]:
    found = {}
    for i, ((_, dim), grid) in enumerate(zip(shapes[:-1], grids, strict=False)):
        for name, g in (("mean", 1), ("grid2", 2), ("grid4", 4)):
            sides = _cells(grid, g)
            found[f"stage{i + 1} {name}"] = Pooling(math.prod(sides) * dim, _on(i, grid, sides), deep=True)
    for g in (2, 4):
        takes = [_on(i, grid, _cells(grid, g)) for i, grid in enumerate(grids)]
        dims = sum(math.prod(_cells(grid, g)) * dim for (_, dim), grid in zip(shapes, grids, strict=True))
        found[f"stages grid{g}"] = Pooling(dims, _together(takes), deep=True)
    return found


class Projection:
    """A seeded orthogonal projection of standardised features `[B, d]` onto fewer dimensions, in O(d) a sample.

    The dimensions are shuffled and dealt out, with random signs, to `dims` sums: rows of a matrix with orthogonal
    rows, which keeps inner products in expectation and needs no matrix.

    Args:
        sample: features `[n, d]` of some samples, whose mean and deviation standardise.
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

    @classmethod
    def restored(cls, tensors: Mapping[str, Tensor], dims: int) -> "Projection":
        """What `tensors` were of."""
        found = cls.__new__(cls)
        found.order, found.mean, found.scale = (tensors[name] for name in ("order", "mean", "scale"))
        found.dims, found.rest = dims, -len(found.order) % dims
        return found

    def tensors(self) -> dict[str, Tensor]:
        """All that it has learned and drawn, by name."""
        return {"order": self.order, "mean": self.mean, "scale": self.scale}

    def __call__(self, features: Tensor) -> Tensor:
        """`[B, dims]` on the CPU."""
        values = ((features.float().cpu() - self.mean) * self.scale)[:, self.order]
        return torch.nn.functional.pad(values, (0, self.rest)).unflatten(1, (-1, self.dims)).sum(1)


def _grid_of(tokens: int, layout: Layout | None) -> Layout:
    """The token grid, a multiple or a part of it (also in rows and columns alone), a cube, or else a strip."""
    if layout is None:
        return (tokens,)
    rank = len(layout)
    scale = (tokens / max(1, math.prod(layout))) ** (1 / rank)
    guess = tuple(round(side * scale) for side in layout)
    plane = tuple(
        round(side * (scale ** (rank / 2) if i >= rank - 2 else 1)) for i, side in enumerate(layout)
    )
    cube = (round(tokens ** (1 / rank)),) * rank
    longer = [  # in one axis, the last one first: a window of other length
        (*layout[:i], tokens * layout[i] // max(1, math.prod(layout)), *layout[i + 1 :])
        for i in reversed(range(rank))
    ]
    strip = (*[1] * (rank - 1), tokens)
    return next(g for g in (layout, guess, plane, *longer, cube, strip) if math.prod(g) == tokens)


def _cells(grid: Layout, most: int) -> Layout:
    return tuple(min(most, side) for side in grid)


def _zeroed(tokens: Tensor, valid: Tensor) -> Tensor:
    return torch.where(valid[..., None], tokens, 0)  # what is padded may be anything, NaN too


def _mean_and_max(layers: Layers, valid: Tensor | None) -> Tensor:
    tokens, there = layers[-1], fitting(valid, layers[-1])
    among = tokens if there is None else torch.where(there[..., None], tokens, -torch.inf)
    return torch.cat([mean_of(tokens, valid), among.amax(1)], 1)


def _flat(layers: Layers, valid: Tensor | None) -> Tensor:
    there = fitting(valid, layers[-1])
    return (layers[-1] if there is None else _zeroed(layers[-1], there)).flatten(1)


def _average(tokens: Tensor, grid: Layout, sides: Layout, valid: Tensor | None) -> Tensor:
    """Means `[B, D * cells]` over the cells of a coarser grid with these sides."""
    there = fitting(valid, tokens)
    if there is None:
        return _coarser(tokens, grid, sides).flatten(1)
    share = _coarser(there[..., None].to(tokens), grid, sides)
    sums = _coarser(_zeroed(tokens, there), grid, sides)
    return (sums / torch.where(share > 0, share, 1)).flatten(1)


def _coarser(tokens: Tensor, grid: Layout, sides: Layout) -> Tensor:
    """`[B, D, *sides]`."""
    values = tokens.transpose(1, 2).unflatten(2, grid)
    if len(grid) == 2:
        return adaptive_avg_pool2d(values, (sides[0], sides[1]))
    for axis, side in enumerate(sides, 2):
        along = values.movedim(axis, -1)
        shape = along.shape[:-1]
        values = (
            adaptive_avg_pool1d(along.flatten(0, -2)[None], side)[0].unflatten(0, shape).movedim(-1, axis)
        )
    return values


def _on(layer: int, grid: Layout, sides: Layout) -> Callable[[Layers, Tensor | None], Tensor]:
    # Counted from the end: where only the last layer is asked for, the list has one.
    return lambda layers, valid: _average(
        layers[layer if layer < len(layers) - 1 else -1], grid, sides, valid
    )


def _blend(grid: Layout, sides: Layout) -> Callable[[Layers, Tensor | None], Tensor]:
    def take(layers: Layers, valid: Tensor | None) -> Tensor:
        blended = torch.stack([layer_norm(layer, layer.shape[-1:]) for layer in layers]).mean(0)
        return mean_of(blended, valid) if math.prod(sides) == 1 else _average(blended, grid, sides, valid)

    return take


def _together(
    takes: Sequence[Callable[[Layers, Tensor | None], Tensor]],
) -> Callable[[Layers, Tensor | None], Tensor]:
    return lambda layers, valid: torch.cat([take(layers, valid) for take in takes], 1)
