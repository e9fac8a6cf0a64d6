"""Any Gymnasium environment with pictures, by the contract of `WorldEnv` (extra `worlds`)."""

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from openjepa.errors import UserError
from openjepa.signals.images.decode import fit
from openjepa.worlds.actions import Box
from openjepa.worlds.state import State

try:
    import gymnasium
    from gymnasium import spaces
except ImportError:
    raise UserError("Gymnasium's environments need gymnasium: pip install 'openjepa[worlds]'") from None

GOALS = 7
"""Stream of random numbers of the policy whose episode reaches the goal."""

_VIEWERS: list[Any] = []
"""MuJoCo's, kept to the end: when one is freed, it takes what others draw with from whatever context is current."""

ActingFunction = Callable[[State, Generator], ArrayLike]

if sys.platform == "linux" and not os.environ.get("DISPLAY"):
    os.environ.setdefault("MUJOCO_GL", "egl")  # without a screen; MUJOCO_GL=osmesa works and is as fast


@dataclass(frozen=True)
class Measure:
    """The distance to a goal: the Euclidean distance of some numbers of the observation; near is within `tolerance`.

    Without numbers it is 0 where the environment itself says that its task is done, else 1.
    """

    numbers: tuple[int, ...] = ()
    tolerance: float = 0.0

    def distance(self, state: NDArray, goal: NDArray, success: NDArray) -> NDArray:
        """Distances `[n]` of states and goals `[n, P]`, or by the environments' word `[n]`."""
        if not self.numbers:
            return 1.0 - success
        chosen = list(self.numbers)
        return np.linalg.norm(state[:, chosen] - goal[:, chosen], axis=1)

    def near(self, state: NDArray, goal: NDArray, success: NDArray) -> NDArray:
        """`[n]` bool."""
        if not self.numbers:
            return np.asarray(success, bool)
        return self.distance(state, goal, success) <= self.tolerance


class PixelEnv(gymnasium.Wrapper):
    """Observations are frames uint8 `[3, size, size]`, cut to the centred square; actions are clipped to their bounds.

    `info` gets "state" (`[P]`, the numbers of the observation), "success" (what it says itself, as "success" or
    "is_success", else whether it has ended with a reward), and where there is a goal "goal_frame", "goal_state" and
    "distance"; then "success" is the measure's. `reset(options={"steps": k})` sets a goal: what an episode of `policy`
    from the same start has reached after k steps. Other options are the environment's own.

    Args:
        env: made with render mode "rgb_array".
        name: in messages.
        policy: makes who acts in such an episode.

    Raises:
        UserError: no pictures, or actions that are neither bounded numbers nor a choice.
    """

    def __init__(
        self,
        env: gymnasium.Env,
        name: str,
        size: int,
        measure: Measure | None = None,
        policy: Callable[[], ActingFunction] | None = None,
    ) -> None:
        super().__init__(env)
        if "rgb_array" not in (env.metadata.get("render_modes") or ()):
            raise UserError(
                f"{name} renders no pictures (render mode 'rgb_array'): choose another environment"
            )
        self.name, self.size, self.policy = name, size, policy
        self.measure = Measure() if measure is None else measure
        self.actions = actions_of(name, env.action_space)
        self.observation_space = spaces.Box(0, 255, (3, size, size), np.uint8)
        if isinstance(self.actions, int):
            self.action_space = spaces.Discrete(self.actions)
        else:
            self.action_space = spaces.Box(self.actions.low, self.actions.high, dtype=np.float32)
        self._goal: tuple[NDArray, NDArray] | None = None
        self._viewer = _quicken(env, size)

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Raises UserError when the same seed gives another start, which a goal needs, or for `steps` below 1."""
        settings = dict(options or {})
        steps = settings.pop("steps", None)
        self._goal, ahead = None, None
        if steps is not None:
            seed = int(self.env.np_random.integers(2**31)) if seed is None else seed
            ahead = self._go_ahead(seed, settings, int(steps))
        observation, info = self.env.reset(seed=seed, options=settings or None)
        frame, state = self._frame(), numbers_of(observation)
        if ahead is not None:
            begun, self._goal = ahead[0], ahead[1:]
            if not np.array_equal(begun, state):
                raise UserError(
                    f"{self.name} begins differently with the same seed, so that no goal is known to be reachable: "
                    "make its reset a function of the seed"
                )
        return frame, self._info(state, info, False)

    def step(self, action: Any) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self._act(action)
        info = self._info(numbers_of(observation), info, bool(terminated) and reward > 0)
        return self._frame(), float(reward), bool(terminated), bool(truncated), info

    def _act(self, action: Any) -> Any:
        space = self.env.action_space
        if isinstance(space, spaces.Discrete):
            return self.env.step(space.start + np.int64(action))
        assert isinstance(space, spaces.Box)
        given = np.asarray(action, space.dtype).reshape(space.shape)
        return self.env.step(np.clip(given, space.low, space.high))

    def _go_ahead(self, seed: int, options: dict[str, Any], steps: int) -> tuple[NDArray, NDArray, NDArray]:
        """The state at the start, and frame and state at the end, of the episode that reaches the goal."""
        if steps < 1 or self.policy is None:
            raise UserError(f"{self.name}: a goal lies at least 1 step ahead, and takes a policy to reach it")
        act, rng = self.policy(), np.random.default_rng([seed, GOALS])
        begun = state = numbers_of(self.env.reset(seed=seed, options=options or None)[0])
        factors = {"episode": np.array([seed])}  # the same object for all of the episode
        for _ in range(steps):
            action = np.asarray(act(State(state[None].astype(np.float64), factors), rng))[0]
            observation, _, terminated, truncated, _ = self._act(action)
            state = numbers_of(observation)
            if terminated or truncated:
                break
        return begun, self._frame(), state

    def _info(self, state: NDArray, info: Mapping[str, Any], rewarded: bool) -> dict[str, Any]:
        flags = [bool(info[name]) for name in ("success", "is_success") if name in info]
        success = any(flags) if flags else rewarded
        found = {**info, "state": state, "success": success}
        if self._goal is None:
            return found
        frame, goal = self._goal
        sides = state[None], goal[None], np.array([success])
        found |= {"goal_frame": frame, "goal_state": goal}
        return found | {
            "success": bool(self.measure.near(*sides)[0]),
            "distance": float(self.measure.distance(*sides)[0]),
        }

    def _frame(self) -> NDArray[np.uint8]:
        if self._viewer is not None:
            self._viewer.make_context_current()  # Gymnasium leaves that of whoever came last
        picture = self.env.render()
        if not isinstance(picture, np.ndarray) or picture.ndim != 3 or picture.shape[2] < 3:
            raise UserError(f"{self.name} rendered {type(picture).__name__}, no colour picture [H, W, 3]")
        pixels = torch.from_numpy(np.ascontiguousarray(picture[..., :3].transpose(2, 0, 1)))[None]
        return fit(pixels, (self.size, self.size))[0].numpy()


def numbers_of(observation: Any) -> NDArray[np.float32]:
    """`[P]`, the numbers of an observation that is a vector, or of a dictionary's vectors; pictures have none."""
    if isinstance(observation, Mapping):
        parts = [numbers_of(value) for value in observation.values()]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)
    values = np.asarray(observation)
    numeric = values.dtype.kind in "fiub" and values.ndim <= 1
    return values.astype(np.float32).reshape(-1) if numeric else np.zeros(0, np.float32)


def actions_of(name: str, space: Any) -> Box | int:
    """Bounds `[A]`, or how many discrete actions there are; UserError for any other space."""
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.Box) and np.isfinite(space.low).all() and np.isfinite(space.high).all():
        return Box(space.low.astype(np.float32).reshape(-1), space.high.astype(np.float32).reshape(-1))
    raise UserError(
        f"{name} takes actions {space}: bounded numbers or one discrete choice are planned; wrap it so that it does"
    )


def _quicken(env: gymnasium.Env, size: int) -> Any:
    """Have MuJoCo render at this size without shadows, reflections and smoothing: 64 pixels at several hundred frames a
    second without a graphics card, in the place of 8. The viewer; `None` where another library renders."""
    renderer, model = (getattr(env.unwrapped, name, None) for name in ("mujoco_renderer", "model"))
    if renderer is None or model is None:
        return None
    mujoco = import_module("mujoco")
    with suppress(
        ImportError
    ):  # torch's first optimiser loads it, and crashes once Mesa has loaded its own LLVM
        import_module("triton")
    model.vis.quality.offsamples, model.vis.quality.shadowsize = 0, 512
    renderer.width = renderer.height = size
    env.reset(seed=0)
    env.render()  # makes the viewer
    for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
        renderer.viewer.scn.flags[flag] = 0
    _VIEWERS.append(renderer.viewer)
    return renderer.viewer
