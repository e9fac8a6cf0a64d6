"""Relabelled episodes, plans from memory: what lands in memory, and what is learned from it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from openjepa.agent import (
    Agent,
    Critic,
    Policy,
    ShortTermMemory,
    Task,
    encode_episodes,
    improve_on_policy,
    optimise_in_imagination,
    plan_from_memory,
    relabel,
)
from openjepa.agent.actor import space_of
from openjepa.agent.planners import CEM, CategoricalCEM, as_space
from openjepa.errors import UserError

from .worlds import SPEED, PointEnv, PointModel, Walled, picture


@dataclass
class Recording:
    frames: np.ndarray
    actions: np.ndarray
    info: dict[str, Any] = field(default_factory=dict)
    state: Any = None


def straight(steps: int, start: float = -0.9, heading: float = 1.0) -> Recording:
    """Along the middle line from the left, `SPEED` a step; the last two places are dangerous."""
    places = np.stack([start + heading * SPEED * np.arange(steps + 1), np.zeros(steps + 1)], 1)
    actions = np.tile(np.array([heading, 0], np.float32), (steps, 1))
    return Recording(picture(places), actions, {"danger": np.arange(steps + 1) >= steps - 1})


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def agent(model: PointModel, task: Task | None = None, **modules: Any) -> Agent:
    return Agent(model, CEM(horizon=4, samples=40, iterations=4, elites=6), task, **modules)


@pytest.mark.parametrize("block", [1, 3])
def test_an_episode_is_perceived_a_model_step_apart(block: int) -> None:
    (encoded,) = encode_episodes(PointModel(block), [straight(7), straight(block - 1)][: 1 + (block > 1)])
    steps = 7 // block
    expected = -0.9 + SPEED * block * torch.arange(steps + 1)
    torch.testing.assert_close(encoded.states[:, 0], expected, atol=0.01, rtol=0)
    assert encoded.actions.shape == (steps, 2 * block)
    assert encoded.danger is not None and encoded.danger.tolist() == [
        t * block >= 6 for t in range(steps + 1)
    ]


def test_danger_on_the_way_to_a_state_is_not_missed() -> None:
    model, episode = PointModel(3), straight(7)
    episode.info["danger"] = np.arange(8) == 4
    for begin, expected in ((0, [0, 0, 1]), (1, [0, 1, 0]), (4, [1, 0])):
        (encoded,) = encode_episodes(model, [episode], begin=begin)
        assert encoded.danger is not None and encoded.danger.tolist() == expected
        torch.testing.assert_close(
            encoded.actions.flatten(), torch.tensor([1.0, 0]).repeat(3 * (len(expected) - 1))
        )
        assert encoded.states[0, 0].item() == pytest.approx(-0.9 + SPEED * begin, abs=0.01)
    assert not encode_episodes(model, [episode], begin=5)


def test_a_relabelled_episode_ends_where_it_arrives() -> None:
    memory, encoded = ShortTermMemory(), encode_episodes(PointModel(), [straight(6), straight(9)])
    relabel(memory, encoded, seeded(), goals=5)
    goals = memory.goals
    assert goals is not None and bool(goals.isfinite().all())
    torch.testing.assert_close(memory.costs, (memory.states - goals).square().mean(1))
    arrived = (memory.states == goals).all(1)
    assert arrived.sum() == 10
    assert torch.equal(memory.actions.isnan().all(1), arrived)
    futures = memory.futures(20)
    assert torch.equal(futures.last, goals) and bool(futures.over.all())
    assert len(memory.taken()[0]) == len(memory) - 10


def test_the_agent_s_episodes_stay_apart_from_relabelled_ones() -> None:
    memory = ShortTermMemory()
    relabel(memory, encode_episodes(PointModel(), [straight(6)]), seeded(), goals=2)
    relabelled = len(memory)
    acting = agent(PointModel(), memory=memory)
    acting.run(PointEnv(limit=3, stops=False), max_steps=3)
    assert len(memory) == relabelled + 4
    following = memory.futures(1)
    assert following.known[-3:].all() and torch.equal(following.last[-1], memory.states[-1])


@pytest.mark.parametrize("kind", ["goal", "time"])
def test_a_critic_of_relabelled_episodes_knows_what_the_way_to_a_goal_costs(kind: Any) -> None:
    """At constant speed: the squares of the distances that are left, or the steps."""
    memory, encoded = (
        ShortTermMemory(),
        encode_episodes(PointModel(), [straight(12), straight(12, 0.9, -1.0)]),
    )
    relabel(memory, encoded, seeded(), goals=30, cost=kind)
    torch.manual_seed(0)
    critic = Critic((2,), goal=True, hidden=64, layers=2, discount=0.95)
    critic.fit(memory, seeded(), updates=250, batch=128, lr=5e-3, follow=0.1)
    places = torch.tensor([[-0.8, 0.0], [-0.3, 0.0], [0.2, 0.0]])
    left = [round((0.2 - x) / SPEED) for x, _ in places.tolist()]

    def cost(away: int) -> float:
        return 1.0 if kind == "time" else (away * SPEED) ** 2 / 2

    expected = [sum(0.95 ** (k - 1) * cost(n - k) for k in range(1, n + 1)) for n in left]
    goal = torch.tensor([[0.2, 0.0]]).expand(3, 2)
    learned = critic(places, goal).detach()
    torch.testing.assert_close(learned, torch.tensor(expected), atol=0.15 * expected[0], rtol=0)


def test_planned_actions_are_those_the_agent_would_take() -> None:
    memory, model = ShortTermMemory(), PointModel()
    relabel(memory, encode_episodes(model, [straight(12), straight(12, 0.9, -1.0)]), seeded(), goals=6)
    found = plan_from_memory(agent(model), memory, 30, seed=3, steps=3, batch=8)
    assert len(found) == 90
    states, goals, actions = found.taken()
    assert goals is not None
    towards = (goals - states)[:, 0]
    far = towards.abs() > 2 * SPEED
    assert bool((actions[far, 0].sign() == towards[far].sign()).float().mean() > 0.9)
    first = found.futures(2)
    moved = model.rollout(first.states[:1, None], actions[None, None, :1])[0, 0, 0]
    assert any(torch.allclose(moved, state) for state in states)
    again = plan_from_memory(agent(model), memory, 30, seed=3, steps=3, batch=30)
    assert sorted(map(tuple, again.actions.tolist())) == sorted(map(tuple, actions.tolist()))


def test_a_policy_of_plans_from_memory_reaches_goals() -> None:
    memory, model = ShortTermMemory(), PointModel()
    ways = [straight(12), straight(12, 0.9, -1.0)]
    for way in ways:  # all over the square
        shift = np.linspace(-0.9, 0.9, len(way.frames))
        way.frames = picture(np.stack([way.frames[:, 0, 0, 0] / 127 - 1.0, shift], 1))
    relabel(memory, encode_episodes(model, ways), seeded(), goals=30)
    found = plan_from_memory(agent(model), memory, 200, steps=2)
    torch.manual_seed(0)
    policy = Policy((2,), space_of(model), hidden=64)
    policy.distil(found, seeded(), updates=200, lr=1e-2)
    quick = agent(model, Task.reach(mode=1), policy=policy)
    results = quick.run([PointEnv() for _ in range(8)])
    assert sum(result.success for result in results) >= 6


def test_acting_improves_a_policy_where_the_world_model_is_wrong() -> None:
    model = PointModel()
    torch.manual_seed(0)
    policy = Policy((2,), space_of(model), hidden=64)
    starts, goals = torch.rand(2, 1000, 2, generator=seeded()) * 1.8 - 0.9
    policy.learn(
        starts, goals, (3 * (goals - starts)).clamp(-1, 1), seeded(), updates=150, lr=1e-2
    )  # straight
    ways = [Walled(60, start=[-0.6, y], goal=[0.6, y]) for y in np.linspace(-0.1, 0.3, 100)]

    def share() -> float:
        quick = Agent(model, CEM(), Task.reach(mode=1), policy=policy)
        return float(np.mean([result.success for result in quick.run(ways)]))

    before, shares = share(), []
    memory = ShortTermMemory(3 * 100 * 61)
    trying = Agent(
        model, CEM(), Task({"time": 1.0}, mode=1, exploration_noise=2.0), memory=memory, policy=policy
    )
    critic = Critic((2,), goal=True, hidden=64, steps=60)
    settings = {"rounds": 3, "updates": 300, "max_steps": 60}
    found = improve_on_policy(
        trying, critic, ways, seeded(), progress=lambda _, share: shares.append(share), **settings
    )
    assert found == shares and len(found) == 3
    assert before < 0.1 < 0.8 < share()


def test_improvement_needs_a_policy_and_room() -> None:
    model, critic = PointModel(), Critic((2,), goal=True)
    with pytest.raises(UserError, match="acts by its policy"):
        improve_on_policy(agent(model), critic, PointEnv(), seeded())
    policy = Policy((2,), space_of(model), hidden=8)
    small = Agent(model, CEM(), Task.reach(mode=1), memory=ShortTermMemory(8), policy=policy)
    with pytest.raises(UserError, match="does not hold them: enlarge it, or give fewer environments"):
        improve_on_policy(small, critic, [PointEnv(), PointEnv()], seeded())


class Learned(PointModel, nn.Module):
    """With a weight that training could change."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        PointModel.__init__(self)
        self.gain = nn.Parameter(torch.ones(1))

    def rollout(self, state: Tensor, actions: Tensor, z: Any = None, past: Any = None) -> Tensor:
        return super().rollout(state, self.gain * actions, z, past)


def test_a_policy_is_optimised_in_imagination_and_the_world_model_stays_as_it_is() -> None:
    model, places = Learned(), torch.rand(2, 400, 2, generator=seeded()) * 1.6 - 0.8
    memory = ShortTermMemory()
    memory.write(list(range(400)), places[0], torch.zeros(400), torch.zeros(400, 2), places[1])
    torch.manual_seed(0)
    policy = Policy((2,), space_of(model), hidden=64)
    costs = optimise_in_imagination(agent(model, policy=policy), memory, horizon=4, updates=150, lr=1e-2)
    assert costs[-1] < 0.7 * costs[0]
    assert model.gain.grad is None and model.gain.item() == 1
    quick = agent(model, Task.reach(mode=1), policy=policy)
    results = quick.run([PointEnv() for _ in range(8)])
    assert sum(result.success for result in results) >= 6


def test_mistakes_are_named() -> None:
    encoded = encode_episodes(PointModel(), [straight(6)])
    with pytest.raises(UserError, match="capacity 3"):
        relabel(ShortTermMemory(3), encoded, seeded())
    with pytest.raises(UserError, match="0 episodes"):
        relabel(ShortTermMemory(), [], seeded())
    with pytest.raises(UserError, match="no actions"):
        plan_from_memory(agent(PointModel()), ShortTermMemory(), 3)
    with pytest.raises(UserError, match="this one has none"):
        optimise_in_imagination(agent(PointModel()), ShortTermMemory())
    choosing = Policy((2,), as_space(4), hidden=8)
    discrete = Agent(PointModel(actions=4), CategoricalCEM(horizon=2, samples=8, elites=2), policy=choosing)
    with pytest.raises(UserError, match="these are discrete"):
        optimise_in_imagination(discrete, ShortTermMemory())
