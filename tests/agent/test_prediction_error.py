"""The prediction-error cost: what was predicted and did not come is not believed again nearby."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from openjepa.agent import Agent, ErrorMemory, PredictionError, Task
from openjepa.agent.planners import CEM

from .worlds import PointModel, Walled, picture

EVERY = torch.arange(1)


def missed(*steps: tuple[list[float], list[float], list[float]], problems: int = 1) -> ErrorMemory:
    """Of problem 0: from where, to where it was predicted, and where it came."""
    error_memory = ErrorMemory(problems)
    for before, predicted, after in steps:
        error_memory.record_outcome(torch.tensor([before]), EVERY)
        error_memory.record_prediction(torch.tensor([predicted]), EVERY)
        error_memory.record_outcome(torch.tensor([after]), EVERY)
        error_memory.record_prediction(torch.tensor([after]), EVERY)
    return error_memory


def test_the_expected_error_of_a_step_is_that_of_the_most_similar_one() -> None:
    error_memory = missed(([0.0, 0.0], [2.0, 0.0], [1.0, 0.0]))
    before, after = torch.tensor([[[0.5, 0.0], [0.0, 0.0]]]), torch.tensor([[[2.0, 1.0], [2.0, 0.0]]])
    near = 0.5 * math.exp(-(0.25 + 1.0) / (2 * (0.5 * 2.0) ** 2))
    torch.testing.assert_close(error_memory.expected_error(before, after), torch.tensor([[near, 0.5]]))


def test_what_came_as_predicted_has_no_error_and_before_the_first_step_nothing_has() -> None:
    here = torch.zeros(1, 1, 2)
    assert ErrorMemory(1).expected_error(here, here + 1).item() == 0
    assert missed(([0.0, 0.0], [2.0, 0.0], [2.0, 0.0])).expected_error(here, here + 2).item() == 0
    assert PredictionError(ErrorMemory(1))(torch.ones(1, 3, 4, 2)).abs().max() == 0


def test_the_error_of_a_step_counts_for_all_that_follow() -> None:
    error_memory = missed(([0.0, 0.0], [2.0, 0.0], [0.0, 0.0]))  # led nowhere
    through = torch.tensor([[2.0, 0.0], [9.0, 0.0], [16.0, 0.0]])
    around = torch.tensor([[0.0, 9.0], [9.0, 9.0], [2.0, 0.0]])
    found = PredictionError(error_memory)(torch.stack([through, around])[None])[0]
    torch.testing.assert_close(found, torch.tensor([[1.0] * 3, [0.0] * 3]), atol=1e-6, rtol=0)


def test_near_an_error_any_step_is_uncertain() -> None:
    error_memory = missed(([0.0, 0.0], [2.0, 0.0], [1.0, 0.0]), problems=2)
    rows, state = torch.arange(2), torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    expected = 0.5 * math.exp(-1 / (2 * (2 * 0.5 * 2.0) ** 2))
    torch.testing.assert_close(error_memory.near(state, rows), torch.tensor([expected, 0.0]))
    torch.testing.assert_close(error_memory.near(state[:1], rows[1:]), torch.tensor([0.0]))
    assert ErrorMemory(2).near(state, rows).tolist() == [0.0, 0.0]


def test_problems_have_separate_errors_also_when_few_are_left() -> None:
    error_memory = missed(([0.0, 0.0], [2.0, 0.0], [0.0, 0.0]), problems=3)
    before = torch.zeros(3, 1, 2)
    after = torch.tensor([2.0, 0.0]).expand(3, 1, 2)
    assert error_memory.expected_error(before, after)[:, 0].tolist() == [1.0, 0.0, 0.0]
    rows = torch.tensor([2, 0])
    part = error_memory.take(rows).expected_error(before[:2], after[:2])
    assert torch.equal(part, error_memory.expected_error(before, after)[rows])


def test_the_oldest_errors_give_way() -> None:
    steps = [([10.0 * i, 0.0], [10.0 * i + 1, 0.0], [10.0 * i, 0.0]) for i in range(3)]
    error_memory = ErrorMemory(1, slots=4)  # the steps between two mistakes take slots, too
    for before, predicted, after in steps:
        error_memory.record_outcome(torch.tensor([before]), EVERY)
        error_memory.record_prediction(torch.tensor([predicted]), EVERY)
        error_memory.record_outcome(torch.tensor([after]), EVERY)
        error_memory.record_prediction(torch.tensor([after]), EVERY)
    starts = torch.tensor([[step[0] for step in steps]])
    found = error_memory.expected_error(starts, starts + torch.tensor([1.0, 0.0]))[0]
    torch.testing.assert_close(found, torch.tensor([0.0, 1.0, 1.0]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_an_agent_with_this_cost_finds_the_way_round_what_its_world_model_does_not_know(
    weight: float,
) -> None:
    planner = CEM(horizon=12, execute=2, samples=128, elites=12, iterations=5)
    environments = [Walled(60, start=[-0.5, y], goal=[0.5, y]) for y in (0.1, 0.0)]
    task = Task({"goal": 1.0, "prediction_error": weight})
    results = Agent(PointModel(), planner, task).run(environments, seeds=3)
    assert [result.success for result in results] == [weight > 0] * 2


class Straight:
    """A policy that knows of no wall either."""

    goal = True

    def act(self, states: torch.Tensor, goals: torch.Tensor) -> torch.Tensor:
        return (10 * (goals - states)).clamp(-1, 1)


@pytest.mark.parametrize("exploration_noise", [0.0, 2.0])
def test_a_policy_with_noise_where_its_model_was_wrong_finds_the_way_as_well(
    exploration_noise: float,
) -> None:
    starts = (0.3, 0.25)

    def played(rows: list[int]) -> list[Any]:
        environments = [Walled(200, start=[-0.3, starts[row]], goal=[0.5, starts[row]]) for row in rows]
        task = Task.reach(mode=1, exploration_noise=exploration_noise)
        agent = Agent(PointModel(), CEM(), task, policy=Straight())
        return agent.run(environments, seeds=rows, max_steps=200)

    together = played([0, 1])
    assert [result.success for result in together] == [exploration_noise > 0] * 2
    np.testing.assert_allclose(together[0].actions[:3], [[1.0, 0.0]] * 3, atol=0.1)  # nothing went wrong yet
    for row in (0, 1):
        np.testing.assert_array_equal(played([row])[0].actions, together[row].actions)


def test_alone_and_in_a_batch_the_costs_are_the_same() -> None:
    planner = CEM(horizon=8, execute=2, samples=64, elites=8, iterations=3)
    task = Task({"goal": 1.0, "prediction_error": 2.0})

    def played(starts: list[float], first: int) -> list[np.ndarray]:
        environments = [Walled(30, start=[-0.3, y], goal=[0.5, y]) for y in starts]
        seeds = list(range(first, first + len(starts)))
        Agent(PointModel(), planner, task).run(environments, seeds=seeds)
        return [np.array(environment.visited) for environment in environments]

    together = played([0.2, -0.3], first=0)
    alone = [played([0.2], first=0)[0], played([-0.3], first=1)[0]]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_wrong_step_is_remembered_with_what_was_predicted() -> None:
    agent = Agent(
        PointModel(), CEM(horizon=2, samples=32, elites=8), Task({"goal": 1.0, "prediction_error": 1.0})
    )
    agent.begin(1, picture([[0.9, 0.0]]))
    here = torch.from_numpy(picture([[-0.1, 0.0]]))
    for _ in range(3):
        agent.step(here)  # nothing ever moves
    state = PointModel().encode(here[:, None])
    ahead = state + torch.tensor([0.1, 0.0])
    assert agent.error_memory.expected_error(state, ahead).item() > 0.8
    assert agent.judged is not None and agent.judged["prediction_error"].item() > 0
    torch.testing.assert_close(agent.memory.costs[-1:], agent.judged["goal"])  # IC(s) is of the state alone
    assert agent.error_memory.expected_error(state, state - torch.tensor([0.1, 0.0])).item() < 0.01
