"""The gradient planner's own: optimisers, restarts, what it refuses."""

import pytest
import torch
from torch import Tensor

from openjepa.agent.planners import Bounds, Gradient, streams
from openjepa.errors import UserError

from ..objectives import box, opposite, quadratic


def test_sgd_on_a_quadratic_takes_the_steps_of_its_formula() -> None:
    """The error falls by the factor 1 - 2 lr a step."""
    target = opposite()
    planner = Gradient(horizon=4, optimiser="sgd", lr=0.1, iterations=5, restarts=1)
    plan = planner.plan(quadratic(target), box(), streams(0, 2))
    torch.testing.assert_close(plan.actions, target * (1 - 0.8**5))


def wells(actions: Tensor) -> Tensor:
    """Per step a shallow minimum at -0.5 and a deep one at 0.5."""
    return ((actions.square() - 0.25).square() - 0.02 * actions).sum((2, 3))


@pytest.mark.parametrize("restarts", [1, 16])
def test_restarts_find_the_deeper_well(restarts: int) -> None:
    planner = Gradient(horizon=2, restarts=restarts, sigma=0.7, lr=0.05)
    start = torch.full((3, 2, 1), -0.5)
    plan = planner.plan(wells, box(1), streams(0, 3), start=start)
    goal = 0.5 if restarts > 1 else -0.5
    torch.testing.assert_close(plan.actions, torch.full((3, 2, 1), goal), atol=0.06, rtol=0)


def test_descent_goes_through_several_steps_of_a_world() -> None:
    """A cart with velocity: x'' = a, from rest; at the end it must stand at the goal."""

    def objective(actions: Tensor) -> Tensor:
        velocity = actions.cumsum(2)
        return (velocity.sum(2) - 2).square().sum(2) + 5 * velocity[:, :, -1].square().sum(2)

    plan = Gradient(horizon=6, iterations=300, restarts=1, lr=0.05).plan(objective, box(1), streams(0, 1))
    assert float(plan.value) < 1e-3
    assert float(plan.actions[0, :3].sum()) > 0.3 and float(plan.actions[0, 3:].sum()) < -0.3


def test_gradients_reach_no_parameters_and_leave_nothing_behind() -> None:
    weight = torch.nn.Parameter(torch.ones(()))
    plan = Gradient(horizon=4).plan(lambda a: weight * quadratic(opposite())(a), box(), streams(0, 2))
    assert weight.grad is None
    assert not plan.actions.requires_grad and not plan.value.requires_grad


def test_a_single_action_that_is_fixed_by_its_bounds_stays_there() -> None:
    space = Bounds(torch.tensor([0.3, -1.0]), torch.tensor([0.3, 1.0]))
    plan = Gradient(horizon=4).plan(quadratic(opposite()), space, streams(0, 2))
    torch.testing.assert_close(plan.actions[..., 0], torch.full((2, 4), 0.3))


def test_an_objective_without_gradients_is_refused() -> None:
    with pytest.raises(UserError, match="needs an objective that is differentiable"):
        Gradient(horizon=4).plan(lambda a: a.detach().sum((2, 3)), box(), streams(0, 1))
