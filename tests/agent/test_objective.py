"""What the planner is asked to minimise."""

import pytest
import torch
from torch import Tensor

from openjepa.agent import Cost, Goal, Imagination, Risk, Situation
from openjepa.agent.actor import Mode2
from openjepa.agent.planners import CEM, Gradient, streams
from openjepa.errors import UserError

from .worlds import SPEED, ForkModel, PointModel


def at_fork(problems: int = 1) -> Situation:
    cost = Cost({"goal": Goal(torch.zeros(1, 1), "l1")}, {}, {})
    return Situation(torch.zeros(problems, 1, 1), None, None, cost, streams(0, problems))


def at(position: Tensor, goal: Tensor) -> Situation:
    cost = Cost({"goal": Goal(goal)}, {}, {})
    return Situation(position[:, None], None, goal, cost, streams(0, len(position)))


def test_the_cost_of_imagined_states_is_what_the_world_will_charge() -> None:
    goal = torch.tensor([[0.5, 0.5], [-0.5, 0.0]])
    actions = torch.rand(2, 7, 3, 2, generator=torch.Generator().manual_seed(0))
    costs = Imagination(PointModel(), at(torch.zeros(2, 2), goal), 3)(actions)
    for b in range(2):
        for s in range(7):
            states = SPEED * actions[b, s].cumsum(0)
            assert float(costs[b, s]) == pytest.approx(
                float((states - goal[b]).square().mean(1).sum()), rel=1e-5
            )


@pytest.mark.parametrize("batch", [1, 6, 8, 100])
def test_imagining_in_parts_changes_nothing_but_the_parts(batch: int) -> None:
    goal = torch.tensor([[0.5, 0.5], [-0.5, 0.0]])
    actions = torch.rand(2, 7, 3, 2, generator=torch.Generator().manual_seed(0))
    model = PointModel()
    whole = Imagination(model, at(torch.zeros(2, 2), goal), 3)(actions)
    model.rolled.clear()
    torch.testing.assert_close(
        Imagination(model, at(torch.zeros(2, 2), goal), 3, batch=batch)(actions), whole
    )
    assert max(shape[0] * shape[1] for shape in model.rolled) <= max(batch, 2)


@pytest.mark.parametrize("weight", [0.0, 1.0, -2.0])
def test_risk_is_the_mean_and_the_deviation_over_futures(weight: float) -> None:
    situation, actions = at_fork(2), torch.tensor([[[[0.5]], [[-0.5]]]]).expand(2, 2, 1, 1)
    costs = Imagination(ForkModel(), situation, 1, Risk(weight, samples=8))(actions)
    torch.testing.assert_close(costs, torch.tensor([[0.3, 0.25 + weight * 0.25]]).expand(2, 2))


@pytest.mark.parametrize(("weight", "right"), [(0.0, False), (1.0, True), (-1.0, False)])
def test_planning_avoids_the_risky_branch_when_told_to(weight: float, right: bool) -> None:
    plan = Mode2(ForkModel(), CEM(horizon=1, samples=64, elites=8), risk=Risk(weight)).act(at_fork(3))
    assert ((plan.actions > 0) == right).all()


def test_without_risk_there_is_one_future() -> None:
    imagination = Imagination(ForkModel(), at_fork(), 1)
    assert imagination.z is None
    assert float(imagination(-torch.ones(1, 1, 1, 1))) == 0.25


def test_risk_asked_of_a_model_with_one_future_is_refused() -> None:
    with pytest.raises(UserError, match="risk needs a world model with several futures"):
        Imagination(PointModel(), at(torch.zeros(1, 2), torch.zeros(1, 2)), 2, Risk())


def test_gradients_pass_through_the_model() -> None:
    goal = torch.tensor([[0.3, -0.2]])
    plan = Mode2(PointModel(), Gradient(horizon=3, restarts=1)).act(at(torch.zeros(1, 2), goal))
    torch.testing.assert_close(SPEED * plan.actions.sum(1), goal, atol=0.05, rtol=0)
