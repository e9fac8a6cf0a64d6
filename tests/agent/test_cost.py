"""The cost's terms by hand, and what Cost makes of them."""

from typing import Literal

import pytest
import torch
from torch import Tensor

from openjepa.agent import Cost, Critic, Danger, Effort, Explore, Goal, KeyValueMemory, Time
from openjepa.agent.critic import CriticTerm
from openjepa.agent.planners import as_space
from openjepa.errors import UserError

from .objectives import Box


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(), (5,), (3, 4, 4), (6, 5)], ids=["number", "vector", "map", "tokens"])
@pytest.mark.parametrize("distance", ["l2", "l1"])
def test_the_goal_is_a_mean_distance_over_any_latent(
    shape: tuple[int, ...], distance: Literal["l2", "l1"]
) -> None:
    states, goal = normal(2, 3, 4, *shape), normal(2, *shape, seed=1)
    cost = Goal(goal, distance, unit=2.0)(states)
    assert cost.shape == (2, 3, 4)
    for b, s, t in [(0, 0, 0), (1, 2, 3)]:
        gap = states[b, s, t] - goal[b]
        expected = (gap**2).mean() if distance == "l2" else gap.abs().mean()
        assert float(cost[b, s, t]) == pytest.approx(float(expected) / 2, rel=1e-5)


@pytest.mark.parametrize("shape", [(5,), (6, 5)], ids=["vector", "tokens"])
def test_the_cosine_distance_is_taken_over_the_last_axis(shape: tuple[int, ...]) -> None:
    goal = normal(2, *shape)
    states = torch.stack([3 * goal, -goal, goal], 1)[:, None]
    cost = Goal(goal, "cosine")(states)
    torch.testing.assert_close(cost, torch.tensor([[[0.0, 2.0, 0.0]]]).expand(2, 1, 3), atol=1e-6, rtol=0)


@pytest.mark.parametrize("goal", [(1, 5), (2, 4, 4), (3, 4)])
def test_a_goal_of_another_shape_is_refused(goal: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"a goal of shape \[.*\] does not fit 2 problems with states \[4\]"):
        Goal(torch.zeros(goal))(torch.zeros(2, 3, 5, 4))


def test_effort_counts_actions_in_half_ranges_from_the_middle() -> None:
    effort = Effort(as_space(Box([0.0, -4.0], [2.0, 4.0])))
    actions = torch.tensor([[[[1.0, 0.0], [2.0, 0.0], [0.0, -4.0]]]])
    assert effort(torch.zeros(1, 1, 3, 2), actions).tolist() == [[[0.0, 0.5, 1.0]]]
    assert effort(torch.zeros(1, 1, 3, 2)).tolist() == [[[0.0, 0.0, 0.0]]]
    assert Effort(as_space(3))(torch.zeros(1, 1, 3, 2), torch.eye(3)[None, None]).sum() == 0


def test_time_costs_the_same_at_every_step() -> None:
    assert torch.equal(Time()(normal(2, 3, 4, 5, 6)), torch.ones(2, 3, 4))


def test_danger_says_what_its_detector_says() -> None:
    states = normal(2, 3, 4, 5)
    cost = Danger(lambda s: s[..., 0] > 0)(states)
    assert torch.equal(cost, (states[..., 0] > 0).float())


def test_what_the_memory_holds_is_dear_to_an_explorer() -> None:
    memory = KeyValueMemory(2, width=0.5)
    memory.write(torch.tensor([[0.0, 0.0], [9.0, 9.0]]), torch.zeros(2, 1))
    states = torch.tensor([0.0, 9.0]).reshape(1, 1, 2, 1).expand(2, 1, 2, 2)
    cost = Explore(memory)(states)
    torch.testing.assert_close(cost[:, 0], torch.tensor([[0.5, 0.0], [0.0, 0.5]]))
    torch.testing.assert_close(Explore(memory).take(torch.tensor([1]))(states[1:]), cost[1:])


class Ramp:
    """1, 2, 3, ... along the horizon."""

    def __init__(self, reduce: Literal["sum", "last"]) -> None:
        self.reduce: Literal["sum", "last"] = reduce

    def __call__(self, states: Tensor, actions: Tensor | None = None) -> Tensor:
        return states[..., 0]

    def take(self, rows: Tensor) -> "Ramp":
        return self


ramp = torch.arange(1.0, 5).reshape(1, 1, 4, 1)


@pytest.mark.parametrize(
    ("intrinsic", "trained", "expected"),
    [
        ("sum", "last", 2 * (1 + 0.5 * 2 + 0.25 * 3 + 0.125 * 4) + 3 * 0.0625 * 4),
        ("last", "last", 2 * 0.125 * 4 + 3 * 0.0625 * 4),
        ("last", "sum", 2 * 0.125 * 4 + 3 * (0.5 * 1 + 0.25 * 2 + 0.125 * 3 + 0.0625 * 4)),
    ],
)
def test_cost_is_the_weighted_discounted_sum_of_intrinsic_and_trained_terms(
    intrinsic: Literal["sum", "last"], trained: Literal["sum", "last"], expected: float
) -> None:
    cost = Cost({"ic": Ramp(intrinsic)}, {"tc": Ramp(trained)}, {"ic": 2.0, "tc": 3.0}, discount=0.5)
    assert float(cost(ramp)) == pytest.approx(expected)


def test_a_term_of_weight_zero_is_not_even_asked() -> None:
    def never(states: Tensor) -> Tensor:
        raise AssertionError

    cost = Cost({"ic": Ramp("sum"), "danger": Danger(never)}, {}, {"danger": 0.0})
    assert float(cost(ramp)) == 10
    assert set(cost.terms(ramp)) == {"ic"}


def test_the_present_is_judged_by_each_term_and_only_intrinsic_ones_are_remembered() -> None:
    cost = Cost({"a": Ramp("sum"), "b": Ramp("last")}, {"tc": Ramp("last")}, {"b": 10.0})
    terms, intrinsic = cost.now(torch.tensor([[1.0], [2.0]]))
    assert {name: value.tolist() for name, value in terms.items()} == {
        "a": [1, 2],
        "b": [10, 20],
        "tc": [1, 2],
    }
    assert intrinsic.tolist() == [11, 22]


def test_taking_rows_is_the_same_as_judging_them_alone() -> None:
    states, goal = normal(3, 2, 4, 5), normal(3, 5, seed=1)
    memory = KeyValueMemory(3, width=1.0)
    memory.write(normal(3, 5, seed=2), torch.zeros(3, 1))
    critic = CriticTerm(Critic((5,), goal=True), goal)
    cost = Cost({"goal": Goal(goal), "explore": Explore(memory)}, {"critic": critic}, {})
    rows = torch.tensor([2, 0])
    torch.testing.assert_close(cost.take(rows)(states[rows]), cost(states)[rows])


def test_a_weight_without_a_term_is_named() -> None:
    with pytest.raises(UserError, match="'gaol', which this cost lacks; it has goal"):
        Cost({"goal": Ramp("sum")}, {}, {"gaol": 1.0})
