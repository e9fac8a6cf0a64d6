"""Two levels of planning in a corridor shaped like a U, where the straight way to the goal is a dead end."""

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from openjepa.agent import Agent, Cost, Effort, Goal, Task
from openjepa.agent.actor import Mode2, space_of
from openjepa.agent.hierarchy import Aim, Hierarchy, SubgoalPlanner, Towards
from openjepa.agent.planners import CEM, streams
from openjepa.agent.protocols import Situation
from openjepa.errors import UserError

from .objectives import Box
from .worlds import SPEED, PointModel

LEFT, RIGHT = torch.tensor([-0.5, 0.6]), torch.tensor([0.5, 0.6])


class Corridor(PointModel):
    """The point, with a wall at x = 0 that leaves the bottom (y < -0.6) free; it stops a step that would cross it."""

    def rollout(
        self, state: Tensor, actions: Tensor, z: Tensor | None = None, past: Tensor | None = None
    ) -> Tensor:
        position, states = state[:, None, -1].expand(-1, actions.shape[1], -1), []
        for move in actions.unbind(2):
            following = (position + SPEED * move).clamp(-1, 1)
            crosses = (following[..., :1] * position[..., :1] <= 0) & (
                following[..., 1:].maximum(position[..., 1:]) > -0.6
            )
            position = torch.where(crosses, position, following)
            states.append(position)
        return torch.stack(states, 2)


class AlongTheWay:
    """Level 2, exact: its state is how far along the U one is, its macro-action how far one goes on."""

    block, history, horizon, span = 1, 1, 10, 5
    actions = Box([-0.4], [0.4])

    def __init__(self, stride: float = 0.1, leap: float = 1.0) -> None:
        self.stride, self.leap, self.macro = torch.tensor(stride), leap, self

    def encode(self, frames: Tensor, actions: Tensor | None = None) -> Tensor:
        x, y = frames.unbind(-1)
        return (torch.where(x < 0, -1.0, 1.0) * (y + 0.8).clamp(min=0) + x).unsqueeze(-1)

    def rollout(
        self, state: Tensor, actions: Tensor, z: Tensor | None = None, past: Tensor | None = None
    ) -> Tensor:
        return state[:, None, -1:] + self.leap * actions.cumsum(2)

    def penalty(self, planned: Tensor) -> Tensor:
        return planned.square().sum(-1)

    def apart(self, one: Tensor, other: Tensor) -> Tensor:
        return (one - other).square().flatten(1).mean(1) / self.stride


LOWER = CEM(horizon=5, execute=3, samples=64, iterations=4, elites=8)
UPPER = CEM(horizon=6, samples=64, iterations=4, elites=8)


def hierarchy(level: Any = None, **options: Any) -> Hierarchy:
    level = AlongTheWay() if level is None else level
    return Hierarchy(Mode2(Corridor(), LOWER), SubgoalPlanner(level, UPPER, **options))


def situation(
    starts: Tensor, goals: Tensor, numbers: list[int] | None = None, goal: bool = True
) -> Situation:
    cost = Cost(
        {"goal": Goal(goals), "effort": Effort(space_of(Corridor()))}, {}, {"goal": 1.0 * goal, "effort": 0.0}
    )
    return Situation(
        starts[:, None], None, goals if goal else None, cost, streams(0, numbers or range(len(starts)))
    )


def drive(actor: Any, starts: Tensor, goals: Tensor, plans: int = 12) -> Tensor:
    """Where one ends."""
    here = starts
    for _ in range(plans):
        actions = actor.act(situation(here, goals)).actions[:, : actor.execute]
        here = Corridor().rollout(here[:, None], actions[:, None])[:, 0, -1]
    return here


def test_it_finds_the_way_where_flat_planning_is_stuck() -> None:
    starts, goals = torch.stack([LEFT, RIGHT]), torch.stack([RIGHT, LEFT])
    reached = (drive(hierarchy(), starts, goals) - goals).norm(dim=1) < 0.15
    stuck = (drive(Mode2(Corridor(), LOWER), starts, goals) - goals).norm(dim=1) > 0.3
    assert reached.all() and stuck.all()


def test_a_problem_alone_and_in_a_batch_gets_the_same_plan() -> None:
    starts, goals = torch.stack([LEFT, RIGHT, LEFT]), torch.stack([RIGHT, LEFT, LEFT + 0.05])
    actor = hierarchy()
    together = actor.act(situation(starts, goals))
    aims = actor.aim
    assert aims is not None and aims.trusted.tolist() == [True, True, False]
    for row in range(3):
        alone = actor.act(situation(starts[row : row + 1], goals[row : row + 1], [row]))
        assert torch.equal(alone.actions[0], together.actions[row])
        assert actor.aim is not None and torch.equal(actor.aim.states[0], aims.states[row])


def test_the_first_state_that_level_2_predicts_is_the_sub_goal() -> None:
    actor = hierarchy()
    actor.act(situation(LEFT[None], RIGHT[None]))
    level, aim = AlongTheWay(), actor.aim
    assert aim is not None
    here, goal = level.encode(LEFT[None]), level.encode(RIGHT[None])
    moved = aim.states - here
    assert 0.2 < float(moved) <= 0.4 + 1e-6 and float(goal - aim.states) > 3


def test_who_is_near_or_would_be_sent_too_far_plans_for_the_goal_itself() -> None:
    close = LEFT + torch.tensor([0.0, -0.1])
    for level, goal, trusted in (
        (AlongTheWay(), RIGHT, True),
        (AlongTheWay(), close, False),
        (AlongTheWay(leap=10.0), RIGHT, False),
    ):
        actor = hierarchy(level)
        actor.act(situation(LEFT[None], goal[None]))
        assert actor.aim is not None and actor.aim.trusted.tolist() == [trusted]
    actor = hierarchy(near=0.0, reach=1e-6)
    actor.act(situation(LEFT[None], RIGHT[None]))
    assert actor.aim is not None and not actor.aim.trusted.any()


def test_without_trust_the_cost_is_flat_plannings() -> None:
    states, goals = torch.randn(2, 3, 4, 2), torch.randn(2, 2)
    aim = Aim(torch.randn(2, 1), torch.tensor([True, False]), AlongTheWay().encode, unit=0.5)
    flat, towards = Goal(goals, reduce="last"), Towards(Goal(goals, reduce="last"), aim)
    priced = towards(states)
    assert towards.reduce == "last" and torch.equal(priced[1], flat(states)[1])
    expected = (AlongTheWay().encode(states[0]) - aim.states[0]).square()[..., 0] / 0.5
    torch.testing.assert_close(priced[0], expected)
    assert torch.equal(towards.take(torch.tensor([1]))(states[1:]), priced[1:])


def test_macro_actions_keep_to_what_training_saw_and_unusual_ones_cost() -> None:
    """The goal is far; beyond the bounds nothing is planned, and the price holds back."""
    moves = []
    for typical in (0.0, 1e4):
        actor = hierarchy(typical=typical)
        actor.act(situation(LEFT[None], RIGHT[None]))
        assert actor.aim is not None
        moves.append(float(actor.aim.states - AlongTheWay().encode(LEFT[None])))
    assert 0.4 + 1e-6 >= moves[0] > moves[1] + 0.1


def test_the_other_costs_are_level_1s() -> None:
    idle = Cost(
        {"goal": Goal(RIGHT[None]), "effort": Effort(space_of(Corridor()))}, {}, {"goal": 1.0, "effort": 1e6}
    )
    given = situation(LEFT[None], RIGHT[None])
    plan = hierarchy().act(Situation(given.state, None, given.goal, idle, given.generators))
    assert plan.actions.abs().max() < 0.3


def test_the_configurator_takes_it_for_level_2() -> None:
    actor = hierarchy()
    agent = Agent(Corridor(), LOWER, Task.reach(level=2), higher=[actor])
    assert agent.actor is actor and actor.execute == 3
    agent.configure(Task.reach())
    assert isinstance(agent.actor, Mode2)


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="a hierarchy plans towards a goal, and this task weighs none"):
        hierarchy().act(situation(LEFT[None], RIGHT[None], goal=False))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        SubgoalPlanner(AlongTheWay(), CEM(horizon=51))
    assert "planning 51 steps ahead with a world model trained for 10" in str(caught[0].message)
