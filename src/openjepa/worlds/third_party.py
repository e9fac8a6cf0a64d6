"""Other people's Gymnasium environments by their ids, as far as collecting, training and planning need them.

MuJoCo, PushT, OGBench and MiniGrid come with the extra `environments`; any id that Gymnasium can make will do, as
`gym:ID`, or `gym:module:ID` where importing `module` registers it.

They cannot be put into a state, so a goal is what an episode of a policy has reached from the very start that is then
played: of the same layout, and known to be reachable.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openjepa.errors import UserError
from openjepa.worlds.base import SIDE, STEPS
from openjepa.worlds.episodes import Episode
from openjepa.worlds.factors import unknown
from openjepa.worlds.pixel_env import ActingFunction, Measure, PixelEnv, gymnasium
from openjepa.worlds.policies import Random, RandomWalk
from openjepa.worlds.records import first_line
from openjepa.worlds.registry import THIRD_PARTY
from openjepa.worlds.state import State

EXTRA = "pip install 'openjepa[environments]' has MuJoCo, PushT, OGBench and MiniGrid"


@dataclass(frozen=True)
class Known:
    """Facts about some environments: which module registers them, and how their goals are measured."""

    module: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    measured: tuple[int, ...] = ()
    tolerance: float = 0.0


KNOWN = {
    "gym_pusht/": Known("gym_pusht", {"obs_type": "state"}, (0, 1, 2, 3), 20.0),
    "Reacher-": Known("mujoco", {}, (8, 9), 0.05),
    "MiniGrid-": Known("minigrid"),
    "pointmaze-": Known("ogbench", {}, (0, 1), 0.5),
    "antmaze-": Known("ogbench", {}, (0, 1), 0.5),
}
"""Known environments by how their ids begin. PushT: places of agent and block on 512 x 512 (DINO-WM: within 20, and the
block's angle within 20 degrees); Reacher: the finger's place, m (as dm_control's easy target); mazes: the agent's
place, in units of a quarter cell."""

POLICIES: dict[str, Callable[[Any], ActingFunction]] = {
    "random": Random,
    "random-walk": partial(RandomWalk, goal_legs=0.0),
}
"""Policies by name. Add an expert of your own, and it can collect and set goals."""


class ThirdParty:
    """A Gymnasium environment: what a `World` says of itself and of given states, and running environments for steps.

    A `State`'s values are the observation's numbers `[n, P]`; its factors are "frame" `[n, C, H, W]` and "success"
    `[n]`, the environment's own word.

    Args:
        id: as `gymnasium.make` takes it.
        size: side of a frame, pixels.
        max_steps: of an episode; 0: the environment's own limit, or 200.
        kwargs: for `gymnasium.make`.
        measured: which of the observation's numbers tell how far it is to a goal.
        tolerance: Euclidean distance of these at which the goal is reached. Without `measured` it is reached when the
            environment says that its own task is done (see `PixelEnv`).
        policy: a name of `POLICIES`, whose episodes reach the goals.

    Attributes:
        frame: channels, rows, columns.
        actions: bounds of one action, or how many discrete ones there are.
        variables: names of the P numbers.

    Raises:
        UserError: its library is missing, an unknown id or policy, no pictures, actions that are neither bounded
            numbers nor one choice, or `measured` numbers that the observation lacks.
    """

    difficulty: Mapping[str, Any] = {"steps": 25}
    """Steps of the episode that reaches a goal (LeWM's protocol: 25)."""

    def __init__(
        self,
        id: str,
        size: int = 64,
        max_steps: int = 0,
        kwargs: Mapping[str, Any] | None = None,
        measured: Sequence[int] = (),
        tolerance: float = 0.0,
        policy: str = "random-walk",
    ) -> None:
        if not 1 <= size <= SIDE or not 0 <= max_steps <= STEPS:
            raise UserError(
                f"{THIRD_PARTY}{id}: size is 1 to {SIDE} pixels a side and max_steps at most {STEPS:,}, "
                f"not {size} and {max_steps}"
            )
        bare = id.rpartition(":")[2]
        known = next((known for begin, known in KNOWN.items() if bare.startswith(begin)), Known(""))
        if not measured:
            measured, tolerance = known.measured, tolerance or known.tolerance
        self.id, self.size, self.name, self.frame = id, size, THIRD_PARTY + id, (3, size, size)
        self._module, self._policy = known.module, policy
        self._kwargs = {**known.kwargs, **(kwargs or {})}
        self._measure = Measure(tuple(measured), tolerance)
        if policy not in POLICIES:
            raise unknown(f"policy of {self.name}", policy, POLICIES)
        self._running = [self._make()]
        first = self._running[0]
        self.actions = first.actions
        self.max_steps = max_steps or getattr(first.spec, "max_episode_steps", None) or 200
        try:
            count = len(first.reset(seed=0)[1]["state"])
        except UserError:
            raise
        except Exception as error:  # whatever an environment of other people's raises
            raise UserError(f"{self.name} cannot begin an episode: {first_line(error)}") from error
        self.variables = tuple(f"observation {i}" for i in range(count))
        if any(not 0 <= i < count for i in measured) or bool(measured) != (tolerance > 0):
            raise UserError(
                f"{self.name}: measured={list(measured)} and tolerance={tolerance:g} do not fit: name some of the "
                f"observation's {count} numbers, and a distance above 0"
            )

    @property
    def options(self) -> dict[str, Any]:
        """Options with which `open_world(world.name, **options)` opens it again; plain data."""
        return {
            "size": self.size,
            "max_steps": self.max_steps,
            "kwargs": self._kwargs,
            "measured": list(self._measure.numbers),
            "tolerance": self._measure.tolerance,
            "policy": self._policy,
        }

    def environments(self, n: int) -> list[PixelEnv]:
        """n of them, kept for the next who asks."""
        self._running += [self._make() for _ in range(n - len(self._running))]
        return self._running[:n]

    def policy(self, name: str) -> ActingFunction:
        """Raises UserError when nobody is called so."""
        if name not in POLICIES:
            raise unknown(f"policy of {self.name}", name, POLICIES)
        return POLICIES[name](self)

    def state(self, frames: Sequence[NDArray], infos: Sequence[Mapping[str, Any]]) -> State:
        """The state of n environments, from what they answered."""
        values = np.stack([info["state"] for info in infos]).astype(np.float64)
        success = np.array([info["success"] for info in infos], bool)
        return State(values, {"frame": np.stack(frames), "success": success})

    def render(self, state: State) -> NDArray[np.uint8]:
        """Pictures, `[n, C, H, W]`."""
        return state.factors["frame"].copy()

    def observe(self, state: State) -> NDArray[np.float32]:
        """The observations' numbers, `[n, P]`."""
        return state.values.astype(np.float32)

    def distance(self, state: State, goal: State) -> NDArray:
        """`[n]`."""
        return self._measure.distance(state.values, goal.values, state.factors["success"])

    def solved(self, state: State, goal: State) -> NDArray:
        """`[n]` bool."""
        return self._measure.near(state.values, goal.values, state.factors["success"])

    def record(self, act: ActingFunction, numbers: Sequence[int], steps: int, seed: int) -> Iterator[Episode]:
        """Episodes by their numbers, each a function of seed and number; to the environment's end or `steps`.

        One that raises ends there, and `info["error"]` says why.

        Raises:
            UserError: it cannot be reset.
        """
        for number in numbers:
            rng = np.random.default_rng([seed, number])
            environment, begin = self._running[0], int(rng.integers(2**31))
            try:
                frame, info = environment.reset(seed=begin)
            except Exception as error:
                raise UserError(f"{self.name} cannot be reset with seed {begin}: {error!r}") from error
            frames, states, actions = [frame], [info["state"]], []
            about: dict[str, Any] = {"seed": seed, "env_seed": begin}
            factors = {"episode": np.array([number])}
            for t in range(steps):
                action = np.asarray(act(State(states[-1][None].astype(np.float64), factors), rng))[0]
                try:
                    frame, _, terminated, truncated, info = environment.step(action)
                except Exception as error:  # whatever it is: the episode is kept as far as it went
                    about["error"] = f"step {t}: {error!r}"
                    self._running[0] = self._make()
                    break
                frames.append(frame)
                states.append(info["state"])
                actions.append(action)
                if terminated or truncated:
                    break
            yield Episode(np.stack(frames), self._rows(actions), np.stack(states), about)

    def _rows(self, actions: Sequence[NDArray]) -> NDArray[np.float32]:
        """`[T, A]`, one-hot where actions are discrete."""
        if isinstance(self.actions, int):
            return np.eye(self.actions, dtype=np.float32)[np.array(actions, np.int64)]
        return np.array(actions, np.float32).reshape(-1, self.actions.size)

    def _make(self) -> PixelEnv:
        try:
            if self._module and ":" not in self.id:
                import_module(self._module)
            made = gymnasium.make(self.id, render_mode="rgb_array", disable_env_checker=True, **self._kwargs)
        except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
            raise UserError(f"{self.name} needs what is not installed ({error}): {EXTRA}") from None
        except gymnasium.error.UnregisteredEnv as error:
            raise UserError(
                f"{self.name}: Gymnasium knows no such id ({str(error).rstrip('.')}); if a module of yours registers "
                "it, write gym:module:ID"
            ) from None
        except Exception as error:  # whatever the environment or its module raises
            raise UserError(f"{self.name} cannot be made: {error}") from error
        try:
            return PixelEnv(made, self.name, self.size, self._measure, partial(self.policy, self._policy))
        except UserError:
            made.close()
            raise
        except Exception as error:
            raise UserError(
                f"{self.name} cannot be rendered ({error!r}): of MuJoCo, install libegl1, or libosmesa6 and set "
                "MUJOCO_GL=osmesa"
            ) from error
