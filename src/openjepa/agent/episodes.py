"""Whole episodes of an agent in Gymnasium environments: one, a list, or a vector environment.

An environment that raises ends its episode as failed, with what it said; the others go on.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from torch import Tensor

from openjepa.agent.environments import Arrival, check_actions, group
from openjepa.agent.perception import Perception
from openjepa.agent.planners import Plan, Space
from openjepa.errors import UserError

Ended = Literal["terminated", "truncated", "budget", "error"]


class ActingAgent(Protocol):
    """The interface of an agent that acts in an episode (`openjepa.agent.Agent`).

    Attributes:
        space: of its actions.
        planned: what the last step planned, if it did.
        judged: the terms of C that the last step found, if it did.
    """

    @property
    def space(self) -> Space: ...
    @property
    def perception(self) -> Perception: ...

    planned: Plan | None
    judged: dict[str, Tensor] | None

    def begin(self, problems: int, goal_frames: Any, numbers: Iterable[int] | None) -> None:
        """New episodes, in as many environments."""

    def step(self, observation: Any, active: Sequence[bool] | None, known: Any) -> Any:
        """The next actions."""

    def finish(self, observation: Any, rows: Sequence[int], over: bool, known: Any) -> None:
        """The last frames of environments that have ended."""

    def forget(self, rows: Sequence[int]) -> None:
        """These environments broke down."""

    def imagined(self) -> Tensor:
        """The states that the last plan was expected to lead to."""
        ...


@dataclass(eq=False)
class EpisodeResult:
    """The result of one episode.

    Attributes:
        seed: of the environment and of the planner's noise.
        success: `info["success"]` at any step; without it, whether the environment terminated the episode.
        ended: why it stopped: the environment terminated it, its time limit, ours, or an error.
        steps: environment steps.
        reward: their sum.
        distance: the last `info["distance"]`, where there is one.
        danger: steps whose `info["danger"]` was true.
        error: what the environment raised.
        actions: `[steps, A]`, or `[steps]` discrete.
        costs: terms of C at each model step, by name.
        seconds: of `Agent.step`, per environment step (of the whole batch).
        frames: observations `[steps + 1, C, H, W]`, with `record`.
        plans: every plan, with `record`.
    """

    seed: int
    success: bool = False
    ended: Ended = "budget"
    steps: int = 0
    reward: float = 0.0
    distance: float | None = None
    danger: int = 0
    error: str | None = None
    actions: list[Any] = field(default_factory=list, repr=False)
    costs: dict[str, list[float]] = field(default_factory=dict, repr=False)
    seconds: list[float] = field(default_factory=list, repr=False)
    frames: list[np.ndarray] = field(default_factory=list, repr=False)
    plans: list["RecordedPlan"] = field(default_factory=list, repr=False)


@dataclass(frozen=True, eq=False)
class RecordedPlan:
    """A plan made at environment step `step`, for the report.

    Attributes:
        actions: `[H, A']`.
        imagined: `[H, *L]`, the states that the model predicted.
        best, elites: `[I]`, costs per iteration of the best candidate and the mean over the elites.
    """

    step: int
    actions: Tensor
    imagined: Tensor
    best: Tensor
    elites: Tensor


def run(
    agent: ActingAgent,
    environment: Any,
    *,
    seeds: int | Sequence[int] = 0,
    max_steps: int = 1000,
    options: Any = None,
    record: bool = False,
) -> Any:
    """One episode in each environment, all in step with one another.

    Args:
        environment: a Gymnasium environment, a list of them, or a vector environment (`num_envs`). For a world model
            that takes proprioception it puts the variables of its episodes into `info["state"]`.
        seeds: one for each environment; a single number counts up from there. An episode depends on its seed alone,
            not on those that it is run with.
        max_steps: environment steps after which we stop, if the environment's own limit does not.
        options: given to every `reset`; a list gives each environment of a list its own.
        record: keep frames and plans.

    Returns:
        An `EpisodeResult`, or a list of them.

    Raises:
        UserError: an action space other than the model's, seeds that do not fit.
    """
    environments, single = group(environment)
    numbers = list(range(seeds, seeds + environments.size)) if isinstance(seeds, int) else list(seeds)
    if len(numbers) != environments.size:
        raise UserError(
            f"{len(numbers)} seeds do not fit {environments.size} environments: give one for each"
        )
    check_actions(agent.space, environments.action_space)
    episodes = _Episodes(agent, numbers, record)
    episodes.begin(environments.reset(numbers, options))
    while any(episodes.active) and episodes.clock < max_steps:
        actions = episodes.act()
        episodes.arrive(actions, environments.step(actions, episodes.active))
    episodes.stop()
    return episodes.results[0] if single else episodes.results


class _Episodes:
    """The episodes under way."""

    def __init__(self, agent: ActingAgent, numbers: list[int], record: bool) -> None:
        self.agent, self.record, self.clock = agent, record, 0
        self.results = [EpisodeResult(number) for number in numbers]
        self.active = [True] * len(numbers)

    def begin(self, arrivals: Sequence[Arrival]) -> None:
        for row, arrival in enumerate(arrivals):
            self._failed(row, arrival)
        fine = [arrival for arrival in arrivals if arrival.error is None]
        if not fine:
            return
        self.frames = _stack([a.observation for a in arrivals], fine[0].observation)
        state = fine[0].info.get("state") if self.agent.perception.proprio_dim else None
        self.known = None if state is None else _stack([a.info.get("state") for a in arrivals], state)
        goals = [a.info.get("goal_frame") for a in arrivals]
        goal = fine[0].info.get("goal_frame")
        numbers = [result.seed for result in self.results]
        self.agent.begin(len(arrivals), None if goal is None else _stack(goals, goal), numbers)
        self._keep_frames(self._running())

    def act(self) -> np.ndarray:
        """`[B, A]`, or `[B]` discrete."""
        began = time.perf_counter()
        actions = self.agent.step(self.frames, self.active, self.known)
        seconds = time.perf_counter() - began
        for row in self._running():
            self.results[row].seconds.append(seconds)
        if self.agent.planned is not None:
            self._keep_plans(self.agent.planned)
        if self.agent.judged is not None:
            self._keep_costs(self.agent.judged)
        return actions

    def arrive(self, actions: np.ndarray, arrivals: Sequence[Arrival | None]) -> None:
        """Take in what the environments answered; close the episodes that have ended."""
        self.clock += 1
        here = [(row, arrival) for row, arrival in enumerate(arrivals) if arrival is not None]
        for row, arrival in here:
            self.results[row].steps += 1
            self.results[row].actions.append(actions[row])
            if not self._failed(row, arrival):
                self.frames[row] = np.asarray(arrival.observation)
                if self.known is not None:
                    self.known[row] = arrival.info["state"]
                _note(self.results[row], arrival)
        self.agent.forget([row for row, arrival in here if arrival.error is not None])
        here = [(row, arrival) for row, arrival in here if arrival.error is None]
        self._keep_frames([row for row, _ in here])
        over = [row for row, arrival in here if arrival.terminated]
        self._close(over, "terminated")
        self._close([row for row, arrival in here if arrival.truncated and row not in over], "truncated")

    def stop(self) -> None:
        """Our budget is spent."""
        self._close(self._running(), "budget")

    def _running(self) -> list[int]:
        return [row for row, runs in enumerate(self.active) if runs]

    def _failed(self, row: int, arrival: Arrival) -> bool:
        if arrival.error is not None:
            self.results[row].ended, self.results[row].error = "error", arrival.error
            self.results[row].success = self.active[row] = False
        return arrival.error is not None

    def _close(self, rows: list[int], ended: Ended) -> None:
        if not rows:
            return
        for row in rows:
            self.results[row].ended, self.active[row] = ended, False
        known = None if self.known is None else self.known[rows]
        self.agent.finish(self.frames[rows], rows, over=ended == "terminated", known=known)

    def _keep_frames(self, rows: list[int]) -> None:
        for row in rows if self.record else []:
            self.results[row].frames.append(self.frames[row].copy())

    def _keep_costs(self, judged: dict[str, Tensor]) -> None:
        for name, values in judged.items():
            for row, value in zip(self._running(), values.tolist(), strict=True):
                self.results[row].costs.setdefault(name, []).append(value)

    def _keep_plans(self, plan: Plan) -> None:
        if not self.record:
            return
        imagined = self.agent.imagined()
        for index, row in enumerate(self._running()):
            self.results[row].plans.append(
                RecordedPlan(
                    self.clock,
                    plan.actions[index].cpu(),
                    imagined[index].cpu(),
                    plan.trace.best[:, index].cpu(),
                    plan.trace.elites[:, index].cpu(),
                )
            )


def _stack(pictures: Sequence[Any], like: Any) -> np.ndarray:
    """`[B, ...]`; black where there is none."""
    blank = np.zeros_like(np.asarray(like))
    return np.stack([blank if picture is None else np.asarray(picture) for picture in pictures])


def _note(result: EpisodeResult, arrival: Arrival) -> None:
    info = arrival.info
    result.reward += arrival.reward
    flags = [bool(info[name]) for name in ("success", "is_success") if name in info]
    result.success |= any(flags) if flags else arrival.terminated
    result.danger += bool(info.get("danger", False))
    if "distance" in info:
        result.distance = float(info["distance"])
