"""What a model makes of images: what it predicts where, how it colours patches, which images it finds alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from openjepa.common.rng import Rng
from openjepa.jepa import JEPA, Output, Pair, View, evaluating, gather
from openjepa.report import pixels

Progress = Callable[[str, int, int], None]
BLOCK_COLOURS = 6
FAINT = 60
"""Opacity, of 255, of patches that a view drops."""
SEED = 0
SAME = 1e-6
"""Relative differences up to this are float32 rounding."""


@dataclass(frozen=True)
class Masked:
    """One image under its masks; pictures are data URIs, `ratio` is the energy over the mean predictor's."""

    image: str
    context: str
    target: str
    heat: str
    blocks: list[tuple[str, str]]
    grid: tuple[int, int]
    ratio: float
    visible: int
    hidden: int


@dataclass(frozen=True)
class Seen:
    """One view of an image: its picture, its size relative to the largest, its distance over the mean's."""

    picture: str
    name: str
    scale: float
    ratio: float
    colour: str


def hides_blocks(model: JEPA, batch: Tensor) -> bool:
    """Whether the model predicts parts of an image (and not whole views)."""
    return model.pairs(batch[:2], Rng(SEED, 0))[0].select is not None


def masked(model: JEPA, batch: Tensor, shown: Sequence[int]) -> list[Masked]:
    """Input, context, targets and errors of the samples `shown` of a batch `[B, C, H, W]`."""
    (pair, *_), output = _pass(model, batch)
    context, target = pair.context, pair.target[0]
    grid = _grid(target)
    select, s_y = pair.select, output.s_y[0]
    assert select is not None, "only masked views have targets to select"
    mean = gather(_everywhere(model, pair, output.s_x[0]).mean(0, keepdim=True), select)
    baseline = float(model.energy.mean(mean, s_y))
    images = _pictures(model, target)
    seen = images if context.tokens is target.tokens else _pictures(model, context)
    found = []
    for i in shown:
        errors = _each(model, output.prediction[0][i].flatten(0, 1), s_y[i].flatten(0, 1), baseline)
        total, count = np.zeros(grid).ravel(), np.zeros(grid).ravel()
        np.add.at(total, select[i].flatten().cpu().numpy(), errors)
        np.add.at(count, select[i].flatten().cpu().numpy(), 1)
        blocks = [_cells(block, grid) for block in select[i]]
        hidden = count.reshape(grid) > 0
        visible = np.ones(grid, bool) if context.keep is None else _cells(context.keep[i], grid)
        heat = pixels.against_even((total / np.maximum(count, 1)).reshape(grid))
        found.append(
            Masked(
                image=pixels.data_uri(images[i]),
                context=pixels.data_uri(pixels.only(seen[i], visible)),
                target=pixels.data_uri(pixels.only(images[i], hidden)),
                heat=pixels.data_uri(np.dstack([heat, hidden.astype(np.uint8) * 255])),
                blocks=[
                    (f"--s{b % BLOCK_COLOURS + 1}", pixels.outline(cells)) for b, cells in enumerate(blocks)
                ],
                grid=grid,
                ratio=float(errors.mean()),
                visible=int(visible.sum()),
                hidden=int(hidden.sum()),
            )
        )
    return found


def viewed(model: JEPA, batch: Tensor, shown: Sequence[int]) -> list[list[Seen]]:
    """Every view of the samples `shown`, with its distance to the target relative to the mean target's distance."""
    pairs, output = _pass(model, batch)
    s_y = output.s_y[0]
    baseline = float(model.energy.mean(s_y.mean(0, keepdim=True).expand_as(s_y), s_y))
    contexts = [pair.context for pair in pairs]
    pictures = [_pictures(model, view, faint=True) for view in contexts]
    largest = max(picture.shape[1] for picture in pictures)
    targets = {id(view) for view in pairs[0].target}
    found: list[list[Seen]] = []
    for i in shown:
        row = []
        for view, picture, guess in zip(contexts, pictures, output.prediction, strict=True):
            ratio = float(_each(model, guess[i, 0], s_y[i, 0], baseline).mean())
            name = "global" if id(view) in targets else "local"
            red, green, blue = pixels.against_even(np.array(ratio)).tolist()
            scale = picture.shape[1] / largest
            row.append(Seen(pixels.data_uri(picture[i]), name, scale, ratio, f"rgb({red} {green} {blue})"))
        found.append(row)
    return found


def patch_colours(
    model: JEPA, batch: Tensor, shown: Sequence[int], side: int = 96
) -> tuple[list[str], float]:
    """The first three principal components of all tokens of a batch as red, green and blue, for samples `shown`.

    What a position has in common over the batch is taken off first. Also returns the share of the variance that
    the three components hold, 0..1.
    """
    tokens = model.tokens(batch).float().cpu()
    tokens = tokens - tokens.mean(0)
    flat = tokens.flatten(0, 1).double()
    values, axes = torch.linalg.eigh(flat.T @ flat)
    held = float(values[-3:].sum() / values.sum().clamp_min(1e-300))
    projected = (flat @ axes[:, -3:].flip(1)).view(len(tokens), -1, 3)
    low, high = np.quantile(projected.numpy(), (0.02, 0.98), axis=(0, 1))
    scaled = (projected[list(shown)].numpy() - low) / np.maximum(high - low, 1e-12)
    colours = (scaled.clip(0, 1) * 255).round().astype(np.uint8)
    assert model.layout is not None
    rows, columns = model.layout
    return [pixels.data_uri(pixels.smooth(c.reshape(rows, columns, -1), side)) for c in colours], held


def embeddings(
    model: JEPA, read: Callable[[NDArray], Tensor], rows: NDArray, progress: Progress | None
) -> Tensor:
    """`[n, D]` float32 on the CPU, read and embedded in parts."""
    parts = []
    for start in range(0, len(rows), 128):
        part = rows[start : start + 128]
        parts.append(model.embed(read(part)).float().cpu())
        if progress:
            progress("embedding images for the report", start + len(part), len(rows))
    return torch.cat(parts)


def nearest(features: Tensor, queries: Sequence[int], count: int) -> tuple[NDArray, NDArray]:
    """Rows of the `count` most similar others of each query `[q, count]`, and their cosines, best first.

    Dimensions are standardised over the rows first, as the nearest-neighbour probe does: what all images share
    would make every cosine 1.
    """
    centred = features - features.mean(0)
    unit = normalize(centred / centred.std(0, correction=0).clamp_min(1e-9), dim=1)
    similarity = unit[list(queries)] @ unit.T
    similarity[torch.arange(len(queries)), list(queries)] = -2  # not itself
    best = similarity.topk(count, dim=1)
    return best.indices.numpy(), best.values.numpy()


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


def _pass(model: JEPA, batch: Tensor) -> tuple[list[Pair], Output]:
    """One pass in eval mode, with the masks or augmentations of a fixed seed."""
    with evaluating(model), torch.no_grad():
        pairs = model.pairs(batch, Rng(SEED, 0))
        s_x = model.represent([pair.context for pair in pairs])
        s_y = model.targets(pairs, s_x)
        prediction = model.predict(s_x, pairs)
        return pairs, Output(s_y[0].new_zeros(()), {}, s_x, s_y, prediction)


def _everywhere(model: JEPA, pair: Pair, s_x: Tensor) -> Tensor:
    """The target at every position, `[B, N, D]`."""
    with evaluating(model), torch.no_grad():
        return model.targets([replace(pair, select=None)], [s_x])[0].flatten(1, 2)


def _each(model: JEPA, prediction: Tensor, target: Tensor, baseline: float) -> NDArray[np.float64]:
    """The energy of every row of `[n, D]` over `baseline`; all nan where that is 0, since there is nothing to miss."""
    energies = model.energy(prediction, target).double().cpu().numpy()
    return energies / baseline if baseline > 0 else np.full_like(energies, np.nan)


def _pictures(model: JEPA, view: View, faint: bool = False) -> NDArray[np.uint8]:
    """What a view shows before normalisation, uint8 `[B, H, W, 3]`, or 4 with what it drops made `faint`."""
    signal = model.signal
    images = signal.fold(view.tokens).float().cpu()
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (signal.mean, signal.std))
    rgb = np.stack([pixels.to_rgb(image) for image in (images * std + mean).numpy()])
    if not faint or view.keep is None:
        return rgb
    grid = _grid(view)
    return np.stack(
        [pixels.only(image, _cells(k, grid), FAINT) for image, k in zip(rgb, view.keep, strict=True)]
    )


def _grid(view: View) -> tuple[int, int]:
    layout = view.tokens.layout
    assert layout is not None and len(layout) == 2, "images are cut along a grid"
    return layout[0], layout[1]


def _cells(index: Tensor, grid: tuple[int, int]) -> pixels.Mask:
    cells = np.zeros(grid[0] * grid[1], bool)
    cells[index.cpu().numpy()] = True
    return cells.reshape(grid)
