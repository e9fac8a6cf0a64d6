"""The truth as a yardstick: attempts and simulated plans."""

import numpy as np
import pytest
import torch

from openjepa.errors import UserError
from openjepa.worlds import Oracle, make
from openjepa.worlds.oracle import Simulated, attempt


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_an_attempt_counts_steps_to_the_goal() -> None:
    world = make("two-rooms", vary=())
    state = world.place(world.reset(3, rng()), [(10.0, 40), (10, 40), (10, 40)])
    goal = world.place(state, [(20.0, 40), (12, 40), (50, 40)])
    outcome = attempt(Oracle(world), state, goal, rng())
    assert outcome.success.all() and outcome.steps[:2].tolist() == [3, 0] and outcome.steps[2] == 17
    short = make("two-rooms", vary=(), max_steps=5)
    outcome = attempt(Oracle(short), state, goal, rng())
    assert outcome.success.tolist() == [True, True, False] and outcome.steps[2] == 5


def test_a_plan_costs_what_its_steps_cost() -> None:
    world = make("maze")
    state, goal = world.task(2, rng())
    plans = rng().uniform(-2.45, 2.45, (2, 3, 4, 2 * 2)).astype(np.float32)
    cost = Simulated(world, state, goal)(plans)
    for b in range(2):
        for s in range(3):
            now, total = state.take(b), 0.0
            for action in plans[b, s].reshape(8, 1, 2):
                now = world.step(now, action, rng())
                total += world.distance(now, goal.take(b))[0]
            assert cost[b, s] == pytest.approx(total, rel=1e-5)


def test_tensors_give_tensors_and_the_seed_fixes_chance() -> None:
    world = make("branch")
    state, goal = world.task(3, rng())
    plans = torch.rand(3, 16, 12, 2, generator=torch.Generator().manual_seed(0)) * 2.4
    objective = Simulated(world, state, goal, seed=1)
    cost = objective(plans)
    assert isinstance(cost, torch.Tensor) and cost.shape == (3, 16) and cost.dtype == torch.float32
    assert torch.equal(cost, objective(plans))


def test_danger_costs_what_it_is_set_to() -> None:
    world = make("branch", risk=1.0)
    state = world.place(world.reset(1, rng()), (19.0, 22.5, 0))
    goal = world.goal(state, rng())
    plans = np.full((1, 1, 20, 2), (2.0, 0.0), np.float32)
    free, dear = (Simulated(world, state, goal, danger=weight)(plans)[0, 0] for weight in (0.0, 100.0))
    assert 300 <= dear - free <= 500  # three to five steps in the dangerous part


def test_discrete_actions_are_refused() -> None:
    world = make("two-rooms", headings=4)
    with pytest.raises(UserError, match="continuous actions"):
        Simulated(world, *world.task(1, rng()))
