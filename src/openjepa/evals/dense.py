"""What the tokens of frozen features tell of each place of an image: a linear classifier per place, judged by pixel.

A token's label is the share of each class among its pixels. The classifier's scores are brought to the images' size by
linear interpolation, and the largest one of each pixel is the answer. Layers and strength are chosen on images of other
groups than the classifier is fitted on.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, one_hot

from openjepa.errors import UserError
from openjepa.evals.features import FrozenEncoder, device_of
from openjepa.evals.probes import Linear, Logistic
from openjepa.evals.spaces import Standard
from openjepa.evals.table import DRAWS, JOINED, ProbeTable, Score
from openjepa.evals.tasks import Regions, interval, score
from openjepa.signals.base import move
from openjepa.signals.images.dictionary import kmeans
from openjepa.signals.images.fisher import edge_maps
from openjepa.signals.images.pixels import PixelSet

STRENGTHS = (0.004, 0.06, 1.0)
CELLS = 200_000
"""Places that a classifier is fitted on at most, every so many-th; fewer while settings are chosen."""
LAYERS = 4
CODES, PATCH, SAMPLES = 64, 6, 40_000
"""Centroids of patches, their side in pixels, patches that they are fitted on."""
AROUND = (1, 3, 9, 27)
"""Sides in cells of the squares over which classical features of a place are averaged."""


class PlaceFeatures(Protocol):
    """Features of every place of images."""

    name: str

    def places(self, images: Tensor) -> dict[str, Tensor]:
        """Of uint8 `[b, C, H, W]`: `[b, h, w, d]` by what can be chosen among, such as layers."""
        ...


class EncodedPlaces:
    """A model's tokens: the last layer's, or those of the last four side by side."""

    def __init__(self, model: FrozenEncoder, name: str = "model") -> None:
        self.model, self.name = model, name

    def places(self, images: Tensor) -> dict[str, Tensor]:
        signal: Any = getattr(self.model, "signal")  # noqa: B009
        batch = move(signal.batch(images), device_of(self.model))
        layers = self.model.layers(batch, LAYERS)
        encoder: Any = getattr(self.model, "evaluated")  # noqa: B009
        rows, columns = encoder.layout(signal.tokenise(batch[:1]).layout)[-2:]
        alike = [
            layer for layer in layers if layer.shape[1] == layers[-1].shape[1]
        ]  # stages may differ in size
        grids = [layer.float().cpu().unflatten(1, (-1, rows, columns)).mean(1) for layer in alike]
        found = {"last layer": grids[-1]}
        if len(grids) > 1:
            found[f"last {len(grids)} layers"] = torch.cat(grids, -1)
        return found


class ClassicalPlaces:
    """Colour, edges and codes of patches, each averaged over squares around a place, and where it lies.

    Fitted on unlabelled images: the codes' centroids alone.
    """

    name = "classical features"

    def __init__(self, images: Tensor, cell: int = 8, seed: int = 0) -> None:
        self.cell = cell
        rng = np.random.default_rng(seed)
        chosen = torch.from_numpy(rng.permutation(len(images))[:64])
        patches = torch.cat([_patches(image) for image in _floats(images[chosen])])
        patches = patches[torch.from_numpy(rng.permutation(len(patches))[:SAMPLES])]
        self.centroids = kmeans(patches, CODES, 10, [seed, 8])

    def places(self, images: Tensor) -> dict[str, Tensor]:
        pixels = _floats(images)
        rows, columns = pixels.shape[2] // self.cell, pixels.shape[3] // self.cell
        pixels = pixels[..., : rows * self.cell, : columns * self.cell]
        colour = avg_pool2d(pixels, self.cell)
        spread = (avg_pool2d(pixels.square(), self.cell) - colour.square()).clamp_min(0).sqrt()
        edges = avg_pool2d(edge_maps(pixels), self.cell).sqrt()
        codes = torch.stack([self._codes(image, rows, columns) for image in pixels])
        maps = torch.cat([colour, spread, edges, codes], 1)
        around = [_mean_around(maps, side) for side in AROUND]
        down, across = torch.meshgrid(
            torch.linspace(-1, 1, rows), torch.linspace(-1, 1, columns), indexing="ij"
        )
        where = torch.stack([down, across, down**2, across**2, down * across])
        found = torch.cat([*around, where.expand(len(images), -1, -1, -1)], 1).permute(0, 2, 3, 1)
        return {f"around {AROUND[-1] * self.cell} px": found}

    def _codes(self, image: Tensor, rows: int, columns: int) -> Tensor:
        """Mean code of the patches that begin in each cell, `[CODES, rows, columns]`."""
        distance = torch.cdist(_patches(image), self.centroids)
        near = (distance.mean(1, keepdim=True) - distance).clamp_min(0)
        sides = (image.shape[1] - PATCH) // 2 + 1, (image.shape[2] - PATCH) // 2 + 1
        return torch.nn.functional.adaptive_avg_pool2d(near.T.reshape(-1, *sides), (rows, columns))


@dataclass(frozen=True)
class Grids:
    """Features of every place of images to fit on and to score, `[N, h, w, d]` by what can be chosen among."""

    name: str
    train: dict[str, Tensor]
    test: dict[str, Tensor]


def encoded(source: PlaceFeatures, train: PixelSet, test: PixelSet, batch_size: int = 16) -> Grids:
    """What a source makes of the images of both sets."""
    both = (_all(source, part.images, batch_size) for part in (train, test))
    return Grids(source.name, *both)


@dataclass(frozen=True)
class PlaceAnswer:
    """What one source gave: its score, and what was chosen."""

    score: float
    bounds: tuple[float, float]
    option: str
    strength: float


def dense_probe(
    train: PixelSet,
    test: PixelSet,
    sources: Sequence[PlaceFeatures | Grids],
    *,
    join: tuple[str, str] | None = None,
    few: int = 0,
    draws: int = 3,
    answered: Mapping[str, Sequence["PlaceAnswer"]] | None = None,
    batch_size: int = 16,
) -> ProbeTable:
    """Mean intersection over union of each source's linear classifier, in one table.

    Args:
        train: with groups, of which one validates; without, every fourth image does.
        join: names of two sources whose features are put side by side in a row more.
        few: images whose labels alone are used in another column; 0: there is none.
        draws: of these images, the same for each source.
        answered: what some sources have given for these sets, by their names, so that they are not asked again.

    Raises:
        UserError: the sets differ in their classes, or there are fewer images than `few`.
    """
    if train.names != test.names:
        raise UserError("training and test images have other classes: open both with the same names")
    parts = labelled(train, few, draws)
    task = Regions(len(train.names))
    found: dict[str, Sequence[PlaceAnswer]] = {}
    kept: dict[str, Grids] = {}
    known, joined = answered or {}, join or ()
    for source in sources:
        if source.name in known and source.name not in joined:
            found[source.name] = known[source.name]
            continue
        grids = source if isinstance(source, Grids) else encoded(source, train, test, batch_size)
        found[source.name] = known.get(source.name) or answers(task, grids, train, test, parts)
        if source.name in joined:
            kept[source.name] = grids
    if join is not None:
        one, other = (kept[name] for name in join)
        chosen = zip(parts, *(found[name] for name in join), strict=True)
        found[JOINED] = [
            answer(task, _beside(one, a.option, other, b.option, rows), train.subset(rows), test)
            for rows, a, b in chosen
        ]
    scores = [_score(name, given[:1], 1.0, task, test) for name, given in found.items()]
    if few:
        scores += [_score(name, given[1:], few / len(train), task, test) for name, given in found.items()]
    notes = [f"With few labels: those of {few} images."] if few else []
    return ProbeTable(scores, notes, {}, "images")


def _score(name: str, found: Sequence["PlaceAnswer"], labels: float, task: Regions, test: PixelSet) -> Score:
    groups = 0 if test.groups is None else len(np.unique(test.groups))
    return Score(
        row=name,
        kind="linear",
        labels=labels,
        values=tuple(one.score for one in found),
        tested=len(test),
        over=DRAWS if len(found) > 1 else "",
        choices=tuple(f"{one.option}, C {one.strength:g}" for one in found),
        task=task.name,
        metric=task.metric,
        bounds=found[0].bounds if len(found) == 1 else None,
        groups=groups if groups > 1 else 0,
    )


def labelled(train: PixelSet, few: int, draws: int) -> list[NDArray[np.int64]]:
    """Numbers of the images whose labels are used: all; then of each draw `few` of them.

    Raises:
        UserError: there are fewer images than `few`.
    """
    if few > len(train):
        raise UserError(f"few={few}: there are {len(train)} images with labels")
    drawn = [np.sort(np.random.default_rng([7, i]).permutation(len(train))[:few]) for i in range(draws)]
    return [np.arange(len(train)), *(drawn if few else ())]


def answers(
    task: Regions, grids: Grids, train: PixelSet, test: PixelSet, parts: Sequence[NDArray[np.int64]]
) -> list["PlaceAnswer"]:
    """What one source gives with the labels of each of these parts of the training images."""
    return [
        answer(
            task,
            Grids(grids.name, {option: grid[rows] for option, grid in grids.train.items()}, grids.test),
            train.subset(rows),
            test,
        )
        for rows in parts
    ]


def answer(task: Regions, grids: Grids, train: PixelSet, test: PixelSet) -> "PlaceAnswer":
    """Choose, fit and score one source."""
    fit_rows, check_rows = held_out(train)
    best: tuple[float, str, float] = (-math.inf, "", 0.0)
    for option, grid in grids.train.items():
        problem, standard = _problem(grid[fit_rows], train.classes[fit_rows], task.count, CELLS // 4)
        start: Linear | None = None
        for strength in STRENGTHS:
            start = problem.solve(strength, start=start, tolerance=2e-4)
            guess = predict(start, standard, grid[check_rows], train.classes.shape[1:])
            reached = score(task, guess, train.classes[check_rows])
            if reached > best[0]:
                best = reached, option, strength
    _, option, strength = best
    problem, standard = _problem(grids.train[option], train.classes, task.count, CELLS)
    solution = problem.solve(strength, tolerance=2e-4)
    guess = predict(solution, standard, grids.test[option], test.classes.shape[1:])
    several = test.groups is not None and len(np.unique(test.groups)) > 1
    bounds = interval(task, guess, test.classes, test.groups if several else None)
    return PlaceAnswer(score(task, guess, test.classes), bounds, option, strength)


def predict(solution: Linear, standard: Standard, grid: Tensor, size: Sequence[int]) -> Tensor:
    """Classes uint8 `[b, H, W]` of features `[b, h, w, d]`."""
    found = []
    for part in grid.split(16):
        flat = part.flatten(0, 2).clone()
        standard.apply_(flat)
        scores = torch.addmm(solution.bias, solution.weight, flat.T).view(-1, *part.shape[:3]).transpose(0, 1)
        large = interpolate(scores, (size[0], size[1]), mode="bilinear", align_corners=False)
        found.append(large.argmax(1).to(torch.uint8))
    return torch.cat(found)


def shares(classes: Tensor, count: int, grid: tuple[int, int]) -> Tensor:
    """The share of each class among the pixels of each place, `[N, h, w, K]`, pixels without a class left out; zero
    where there are no others."""
    found = []
    for part in classes.split(32):
        kept = one_hot(part.long().clamp_max(count), count + 1)[..., :count].permute(0, 3, 1, 2).float()
        found.append(torch.nn.functional.adaptive_avg_pool2d(kept, grid).permute(0, 2, 3, 1))
    whole = torch.cat(found)
    return whole / whole.sum(-1, keepdim=True).clamp_min(1e-9)


def held_out(train: PixelSet) -> tuple[Tensor, Tensor]:
    """Rows to fit on and rows to choose by: the group whose size is nearest to a quarter, or every fourth image."""
    if train.groups is None or len(np.unique(train.groups)) < 2:
        check = np.arange(len(train)) % 4 == 3
    else:
        names, counts = np.unique(train.groups, return_counts=True)
        check = train.groups == names[np.abs(counts - len(train) / 4).argmin()]
    rows = torch.arange(len(train))
    return rows[~torch.from_numpy(check)], rows[torch.from_numpy(check)]


def _problem(grid: Tensor, classes: Tensor, count: int, most: int) -> tuple[Logistic, Standard]:
    wanted = shares(classes, count, (grid.shape[1], grid.shape[2])).flatten(0, 2)
    there = (wanted.sum(1) > 0).nonzero()[:, 0]
    there = there[:: max(1, len(there) // most)]
    rows = grid.flatten(0, 2)[there].clone()
    standard = Standard.of(rows)
    standard.apply_(rows)
    return Logistic(rows, wanted[there], count), standard


def _all(source: PlaceFeatures, images: Tensor, batch_size: int) -> dict[str, Tensor]:
    found: dict[str, list[Tensor]] = {}
    for part in images.split(batch_size):
        for option, grid in source.places(part).items():
            found.setdefault(option, []).append(grid)
    return {option: torch.cat(grids) for option, grids in found.items()}


def _beside(one: Grids, chosen: str, other: Grids, beside: str, rows: NDArray[np.int64]) -> Grids:
    """Two kinds of features side by side, on the first one's grid, of these training images."""

    def joined(first: Tensor, second: Tensor) -> Tensor:
        return torch.cat([first, _resized(second, (first.shape[1], first.shape[2]))], -1)

    name = f"{chosen} + {beside}"
    train = joined(one.train[chosen][rows], other.train[beside][rows])
    return Grids(JOINED, {name: train}, {name: joined(one.test[chosen], other.test[beside])})


def _floats(images: Tensor) -> Tensor:
    return images.float() / 255


def _patches(image: Tensor) -> Tensor:
    """Patches of one brightness and contrast at every second pixel, `[n, C * PATCH**2]`."""
    found = torch.nn.functional.unfold(image, PATCH, stride=2).T
    found = found - found.mean(1, keepdim=True)
    return found / (found.std(1, keepdim=True) + 0.04)


def _mean_around(maps: Tensor, side: int) -> Tensor:
    """The mean over squares of `side` cells, over what of them lies in the picture."""
    return maps if side == 1 else avg_pool2d(maps, side, 1, side // 2, count_include_pad=False)


def _resized(grid: Tensor, size: tuple[int, int]) -> Tensor:
    if grid.shape[1:3] == size:
        return grid
    return interpolate(grid.permute(0, 3, 1, 2), size, mode="bilinear", align_corners=False).permute(
        0, 2, 3, 1
    )
