"""Experience for critic and policy: relabelled episodes, plans from memory, imagined rollouts, acting."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from openjepa.agent.cost import Cost, Goal, Time
from openjepa.agent.critic import Critic
from openjepa.agent.heads import descend, draw, some
from openjepa.agent.keyvalue import KeyValueMemory
from openjepa.agent.memory import ShortTermMemory
from openjepa.agent.perception import Perception, as_goals
from openjepa.agent.planners import Bounds, streams
from openjepa.agent.protocols import Situation, WorldModel
from openjepa.errors import UserError

if TYPE_CHECKING:
    from openjepa.agent.agent import Agent

ENCODED = 256
"""Frames that are encoded at a time."""
TOGETHER = 256
"""Relabelled episodes that are written side by side."""


class Recorded(Protocol):
    """A recorded episode, as `openjepa.worlds.episodes.Episode`: K environment steps."""

    @property
    def frames(self) -> Any:
        """uint8 `[K+1, C, H, W]`."""
        ...

    @property
    def actions(self) -> Any:
        """`[K, A]`."""
        ...

    @property
    def state(self) -> Any:
        """`[K+1, P]`, physical variables; asked for by models alone that take proprioception."""
        ...

    @property
    def info(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, eq=False)
class EncodedEpisode:
    """A recorded episode as a world model perceives it: T of its steps.

    Attributes:
        states: `[T+1, *L]`.
        actions: `[T, A']`, NaN where one was not recorded.
        danger: `[T+1]` bool: whether any environment step of the way to a state was in danger, by `info["danger"]`
            (first: whether it is itself); `None` where that says nothing. Of states alone, what lies between two of
            them would be missed.
        proprio_dim: how many numbers at the end of a state's last axis are proprioception; goals are known without.
    """

    states: Tensor
    actions: Tensor
    danger: Tensor | None
    proprio_dim: int = 0


def encode_episodes(
    model: WorldModel, episodes: Iterable[Recorded], *, begin: int = 0
) -> list[EncodedEpisode]:
    """Encode episodes, a model step apart; those shorter than a step are left out.

    Args:
        begin: the environment step that an episode begins at.
    """
    perception, found = Perception(model), []
    for episode in episodes:
        steps = (len(episode.actions) - begin) // model.block
        if steps < 1:
            continue
        end = begin + steps * model.block
        seen = slice(begin, end + 1, model.block)
        frames = torch.from_numpy(np.ascontiguousarray(episode.frames[seen]))
        done = np.asarray(episode.actions[begin:end], np.float32).reshape(steps, -1)
        known = np.asarray(episode.state)[seen] if perception.proprio_dim else None
        states = torch.cat(
            [
                perception.look(part, None if known is None else known[start : start + ENCODED])
                for start, part in zip(range(0, len(frames), ENCODED), frames.split(ENCODED), strict=True)
            ]
        )
        danger, dangers = episode.info.get("danger"), None
        if danger is not None:
            there = np.asarray(danger, bool)[begin : end + 1]
            met = there[1:].reshape(steps, model.block).any(1)
            dangers = torch.from_numpy(np.append(there[:1], met))
        found.append(
            EncodedEpisode(states, torch.from_numpy(done).to(states), dangers, perception.proprio_dim)
        )
    return found


def relabel(
    memory: ShortTermMemory,
    episodes: Sequence[EncodedEpisode],
    generator: torch.Generator,
    *,
    goals: int = 4,
    cost: Literal["goal", "time"] = "goal",
) -> None:
    """Write episodes into a memory in hindsight: each as if it had been on its way to states that it came to.

    Hindsight relabelling (Andrychowicz et al., arXiv:1707.01495, strategy `future`): an episode is written up to one of
    its later states, where it has arrived and nothing follows. So the memory holds what it costs to go from one state
    to another for who acts as was recorded.

    Args:
        goals: for each episode, drawn uniformly from all states but the first.
        cost: the intrinsic cost that is remembered, by the name of its term: distance to the goal, or time. Distances
            in latent space are short across a wall; time is not.

    Raises:
        UserError: no episode, or more than the memory holds.
    """
    ways = [
        (one, int(end))
        for one in episodes
        for end in torch.randint(1, len(one.states), (goals,), generator=generator)
    ]
    needed = sum(end + 1 for _, end in ways)
    if not 0 < needed <= memory.capacity:
        raise UserError(
            f"{len(episodes)} episodes with {goals} goals each are {needed} moments, a memory of capacity "
            f"{memory.capacity} does not hold them: enlarge it, or give other episodes"
        )
    for begin in range(0, len(ways), TOGETHER):
        _write(memory, ways[begin : begin + TOGETHER], first=-1 - begin, cost=cost)


def _write(memory: ShortTermMemory, ways: list[tuple[EncodedEpisode, int]], first: int, cost: str) -> None:
    """Write episodes side by side, step by step; numbered downwards from `first`, since an agent counts its episodes
    upwards."""
    for t in range(max(end for _, end in ways) + 1):
        running = [(first - i, one, end) for i, (one, end) in enumerate(ways) if end >= t]
        states = torch.stack([one.states[t] for _, one, _ in running])
        goals = torch.stack([as_goals(one.states[end], one.proprio_dim) for _, one, end in running])
        actions = [
            one.actions[t] if end > t else one.actions.new_full(one.actions.shape[1:], torch.nan)
            for _, one, end in running
        ]
        term = Goal(goals, proprio_dim=running[0][1].proprio_dim) if cost == "goal" else Time()
        costs = term(states[:, None, None])[:, 0, 0]
        memory.write([number for number, _, _ in running], states, costs, torch.stack(actions), goals)
        memory.end([number for number, _, end in running if end == t], over=True)


@torch.no_grad()
def plan_from_memory(
    agent: "Agent", memory: ShortTermMemory, count: int, seed: int = 0, *, steps: int = 1, batch: int = 64
) -> ShortTermMemory:
    """Plans of the agent in remembered situations, none of them executed: moments to distil a policy from.

    Args:
        agent: in mode 2, with the task that is to become a habit.
        memory: of states and goals.
        count: how many plans are made.
        seed: of the situations and of the planner's noise.
        steps: of each plan that are kept; all but the first from states that the world model predicts.
        batch: plans made together.

    Raises:
        UserError: a memory in which nothing was done; see `Configurator.cost`.
    """
    states, goals, _ = memory.taken()
    drawn = draw(states, count, torch.Generator().manual_seed(seed))
    found, model = ShortTermMemory(count * steps), agent.model
    for numbers in torch.arange(count).split(batch):
        now, wanted, cost = _situations(agent, states, goals, drawn[numbers])
        given = Situation(now[:, None], None, wanted, cost, streams(seed, numbers.tolist()))
        actions = agent.actor.act(given).actions[:, :steps]
        ahead = model.rollout(given.state, actions[:, None])[:, 0] if steps > 1 else now[:, None]
        for t, taken in enumerate(actions.unbind(1)):
            state = now if t == 0 else ahead[:, t - 1]
            found.write(numbers.tolist(), state, cost.now(state)[1], taken, wanted)
        found.end(numbers.tolist(), over=False)
    return found


def optimise_in_imagination(
    agent: "Agent",
    memory: ShortTermMemory,
    seed: int = 0,
    *,
    horizon: int | None = None,
    updates: int = 2000,
    batch: int = 128,
    lr: float = 1e-3,
) -> list[float]:
    """Train the agent's policy on imagined rollouts from remembered situations; the costs, mean over steps.

    It acts on states that the world model predicts; the gradient of the task's cost flows through cost and world model,
    which stay as they are. Plans from memory are few, since each is a search; this takes a situation in a few rollouts.
    Not LeCun's distillation: a policy's gradient through a learned model is that of Heess et al., arXiv:1510.09142.

    Args:
        agent: with a policy that was distilled from some plans, and the task that is to become a habit.
        memory: of states and goals.
        seed: of the situations.
        horizon: steps predicted; `None`: the planner's.

    Raises:
        UserError: no policy, discrete actions, a memory in which nothing was done; see `Configurator.cost`.
    """
    policy, generator = agent.configurator.policy, torch.Generator().manual_seed(seed)
    if policy is None:
        raise UserError(
            "optimise_in_imagination is for an agent with a policy, and this one has none: distil one first"
        )
    if not isinstance(policy.space, Bounds):
        raise UserError(
            "optimise_in_imagination descends through actions, and these are discrete: distil more plans instead"
        )
    states, goals, _ = memory.taken()
    steps = agent.configurator.planner.horizon if horizon is None else horizon

    def loss() -> Tensor:
        rows = draw(states, batch, generator)
        now, wanted, cost = _situations(agent, states, goals, rows)
        actions, ahead = policy.imagine(agent.model, now[:, None], None, wanted, steps)
        return cost(ahead[:, None], actions[:, None]).mean() / steps

    return descend(policy, loss, updates=updates, lr=lr)


def improve_on_policy(
    agent: "Agent",
    critic: Critic,
    environment: Any,
    generator: torch.Generator,
    *,
    seeds: int = 0,
    rounds: int = 3,
    updates: int = 2500,
    temperature: float = 1.0,
    max_steps: int = 1000,
    options: Any = None,
    progress: Callable[[int, float], None] = lambda number, share: None,
) -> list[float]:
    """Policy improvement by acting: the critic learns from what came of it, and the policy from both; over again.

    LeCun 2022, section 3.3, for the critic; for the policy see `Policy.improve`. What a policy in its place comes to
    is in no recording, and imagination does not know of it either: where the world model is wrong, only acting tells.

    Args:
        agent: with the task that is to become a habit, in mode 1. `Task.exploration_noise` lets it try what its policy
            would not; `{"time": 1}` makes haste the aim, whatever states look like.
        critic: of the task's costs.
        environment: as `Agent.run` takes it; a vector environment of many worlds is quickest.
        generator: of the batches.
        seeds: the first of the environments'; every round has others.
        temperature: of `Policy.improve`.
        max_steps, options: as `Agent.run` takes them.
        progress: called with the number of each round, from 0, and the share of its episodes that succeeded.

    Returns:
        That share, of each round's episodes.

    Raises:
        UserError: no policy; a memory that holds no full round.
    """
    policy = agent.configurator.policy
    if policy is None or agent.task.mode != 1:
        raise UserError(
            "improve_on_policy is for an agent that acts by its policy: give it one, and a task with mode=1"
        )
    shares: list[float] = []
    for number in range(rounds):
        begun = agent.memory.written
        found = agent.run(environment, seeds=seeds, max_steps=max_steps, options=options)
        results = found if isinstance(found, list) else [found]
        seeds += len(results)
        if agent.memory.written - begun > agent.memory.capacity:
            raise UserError(
                f"a round of {len(results)} episodes is {agent.memory.written - begun} moments, a memory of capacity "
                f"{agent.memory.capacity} does not hold them: enlarge it, or give fewer environments"
            )
        shares.append(sum(result.success for result in results) / len(results))
        progress(number, shares[-1])
        critic.fit(agent.memory, generator, updates=updates)
        policy.improve(agent.memory, critic, generator, temperature=temperature, updates=updates)
    return shares


def _situations(
    agent: "Agent", states: Tensor, goals: Tensor | None, rows: Tensor
) -> tuple[Tensor, Tensor | None, Cost]:
    """States and goals of these rows, and what the agent's task costs there for one who remembers nothing else."""
    now, wanted = some(states, goals, rows)
    return now, wanted, agent.configurator.cost(agent.task, wanted, KeyValueMemory(len(rows)))
