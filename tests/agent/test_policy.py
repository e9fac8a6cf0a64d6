"""Mode 1: what is distilled, what it proposes."""

import pytest
import torch

from openjepa.agent import Critic, Policy, ShortTermMemory
from openjepa.agent.planners import Bounds, as_space
from openjepa.errors import UserError

from .objectives import Box
from .worlds import SPEED, PointModel

space = as_space(Box([-1.0, 0.0], [1.0, 4.0]))


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_the_planners_actions_are_learned_within_the_bounds() -> None:
    states, goals = torch.randn(2, 2000, 2, generator=seeded())
    wanted = torch.stack([(goals - states)[:, 0].clamp(-1, 1), 2 + (goals - states)[:, 1].clamp(-2, 2)], 1)
    memory = ShortTermMemory()
    memory.write(list(range(2000)), states, torch.zeros(2000), wanted, goals)
    torch.manual_seed(0)
    policy = Policy((2,), space, hidden=64)
    losses = policy.distil(memory, seeded(), updates=250, lr=1e-2)
    assert losses[-1] < 0.1 * losses[0]
    given = policy.act(states, goals)
    assert isinstance(space, Bounds) and torch.equal(given, space.clamp(given))
    assert (given - wanted).abs().mean() < 0.12


def test_discrete_actions_are_learned_at_every_step_of_a_block() -> None:
    choices = as_space(3, block=2)
    states = torch.randn(1500, 2, generator=seeded())
    first, second = (states[:, 0] > 0).long(), 2 * (states[:, 1] > 0).long()
    wanted = torch.cat([torch.eye(3)[first], torch.eye(3)[second]], 1)
    memory = ShortTermMemory()
    memory.write(list(range(1500)), states, torch.zeros(1500), wanted)
    torch.manual_seed(0)
    policy = Policy((2,), choices, goal=False, hidden=64)
    policy.distil(memory, seeded(), updates=150, lr=1e-2)
    torch.testing.assert_close(policy(states).sum(1), torch.full((1500,), 2.0))
    assert (policy.act(states) == wanted).all(1).float().mean() > 0.95


@pytest.mark.parametrize("discrete", [False, True])
def test_of_what_was_done_the_better_is_learned(discrete: bool) -> None:
    """In one place, an action that ends the episode at once and one that does so after three steps."""
    memory, count = ShortTermMemory(), 400
    states, goals = torch.zeros(2, count, 2)
    quick = torch.rand(count, generator=seeded()) < 0.3  # the fewer: what is done more often is not learned
    choices = as_space(2, block=1) if discrete else space
    good, bad = (torch.eye(2)[0], torch.eye(2)[1]) if discrete else (torch.tensor([0.8, 3.0]), torch.zeros(2))
    done = torch.where(quick[:, None], good, bad)
    every = list(range(count))
    memory.write(every, states, torch.zeros(count), done, goals)
    rows = torch.arange(count)
    for step in range(1, 4):
        last = quick[rows] if step == 1 else torch.full((len(rows),), step == 3)
        acted = torch.where(last[:, None], torch.nan, torch.zeros(2) if not discrete else torch.eye(2)[1])
        memory.write(
            rows.tolist(), torch.full((len(rows), 2), 9.0 * step), torch.ones(len(rows)), acted, goals[rows]
        )
        memory.end(rows[last].tolist(), over=True)
        rows = rows[~last]
    torch.manual_seed(0)
    critic, policy = Critic((2,), goal=True, hidden=32, steps=5), Policy((2,), choices, hidden=32)
    critic.fit(memory, seeded(), updates=200, lr=1e-2, follow=0.1)
    policy.improve(memory, critic, seeded(), temperature=0.2, updates=200, lr=1e-2)
    given = policy.act(states, goals)
    assert (given - good).abs().mean() < 0.2 * (given - bad).abs().mean()


@pytest.mark.parametrize("block", [1, 3])
def test_the_proposed_plan_acts_on_predicted_states(block: int) -> None:
    model = PointModel(block)
    policy = Policy((2,), as_space(model.actions, block), hidden=16)
    start, goal = torch.tensor([[0.1, -0.2], [0.0, 0.5]]), torch.rand(2, 2, generator=seeded())
    plan, states = policy.imagine(model, start[:, None], None, goal, horizon=4)
    state = start
    for step in range(4):
        action = policy.act(state, goal)
        torch.testing.assert_close(plan[:, step], action)
        state = (state + SPEED * action.unflatten(1, (block, 2)).sum(1)).clamp(-1, 1)
        torch.testing.assert_close(states[:, step], state)


def test_a_model_with_history_is_given_its_last_states_and_the_actions_between() -> None:
    class Remembering(PointModel):
        history = 3

        def __init__(self) -> None:
            super().__init__()
            self.seen: list[tuple[tuple[int, ...], tuple[int, ...] | None]] = []

        def rollout(self, state, actions, z=None, past=None):  # type: ignore[no-untyped-def]
            self.seen.append((tuple(state.shape), None if past is None else tuple(past.shape)))
            return super().rollout(state, actions, z, past)

    model = Remembering()
    policy = Policy((2,), as_space(model.actions), goal=False, hidden=16)
    policy.imagine(model, torch.zeros(1, 2, 2), torch.zeros(1, 1, 2), None, horizon=4)
    assert model.seen == [((1, 2, 2), (1, 1, 2))] + 3 * [((1, 3, 2), (1, 2, 2))]


def test_nothing_is_improved_without_actions() -> None:
    memory = ShortTermMemory()
    for step in range(2):
        memory.write([0], torch.full((1, 2), float(step)), torch.zeros(1))
    with pytest.raises(UserError, match="holds no actions to learn from"):
        Policy((2,), space).improve(memory, Critic((2,), goal=True), seeded())
    with pytest.raises(UserError, match="improve by one with 'discounted'"):
        Policy((2,), space).improve(memory, Critic((2,), target="later"), seeded())


def test_missing_goals_are_named() -> None:
    memory = ShortTermMemory()
    memory.write([0], torch.zeros(1, 2), torch.zeros(1), torch.zeros(1, 2))
    with pytest.raises(UserError, match="episodes in memory had none: train it with goal=False"):
        Policy((2,), space).distil(memory, seeded())
    with pytest.raises(UserError, match="the task has none"):
        Policy((2,), space)(torch.zeros(1, 2))
