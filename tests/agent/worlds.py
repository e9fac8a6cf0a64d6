"""Small worlds whose models are exact, and whose frames are the state itself."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .objectives import Box

SPEED = 0.1
"""Of the point mass, per environment step, in units of the half-width of its square."""


def picture(position: Any) -> np.ndarray:
    """Positions `[..., 2]` in -1..1 as frames `[..., 1, 1, 2]`, to within 1/127."""
    return np.rint(127 * (np.asarray(position) + 1)).astype(np.uint8)[..., None, None, :]


class PointModel:
    """A point in a square; its latent is its position."""

    history = 1

    def __init__(self, block: int = 1, horizon: int = 30, actions: Any = None) -> None:
        self.block, self.horizon = block, horizon
        self.actions = Box([-1.0, -1.0], [1.0, 1.0]) if actions is None else actions
        self.encoded: list[tuple[int, ...]] = []
        self.rolled: list[tuple[int, ...]] = []

    def encode(self, frames: Tensor, actions: Tensor | None = None) -> Tensor:
        self.encoded.append(tuple(frames.shape))
        return frames.flatten(2).float() / 127 - 1

    def rollout(
        self, state: Tensor, actions: Tensor, z: Tensor | None = None, past: Tensor | None = None
    ) -> Tensor:
        self.rolled.append(tuple(actions.shape))
        moves = actions.unflatten(-1, (self.block, -1)).sum(-2)
        if isinstance(self.actions, int):
            moves = moves @ torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        position, states = state[:, None, -1], []
        for move in moves.unbind(2):
            position = (position + SPEED * move).clamp(-1, 1)
            states.append(position)
        return torch.stack(states, 2)


class Space:
    """A Gymnasium box or set of actions, by what the agent reads of it."""

    def __init__(self, shape: tuple[int, ...] | None = None, n: int | None = None) -> None:
        self.shape = shape or ()
        if n is not None:
            self.n = n


class PointEnv:
    """The same point, as a Gymnasium environment. The seed draws start and goal, on opposite sides."""

    def __init__(
        self,
        limit: int = 40,
        start: Sequence[float] | None = None,
        goal: Sequence[float] | None = None,
        breaks_at: int | None = None,
        discrete: bool = False,
        stops: bool = True,
    ) -> None:
        self.limit, self.start, self.goal, self.breaks_at, self.stops = limit, start, goal, breaks_at, stops
        self.discrete = discrete
        self.action_space = Space(n=4) if discrete else Space(shape=(2,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        rng = np.random.default_rng(seed)
        if self.breaks_at == 0:
            raise RuntimeError("no power")
        self.position = rng.uniform(-0.8, -0.2, 2) if self.start is None else np.array(self.start)
        self.target = rng.uniform(0.2, 0.8, 2) if self.goal is None else np.array(self.goal)
        self.clock, self.visited = 0, [self.position]
        return picture(self.position), {"goal_frame": picture(self.target)}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.clock += 1
        if self.clock == self.breaks_at:
            raise RuntimeError("the motor is stuck")
        if self.discrete:
            action = [(1, 0), (-1, 0), (0, 1), (0, -1)][action]
        self.position = np.clip(self.position + SPEED * np.clip(action, -1, 1), -1, 1)
        self.visited.append(self.position)
        distance = float(np.linalg.norm(self.position - self.target))
        success = distance < 0.12
        danger = bool(np.all(np.abs(self.position) < 0.15))
        info = {"success": success, "distance": distance, "danger": danger}
        return (
            picture(self.position),
            -distance,
            success and self.stops,
            self.clock >= self.limit,
            info,
        )


class Walled(PointEnv):
    """A wall at x = 0 that the world model knows nothing of, open above 0.4."""

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        x, y = self.position
        action = np.clip(action, -1, 1)
        if x < 0 <= x + SPEED * action[0] and y < 0.4:
            action = np.array([0.0, action[1]])
        return super().step(action)


class VectorPointEnv:
    """Point environments as a Gymnasium vector environment, which begins anew the step after an episode's end."""

    def __init__(self, environments: list[PointEnv]) -> None:
        self.environments, self.num_envs = environments, len(environments)
        self.single_action_space = environments[0].action_space
        self.done = [False] * self.num_envs

    def reset(self, *, seed: int | list[int], options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        seeds = seed if isinstance(seed, list) else range(seed, seed + self.num_envs)
        begun = [e.reset(seed=s) for e, s in zip(self.environments, seeds, strict=True)]
        frames, infos = zip(*begun, strict=True)
        return np.stack(frames), self._together(infos)

    def step(self, actions: np.ndarray) -> tuple[Any, ...]:
        answers = []
        for row, (environment, action) in enumerate(zip(self.environments, actions, strict=True)):
            if self.done[row]:
                frame, info = environment.reset(seed=0)
                answers.append((frame, 0.0, False, False, info))
            else:
                answers.append(environment.step(action))
            self.done[row] = answers[-1][2] or answers[-1][3]
        frames, rewards, terminated, truncated, infos = zip(*answers, strict=True)
        return (*(np.array(x) for x in (frames, rewards, terminated, truncated)), self._together(infos))

    def _together(self, infos: Sequence[dict[str, Any]]) -> dict[str, Any]:
        names = {name for info in infos for name in info}
        together: dict[str, Any] = {}
        for name in names:
            blank = np.zeros_like(next(info[name] for info in infos if name in info))
            together[name] = np.stack([np.asarray(info.get(name, blank)) for info in infos])
            together[f"_{name}"] = np.array([name in info for info in infos])
        return together


class ForkModel:
    """A fork: to the right (a > 0) the price is 0.3; to the left it is 0 or 0.5, as chance will have it.

    The latent is the price itself; the left is cheaper on average and the right is safe.
    """

    block, history, horizon = 1, 1, 10
    actions = Box([-1.0], [1.0])

    def encode(self, frames: Tensor, actions: Tensor | None = None) -> Tensor:
        return torch.zeros(*frames.shape[:2], 1)

    def draw_z(
        self, state: Tensor, count: int, horizon: int, generators: Sequence[torch.Generator]
    ) -> Tensor:
        draws = torch.stack([torch.rand(count // 2, horizon, 1, generator=g).round() for g in generators])
        return torch.cat([draws, 1 - draws], 1)  # as many lucky futures as unlucky ones

    def rollout(
        self, state: Tensor, actions: Tensor, z: Tensor | None = None, past: Tensor | None = None
    ) -> Tensor:
        luck = torch.full_like(actions, 0.5) if z is None else z
        return torch.where(actions > 0, 0.3, 0.5 * luck)
