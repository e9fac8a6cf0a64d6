"""The agent: six modules, wired as in LeCun 2022, section 3.

frames ──perception──▶ state ──actor (mode 1, or mode 2 with the world model and the cost)──▶ actions
                         │
                         └──cost──▶ IC(s), C(s) ──▶ short-term memory ──▶ critic, policy
task ──configurator──▶ goal, weights, horizon, mode, level
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from openjepa.agent.actor import space_of
from openjepa.agent.configurator import Configurator, Task
from openjepa.agent.cost import Cost
from openjepa.agent.episodes import EpisodeResult, run
from openjepa.agent.keyvalue import KeyValueMemory
from openjepa.agent.memory import ShortTermMemory
from openjepa.agent.perception import Perception, as_frames
from openjepa.agent.planners import Plan, PlannerChoice, streams
from openjepa.agent.prediction_error import ErrorMemory
from openjepa.agent.protocols import Situation, WorldModel
from openjepa.errors import UserError


class Agent:
    """Acts in one environment, or in B at once.

    Args:
        model: the world model.
        planner: of mode 2.
        task: what to do; `configure` changes it between episodes.
        memory: short-term memory; it lives on from episode to episode.
        seed: of the planner's noise.
        modules: `policy`, `critic`, `danger`, ...: see `Configurator`.

    Raises:
        UserError: modules that do not go together, see `Configurator` and `Mode2`.
    """

    def __init__(
        self,
        model: WorldModel,
        planner: PlannerChoice,
        task: Task | None = None,
        *,
        memory: ShortTermMemory | None = None,
        seed: int = 0,
        **modules: Any,
    ) -> None:
        self.model, self.seed = model, seed
        self.configurator = Configurator(model, planner, **modules)
        self.perception = Perception(model)
        self.memory = ShortTermMemory() if memory is None else memory
        self.space = space_of(model)
        self.problems = 0
        self._episodes = 0
        self.configure(Task.reach() if task is None else task)

    def configure(self, task: Task) -> None:
        """Take on a task; it begins with the next episode.

        Costs in memory were judged by the weights of their time: `memory.clear()` before a critic learns other ones.
        """
        self.task = task
        self.actor = self.configurator.actor(task)
        self.problems = 0

    def begin(self, problems: int = 1, goal_frames: Any = None, numbers: Iterable[int] | None = None) -> None:
        """Begin an episode in each of B environments. The world model goes into eval mode.

        Args:
            problems: B.
            goal_frames: uint8 `[B, C, H, W]`, goals that the environments gave; the task's own go before.
            numbers: B numbers that seed the planner's noise, so that an episode run alone and in a batch is the same;
                `None`: 0..B-1.
        """
        if isinstance(self.model, nn.Module):
            self.model.eval()
        self.problems = problems
        self.perception.reset()
        self.planned: Plan | None = None
        """The plan of the last step, for the environments active then; `None` where it followed an older plan."""
        self.judged: dict[str, Tensor] | None = None
        """The weighted terms of C that the last step found, likewise; `None` within a block."""
        self._generators = streams(self.seed, problems if numbers is None else numbers)
        self._ids = list(range(self._episodes, self._episodes + problems))
        self._episodes += problems
        self._clock = 0
        self._given = goal_frames
        self._queue = self.space.neutral.new_zeros(problems, 0, self.space.width)
        self._action: Tensor | None = None
        self._start: Tensor | None = None

    @torch.no_grad()
    def step(self, observation: Any, active: Sequence[bool] | None = None, known: Any = None) -> Any:
        """The next action.

        Args:
            observation: uint8 `[C, H, W]`, or `[B, C, H, W]` from B environments.
            active: which of them still run; the others are given a neutral action.
            known: `[P]` or `[B, P]`, the physical variables that go with it, for a world model that takes
                proprioception; any other does not look at it.

        Returns:
            `[A]` float32 (an int where actions are discrete), or `[B, A]` (`[B]` int64).

        Raises:
            UserError: no picture, or of another shape than the goal's; other environments than `begin` said; a
                task that needs what the agent lacks.
        """
        given = as_frames(observation, "the observation")
        frames = given if given.dim() == 4 else given[None]
        if self.problems == 0:
            self.begin(len(frames))
        if len(frames) != self.problems:
            raise UserError(
                f"{len(frames)} observations for an episode begun in {self.problems} environments: call begin() first"
            )
        if self._clock == 0:
            self._open(frames)
        phase = self._clock % self.model.block
        self.planned = self.judged = None
        if phase == 0:
            known = known if known is None or given.dim() == 4 else np.asarray(known)[None]
            self._think(frames, _rows(active, self.problems), known)
        self._clock += 1
        assert self._action is not None
        actions = self.space.unfold(self._action[:, None])[:, phase].cpu().numpy()
        return actions if given.dim() == 4 else (actions[0] if actions.ndim > 1 else int(actions[0]))

    @torch.no_grad()
    def finish(self, observation: Any, rows: Sequence[int], over: bool, known: Any = None) -> None:
        """The last frames `[R, C, H, W]` of environments that have ended; `over`: not by a time limit; `known` as in
        `step`."""
        states = self.perception.look(as_frames(observation, "the observation"), known)
        index = torch.tensor(list(rows), device=states.device)
        led = None if self._action is None else self._action[index]
        _, intrinsic = self._costs(index).now(states, led)
        ids = [self._ids[row] for row in rows]
        self.memory.write(ids, states, intrinsic, goals=None if self.goal is None else self.goal[index])
        self.memory.end(ids, over)

    def forget(self, rows: Sequence[int]) -> None:
        """These environments broke down: their last frames are unknown."""
        self.memory.end([self._ids[row] for row in rows], over=False)

    @torch.no_grad()
    def imagined(self) -> Tensor:
        """States that the world model predicts of the plan that the last step made, `[R, H, *L]`."""
        assert self.planned is not None
        state, past = self.situation.state, self.situation.past
        return self.model.rollout(state, self.planned.actions[:, None], past=past)[:, 0]

    def run(self, environment: Any, task: Task | None = None, **settings: Any) -> Any:
        """Whole episodes: see `openjepa.agent.episodes.run`.

        Returns:
            An `EpisodeResult`, or a list of them for several environments.
        """
        if task is not None:
            self.configure(task)
        results: EpisodeResult | list[EpisodeResult] = run(self, environment, **settings)
        return results

    def _think(self, frames: Tensor, rows: Tensor, known: Any) -> None:
        """A model step: perceive, judge, remember, and plan where the last plan is used up."""
        self.perception.observe(frames, self._action, known)
        state, past = self.perception.state(rows)
        rows = rows.to(state.device)
        led = None if self._action is None else self._action[rows]
        self.judged, intrinsic = self._costs(rows).now(state[:, -1], led)
        if self.cost.weight("explore"):
            self.surroundings.write(state[:, -1], intrinsic[:, None], rows)
        remembers = self.task.exploration_noise > 0 or (
            self.task.mode == 2 and self.cost.weight("prediction_error") != 0
        )
        if remembers:
            self.error_memory.record_outcome(state[:, -1], rows)
        if self._queue.shape[1] == 0:
            self._decide(state, past, rows)
        self._action, self._queue = self._queue[:, 0], self._queue[:, 1:]
        if remembers:
            following = self.model.rollout(state, self._action[rows, None, None], past=past)[:, 0, 0]
            self.error_memory.record_prediction(following, rows)
        goals = None if self.goal is None else self.goal[rows]
        ids = [self._ids[row] for row in rows.tolist()]
        self.memory.write(ids, state[:, -1], intrinsic, self._action[rows], goals)

    def _decide(self, state: Tensor, past: Tensor | None, rows: Tensor) -> None:
        self.situation = Situation(
            state=state,
            past=past,
            goal=None if self.goal is None else self.goal[rows],
            cost=self._costs(rows),
            generators=[self._generators[row] for row in rows.tolist()],
            start=None if self._start is None else self._start[rows],
        )
        plan = self.planned = self.actor.act(self.situation)
        steps = self.actor.execute
        self._queue = self.space.neutral.expand(self.problems, steps, -1).clone()
        self._queue[rows] = self._noisy(plan.actions[:, :steps], state[:, -1], rows).to(self._queue)
        shifted = plan.shifted(steps, self.space)
        if self._start is None or self._start.shape[1:] != shifted.shape[1:]:
            self._start = shifted.new_zeros(self.problems, *shifted.shape[1:])
        self._start[rows] = shifted

    def _noisy(self, actions: Tensor, states: Tensor, rows: Tensor) -> Tensor:
        if not self.task.exploration_noise:
            return actions
        far = self.task.exploration_noise * self.error_memory.near(states, rows)
        return self.space.with_noise(actions, far, self.situation.generators)

    def _costs(self, rows: Tensor) -> Cost:
        """C of these environments, as the memory stands now."""
        return self.cost if len(rows) == self.problems else self.cost.take(rows)

    def _open(self, frames: Tensor) -> None:
        """The first frames are here: encode the goal, and settle what is minimised."""
        self.goal = self._goal(frames)
        self.surroundings = KeyValueMemory(self.problems)
        self.error_memory = ErrorMemory(self.problems, width=self.configurator.prediction_error_width)
        self.cost = self.configurator.cost(self.task, self.goal, self.surroundings, self.error_memory)

    def _goal(self, frames: Tensor) -> Tensor | None:
        """`[B, *L]`."""
        task = self.task
        if task.goal_state is not None:
            goal = task.goal_state.to(self.perception.device)
        else:
            given = task.goal_frame if task.goal_frame is not None else self._given
            if given is None:
                return None
            given = as_frames(given, "the goal")
            given = given if given.dim() == 4 else given[None]
            if given.shape[1:] != frames.shape[1:]:
                raise UserError(
                    f"a goal of shape {list(given.shape[1:])} cannot be compared with observations of "
                    f"{list(frames.shape[1:])}: render the goal as the environment renders what it shows"
                )
            goal = self.perception.look(given)
        if len(goal) not in (1, self.problems):
            raise UserError(
                f"{len(goal)} goals do not fit {self.problems} environments: give one, or one for each"
            )
        return goal.expand(self.problems, *goal.shape[1:])


def _rows(active: Sequence[bool] | None, problems: int) -> Tensor:
    """`[R]` indices of environments that still run."""
    return torch.arange(problems) if active is None else torch.tensor(list(active)).nonzero()[:, 0]
