"""Tasks without labels: how well features answer them, sample by sample, and what that says beside step 0.

Everything is a fixed function of the features: no draw, no search. A sample's answers never come from a fit that it
was part of.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from openjepa.common.rng import Rng
from openjepa.signals.tasks import Tasks

RIDGE = 0.1
"""Weight of the squared norm, features standardised, relative to the mean squared error."""
NEIGHBOURS = 10
CHUNK = 256
"""Samples encoded at once."""
LEAST = 32
"""Samples below which a task says nothing."""

COST = 0.03
"""Share of a training's work that the tasks may take, where it is long enough for `FEWEST` measurements ..."""
A_STEP = 1.1
"""... counted in passes of whole samples through the encoder. What training on a sample costs was measured: 1.1 and 1.7
of them in LeJEPA's `tiny-cifar10` and `tiny`, whose views are small and in bf16; 1.6 in I-JEPA's `tiny-cifar10`; 1.9 in
I-JEPA's on a transformer, whose context is a part of the image; 3.5 to 5.6 in LeJEPA's."""
FEWEST = (0.0, 0.1, 0.25, 0.5, 1.0)
"""Shares of a run at which tasks are measured where it allows no more."""

Features = Callable[[Any], Tensor]
"""`[b, D]` of a batch of b samples."""
Answers = dict[str, Tensor]
"""How well each sample was answered for, `[N]`, by task."""


def answers(tasks: Tasks, features: Features) -> Answers:
    """To every question that the signal asks; none of fewer than 32 samples.

    - `look`: how much its nearest neighbours look like it, relative to those that look most like theirs; 0 is chance.
    - `view`: the reciprocal rank of the sample itself among all for another view of it; 1 at best.
    - `coarse`: its part of R², of a linear decoding.
    """
    if len(tasks.samples) < LEAST:
        return {}
    found: Answers = {}
    plain = _encode(tasks.samples, features)
    if tasks.look is not None:
        found["look"] = neighbours(plain, tasks.look)
    if tasks.view is not None:
        found["view"] = retrieval(_encode(tasks.samples, features, tasks.view), plain)
    if tasks.coarse is not None:
        found["coarse"] = decoding(plain, tasks.coarse)
    return found


def scores(now: Answers, first: Answers | None) -> dict[str, float]:
    """`task/NAME`, the mean over samples, its standard error, `task/NAME_error`, and that of its difference to `first`.

    The last, `task/NAME_change`, is the smaller one: the same samples are asked.
    """
    found = {}
    for name, values in now.items():
        found |= {f"task/{name}": float(values.mean()), f"task/{name}_error": _error(values)}
        if first is not None:
            found[f"task/{name}_change"] = _error(values - first[name])
    return found


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


def neighbours(features: Tensor, look: Tensor) -> Tensor:
    """How alike in `look` `[N, K]` each sample and its 10 nearest in `features` `[N, D]` are, by cosines: `[N]`.

    Relative to the mean over samples of what the 10 that look most alike would give. Features are taken as they are,
    as a nearest-neighbour classifier takes them.
    """
    unit, alike = normalize(features.double()), normalize(look.double())
    nearness, alike = (unit @ unit.T).fill_diagonal_(-torch.inf), (alike @ alike.T).fill_diagonal_(-torch.inf)
    near = alike.gather(1, nearness.topk(NEIGHBOURS, 1).indices).mean(1)
    best = alike.topk(NEIGHBOURS, 1).values.mean()
    found = near / best if best > 0 else torch.zeros_like(near)
    return torch.where(nearness.isnan().any(1), torch.nan, found)


def retrieval(queries: Tensor, samples: Tensor) -> Tensor:
    """Reciprocal rank of each of `samples` `[N, D]` for its row of `queries`, by cosine of centred features: `[N]`."""
    mean = (queries.mean(0) + samples.mean(0)) / 2
    likeness = normalize(queries.double() - mean) @ normalize(samples.double() - mean).T
    own = likeness.diagonal()[:, None]
    rank = 1 + (likeness > own).sum(1) + ((likeness == own).sum(1) - 1) / 2  # equal ones share their places
    return torch.where(likeness.isfinite().all(1), 1 / rank, torch.nan)


def decoding(features: Tensor, wanted: Tensor) -> Tensor:
    """What each sample adds to the R² of `wanted` `[N, K]`, `[N]`, by ridge regression fitted on the other half."""
    features, wanted = features.double(), wanted.double()
    wrong = torch.empty(len(features), dtype=torch.float64)
    for fit, test in _halves(len(features)):
        guess = _ridge(features[fit], wanted[fit], features[test])
        wrong[test] = (guess - wanted[test]).square().sum(1)
    variance = wanted.var(0, correction=0).sum()
    return 1 - wrong / variance if variance > 0 else torch.zeros_like(wrong)


def _encode(batch: Any, features: Features, change: Callable[[Any, Rng], Any] | None = None) -> Tensor:
    """`[B, D]` on the CPU, of the batch as `change` makes it, part by part."""
    found = []
    for start in range(0, len(batch), CHUNK):
        part = batch[start : start + CHUNK]
        found.append(features(change(part, Rng(0, start)) if change else part).float().cpu())
    return torch.cat(found)


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
        return torch.full((len(test), y.shape[1]), torch.nan, dtype=x.dtype)
    if x.shape[1] <= len(x):
        gram = x.T @ x + penalty * torch.eye(x.shape[1], dtype=x.dtype)
        return test @ torch.linalg.solve(gram, x.T @ (y - centre)) + centre
    gram = x @ x.T + penalty * torch.eye(len(x), dtype=x.dtype)
    return test @ (x.T @ torch.linalg.solve(gram, y - centre)) + centre


def _error(values: Tensor) -> float:
    return float(values.std() / len(values) ** 0.5)
