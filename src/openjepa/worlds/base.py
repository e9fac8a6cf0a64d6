"""The base of worlds: pure functions on arrays, vectorised over n worlds."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from openjepa.errors import UserError
from openjepa.worlds.actions import Box, checked
from openjepa.worlds.factors import Factor, unknown
from openjepa.worlds.state import State

__all__ = ["Box", "State", "World"]

SIDE, STEPS = 2048, 1_000_000
"""The most pixels along a frame's side, and steps of an episode."""
_CANVASES = 32  # drawn together: more fall out of the processor's cache, at half the speed
_ROUNDS = 200  # of drawing a start from which a goal of the asked difficulty exists


@dataclass(frozen=True)
class World(ABC):
    """A simulator with pictures. Its own fields are its options; nothing in it changes.

    A world of one's own gives the class attributes, `actions`, `factors` and the abstract methods, and
    `register("name")` makes it known to `make`.

    Args:
        size: rows and columns of a frame, pixels.
        vary: factors that every reset draws anew, from their seen values; the others keep their default.
        held_out: factors that every reset draws from the values kept for generalisation tests.
        max_steps: an episode's length, environment steps.

    Raises:
        UserError: a name in `vary` or `held_out` that is no factor, or a size or number of steps out of bounds.
    """

    size: int = 64
    vary: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    max_steps: int = 200

    name: ClassVar[str] = ""
    variables: ClassVar[tuple[str, ...]] = ()
    """Names of the P physical variables that `observe` gives."""
    layout: ClassVar[tuple[str, ...]] = ()
    """Factors in which a state and its goal must agree."""
    difficulty: ClassVar[Mapping[str, Any]] = {}
    """The options of `goal` by name, with their defaults."""

    def __post_init__(self) -> None:
        if not 16 <= self.size <= SIDE:
            raise UserError(f"{self.name}: size is 16 to {SIDE} pixels a side, not {self.size}")
        if not 1 <= self.max_steps <= STEPS:
            raise UserError(f"{self.name}: max_steps is 1 to {STEPS:,}, not {self.max_steps}")
        for option in ("vary", "held_out"):
            chosen = tuple(getattr(self, option))
            object.__setattr__(self, option, chosen)
            for factor in chosen:
                if option == "held_out" and len(self._factor(factor).held_out) == 0:
                    raise UserError(f"{self.name}: factor {factor!r} has no held-out values")
                self._factor(factor)

    @property
    def options(self) -> dict[str, Any]:
        """Options with which `make(world.name, **options)` makes this world again; plain data."""
        return asdict(self)

    @property
    def frame(self) -> tuple[int, int, int]:
        """Channels, rows, columns."""
        return 3, self.size, self.size

    @property
    @abstractmethod
    def actions(self) -> Box | int:
        """Bounds of one action, or how many discrete ones there are."""

    @property
    @abstractmethod
    def factors(self) -> Mapping[str, Factor]:
        """Everything that may differ between episodes, by name."""

    @abstractmethod
    def start(self, factors: Mapping[str, NDArray], n: int, rng: Generator) -> NDArray:
        """`[n, V]` values at the beginning of an episode."""

    @abstractmethod
    def advance(self, state: State, actions: NDArray, rng: Generator) -> NDArray:
        """`[n, V]` values one step later; `actions` are checked."""

    @abstractmethod
    def draw(self, state: State) -> NDArray[np.uint8]:
        """Pictures of a few worlds, `[n, C, H, W]`."""

    @abstractmethod
    def propose(self, state: State, rng: Generator, wanted: Mapping[str, Any]) -> tuple[NDArray, NDArray]:
        """Values of a goal for each world, `[n, V]`, and whether there is one of the wanted difficulty, `[n]`."""

    @abstractmethod
    def separation(self, state: State, goal: State) -> NDArray:
        """The distance as `distance` gives it, for states of the same layout."""

    @abstractmethod
    def reached(self, state: State, goal: State) -> NDArray:
        """Whether goals are reached, as `solved` says, for states of the same layout."""

    @abstractmethod
    def expert(self, state: State, goal: State, cautious: ArrayLike = False) -> NDArray[np.float32]:
        """A good action from the true state, `[n, A]`; where `cautious` (`[n]` bool), one that shuns danger."""

    def render(self, state: State) -> NDArray[np.uint8]:
        """Pictures, `[n, C, H, W]`."""
        frames = np.empty((len(state), *self.frame), np.uint8)
        for i in range(0, len(state), _CANVASES):
            frames[i : i + _CANVASES] = self.draw(state.take(slice(i, i + _CANVASES)))
        return frames

    def settle(self, state: State, variables: NDArray) -> NDArray:
        """`[n, V]` values for given physical variables; UserError where they cannot be."""
        return variables

    def observe(self, state: State) -> NDArray[np.float32]:
        """Physical variables, `[n, P]`."""
        return state.values.astype(np.float32)

    def danger(self, state: State) -> NDArray:
        """Whether inside a dangerous zone, `[n]` bool."""
        return np.zeros(len(state), bool)

    def reset(self, n: int, rng: Generator, **fixed: Any) -> State:
        """n episodes' first states; `fixed` sets factors by name, one value for all or one each.

        Raises:
            UserError: an unknown factor, or a value that it cannot have.
        """
        for name in fixed:
            self._factor(name)
        factors = {}
        for name, factor in self.factors.items():
            if name in fixed:
                factors[name] = factor.fix(name, fixed[name], n)
            elif name in self.vary or name in self.held_out:
                factors[name] = factor.draw(n, rng, name in self.held_out)
            else:
                factors[name] = factor.fix(name, factor.default, n)
        return State(self.start(factors, n, rng), factors)

    def step(self, state: State, actions: ArrayLike, rng: Generator) -> State:
        """The worlds one step later; `actions` are `[n, A]` within bounds, or `[n]` integers where they are discrete.

        Raises:
            UserError: actions of another shape, out of range or not finite.
        """
        return State(
            self.advance(state, checked(self.name, actions, self.actions, len(state)), rng), state.factors
        )

    def place(self, state: State, variables: ArrayLike) -> State:
        """The same worlds with given physical variables, `[P]` or `[n, P]`: a chosen start or goal.

        Raises:
            UserError: of another shape, not finite, or where nothing can be (inside a wall).
        """
        given = np.asarray(variables, np.float64)
        shape = len(state), len(self.variables)
        if given.shape not in (shape, shape[1:]) or not np.isfinite(given).all():
            names = ", ".join(self.variables)
            raise UserError(f"{self.name}: a place is {shape} finite numbers ({names}), not {given.shape}")
        return State(self.settle(state, np.broadcast_to(given, shape).copy()), state.factors)

    def goal(self, state: State, rng: Generator, **difficulty: Any) -> State:
        """A goal for each world, in its layout, by the world's protocol.

        Raises:
            UserError: an unknown difficulty, or none of that difficulty from some state.
        """
        values, possible = self.propose(state, rng, self.wanted(difficulty))
        if not possible.all():
            count = int((~possible).sum())
            raise UserError(
                f"{self.name}: from {count} of {len(state)} states no goal has {difficulty}; use task()"
            )
        return State(values, state.factors)

    def task(
        self, n: int, rng: Generator, fixed: Mapping[str, Any] | None = None, **difficulty: Any
    ) -> tuple[State, State]:
        """Starts and goals of a given difficulty; a start from which there is none is drawn again.

        Raises:
            UserError: an unknown difficulty, or no such goal after many draws.
        """
        wanted = self.wanted(difficulty)
        state = self.reset(n, rng, **(fixed or {}))
        values, possible = self.propose(state, rng, wanted)
        for _ in range(_ROUNDS):
            if possible.all():
                return state, State(values, state.factors)
            again = self.reset(n, rng, **(fixed or {}))
            others, found = self.propose(again, rng, wanted)
            mend = ~possible & found
            state, values[mend], possible = state.put(mend, again.take(mend)), others[mend], possible | found
        raise UserError(f"{self.name}: no start has a goal with {difficulty}; widen it")

    def solved(self, state: State, goal: State) -> NDArray:
        """Whether each world is at its goal, `[n]` bool; UserError where the goal is of another layout."""
        self._same_layout(state, goal)
        return self.reached(state, goal)

    def distance(self, state: State, goal: State) -> NDArray:
        """Length of the shortest feasible path to the goal, `[n]`; UserError where it is of another layout."""
        self._same_layout(state, goal)
        return self.separation(state, goal)

    def _factor(self, name: str) -> Factor:
        if name not in self.factors:
            raise unknown(f"factor of {self.name}", name, self.factors)
        return self.factors[name]

    def wanted(self, difficulty: Mapping[str, Any]) -> dict[str, Any]:
        """The difficulty of goals in full.

        Raises:
            UserError: an unknown name, or a value that is none of its kind.
        """
        for name, given in difficulty.items():
            if name not in self.difficulty:
                raise unknown(f"difficulty of {self.name}", name, self.difficulty)
            usual = self.difficulty[name]
            if not _alike(given, usual):
                kind = "a rising pair of numbers" if isinstance(usual, tuple) else f"a {type(usual).__name__}"
                raise UserError(f"{self.name}: difficulty {name} is {kind}, such as {usual}, not {given!r}")
        return {**self.difficulty, **difficulty}

    def _same_layout(self, state: State, goal: State) -> None:
        if len(state) != len(goal):
            raise UserError(f"{self.name}: {len(goal)} goals for {len(state)} states")
        for name in self.layout:
            if not np.array_equal(state.factors[name], goal.factors[name]):
                raise UserError(
                    f"{self.name}: the goal is of another layout (its {name!r} differs); see World.goal"
                )


def _alike(given: Any, usual: Any) -> bool:
    """Whether a value can stand where the usual one does; a number is infinite only where that one is."""
    if isinstance(usual, tuple):
        pair = isinstance(given, list | tuple) and len(given) == 2 and all(map(_alike, given, usual))
        return pair and given[0] <= given[1]
    if isinstance(usual, str):
        return isinstance(given, str)
    number = isinstance(given, Real) and not isinstance(given, bool)
    return number and (math.isfinite(given) or (math.isinf(given) and math.isinf(usual)))
