"""Scores on tasks without labels, of features alone, each with its standard error over samples.

Everything is a fixed function of the features: no draw, no search. A sample's answers never come from a fit that it
was part of.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from openjepa.signals.tasks import Tasks

RIDGE = 0.01
"""Weight of the squared norm, features standardised, relative to the mean squared error."""
CHUNK = 256
"""Samples encoded at once."""
LEAST = 32
"""Samples below which a task says nothing."""

COST = 0.03
"""Share of a training's work that the tasks may take, where it is long enough for `FEWEST` measurements ..."""
A_STEP = 3
"""... counted in passes of whole samples through the encoder: training on a sample is at least so many."""
FEWEST = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
"""Shares of a run at which tasks are measured where it allows no more."""

Features = Callable[[Any], Tensor]
"""`[b, D]` of a batch of b samples."""
Score = tuple[float, float]
"""A mean over samples and its standard error."""


def measure(tasks: Tasks, features: Features) -> dict[str, float]:
    """`task/NAME` and `task/NAME_error` of every question that the signal asks; none of fewer than 32 samples.

    - `view`: mean reciprocal rank of the sample itself among all, by cosine, for another view of it; 1 at best.
    - `turn`: share of transformations that a linear classifier tells.
    - `coarse`: R² of a linear decoding.
    """
    if len(tasks.samples) < LEAST:
        return {}
    found: dict[str, Score] = {}
    plain = _encode(tasks.samples, features)
    if tasks.view is not None:
        found["view"] = retrieval(_encode(tasks.view, features), plain)
    if tasks.turned:
        found["turn"] = classification([plain, *(_encode(batch, features) for batch in tasks.turned)])
    if tasks.coarse is not None:
        found["coarse"] = decoding(plain, tasks.coarse)
    return {
        f"task/{name}{end}": value
        for name, score in found.items()
        for end, value in zip(("", "_error"), score, strict=True)
    }


def task_steps(steps: int, every: int, batch_size: int, encoded: int) -> frozenset[int]:
    """At which steps of a run, of those at which health is measured, tasks are due, by the cost that they may have.

    Args:
        steps: of the run.
        every: steps between two measurements of health.
        batch_size: samples in a step.
        encoded: samples that all tasks encode.
    """
    looks = [*range(0, steps, every), steps]
    affordable = int(COST * A_STEP * steps * batch_size / encoded)
    count = min(affordable, len(looks))
    shares = [i / (count - 1) for i in range(count)] if count > len(FEWEST) else FEWEST
    return frozenset(looks[round(share * (len(looks) - 1))] for share in shares)


def retrieval(queries: Tensor, samples: Tensor) -> Score:
    """Mean reciprocal rank of row i of `samples` `[N, D]` for row i of `queries`, by the cosine of centred features."""
    mean = (queries.mean(0) + samples.mean(0)) / 2
    likeness = normalize(queries.double() - mean) @ normalize(samples.double() - mean).T
    own = likeness.diagonal()[:, None]
    rank = 1 + (likeness > own).sum(1) + ((likeness == own).sum(1) - 1) / 2  # equal ones share their places
    return _mean(torch.where(likeness.isfinite().all(1), 1 / rank, torch.nan))


def classification(ways: Sequence[Tensor]) -> Score:
    """How often a ridge classifier, fitted on the other half of the samples, tells which of K `ways` `[N, D]` it is."""
    features = torch.stack(list(ways), 1).double()  # [N, K, D]
    label = torch.arange(len(ways), device=features.device).expand(len(features), -1)
    wanted = one_hot(label, len(ways)).double()
    right = torch.empty(label.shape, dtype=torch.float64, device=features.device)
    for fit, test in _halves(len(features)):
        guess = _ridge(features[fit].flatten(0, 1), wanted[fit].flatten(0, 1), features[test].flatten(0, 1))
        right[test] = (guess.argmax(1) == label[test].flatten()).double().view(-1, len(ways))
    return _mean(torch.where(features.isfinite().all(2), right, torch.nan).mean(1))


def decoding(features: Tensor, wanted: Tensor) -> Score:
    """R² of a ridge regression of `wanted` `[N, K]`, fitted on the other half of the samples; over all K together."""
    features, wanted = features.double(), wanted.double().to(features.device)
    wrong = torch.empty(len(features), dtype=torch.float64, device=features.device)
    for fit, test in _halves(len(features)):
        guess = _ridge(features[fit], wanted[fit], features[test])
        wrong[test] = (guess - wanted[test]).square().sum(1)
    variance = wanted.var(0, correction=0).sum()
    return _mean(1 - wrong / variance) if variance > 0 else (0.0, 0.0)


def _encode(batch: Any, features: Features) -> Tensor:
    return torch.cat(
        [features(batch[start : start + CHUNK]) for start in range(0, len(batch), CHUNK)]
    ).float()


def _halves(count: int) -> list[tuple[slice, slice]]:
    first, second = slice(0, count // 2), slice(count // 2, count)
    return [(first, second), (second, first)]


def _ridge(x: Tensor, y: Tensor, test: Tensor) -> Tensor:
    """Predictions for `test`, standardised by `x` as `x` is; a dimension that is constant in `x` is left out.

    Solved in the smaller of the two spaces: dimensions, or samples.
    """
    mean, std = x.mean(0), x.std(0, correction=0)
    scale = torch.where(std > 1e-6 * mean.abs().clamp_min(1e-6), 1 / std, 0.0)
    x, test, centre = (x - mean) * scale, (test - mean) * scale, y.mean(0)
    penalty = RIDGE * len(x)
    if not x.isfinite().all():
        return torch.full((len(test), y.shape[1]), torch.nan, dtype=x.dtype, device=x.device)
    if x.shape[1] <= len(x):
        gram = x.T @ x + penalty * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        return test @ torch.linalg.solve(gram, x.T @ (y - centre)) + centre
    gram = x @ x.T + penalty * torch.eye(len(x), dtype=x.dtype, device=x.device)
    return test @ (x.T @ torch.linalg.solve(gram, y - centre)) + centre


def _mean(values: Tensor) -> Score:
    return float(values.mean()), float(values.std() / len(values) ** 0.5)
