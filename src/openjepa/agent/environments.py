"""Gymnasium environments as the agent meets them: B at once, by duck typing, their errors caught and kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from openjepa.agent.planners import Discrete, Space
from openjepa.errors import UserError


@dataclass(eq=False)
class Arrival:
    """The answer of one environment, or the error that it raised."""

    observation: Any = None
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False
    info: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None


class Group(Protocol):
    """B environments that are stepped together."""

    @property
    def size(self) -> int: ...
    @property
    def action_space(self) -> Any: ...
    def reset(self, seeds: Sequence[int], options: Any) -> list[Arrival]: ...
    def step(self, actions: np.ndarray, active: Sequence[bool]) -> list[Arrival | None]:
        """`None` for those that are not active."""
        ...


class Several:
    """A list of environments."""

    def __init__(self, environments: Sequence[Any]) -> None:
        if not environments:
            raise UserError("there is no environment to act in: give at least one")
        self.environments, self.size = environments, len(environments)
        self.action_space = getattr(environments[0], "action_space", None)

    def reset(self, seeds: Sequence[int], options: Any) -> list[Arrival]:
        each = options if isinstance(options, list) else [options] * self.size
        if len(each) != self.size:
            raise UserError(
                f"{len(each)} options do not fit {self.size} environments: give one for each, or one for all"
            )
        arrivals = []
        for environment, seed, chosen in zip(self.environments, seeds, each, strict=True):
            try:
                observation, info = environment.reset(seed=seed, options=chosen)
                arrivals.append(Arrival(observation, info=info))
            except UserError:  # options that no episode could begin with
                raise
            except Exception as error:  # whatever it is: the episode failed and is counted
                arrivals.append(Arrival(error=_said(error)))
        return arrivals

    def step(self, actions: np.ndarray, active: Sequence[bool]) -> list[Arrival | None]:
        arrivals: list[Arrival | None] = []
        for environment, action, runs in zip(self.environments, actions, active, strict=True):
            if not runs:
                arrivals.append(None)
                continue
            try:
                observation, reward, terminated, truncated, info = environment.step(action)
                arrivals.append(Arrival(observation, float(reward), bool(terminated), bool(truncated), info))
            except Exception as error:
                arrivals.append(Arrival(error=_said(error)))
        return arrivals


class Vector:
    """A vector environment. If it raises, all its running episodes have failed: nothing tells which.

    One that draws all its worlds from one generator, as `openjepa.worlds.gym.WorldVectorEnv`, takes successive seeds
    only, and its episodes are not those of the same seeds alone.
    """

    def __init__(self, environment: Any) -> None:
        self.environment, self.size = environment, int(environment.num_envs)
        self.action_space = getattr(environment, "single_action_space", None)

    def reset(self, seeds: Sequence[int], options: Any) -> list[Arrival]:
        first = seeds[0]  # of successive seeds Gymnasium is given the first, and counts itself
        successive = list(seeds) == list(range(first, first + self.size))
        observations, infos = self.environment.reset(
            seed=first if successive else list(seeds), options=options
        )
        return [Arrival(observations[row], info=_row(infos, row)) for row in range(self.size)]

    def step(self, actions: np.ndarray, active: Sequence[bool]) -> list[Arrival | None]:
        try:
            observations, rewards, terminated, truncated, infos = self.environment.step(actions)
        except Exception as error:
            return [Arrival(error=_said(error)) if runs else None for runs in active]
        arrivals: list[Arrival | None] = []
        for row, runs in enumerate(active):
            info = _row(infos, row)
            last = info.get(
                "final_obs"
            )  # where the vector environment begins the next episode in the same step
            seen = observations[row] if last is None else last
            info = {**info, **info.get("final_info", {})}
            arrival = Arrival(seen, float(rewards[row]), bool(terminated[row]), bool(truncated[row]), info)
            arrivals.append(arrival if runs else None)
        return arrivals


def group(environment: Any) -> tuple[Group, bool]:
    """The environments, and whether a single one was given."""
    if hasattr(environment, "num_envs"):
        return Vector(environment), False
    if isinstance(environment, list | tuple):
        return Several(environment), False
    return Several([environment]), True


def check_actions(space: Space, given: Any) -> None:
    """Raises UserError when an environment's action space is not the one that a model was trained on."""
    if given is None:
        return
    count = getattr(given, "n", None)
    length = space.width // space.block
    if isinstance(space, Discrete):
        if count is None or int(count) != space.count:
            other = (
                f"{int(count)} discrete actions" if count is not None else f"actions of shape {given.shape}"
            )
            raise UserError(
                f"the environment takes {other} and the world model was trained on {space.count} discrete ones: "
                f"use the environment of its training data"
            )
    elif count is not None or int(np.prod(given.shape)) != length:
        other = (
            f"{int(count)} discrete actions"
            if count is not None
            else f"actions of shape {tuple(given.shape)}"
        )
        raise UserError(
            f"the environment takes {other} and the world model was trained on {length} numbers a step: "
            f"use the environment of its training data"
        )


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _row(infos: Mapping[str, Any], row: int) -> dict[str, Any]:
    """One environment's info: Gymnasium puts arrays under a name, and under `_name` whether each is valid."""
    found = {}
    for name, values in infos.items():
        valid = infos.get(f"_{name}")
        if name.startswith("_") or (valid is not None and not valid[row]):
            continue
        found[name] = _row(values, row) if isinstance(values, Mapping) else values[row]
    return found
