"""Worlds as Gymnasium environments, one at a time or vectorised (extra `worlds`)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from openjepa.errors import UserError
from openjepa.worlds.base import World
from openjepa.worlds.factors import unknown
from openjepa.worlds.registry import classes, make
from openjepa.worlds.state import State

try:
    import gymnasium
    from gymnasium.vector import AutoresetMode, VectorEnv
    from gymnasium.vector.utils import batch_space
except ImportError:
    raise UserError("worlds as environments need gymnasium: pip install 'openjepa[worlds]'") from None

OPTIONS = "factors", "start", "goal", "difficulty"


class WorldEnv(gymnasium.Env[NDArray[np.uint8], Any]):
    """One world. An observation is a frame `[C, H, W]`; the reward is 1 at the goal, where the episode ends, else 0.

    `info` has "state" (`[P]`, the world's `variables`), "goal_frame", "goal_state", "success", "distance", "danger".
    `reset(options=...)` takes "factors" (name to value), "start" and "goal" (`[P]`), and "difficulty" of the goal.

    Args:
        world: a world, or its name, made with `options`.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 (Gymnasium's own way)

    def __init__(self, world: World | str, render_mode: str | None = None, **options: Any) -> None:
        self.world = make(world, **options) if isinstance(world, str) else world
        self.render_mode = render_mode
        self.observation_space, self.action_space = _spaces(self.world)
        self.state: State | None = None
        self.goal: State | None = None
        self.steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Raises UserError for an unknown option or factor, or a start or goal where nothing can be."""
        super().reset(seed=seed)
        self.state, self.goal = begin(self.world, 1, self.np_random, options or {})
        self._goal_frames = self.world.render(self.goal)
        self.steps = 0
        return self.world.render(self.state)[0], self._info()

    def step(self, action: Any) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        """Raises UserError for an action of another shape, out of range or not finite."""
        if self.state is None:
            raise UserError(f"{self.world.name}: call reset() before step()")
        self.state = self.world.step(self.state, np.asarray(action)[None], self.np_random)
        self.steps += 1
        info = self._info()
        success = info["success"]
        return (
            self.world.render(self.state)[0],
            float(success),
            success,
            self.steps >= self.world.max_steps,
            info,
        )

    def render(self) -> NDArray[np.uint8] | None:
        """`[H, W, C]` where the render mode is "rgb_array"."""
        if self.render_mode is None or self.state is None:
            return None
        return self.world.render(self.state)[0].transpose(1, 2, 0)

    def _info(self) -> dict[str, Any]:
        assert self.state is not None and self.goal is not None
        info = describe(self.world, self.state, self.goal, self._goal_frames)
        return {name: value[0] if value[0].ndim else value[0].item() for name, value in info.items()}


class WorldVectorEnv(VectorEnv[NDArray[np.uint8], Any, NDArray[Any]]):
    """`num_envs` worlds in lockstep.

    Observations, rewards and infos are those of `WorldEnv`, with a leading dimension. A world that is done begins a new
    episode at the next step, whose action it ignores. Reset options hold for all worlds and for those episodes too.
    """

    metadata = {  # noqa: RUF012
        "render_modes": ["rgb_array"],
        "render_fps": 10,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self, world: World | str, num_envs: int = 1, render_mode: str | None = None, **options: Any
    ) -> None:
        self.world = make(world, **options) if isinstance(world, str) else world
        self.num_envs, self.render_mode = num_envs, render_mode
        self.single_observation_space, self.single_action_space = _spaces(self.world)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.state: State | None = None
        self.goal: State | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        super().reset(seed=seed)
        self._options = options or {}
        self.state, self.goal = begin(self.world, self.num_envs, self.np_random, self._options)
        self._goal_frames = self.world.render(self.goal)
        self.steps = np.zeros(self.num_envs, np.int64)
        self._done = np.zeros(self.num_envs, bool)
        return self.world.render(self.state), self._info()

    def step(self, actions: Any) -> tuple[NDArray[np.uint8], NDArray, NDArray, NDArray, dict[str, Any]]:
        if self.state is None or self.goal is None:
            raise UserError(f"{self.world.name}: call reset() before step()")
        before = self._done
        self.state = self.world.step(self.state, actions, self.np_random)
        self.steps += 1
        if before.any():
            again = begin(self.world, int(before.sum()), self.np_random, self._options)
            self.state, self.goal = self.state.put(before, again[0]), self.goal.put(before, again[1])
            self._goal_frames[before] = self.world.render(again[1])
            self.steps[before] = 0
        info = self._info()
        terminated = info["success"] & ~before
        truncated = (self.steps >= self.world.max_steps) & ~before
        self._done = terminated | truncated
        return self.world.render(self.state), terminated.astype(np.float64), terminated, truncated, info

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """A picture `[H, W, C]` of each world where the render mode is "rgb_array"."""
        if self.render_mode is None or self.state is None:
            return None
        return tuple(self.world.render(self.state).transpose(0, 2, 3, 1))

    def _info(self) -> dict[str, Any]:
        assert self.state is not None and self.goal is not None
        info = describe(self.world, self.state, self.goal, self._goal_frames)
        return info | {f"_{name}": np.ones(self.num_envs, bool) for name in info}


def begin(world: World, n: int, rng: Generator, options: Mapping[str, Any]) -> tuple[State, State]:
    """Starts and goals of n episodes, as `reset(options=...)` asks for them."""
    for name in options:
        if name not in OPTIONS:
            raise unknown("reset option", name, OPTIONS)
    factors, difficulty = options.get("factors") or {}, options.get("difficulty") or {}
    start, goal = options.get("start"), options.get("goal")
    if start is None and goal is None:
        return world.task(n, rng, factors, **difficulty)
    state = world.reset(n, rng, **factors)
    state = state if start is None else world.place(state, start)
    return state, world.goal(state, rng, **difficulty) if goal is None else world.place(state, goal)


def describe(world: World, state: State, goal: State, goal_frames: NDArray) -> dict[str, NDArray]:
    """The `info` of n worlds, new arrays with leading dimension n."""
    return {
        "state": world.observe(state),
        "goal_frame": goal_frames.copy(),
        "goal_state": world.observe(goal),
        "success": world.solved(state, goal),
        "distance": world.distance(state, goal),
        "danger": world.danger(state),
    }


def register_all() -> None:
    """Make every known world an id, such as `openjepa/TwoRooms-v0`, for `gymnasium.make` and `make_vec`."""
    for name, cls in classes().items():
        gymnasium.register(
            f"openjepa/{cls.__name__}-v0",
            entry_point="openjepa.worlds.gym:WorldEnv",
            vector_entry_point="openjepa.worlds.gym:WorldVectorEnv",
            kwargs={"world": name},
        )


def _spaces(world: World) -> tuple[gymnasium.Space, gymnasium.Space]:
    observations = gymnasium.spaces.Box(0, 255, world.frame, np.uint8)
    actions = world.actions
    if isinstance(actions, int):
        return observations, gymnasium.spaces.Discrete(actions)
    return observations, gymnasium.spaces.Box(actions.low, actions.high, dtype=np.float32)
