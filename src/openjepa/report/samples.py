"""Sections that look at samples: what is predicted of them, their tokens, their neighbours, their map."""

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from openjepa.jepa import JEPA
from openjepa.report import charts, pixels, predictions
from openjepa.report.shown import Progress, Section, Shown, one_of, section, with_article
from openjepa.signals.base import Labels, move
from openjepa.signals.identity import columns_of

SHOWN, NEIGHBOURS, BATCH = 8, 6, 128
SHOWN_WIDE, NEIGHBOURS_WIDE = 4, 3
"""Of samples whose pictures need the width of the page."""
SAMPLES = 1500
"""Samples in the map and among the neighbours ..."""
NUMBERS = SAMPLES * 3 * 96 * 96
"""... as long as they hold no more numbers than this in all."""
AT_ONCE = BATCH * 3 * 224 * 224
"""Numbers in a batch."""
SEED = 0
SAME = 1e-6
"""Relative differences up to this are float32 rounding."""
LEGEND = 20
"""Classes that get a colour and a name of their own."""
TEN = (
    *("#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#9c755f"),
    *("#b07aa1", "#76b7b2", "#edc948", "#ff9da7", "#8a8f98"),
)


@dataclass(frozen=True)
class Neighbour:
    """`picture` is `None` where the signal draws none; `file` is what the sample is called."""

    picture: pixels.Drawn | None
    file: str
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
    """Everything that needs the model and samples; `missing` says why there is nothing."""

    missing: str = ""
    noun: str = "samples"
    labels: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    masked: list[predictions.Masked] = field(default_factory=list)
    views: list[list[predictions.PredictedView]] = field(default_factory=list)
    inputs: list[pixels.Drawn] = field(default_factory=list)
    patches: list[pixels.Drawn] = field(default_factory=list)
    patches_hold: float = 0.0
    grid: str = ""
    neighbours: list[tuple[Neighbour, list[Neighbour]]] = field(default_factory=list)
    agreement: str = ""
    pool: int = 0
    map: Map | None = None
    small: bool = True
    batch: int = 0

    @property
    def one(self) -> str:
        """A sample's name."""
        return one_of(self.noun)

    @property
    def article(self) -> str:
        """The name with its article."""
        return with_article(self.one)

    @property
    def wide(self) -> bool:
        """Whether pictures need the width of the page."""
        return any(picture.wide for picture in self.inputs)


def prediction(shown: Shown) -> Section | None:
    """What is predicted, and where it errs."""
    tuned = shown.model is not None and not hasattr(
        shown.model, "predictor"
    )  # on labels: nothing is predicted
    return None if tuned else _section(shown, "prediction", "Prediction")


def patches(shown: Shown) -> Section | None:
    """What the tokens look like to the encoder."""
    return _section(shown, "patches", "Patches")


def neighbours(shown: Shown) -> Section | None:
    """Which samples are alike."""
    return _section(shown, "neighbours", "Neighbours")


def feature_map(shown: Shown) -> Section | None:
    """All features in a plane."""
    return _section(shown, "map", "Map")


def _section(shown: Shown, template: str, title: str) -> Section | None:
    if shown.of_episodes:
        return None
    looks = shown.once("looks", lambda: _looks(shown))
    return section(template, title, looks=looks)


def _looks(shown: Shown) -> Looks:
    if shown.model is None or shown.samples is None:
        return Looks(shown.missing, shown.noun)
    return look(shown.model, shown.samples, shown.labels, shown.limit, shown.progress)


def look(
    model: JEPA, samples: Any, labels: Labels | None, limit: int | None, progress: Progress | None
) -> Looks:
    """Show `model` some of `samples`, the same ones every time."""
    noun, size = samples.noun, max(1, math.prod(getattr(samples, "shape", ())))
    at_once = min(BATCH, max(16, AT_ONCE // size))
    wanted = limit or min(SAMPLES, max(2 * at_once, NUMBERS // size))
    rows = np.random.default_rng(SEED).permutation(len(samples))[:wanted]
    features = embeddings(model, samples, rows, at_once, progress)
    if not features.isfinite().all():
        return Looks(
            "The features are not finite, so there is nothing to look at: the run has diverged.", noun
        )
    if len(rows) < 3:
        return Looks(f"There are only {len(rows)} {noun} to look at, and pictures need at least three.", noun)
    classes = _classes(labels)
    known = None if classes is None else classes[rows]
    batch = move(samples.read(rows[:at_once]), next(model.parameters()).device)
    first = model.signal.picture(batch, 0)
    wide = first is not None and first.wide
    chosen = pick(None if known is None else known[:at_once], len(batch), SHOWN_WIDE if wide else SHOWN)
    names = _names(labels, known, len(rows))
    found = Looks(noun=noun, labels=[names[i] for i in chosen], pool=len(rows), batch=len(batch))
    found.files = [called(samples, int(rows[i])) for i in chosen]
    found.grid = " × ".join(map(str, model.layout or (model.tokens(batch[:1]).shape[1],)))
    found.small = max(getattr(samples, "shape", (1,))[-2:]) <= pixels.SMALL
    if predictions.hides_tokens(model, batch):
        found.masked = predictions.masked(model, batch, chosen)
    elif predictions.predicts(model, batch):
        found.views = predictions.viewed(model, batch, chosen)
    inputs = [model.signal.picture(batch, i) for i in chosen]
    found.inputs = [pixels.drawn(picture) for picture in inputs if picture is not None]
    if found.inputs:
        colours, found.patches_hold = predictions.token_colours(model, batch, chosen)
        found.patches = [pixels.drawn(picture) for picture in colours]
    count = min(NEIGHBOURS_WIDE if wide else NEIGHBOURS, len(features) - 1)
    found.neighbours = _neighbours(model, features, samples, rows, chosen, count, known, names)
    found.agreement = _agreement(found.neighbours, known, chosen, noun)
    found.map = _map(features, known, None if labels is None else labels.names)
    return found


def embeddings(model: JEPA, samples: Any, rows: NDArray, size: int, progress: Progress | None) -> Tensor:
    """`[n, D]` float32 on the CPU, read and embedded in parts."""
    device, parts = next(model.parameters()).device, []
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        parts.append(model.embed(move(samples.read(part), device)).float().cpu())
        if progress:
            progress(f"embedding {samples.noun} for the report", start + len(part), len(rows))
    return torch.cat(parts)


def called(samples: Any, row: int) -> str:
    """A sample's name under its picture: its file or key, and of a recording's windows where they begin."""
    columns = columns_of(samples)
    key, noun = columns["sample"](row), one_of(samples.noun)
    second = f", {columns['second'](row):g} s" if "second" in columns else ""
    return f"{noun} {key}" if key.isdigit() else f"{key}{second}"


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


def _classes(labels: Labels | None) -> NDArray | None:
    """The class of every sample; `None` where there are none."""
    return None if labels is None or labels.values.dtype.kind == "f" else labels.values


def _names(labels: Labels | None, known: NDArray | None, count: int) -> list[str]:
    """The class of every sample as text; empty without classes."""
    if labels is None or known is None:
        return [""] * count
    return [labels.names[i] if labels.names else f"class {i}" for i in known.tolist()]


def _neighbours(
    model: JEPA,
    features: Tensor,
    samples: Any,
    rows: NDArray,
    queries: Sequence[int],
    count: int,
    labels: NDArray | None,
    names: Sequence[str],
) -> list[tuple[Neighbour, list[Neighbour]]]:
    found, cosines = nearest(features, queries, count)
    result = []
    for query, near, similar in zip(queries, found.tolist(), cosines.tolist(), strict=True):
        batch = samples.read(rows[[query, *near]])
        pictures = [model.signal.picture(batch, i) for i in range(len(batch))]
        drawn = [None if picture is None else pixels.drawn(picture) for picture in pictures]
        others = [
            Neighbour(
                picture,
                called(samples, int(rows[i])),
                names[i],
                cosine,
                None if labels is None else bool(labels[i] == labels[query]),
            )
            for picture, i, cosine in zip(drawn[1:], near, similar, strict=True)
        ]
        file = called(samples, int(rows[query]))
        result.append((Neighbour(drawn[0], file, names[query], 1.0, None), others))
    return result


def nearest(features: Tensor, queries: Sequence[int], count: int) -> tuple[NDArray, NDArray]:
    """Rows of the `count` most similar others of each query `[q, count]`, and their `similarities`, best first."""
    similarity = similarities(features, features[list(queries)])
    similarity[torch.arange(len(queries)), list(queries)] = -2  # not itself
    best = similarity.topk(count, dim=1)
    return best.indices.numpy(), best.values.numpy()


def similarities(features: Tensor, queries: Tensor) -> Tensor:
    """Cosines `[q, n]` between queries `[q, D]` and features `[n, D]`.

    Dimensions are standardised over the features first, as the nearest-neighbour probe does: what all samples share
    would make every cosine 1.
    """
    deviation, mean = torch.std_mean(features, 0, correction=0)
    scale = deviation.clamp_min(1e-9)
    return normalize((queries - mean) / scale, dim=1) @ normalize((features - mean) / scale, dim=1).T


def flat_map(features: Tensor) -> tuple[NDArray[np.float64], str]:
    """A place in the unit square for each row of `[n, D]`, n >= 3, and how it came there, in words."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    x = features.double().numpy()
    n = len(x)
    if (x.std(0) <= SAME * np.abs(x).max()).all():  # t-SNE crashes the process on these
        return np.full((n, 2), 0.5), "all in one place, since their features are equal"
    if n < 50:
        method, points = "placed by PCA", PCA(2, svd_solver="full").fit_transform(x)
    else:
        dims = min(50, n - 1, x.shape[1])
        method = f"placed by PCA to {dims} dimensions, then t-SNE"
        reduced = PCA(dims, svd_solver="full").fit_transform(x)
        tsne = TSNE(perplexity=min(30.0, (n - 1) / 3), init="pca", random_state=SEED, max_iter=600)
        points = tsne.fit_transform(reduced / reduced[:, 0].std())
    low, high = points.min(0), points.max(0)
    return 0.03 + 0.94 * (points - low) / np.maximum(high - low, 1e-12), method


def _agreement(
    neighbours: Sequence[tuple[Neighbour, list[Neighbour]]],
    labels: NDArray | None,
    queries: Sequence[int],
    noun: str,
) -> str:
    if labels is None:
        return f"The {noun} have no labels, so no neighbour can be called right or wrong."
    alike = [bool(n.same) for _, near in neighbours for n in near]
    chance = np.mean([(labels == labels[i]).mean() for i in queries]) * len(alike)
    return f"{sum(alike)} of these {len(alike)} have their query's label; chance would give {chance:.0f}."


def _map(features: Tensor, labels: NDArray | None, classes: Sequence[str] | None) -> Map:
    points, method = flat_map(features)
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
