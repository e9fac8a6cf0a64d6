"""What is shown of a model: some images, what it predicts, its neighbours, its map; or why there is nothing."""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from openjepa.jepa import JEPA
from openjepa.report import charts, looks, pixels
from openjepa.signals.images import ImageSet
from openjepa.signals.images.values import scale

SHOWN, NEIGHBOURS, BATCH = 8, 6, 128
SAMPLES = 1500
"""Images in the map and among the neighbours ..."""
PIXELS = SAMPLES * 96 * 96
"""... as long as they have no more pixels than this in all."""
LEGEND = 20
"""Classes that get a colour and a name of their own."""
TEN = (
    *("#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#9c755f"),
    *("#b07aa1", "#76b7b2", "#edc948", "#ff9da7", "#8a8f98"),
)


@dataclass(frozen=True)
class Neighbour:
    picture: str
    label: str
    similarity: float
    same: bool | None


@dataclass(frozen=True)
class Map:
    picture: str
    method: str
    count: int
    names: list[tuple[str, str, float, float, int]]
    """Name, colour, left and top in percent of its class's middle, and number of samples."""
    others: int


@dataclass
class Looks:
    """Everything that needs the model and images; `missing` says why there is nothing."""

    missing: str = ""
    labels: list[str] = field(default_factory=list)
    masked: list[looks.Masked] = field(default_factory=list)
    views: list[list[looks.Seen]] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    patches: list[str] = field(default_factory=list)
    patches_hold: float = 0.0
    grid: tuple[int, ...] = (1, 1)
    neighbours: list[tuple[Neighbour, list[Neighbour]]] = field(default_factory=list)
    agreement: str = ""
    pool: int = 0
    map: Map | None = None
    small: bool = True
    batch: int = 0


def look(model: JEPA, images: ImageSet, samples: int | None, progress: looks.Progress | None) -> Looks:
    """Show `model` some of `images`, the same ones every time."""
    height, width = images.shape[1:]
    wanted = samples or min(SAMPLES, max(2 * BATCH, PIXELS // (height * width)))
    rows = np.random.default_rng(looks.SEED).permutation(len(images))[:wanted]
    device = next(model.parameters()).device
    features = looks.embeddings(model, lambda part: images.read(part).to(device), rows, progress)
    if not features.isfinite().all():
        return Looks("The features are not finite, so there is nothing to look at: the run has diverged.")
    if len(rows) < 3:
        return Looks(f"There are only {len(rows)} images to look at, and pictures need at least three.")
    labels = None if images.labels is None else images.labels.values[rows]
    batch = images.read(rows[:BATCH]).to(device)
    shown = pick(None if labels is None else labels[:BATCH], len(batch), SHOWN)
    names = _names(images, labels)
    found = Looks(
        labels=[names[i] for i in shown], grid=model.layout or (1, 1), pool=len(rows), batch=len(batch)
    )
    found.small = max(height, width) <= pixels.SMALL
    if looks.hides_blocks(model, batch):
        found.masked = looks.masked(model, batch, shown)
    else:
        found.views = looks.viewed(model, batch, shown)
    found.inputs = [_picture(model, batch[i]) for i in shown]
    found.patches, found.patches_hold = looks.patch_colours(model, batch, shown)
    found.neighbours = _neighbours(model, features, images, rows, shown, labels, names)
    found.agreement = _agreement(found.neighbours, labels, shown)
    found.map = _map(features, labels, None if images.labels is None else images.labels.names)
    return found


def pick(labels: NDArray | None, total: int, count: int) -> list[int]:
    """`count` of the first `total` samples, as many classes as possible among them."""
    if labels is None:
        return list(range(min(count, total)))
    turn = np.zeros(total, int)
    for label in np.unique(labels[:total]):
        of_class = np.flatnonzero(labels[:total] == label)
        turn[of_class] = np.arange(len(of_class))
    chosen = np.lexsort((labels[:total], turn))[:count]
    return sorted(chosen.tolist(), key=lambda i: labels[i])


def _picture(model: JEPA, image: Tensor) -> str:
    return pixels.data_uri(pixels.to_rgb(scale(image, model.signal.range).cpu().numpy()))


def _names(images: ImageSet, labels: NDArray | None) -> list[str]:
    """The label of every sample as text; empty without labels."""
    if labels is None:
        return [""] * len(images)
    classes = None if images.labels is None else images.labels.names
    return [classes[i] if classes else f"class {i}" for i in labels.tolist()]


def _neighbours(
    model: JEPA,
    features: Tensor,
    images: ImageSet,
    rows: NDArray,
    queries: Sequence[int],
    labels: NDArray | None,
    names: Sequence[str],
) -> list[tuple[Neighbour, list[Neighbour]]]:
    found, cosines = looks.nearest(features, queries, min(NEIGHBOURS, len(features) - 1))
    result = []
    for query, near, similar in zip(queries, found.tolist(), cosines.tolist(), strict=True):
        pictures = [_picture(model, image) for image in images.read(rows[[query, *near]])]
        others = [
            Neighbour(picture, names[i], cosine, None if labels is None else bool(labels[i] == labels[query]))
            for picture, i, cosine in zip(pictures[1:], near, similar, strict=True)
        ]
        result.append((Neighbour(pictures[0], names[query], 1.0, None), others))
    return result


def _agreement(
    neighbours: Sequence[tuple[Neighbour, list[Neighbour]]], labels: NDArray | None, queries: Sequence[int]
) -> str:
    if labels is None:
        return "The images have no labels, so no neighbour can be called right or wrong."
    alike = [bool(n.same) for _, near in neighbours for n in near]
    chance = np.mean([(labels == labels[i]).mean() for i in queries]) * len(alike)
    return f"{sum(alike)} of these {len(alike)} have their query's label; chance would give {chance:.0f}."


def _map(features: Tensor, labels: NDArray | None, classes: Sequence[str] | None) -> Map:
    points, method = looks.flat_map(features)
    if labels is None:
        return Map(
            pixels.figure_uri(charts.scatter(points, [TEN[0]] * len(points))), method, len(points), [], 0
        )
    found, counts = np.unique(labels, return_counts=True)
    named = np.sort(found[np.argsort(-counts, kind="stable")][:LEGEND])
    colours = {int(c): _colour(i, len(named)) for i, c in enumerate(named)}
    middles = np.array([np.median(points[labels == label], axis=0) for label in colours])
    names = []
    for (label, colour), (x, y) in zip(colours.items(), apart(middles).tolist(), strict=True):
        name = classes[label] if classes else f"class {label}"
        names.append((name, colour, round(100 * x, 1), round(100 * (1 - y), 1), int((labels == label).sum())))
    painted = [colours.get(int(label), "#9a9a9a") for label in labels]
    picture = pixels.figure_uri(charts.scatter(points, painted))
    return Map(picture, method, len(points), names, len(found) - len(named))


def apart(places: NDArray, size: tuple[float, float] = (0.2, 0.055)) -> NDArray:
    """The places `[n, 2]` in the unit square, moved up or down until no two names of this size overlap."""
    moved = places.copy()
    for _ in range(100):
        clash = False
        for i, j in combinations(range(len(moved)), 2):
            gap = moved[j] - moved[i]
            if abs(gap[0]) < size[0] and abs(gap[1]) < size[1]:
                push = (size[1] - abs(gap[1])) / 2 + 1e-3
                moved[i, 1] -= push if gap[1] >= 0 else -push
                moved[j, 1] += push if gap[1] >= 0 else -push
                clash = True
        if not clash:
            break
    return moved.clip(0.02, 0.98)


def _colour(index: int, count: int) -> str:
    if count <= len(TEN):
        return TEN[index]
    red, green, blue = colorsys.hls_to_rgb(index / count, 0.45 + 0.15 * (index % 2), 0.55)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"
