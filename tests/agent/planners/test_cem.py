"""CEM does what its recipe says, step by step."""

import pytest
import torch
from torch import Tensor

from openjepa.agent.planners import CEM, streams

from ..objectives import box, opposite, quadratic


def rugged(actions: Tensor) -> Tensor:
    """`[B, S]`, with many local minima, so that a wrong step shows."""
    return (actions.square() + 0.5 * torch.cos(9 * actions + 1)).sum((2, 3))


def naive(
    seed: int,
    problem: int,
    samples: int,
    elites: int,
    iterations: int,
    steps: int,
    sigma: float,
    kept: tuple[float, float] = (0.0, 0.0),
) -> Tensor:
    """The recipe for one problem, one candidate at a time, in double precision: the last mean, `[H, 2]`."""
    (generator,) = streams(seed, [problem])
    mean, std = torch.zeros(steps, 2).double(), torch.full((steps, 2), sigma).double()
    for _ in range(iterations):
        noise = torch.randn(samples - 1, steps, 2, generator=generator).double()
        candidates = [mean] + [(mean + std * each).clip(-1, 1) for each in noise]
        costs = [float(sum(x**2 + 0.5 * torch.cos(9 * x + 1) for x in c.flatten())) for c in candidates]
        best = sorted(range(samples), key=costs.__getitem__)[:elites]
        chosen = [candidates[i] for i in best]
        middle = sum(chosen, torch.zeros_like(mean)) / elites
        spread = (sum(((c - middle) ** 2 for c in chosen), torch.zeros_like(mean)) / (elites - 1)).sqrt()
        mean, std = kept[0] * mean + (1 - kept[0]) * middle, kept[1] * std + (1 - kept[1]) * spread
    return mean


def test_cem_equals_a_naive_implementation_of_the_recipe() -> None:
    planner = CEM(horizon=3, samples=40, elites=7, iterations=5, sigma=0.6)
    plan = planner.plan(rugged, box(), streams(11, 3))
    for problem in range(3):
        expected = naive(11, problem, samples=40, elites=7, iterations=5, steps=3, sigma=0.6)
        torch.testing.assert_close(plan.actions[problem].double(), expected, atol=1e-5, rtol=0)


def test_mean_and_spread_may_be_kept_by_shares_of_their_own() -> None:
    """As in V-JEPA 2-AC's released notebook, where each number is clipped on its own, too."""
    sizes = {"samples": 40, "elites": 10, "iterations": 4, "sigma": 1.0}
    plan = CEM(horizon=2, momentum=0.15, momentum_std=0.75, **sizes).plan(rugged, box(), streams(3, 1))
    expected = naive(3, 0, steps=2, kept=(0.15, 0.75), **sizes)
    torch.testing.assert_close(plan.actions[0].double(), expected, atol=1e-5, rtol=0)


def test_the_first_candidate_is_the_mean() -> None:
    firsts = []

    def objective(actions: Tensor) -> Tensor:
        firsts.append(actions[:, 0].clone())
        return quadratic(opposite())(actions)

    start = 0.1 * opposite()
    plan = CEM(horizon=4, samples=20, elites=5, iterations=3).plan(
        objective, box(), streams(0, 2), start=start
    )
    assert torch.equal(firsts[0], start)
    assert torch.equal(firsts[3], plan.actions)  # the last mean is priced alone


@pytest.mark.parametrize("floor", [0.0, 0.2])
def test_the_floor_keeps_the_search_wide(floor: float) -> None:
    widths = []

    def objective(actions: Tensor) -> Tensor:
        widths.append(float(actions[:, 1:].std(1).mean()) if actions.shape[1] > 1 else 1.0)
        return quadratic(opposite())(actions)

    CEM(horizon=4, samples=100, elites=5, iterations=20, floor=floor).plan(objective, box(), streams(0, 2))
    assert (min(widths) > 0.15) == (floor > 0)


def test_momentum_keeps_a_share_of_the_old_mean() -> None:
    target = opposite()
    once = CEM(horizon=4, samples=100, elites=5, iterations=1)
    slow = once.model_copy(update={"momentum": 0.75})
    quick, kept = (p.plan(quadratic(target), box(), streams(0, 2)).actions for p in (once, slow))
    torch.testing.assert_close(kept, 0.25 * quick)


def test_a_single_elite_is_the_best_candidate() -> None:
    plan = CEM(horizon=4, samples=50, elites=1, iterations=1).plan(
        quadratic(opposite()), box(), streams(0, 2)
    )
    torch.testing.assert_close(plan.value, plan.trace.best[0])


def test_the_mean_that_breaks_a_constraint_gives_way_to_the_best_candidate() -> None:
    """Two allowed strips with a forbidden gap between: the mean of elites on both sides lies in the gap."""

    def objective(actions: Tensor) -> Tensor:
        return (actions.abs() - 0.6).square().sum((2, 3))

    plan = CEM(horizon=1, samples=400, elites=200, iterations=1).plan(
        objective, box(1), streams(0, 1), constraint=lambda a: (0.3 - a.abs()).amax((2, 3))
    )
    assert plan.feasible.all()
    assert 0.5 < float(plan.actions.abs()) < 0.7
