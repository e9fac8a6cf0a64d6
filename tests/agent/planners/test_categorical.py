"""Planning discrete actions."""

import itertools

import pytest
import torch
from torch import Tensor

from openjepa.agent.planners import CategoricalCEM, Discrete, streams
from openjepa.agent.planners.categorical import sample

prices = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(3))  # problem, step, action


def separate(actions: Tensor) -> Tensor:
    """Each step's action has a price of its own."""
    return (actions * prices[: len(actions), None]).sum((2, 3))


def jumps(actions: Tensor) -> Tensor:
    """A walk on the integers by -1, 0 or +1 that must end at 2 and -2 and pays for each turn."""
    moves = actions @ torch.tensor([-1.0, 0.0, 1.0])
    goal = torch.tensor([[2.0], [-2.0]])[: len(actions)]
    return (moves.sum(2) - goal).square() + 0.1 * moves.diff(dim=2).abs().sum(2)


def best_by_enumeration(count: int, steps: int, objective: object, problem: int) -> float:
    eye = torch.eye(count)
    plans = torch.stack([eye[list(p)] for p in itertools.product(range(count), repeat=steps)])
    return float(objective(plans.expand(2, -1, -1, -1))[problem].min())  # type: ignore[operator]


@pytest.mark.parametrize("answer", ["mode", "best"])
def test_the_cheapest_sequence_is_found(answer: str) -> None:
    planner = CategoricalCEM.parse({"horizon": 3, "answer": answer})
    plan = planner.plan(separate, 4, streams(0, 2))
    assert torch.equal(plan.actions.argmax(-1), prices.argmin(-1))
    assert torch.equal(plan.actions.sum(-1), torch.ones(2, 3))
    torch.testing.assert_close(plan.value.float(), prices.amin(-1).sum(-1))


def test_steps_that_depend_on_one_another_are_planned_as_well_as_by_enumeration() -> None:
    plan = CategoricalCEM(horizon=6).plan(jumps, 3, streams(0, 2))
    for b in range(2):
        assert float(plan.value[b]) == pytest.approx(best_by_enumeration(3, 6, jumps, b))


def test_opposite_goals_planned_in_one_batch_and_alone_give_the_same_plans() -> None:
    planner = CategoricalCEM(horizon=6, answer="mode")
    together = planner.plan(jumps, 3, streams(4, 2))
    assert torch.equal(planner.plan(jumps, 3, streams(4, [0])).actions[0], together.actions[0])
    mirrored = planner.plan(lambda a: jumps(a.flip(-1)), 3, streams(4, [1]))
    assert torch.equal(mirrored.actions[0], together.actions[1])


def test_blocks_choose_an_action_at_every_environment_step() -> None:
    space = Discrete(4, block=3)
    plan = CategoricalCEM(horizon=1).plan(
        lambda a: (a.unflatten(-1, (3, 4))[:, :, 0] * prices[:, None]).sum((2, 3)), space, streams(0, 2)
    )
    assert plan.actions.shape == (2, 1, 12)
    assert torch.equal(space.unfold(plan.actions), prices.argmin(-1))


def test_samples_follow_their_probabilities() -> None:
    chances = torch.tensor([0.1, 0.0, 0.6, 0.3, 0.25, 0.25, 0.25, 0.25]).reshape(1, 1, 8)
    draws = torch.rand(1, 40_000, 1, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(sample(chances, draws).mean(1), chances, atol=0.01, rtol=0)
    assert sample(chances, draws)[..., 1].sum() == 0


def test_a_start_is_trusted_in_part() -> None:
    start = torch.eye(4)[prices.argmin(-1)]
    quick = CategoricalCEM(horizon=3, samples=4, elites=1, iterations=1)
    plan = quick.plan(separate, 4, streams(0, 2), start=start)
    assert torch.equal(plan.actions, start)


def test_the_first_action_can_be_forbidden() -> None:
    plan = CategoricalCEM(horizon=3).plan(
        separate,
        4,
        streams(0, 2),
        constraint=lambda a: (a * (prices == prices.amin(-1, True))[:, None])[:, :, 0].sum(2),
    )
    assert plan.feasible.all()
    assert torch.equal(plan.actions.argmax(-1)[:, 0], prices[:, 0].argsort(-1)[:, 1])
    assert torch.equal(plan.actions.argmax(-1)[:, 1:], prices[:, 1:].argmin(-1))
