"""Recording episodes of a world, many at a time, onto disk."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from openjepa.common import renamed
from openjepa.common.lock import sole_writer
from openjepa.errors import UserError
from openjepa.worlds.base import STEPS, World
from openjepa.worlds.episodes import Episode, Episodes
from openjepa.worlds.factors import unknown
from openjepa.worlds.opening import open_world
from openjepa.worlds.policies import (
    BehaviourPolicy,
    LegWalk,
    PerturbedExpert,
    Random,
    RandomWalk,
    Scripted,
    WallSeekingWalk,
)
from openjepa.worlds.reading import open_episodes
from openjepa.worlds.records import Progress
from openjepa.worlds.state import State
from openjepa.worlds.store import Store

if TYPE_CHECKING:
    from openjepa.worlds.third_party import ThirdParty

EPISODES = 10_000_000
"""The most of a folder."""
ActingFunction = Callable[[State, Generator], ArrayLike]
"""`[n, A]` actions, or `[n]` integers where they are discrete, from the worlds' states and a generator."""

POLICIES: dict[str, type[BehaviourPolicy]] = {
    "random": Random,
    "random-walk": RandomWalk,
    "leg-walk": LegWalk,
    "wall-seeking-walk": WallSeekingWalk,
    "scripted": Scripted,
    "perturbed-expert": PerturbedExpert,
}


def collect(
    world: "World | ThirdParty | str",
    policy: ActingFunction | str = "random-walk",
    episodes: int = 1000,
    seed: int = 0,
    out: str | Path = "episodes",
    progress: Progress | None = None,
    steps: int | None = None,
    worlds: int = 32,
    difficulty: Mapping[str, Any] | None = None,
) -> Episodes:
    """Record episodes into a folder, or go on with a folder where this was interrupted.

    What is recorded is a function of the arguments alone, wherever it was interrupted, and the first episodes of a
    larger collection are those of a smaller one: so asking for more of them extends a folder.

    Args:
        world: or its name; `gym:ID` for a Gymnasium environment, which records one episode after the other.
        policy: a name of `POLICIES` (of a Gymnasium environment: of `third_party.POLICIES`), or anything that is
            called as `ActingFunction`, e.g. a trained policy that looks at `world.render(state)`. If it remembers an
            episode, it begins anew when `state.factors` is another object.
        episodes: how many the folder is to hold at least.
        seed: of worlds and policy.
        out: the folder, in Minari's layout.
        progress: `progress("collecting episodes", done, total)`.
        steps: T; by default the world's `max_steps`.
        worlds: how many run at once.
        difficulty: of the goals that a named policy seeks, by the world's names.

    Returns:
        The first `episodes` of the folder. A world that raised has ended the episodes that ran beside it early, and
        their `info["error"]` says so.

    Raises:
        UserError: an unknown world or policy, a number below 1, a folder with other episodes in it or one that cannot
            be written, or actions that the world does not take.
    """
    world = open_world(world) if isinstance(world, str) else world
    steps = world.max_steps if steps is None else steps
    for name, value, most in (
        ("episodes", episodes, EPISODES),
        ("steps", steps, STEPS),
        ("worlds", worlds, 10_000),
    ):
        if not 1 <= value <= most:
            raise UserError(f"{name}={value}: at least 1 is collected, and at most {most:,}")
    if not 0 <= seed < 2**63:
        raise UserError(f"seed={seed}: a seed is a whole number from 0 to 2^63 - 1")
    about = {"world": world.name, "options": world.options, "policy": _name(policy), "seed": seed}
    if difficulty:
        about["difficulty"] = dict(difficulty)
    act = _policy(policy, world, difficulty)  # before a folder is begun under a name that is none
    with sole_writer(Path(out).expanduser()):
        store = Store(
            out, world.frame, world.actions, world.variables, {**about, "steps": steps, "worlds": worlds}
        )
        try:
            while len(store) < episodes:
                if progress is not None:
                    progress("collecting episodes", len(store), episodes)
                if isinstance(world, World):
                    batch, done = divmod(len(store), worlds)
                    rng = np.random.default_rng([seed, batch])
                    together = list(_run(world, act, worlds, steps, seed, rng))
                    store.add(together[done : done + episodes - len(store)])
                else:
                    numbers = range(len(store), min(len(store) + worlds, episodes))
                    store.add(list(world.record(act, numbers, steps, seed)))
        except UserError:
            store.discard_unbegun()
            raise
        store.finish()
    if progress is not None:
        progress("collecting episodes", episodes, episodes)
    return open_episodes(out, progress=progress).subset(range(episodes))


def _run(
    world: World, act: ActingFunction, n: int, steps: int, seed: int, rng: Generator
) -> Iterator[Episode]:
    """n episodes side by side."""
    state = world.reset(n, rng)
    states, actions, error = [state], [], None
    frames = np.empty((n, steps + 1, *world.frame), np.uint8)
    frames[:, 0] = world.render(state)
    for t in range(steps):
        try:
            chosen = np.asarray(act(states[-1], rng))
            states.append(world.step(states[-1], chosen, rng))
            frames[:, t + 1] = world.render(states[-1])
        except UserError:
            raise
        except Exception as raised:
            if t == 0:
                raise
            error = f"step {t}: {raised!r}"
            break
        actions.append(_rows(chosen, world.actions))
    length = len(actions)
    done, seen = np.stack(actions, 1), np.stack([world.observe(s) for s in states[: length + 1]], 1)
    danger = np.stack([world.danger(s) for s in states[: length + 1]], 1)
    dangerous = type(world).danger is not World.danger
    for i in range(n):
        info: dict[str, Any] = {"seed": seed}
        info["factors"] = {name: values[i] for name, values in state.factors.items()}
        info |= {"danger": danger[i]} if dangerous else {}
        info |= {"error": error} if error else {}
        yield Episode(frames[i, : length + 1], done[i], seen[i], info)


def _rows(actions: NDArray, space: Any) -> NDArray[np.float32]:
    """`[n, A]`, one-hot where actions are discrete."""
    return np.eye(space, dtype=np.float32)[actions] if isinstance(space, int) else actions.astype(np.float32)


def _policy(
    policy: ActingFunction | str, world: "World | ThirdParty", difficulty: Mapping[str, Any] | None
) -> ActingFunction:
    named = isinstance(policy, str) and isinstance(world, World)
    if difficulty and not named:
        raise UserError(
            f"difficulty is of the goals that our policies seek in our worlds, not for {_name(policy)}"
        )
    if not isinstance(policy, str):
        return policy
    if not isinstance(world, World):
        return world.policy(policy)
    if policy in renamed.POLICIES:
        raise UserError(f"the policy {policy!r} is now called {renamed.POLICIES[policy]!r}")
    if policy not in POLICIES:
        raise unknown("policy", policy, POLICIES)
    world.wanted(difficulty or {})
    return POLICIES[policy](world, difficulty=difficulty)


def _name(policy: ActingFunction | str) -> str:
    return policy if isinstance(policy, str) else getattr(policy, "__name__", type(policy).__name__)
