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
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, one_hot

from openjepa.errors import UserError
from openjepa.evals.features import FrozenEncoder, device_of
from openjepa.evals.probes import Linear, Logistic
from openjepa.evals.spaces import Standard
from openjepa.evals.table import JOINED, ProbeTable, Score
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


class JoinedPlaces:
    """Two kinds of features side by side, on the first one's grid."""

    def __init__(self, one: PlaceFeatures, chosen: str, other: PlaceFeatures, beside: str) -> None:
        self.name, self.parts = JOINED, ((one, chosen), (other, beside))

    def places(self, images: Tensor) -> dict[str, Tensor]:
        grids = [source.places(images)[option] for source, option in self.parts]
        shape = grids[0].shape[1:3]
        fitted = [grids[0], *(_resized(grid, (shape[0], shape[1])) for grid in grids[1:])]
        return {" + ".join(option for _, option in self.parts): torch.cat(fitted, -1)}


@dataclass(frozen=True)
class PlaceAnswer:
    """What one source gave: its score, the answers, and what was chosen."""

    score: float
    bounds: tuple[float, float]
    option: str
    strength: float
    guess: Tensor


def dense_probe(
    train: PixelSet,
    test: PixelSet,
    sources: Sequence[PlaceFeatures],
    *,
    join: tuple[str, str] | None = None,
    answered: Mapping[str, "PlaceAnswer"] | None = None,
    batch_size: int = 16,
) -> ProbeTable:
    """Mean intersection over union of each source's linear classifier, in one table.

    Args:
        train: with groups, of which one validates; without, every fourth image does.
        join: names of two sources whose features are put side by side in a row more.
        answered: what some sources have given for these sets, by their names, so that they are not asked again.

    Raises:
        UserError: the sets differ in their classes.
    """
    if train.names != test.names:
        raise UserError("training and test images have other classes: open both with the same names")
    task = Regions(len(train.names))
    answers: dict[str, PlaceAnswer] = {}
    known = {source.name: source for source in sources}
    for source in sources:
        given = (answered or {}).get(source.name)
        answers[source.name] = given or answer(task, source, train, test, batch_size)
    if join is not None:
        first, second = join
        joined = JoinedPlaces(known[first], answers[first].option, known[second], answers[second].option)
        answers[joined.name] = answer(task, joined, train, test, batch_size)
    groups = 0 if test.groups is None else len(np.unique(test.groups))
    scores = [
        Score(
            row=name,
            kind="linear",
            labels=1.0,
            values=(found.score,),
            tested=len(test),
            choices=(f"{found.option}, C {found.strength:g}",),
            task=task.name,
            metric=task.metric,
            bounds=found.bounds,
            groups=groups if groups > 1 else 0,
        )
        for name, found in answers.items()
    ]
    return ProbeTable(scores, [], {}, "images")


def answer(
    task: Regions, source: PlaceFeatures, train: PixelSet, test: PixelSet, batch_size: int = 16
) -> PlaceAnswer:
    """Choose, fit and score one source."""
    fit_rows, check_rows = held_out(train)
    best: tuple[float, str, float] = (-math.inf, "", 0.0)
    features = _all(source, train.images, batch_size)
    for option, grid in features.items():
        problem, standard = _problem(grid[fit_rows], train.classes[fit_rows], task.count, CELLS // 4)
        start: Linear | None = None
        for strength in STRENGTHS:
            start = problem.solve(strength, start=start, tolerance=2e-4)
            guess = predict(start, standard, grid[check_rows], train.classes.shape[1:])
            reached = score(task, guess, train.classes[check_rows])
            if reached > best[0]:
                best = reached, option, strength
    _, option, strength = best
    problem, standard = _problem(features.pop(option), train.classes, task.count, CELLS)
    features.clear()
    solution = problem.solve(strength, tolerance=2e-4)
    guess = torch.cat(
        [
            predict(solution, standard, source.places(part)[option], test.classes.shape[1:])
            for part in test.images.split(batch_size)
        ]
    )
    several = test.groups is not None and len(np.unique(test.groups)) > 1
    bounds = interval(task, guess, test.classes, test.groups if several else None)
    return PlaceAnswer(score(task, guess, test.classes), bounds, option, strength, guess)


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
