"""Ridge regression, the one way in which numbers are read off features."""

from collections.abc import Sequence

import torch
from torch import Tensor

from openjepa.common.distributed import wide
from openjepa.evals.spaces import Standard

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Of the penalty, beside features of unit variance."""


class Ridge:
    """Least squares with a penalty on the weights, to be solved for several strengths.

    Minimises the mean squared error + strength |w|², by the smaller of the two Gram matrices.

    Args:
        x: features `[n, d]`, standardised, on any device.
        y: answers `[n, V]`.
    """

    def __init__(self, x: Tensor, y: Tensor) -> None:
        x = wide(x)
        y = wide(y).to(x.device)
        self._x, self._y = x.mean(0), y.mean(0)
        centred, answers, n = x - self._x, y - self._y, len(x)
        self._basis = centred if n < x.shape[1] else None
        small = centred @ centred.T if self._basis is not None else centred.T @ centred
        self._gram = small / n
        self._answers = (answers if self._basis is not None else centred.T @ answers) / n

    def solve(self, strength: float) -> Tensor:
        """Weights `[d, V]` of one strength > 0."""
        damped = self._gram.clone()
        damped.diagonal().add_(strength)
        weights = torch.cholesky_solve(self._answers, torch.linalg.cholesky(damped))
        return weights if self._basis is None else self._basis.T @ weights

    def affine(self, strength: float) -> tuple[Tensor, Tensor]:
        """Weights `[V, d]` and constants `[V]` of one strength: what is added for features of zero."""
        weights = self.solve(strength)
        return weights.T.contiguous(), self._y - self._x @ weights

    def predict(self, x: Tensor, strengths: float | Sequence[float]) -> Tensor:
        """Answers `[m, V]` for `[m, d]`, each variable by its own strength, or all by one."""
        count = self._answers.shape[1]
        own = [strengths] * count if isinstance(strengths, float | int) else list(strengths)
        weights = self._answers.new_empty(len(self._x), count)
        for strength in dict.fromkeys(own):
            columns = [i for i, other in enumerate(own) if other == strength]
            weights[:, columns] = self.solve(strength)[:, columns]
        return (wide(x) - self._x) @ weights + self._y


class GroupedRidge:
    """Ridge regression on standardised features, of which each variable's strength is chosen on every tenth group.

    Args:
        x: `[n, d]`, as they are.
        y: `[n, V]`.
        groups: `[n]`, counted from 0: of one episode, say.
    """

    def __init__(self, x: Tensor, y: Tensor, groups: Tensor) -> None:
        x = x.float().clone()
        self._standard = Standard.of(x)
        self._standard.apply_(x)
        self._strengths = best_strengths(x, y, groups % 10 == 0)
        self._ridge = Ridge(x, y)

    def __call__(self, x: Tensor) -> Tensor:
        """Answers `[m, V]` for `[m, d]`, float64."""
        x = x.float().clone()
        self._standard.apply_(x)
        return self._ridge.predict(x, self._strengths)


def best_strengths(x: Tensor, y: Tensor, held: Tensor) -> list[float]:
    """For each variable the strength that misses least where `held` `[n]` is true; 0.01 where none or all of it is."""
    if held.all() or not held.any():
        return [1e-2] * y.shape[1]
    ridge = Ridge(x[~held], y[~held])
    missed = [(ridge.predict(x[held], s).cpu() - y[held].cpu()).square().mean(0) for s in STRENGTHS]
    return [STRENGTHS[i] for i in torch.stack(missed).argmin(0).tolist()]
