"""Experience without acting: recorded episodes relived for the critic, plans rehearsed and practised for the policy."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from openjepa.agent.cost import Cost, Goal, Reduce, Term
from openjepa.agent.heads import descend
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
"""Relived episodes that are written side by side."""


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
        """`[K+1, P]`, physical variables; asked for by models alone that are told the robot's own state."""
        ...

    @property
    def info(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, eq=False)
class Lived:
    """A recorded episode as a world model perceives it: T of its steps.

    Attributes:
        states: `[T+1, *L]`.
        actions: `[T, A']`, NaN where one was not recorded.
        danger: `[T+1]` bool: whether any environment step of the way to a state was in danger, by `info["danger"]`
            (first: whether it is itself); `None` where that says nothing. Of states alone, what lies between two of
            them would be missed.
        own: how many numbers at the end of a state's last axis are the robot's own, which goals are known without.
    """

    states: Tensor
    actions: Tensor
    danger: Tensor | None
    own: int = 0


def live(model: WorldModel, episodes: Iterable[Recorded], *, begin: int = 0) -> list[Lived]:
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
        known = np.asarray(episode.state)[seen] if perception.own else None
        states = torch.cat(
            [
                perception.look(part, None if known is None else known[start : start + ENCODED])
                for start, part in zip(range(0, len(frames), ENCODED), frames.split(ENCODED), strict=True)
            ]
        )
        danger, told = episode.info.get("danger"), None
        if danger is not None:
            there = np.asarray(danger, bool)[begin : end + 1]
            met = there[1:].reshape(steps, model.block).any(1)
            told = torch.from_numpy(np.append(there[:1], met))
        found.append(Lived(states, torch.from_numpy(done).to(states), told, perception.own))
    return found


@dataclass(frozen=True, eq=False)
class Late:
    """1 until the very goal is there, `[B, *L]`: a critic of it tells the time to a goal, whatever lies between.

    Distances in latent space are short across a wall; time is not.
    """

    goal: Tensor
    reduce: Reduce = "sum"
    own: int = 0
    """As `cost.Goal`'s."""

    def __call__(self, states: Tensor, actions: Tensor | None = None) -> Tensor:
        seen = slice(-self.own or None)
        return (states != self.goal[:, None, None])[..., seen].flatten(3).any(3).float()

    def take(self, rows: Tensor) -> "Late":
        return replace(self, goal=self.goal[rows])


def relive(
    memory: ShortTermMemory,
    lived: Sequence[Lived],
    generator: torch.Generator,
    *,
    goals: int = 4,
    term: Callable[..., Term] = Goal,
) -> None:
    """Write episodes into a memory in hindsight: each as if it had been on its way to states that it came to.

    Hindsight relabelling (Andrychowicz et al., arXiv:1707.01495, strategy `future`): an episode is written up to a
    later state of its own, where it has arrived and nothing follows. So the memory holds what it costs to go from one
    state to another for who acts as was recorded.

    Args:
        goals: for each episode, drawn uniformly from all states but the first.
        term: from goals `[N, *L]` and `own` to the intrinsic cost that is remembered: `Goal`, `Late`.

    Raises:
        UserError: no episode, or more than the memory holds.
    """
    ways = [
        (one, int(end))
        for one in lived
        for end in torch.randint(1, len(one.states), (goals,), generator=generator)
    ]
    needed = sum(end + 1 for _, end in ways)
    if not 0 < needed <= memory.capacity:
        raise UserError(
            f"{len(lived)} episodes with {goals} goals each are {needed} moments, a memory of capacity "
            f"{memory.capacity} does not hold them: enlarge it, or give other episodes"
        )
    for begin in range(0, len(ways), TOGETHER):
        _write(memory, ways[begin : begin + TOGETHER], first=-1 - begin, term=term)


def _write(
    memory: ShortTermMemory, ways: list[tuple[Lived, int]], first: int, term: Callable[..., Term]
) -> None:
    """In step with one another; numbered downwards from `first`, since an agent counts its own episodes upwards."""
    for t in range(max(end for _, end in ways) + 1):
        running = [(first - i, one, end) for i, (one, end) in enumerate(ways) if end >= t]
        states = torch.stack([one.states[t] for _, one, _ in running])
        goals = torch.stack([as_goals(one.states[end], one.own) for _, one, end in running])
        actions = [
            one.actions[t] if end > t else one.actions.new_full(one.actions.shape[1:], torch.nan)
            for _, one, end in running
        ]
        costs = term(goals, own=running[0][1].own)(states[:, None, None])[:, 0, 0]
        memory.write([number for number, _, _ in running], states, costs, torch.stack(actions), goals)
        memory.end([number for number, _, end in running if end == t], over=True)


@torch.no_grad()
def rehearse(
    agent: "Agent", memory: ShortTermMemory, count: int, seed: int = 0, *, steps: int = 1, batch: int = 64
) -> ShortTermMemory:
    """What the agent would do in remembered situations, without doing it: moments for a policy to be distilled from.

    Args:
        agent: in mode 2, with the task that is to become a habit.
        memory: of states and goals.
        count: how many plans are made.
        seed: of the situations and of the planner's noise.
        steps: of each plan that are kept; all but the first from states that the world model foresees.
        batch: plans made together.

    Raises:
        UserError: a memory in which nothing was done; see `Configurator.cost`.
    """
    states, goals, _ = memory.taken()
    drawn = torch.randint(len(states), (count,), generator=torch.Generator().manual_seed(seed))
    found, model = ShortTermMemory(count * steps), agent.model
    for numbers in torch.arange(count).split(batch):
        rows = drawn[numbers].to(states.device)
        now, wanted, cost = _situations(agent, states, goals, rows)
        given = Situation(now[:, None], None, wanted, cost, streams(seed, numbers.tolist()))
        actions = agent.actor.act(given).actions[:, :steps]
        ahead = model.rollout(given.state, actions[:, None])[:, 0] if steps > 1 else now[:, None]
        for t, taken in enumerate(actions.unbind(1)):
            state = now if t == 0 else ahead[:, t - 1]
            found.write(numbers.tolist(), state, cost.now(state)[1], taken, wanted)
        found.end(numbers.tolist(), over=False)
    return found


def practise(
    agent: "Agent",
    memory: ShortTermMemory,
    seed: int = 0,
    *,
    horizon: int | None = None,
    updates: int = 2000,
    batch: int = 128,
    lr: float = 1e-3,
) -> list[float]:
    """Let the agent's policy learn from what it would come to, in remembered situations; the costs, mean over steps.

    It acts on states that the world model foresees; the gradient of the task's cost flows through cost and world model,
    which stay as they are. Rehearsed plans are few, since each is a search; this takes a situation in a few rollouts.
    Not LeCun's distillation: a policy's gradient through a learned model is that of Heess et al., arXiv:1510.09142.

    Args:
        agent: with a policy that was distilled from some plans, and the task that is to become a habit.
        memory: of states and goals.
        seed: of the situations.
        horizon: steps foreseen; `None`: the planner's.

    Raises:
        UserError: no policy, discrete actions, a memory in which nothing was done; see `Configurator.cost`.
    """
    policy, generator = agent.configurator.policy, torch.Generator().manual_seed(seed)
    if policy is None:
        raise UserError("practise is for an agent with a policy, and this one has none: distil one first")
    if not isinstance(policy.space, Bounds):
        raise UserError(
            "practise descends through actions, and these are discrete: distil more plans instead"
        )
    states, goals, _ = memory.taken()
    steps = agent.configurator.planner.horizon if horizon is None else horizon

    def loss() -> Tensor:
        rows = torch.randint(len(states), (batch,), generator=generator).to(states.device)
        now, wanted, cost = _situations(agent, states, goals, rows)
        actions, ahead = policy.imagine(agent.model, now[:, None], None, wanted, steps)
        return cost(ahead[:, None], actions[:, None]).mean() / steps

    return descend(policy, loss, updates=updates, lr=lr)


def _situations(
    agent: "Agent", states: Tensor, goals: Tensor | None, rows: Tensor
) -> tuple[Tensor, Tensor | None, Cost]:
    """States and goals of these rows, and what the agent's task costs there for one who remembers nothing else."""
    wanted = None if goals is None else goals[rows]
    return states[rows], wanted, agent.configurator.cost(agent.task, wanted, KeyValueMemory(len(rows)))
