"""Linear and nearest-neighbour probes on frozen features: plain functions of tensors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from openjepa.evals.spaces import Standard

STRENGTHS = (0.001, 0.004, 0.016, 0.06, 0.25, 1.0, 4.0, 16.0)
"""scikit-learn's C: the inverse of the L2 strength. From strong to weak: each solution starts the next."""

TOLERANCE = (
    5e-5  # on Fashion-MNIST: test accuracy within 0.1 % of the limit, in half the steps that 2e-5 takes
)

NEIGHBOURS = 10
TEMPERATURE = 0.07  # of the weighted vote: Wu et al. 2018 (instance discrimination), kept by DINO


def standardise_(train: Tensor, *others: Tensor) -> None:
    """Zero mean and unit variance per dimension of `train` `[n, d]`, in place; `others` by train's statistics.

    Dimensions that are constant in `train` become zero there.
    """
    standard = Standard.of(train)
    for features in (train, *others):
        standard.apply_(features)


@dataclass(frozen=True)
class Linear:
    """A fitted linear classifier on standardised features."""

    weight: Tensor
    """`[K, d]`"""
    bias: Tensor
    """`[K, 1]`"""

    def predict(self, features: Tensor) -> Tensor:
        """Class `[n]` of each row of `[n, d]`."""
        return torch.addmm(self.bias, self.weight, features.T).argmax(0)


class Logistic:
    """Multinomial logistic regression with an L2 penalty on the weights, to be solved for several strengths.

    Minimises mean cross-entropy + |W|²/(2 C n), which is scikit-learn's objective, by full-batch L-BFGS. The
    features of one encoder are strongly correlated; in the coordinates that whiten the Hessian at W = 0,
    `(1/K)(1-1/K) XᵀX/n + λI` (Böhning 1992 bounds the Hessian by a multiple of it), some 30 steps do what takes
    hundreds without. Where samples are fewer than dimensions, the solution lies in their span and is sought there.

    Args:
        features: standardised, `[n, d]` float32, on any device.
        labels: `[n]` in 0..classes-1, or `[n, classes]`, the share of each class in a sample.
        weights: `[K]`, how much a sample of each class counts; `None`: all alike.
    """

    def __init__(self, features: Tensor, labels: Tensor, classes: int, weights: Tensor | None = None) -> None:
        self.span = span(features) if 2 * len(features) < features.shape[1] else None  # [d, n], orthonormal
        self.features = features if self.span is None else features @ self.span
        n, d = self.features.shape
        shares = labels if labels.dim() == 2 else one_hot(labels, classes)
        self.one_hot_KN = shares.T.float().contiguous()
        self.counts = None if weights is None else weights.to(features)[labels]  # [n], mean 1
        rows = self.features[:: max(1, n // max(8192, 2 * d))]
        self.hessian = (rows.T @ rows).mul_((1 / classes) * (1 - 1 / classes) / len(rows))

    def solve(
        self,
        strength: float,
        *,
        start: Linear | None = None,
        tolerance: float = TOLERANCE,
        max_steps: int = 200,
    ) -> Linear:
        """The classifier of one strength.

        Args:
            strength: scikit-learn's C > 0; larger is weaker regularisation.
            start: a solution for a nearby strength, or for a part of the samples.
            tolerance: stop when a step lowers the objective, in nats, by less.
        """
        classes, d = len(self.one_hot_KN), self.features.shape[1]
        n = len(self.features)
        penalty = 1 / (strength * n)
        factor = self._whitener(penalty)
        solution = self.features.new_zeros(classes, d + 1)
        if start is not None:
            weight = start.weight if self.span is None else start.weight @ self.span
            solution[:, :d], solution[:, d:] = weight @ factor, start.bias
        solution.requires_grad_()
        optimiser = torch.optim.LBFGS(
            [solution],
            max_iter=max_steps,
            tolerance_grad=0,
            tolerance_change=tolerance,
            line_search_fn="strong_wolfe",
        )

        def objective() -> Tensor:
            with torch.no_grad():
                weight = _unwhiten(solution[:, :d], factor)
                log_p = torch.addmm(solution[:, d:], weight, self.features.T).log_softmax(0)
                right = (
                    log_p * self.one_hot_KN if self.counts is None else log_p * self.one_hot_KN * self.counts
                )
                loss = -right.sum() / n + penalty / 2 * weight.square().sum()
                residual = log_p.exp_().sub_(self.one_hot_KN).div_(n)
                if self.counts is not None:
                    residual.mul_(self.counts)
                gradient = residual @ self.features + penalty * weight
                whitened = torch.linalg.solve_triangular(factor, gradient.T, upper=False).T
                solution.grad = torch.cat([whitened, residual.sum(1, keepdim=True)], 1)
            return loss

        optimiser.step(objective)
        with torch.no_grad():
            weight = _unwhiten(solution[:, :d], factor)
            return Linear(weight if self.span is None else weight @ self.span.T, solution[:, d:].clone())

    def _whitener(self, penalty: float) -> Tensor:
        """Lower Cholesky factor `[d, d]` of the approximate Hessian."""
        damping = penalty + 1e-4 * float(
            self.hessian.diagonal().mean()
        )  # float32 resolves no smaller eigenvalue
        damped = self.hessian.clone()
        damped.diagonal().add_(damping)
        factor, failed = torch.linalg.cholesky_ex(damped)
        return damped.diagonal().sqrt().diag() if int(failed) else factor


def strength_path(
    problem: Logistic,
    judge: Callable[[Linear], float],
    strengths: Sequence[float] = STRENGTHS,
    *,
    start: Linear | None = None,
) -> dict[float, tuple[float, Linear]]:
    """Score on validation data and solution by strength, from strong to weak, each started from the one before.

    Ends early where the score has fallen by more than half a point. `start`: a solution for a part of the samples.
    """
    path, solution = {}, start
    for strength in sorted(strengths):
        solution = problem.solve(strength, start=solution, tolerance=4 * TOLERANCE)
        path[strength] = judge(solution), solution
        if path[strength][0] < max(score for score, _ in path.values()) - 0.005:
            break
    return path


def span(features: Tensor) -> Tensor:
    """Orthonormal directions `[d, r]`, r <= n, that the rows of `[n, d]` span, by an n x n problem."""
    power, turn = torch.linalg.eigh((wide := features.double()) @ wide.T)
    kept = power > 1e-9 * power[-1].clamp_min(1e-30)
    return (wide.T @ (turn[:, kept] * power[kept].rsqrt())).float()


def neighbours(
    keys: Tensor, queries: Tensor, k: int = NEIGHBOURS, *, chunk: int = 512
) -> tuple[Tensor, Tensor]:
    """Cosine similarities `[m, k]`, falling, and row numbers of the `k` rows of `[n, d]` nearest to each of `[m, d]`.

    With fewer than `k` rows, all of them.
    """
    keys = normalize(keys).T
    found = [(normalize(part) @ keys).topk(min(k, keys.shape[1])) for part in queries.split(chunk)]
    return torch.cat([values for values, _ in found]), torch.cat([rows for _, rows in found])


def vote(
    similarity: Tensor,
    labels: Tensor,
    classes: int,
    *,
    weighted: bool = False,
    weights: Tensor | None = None,
) -> Tensor:
    """Class `[m]` from the neighbours' similarities and labels, both `[m, k]`.

    Plain majority (a tie goes to the smaller class number, as in scikit-learn), or votes that weigh
    `exp(similarity / 0.07)`; times `weights` `[K]` of the classes, where they are given.
    """
    weight = nearness(similarity) if weighted else torch.ones_like(similarity)
    if weights is not None:
        weight = weight * weights.to(weight)[labels]
    votes = similarity.new_zeros(len(similarity), classes).scatter_add_(1, labels, weight)
    return votes.argmax(1)


def mean_of(similarity: Tensor, answers: Tensor, *, weighted: bool = False) -> Tensor:
    """Numbers `[m, V]` from the neighbours' similarities `[m, k]` and numbers `[m, k, V]`: their mean, or weighted."""
    if not weighted:
        return answers.mean(1)
    weight = nearness(similarity).to(answers)
    return (answers * (weight / weight.sum(1, keepdim=True))[..., None]).sum(1)


def nearness(similarity: Tensor) -> Tensor:
    """What a neighbour's vote weighs, relative to the nearest one's: `exp(similarity / 0.07)`."""
    return ((similarity - similarity[:, :1]) / TEMPERATURE).exp()


def knn(
    features: Tensor,
    labels: Tensor,
    queries: Tensor,
    classes: int,
    *,
    k: int = NEIGHBOURS,
    weighted: bool = False,
) -> Tensor:
    """Class `[m]` of each query `[m, d]` by the vote of its `k` nearest rows of `[n, d]`, by cosine."""
    similarity, rows = neighbours(features, queries, k)
    return vote(similarity, labels[rows], classes, weighted=weighted)


def accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Share of equal entries, 0..1."""
    return float((predicted == labels).double().mean())


def _unwhiten(solution: Tensor, factor: Tensor) -> Tensor:
    """W `[K, d]` of V = W L: solves Lᵀ Wᵀ = Vᵀ."""
    return torch.linalg.solve_triangular(factor.T, solution.T, upper=True).T
