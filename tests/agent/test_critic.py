"""The critic on worlds whose cost to come can be written down."""

import pytest
import torch
from torch import Tensor

from openjepa.agent import Critic, ShortTermMemory
from openjepa.agent.critic import CriticTerm
from openjepa.errors import UserError

LENGTH = 10
"""States 0..10 of the chain; every step costs 1 but the last state, where the episode ends, costs 0."""


def one_hot(place: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(place, LENGTH + 1).float()


def chain(memory: ShortTermMemory, over: bool = True, last: int = LENGTH) -> None:
    for episode in range(LENGTH):
        for place in range(episode, last + 1):
            memory.write([episode], one_hot(torch.tensor([place])), torch.tensor([float(place < LENGTH)]))
        memory.end([episode], over)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def critic(**settings: object) -> Critic:
    torch.manual_seed(0)
    return Critic((LENGTH + 1,), hidden=64, layers=1, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("steps", [1, 4])
def test_on_a_chain_the_critic_learns_the_discounted_cost_to_come(steps: int) -> None:
    memory = ShortTermMemory()
    chain(memory)
    learned = critic(steps=steps, discount=0.9)
    losses = learned.fit(memory, seeded(), updates=350, batch=64, lr=1e-2, follow=0.2)
    left = torch.tensor([max(0, LENGTH - 1 - place) for place in range(LENGTH + 1)])
    expected = (1 - 0.9**left) / (1 - 0.9)
    torch.testing.assert_close(learned(torch.eye(LENGTH + 1)), expected, atol=0.25, rtol=0)
    assert sum(losses[-50:]) < 0.1 * sum(losses[:50])


def test_a_time_limit_is_not_an_end() -> None:
    """A place that costs 1 for ever, seen for 6 steps at a time: the cost to come is 1 / (1 - discount)."""
    memory = ShortTermMemory()
    for episode in range(5):
        for _ in range(6):
            memory.write([episode], torch.ones(1, LENGTH + 1), torch.ones(1))
        memory.end([episode], over=False)
    learned = critic(steps=3, discount=0.8)
    learned.fit(memory, seeded(), updates=200, batch=32, lr=1e-2, follow=0.2)
    assert learned(torch.ones(1, LENGTH + 1)).item() == pytest.approx(5, abs=0.3)


def test_on_a_random_walk_the_critic_learns_the_expectation() -> None:
    """From the middle of 0..10 to either end; only the right end costs, 10. Discounted by d, the walk's equations."""
    memory, generator = ShortTermMemory(20_000), seeded(1)
    for episode in range(400):
        place = int(torch.randint(1, LENGTH, (), generator=generator))
        while True:
            memory.write([episode], one_hot(torch.tensor([place])), torch.tensor([10.0 * (place == LENGTH)]))
            if place in (0, LENGTH):
                break
            place += 2 * int(torch.randint(2, (), generator=generator)) - 1
        memory.end([episode], over=True)
    discount, moves = 0.95, torch.zeros(LENGTH + 1, LENGTH + 1)
    for place in range(1, LENGTH):
        moves[place, [place - 1, place + 1]] = 0.5
    cost = 10.0 * one_hot(torch.tensor(LENGTH))
    expected = torch.linalg.solve(torch.eye(LENGTH + 1) - discount * moves, moves @ cost)
    learned = critic(steps=4, discount=discount)
    learned.fit(memory, seeded(), updates=400, batch=256, lr=1e-2, follow=0.1)
    torch.testing.assert_close(learned(torch.eye(LENGTH + 1)), expected, atol=1.2, rtol=0)


def test_the_papers_critic_predicts_the_cost_delta_steps_later() -> None:
    memory = ShortTermMemory()
    chain(memory)
    learned = critic(target="later", steps=3)
    learned.fit(memory, seeded(), updates=150, batch=64, lr=1e-2)
    prediction = learned(torch.eye(LENGTH + 1)[: LENGTH - 2])
    expected = torch.ones(LENGTH - 2)
    expected[-1] = 0
    torch.testing.assert_close(prediction, expected, atol=0.15, rtol=0)


def test_a_critic_that_sees_the_goal_tells_goals_apart() -> None:
    """On a line the cost is the distance to the goal, and every step halves it: the cost to come is it too, halved."""
    memory, generator = ShortTermMemory(), seeded()
    for episode in range(200):
        state, goal = torch.rand(2, 1, 1, generator=generator)
        for _ in range(12):
            memory.write([episode], state, (state - goal).abs()[0], goals=goal)
            state = (state + goal) / 2
        memory.end([episode], over=False)
    torch.manual_seed(0)
    learned = Critic((1,), goal=True, discount=1.0, steps=8, hidden=64)
    learned.fit(memory, generator, updates=300, batch=256, lr=1e-2)
    states, goals = torch.tensor([[0.1], [0.9], [0.4]]), torch.tensor([[0.9], [0.5], [0.6]])
    torch.testing.assert_close(learned(states, goals), torch.tensor([0.8, 0.4, 0.2]), atol=0.1, rtol=0)
    term = CriticTerm(learned, goals)(states[:, None, None].expand(3, 2, 4, 1))
    torch.testing.assert_close(term, learned(states, goals)[:, None, None].expand(3, 2, 4))


def test_learning_repeats_with_the_generator() -> None:
    memory = ShortTermMemory()
    chain(memory)
    once, again = (critic().fit(memory, seeded(3), updates=20) for _ in range(2))
    assert once == again


def test_missing_goals_are_named() -> None:
    memory = ShortTermMemory()
    chain(memory)
    with pytest.raises(UserError, match="episodes in memory had none: train it with goal=False"):
        critic(goal=True).fit(memory, seeded())
    with pytest.raises(UserError, match="the task has none"):
        critic(goal=True)(torch.eye(LENGTH + 1))
