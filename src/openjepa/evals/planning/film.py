"""Films of a few episodes of an evaluation: what an agent saw, planned and paid, kept beside the result."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor

from openjepa.common import files
from openjepa.common.renamed import FILMS
from openjepa.errors import UserError, warn
from openjepa.evals.planning.play import EpisodeOutcome, Problems
from openjepa.evals.planning.players import Planned
from openjepa.evals.planning.recall import Remembered, packed, recall, unpacked
from openjepa.worlds import State
from openjepa.worlds.pictures import Pixels
from openjepa.worlds.records import first_line
from openjepa.worlds.store import whole

FILMED = 4
"""Episodes that are kept, of the first group played."""


@dataclass(frozen=True, eq=False)
class EpisodeFilm:
    """One episode of T environment steps.

    Attributes:
        frames: uint8 `[T+1, C, H, W]`.
        goal: uint8 `[C, H, W]`, its picture.
        values: float64 `[T+1, V]`, the world's (`State.values`).
        known: float32 `[T+1, P]`, its physical variables.
        wanted: `[V]`, of the goal.
        actions: `[T, A]` (`[T]` integers where discrete).
        planned: `[K]`, environment steps at which a plan was made.
        plans: `[K, H, A']`, in actions of the model.
        judged: `[M]`, environment steps at which the present state was judged.
        costs: weighted terms of the cost by name, `[M]` each.
    """

    number: int
    frames: Pixels
    goal: Pixels
    values: NDArray
    known: NDArray
    wanted: NDArray
    actions: NDArray
    planned: NDArray
    plans: Tensor
    judged: NDArray
    costs: Mapping[str, NDArray]


@dataclass(frozen=True)
class EpisodeFilms:
    """Some episodes, and the memory."""

    films: Sequence[EpisodeFilm]
    memory: Remembered | None = None

    def save(self, path: str | Path) -> None:
        """Write safetensors. Raises UserError when they cannot be written."""
        tensors: dict[str, Any] = {}
        for film in self.films:
            parts = {name: getattr(film, name) for name in _PARTS} | {"frames": packed(film.frames)}
            parts |= {f"costs/{name}": values for name, values in film.costs.items()}
            tensors |= {f"{film.number}/{name}": part for name, part in parts.items()}
        if self.memory is not None:
            parts = {**vars(self.memory), "frames": packed(self.memory.frames)}
            tensors |= {f"memory/{name}": part for name, part in parts.items()}
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            with whole(Path(path)) as partial:
                files.write_tensors(partial, {k: torch.as_tensor(v) for k, v in tensors.items()}, "films")
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path} cannot be written ({files.reason(error)}): name another file") from error

    @classmethod
    def read(cls, path: str | Path) -> "EpisodeFilms":
        """Raises UserError when there are none or the file is damaged."""
        episodes: dict[str, dict[str, Any]] = {}
        for name, tensor in files.read_tensors(Path(path)).items():
            episode, _, part = name.partition("/")
            episodes.setdefault(episode, {})[part] = tensor if part == "plans" else tensor.numpy()
        memory = episodes.pop("memory", None)
        try:
            films = [_film(int(number), parts) for number, parts in sorted(episodes.items(), key=_by_number)]
            return cls(films, None if memory is None else _remembered(memory))
        except (KeyError, TypeError, ValueError, zlib.error):
            raise UserError(f"{path} holds no films of episodes: run `openjepa plan` again") from None


_PARTS = ("goal", "values", "known", "wanted", "actions", "planned", "plans", "judged")


def films_beside(result: str | Path) -> Path:
    """The path of the films of a saved result."""
    return Path(result).with_suffix(".films")


def keep(camera: "Camera", outcomes: Sequence[EpisodeOutcome], result: str | Path) -> None:
    """Save what a camera saw beside a saved result, instead of older films.

    Args:
        outcomes: of the camera's row.

    Warns:
        OpenJEPAWarning: that cannot be; the result is whole without pictures.
    """
    path = films_beside(result)
    try:
        path.unlink(missing_ok=True)
        camera.develop(outcomes).save(path)
    except Exception as error:  # whatever it is
        warn(f"the episodes were not filmed ({first_line(error)}); the result is whole without")


@dataclass
class _Step:
    """One environment step, what was done and planned at it; `rows` are the episodes that `plans`, `costs` are of."""

    rows: NDArray
    actions: NDArray
    plans: Tensor | None
    costs: dict[str, Tensor] | None


@dataclass
class Camera:
    """A player that acts as another one does (see `of`), and keeps the first group of episodes.

    Attributes:
        steps: of the group.
        states: of the group's n worlds, at the start and after every step.
    """

    player: Planned | None = None
    steps: list[_Step] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    _groups: int = 0
    _memory: Remembered | None = None
    sees: bool = True

    def of(self, player: Planned) -> Self:
        """The same, looking over this one's shoulder."""
        self.player = player
        return self

    @property
    def predictions(self) -> int:
        return self._watched.predictions

    @property
    def _watched(self) -> Planned:
        assert self.player is not None, "nobody has played before this camera"
        return self.player

    def begin(self, problems: Problems) -> None:
        if self._groups == 1:
            self._memory = self._recalled()  # before the next group's episodes take its place
        self._groups += 1
        self._watched.begin(problems)
        if self._groups == 1:
            self._problems, self.states = problems, [problems.start]

    def act(self, state: State, frames: NDArray[np.uint8] | None, active: NDArray) -> NDArray:
        actions = self._watched.act(state, frames, active)
        if self._groups == 1:
            agent = self._watched.agent
            plans = None if agent.planned is None else agent.planned.actions.cpu()
            costs = None if agent.judged is None else {k: v.cpu() for k, v in agent.judged.items()}
            self.steps.append(_Step(np.flatnonzero(active), actions.copy(), plans, costs))
        return actions

    def watch(self, state: State) -> None:
        """All worlds after a step, for `play`."""
        if self._groups == 1:
            self.states.append(state)

    def develop(self, outcomes: Sequence[EpisodeOutcome], count: int = FILMED) -> EpisodeFilms:
        """Films of the first group, half that arrived and half that did not, as far as there are such; lowest numbers
        first.

        Args:
            outcomes: of the player's row.
        """
        group = outcomes[: len(self._problems)]
        arrived, missed = (
            [i for i, one in enumerate(group) if one.steps and one.success == wanted]
            for wanted in (True, False)
        )
        few = min(len(missed), max(count // 2, count - len(arrived)))
        chosen = sorted(arrived[: count - few] + missed[:few])
        films = [self._film(row, group[row]) for row in chosen]
        return EpisodeFilms(films, self._recalled() if self._memory is None else self._memory)

    def _film(self, row: int, outcome: EpisodeOutcome) -> EpisodeFilm:
        steps = self.steps[: outcome.steps]
        spot = [int(np.searchsorted(step.rows, row)) for step in steps]
        plans = [(t, step.plans[spot[t]]) for t, step in enumerate(steps) if step.plans is not None]
        judged = [(t, step.costs) for t, step in enumerate(steps) if step.costs is not None]
        world, goal = self._problems.world, self._problems.goal.take([row])
        states = State.concatenate([state.take([row]) for state in self.states[: len(steps) + 1]])
        return EpisodeFilm(
            number=outcome.number,
            frames=world.render(states),
            goal=world.render(goal)[0],
            values=states.values,
            known=world.observe(states),
            wanted=goal.values[0],
            actions=np.stack([step.actions[row] for step in steps]),
            planned=np.array([t for t, _ in plans]),
            plans=torch.stack([plan for _, plan in plans]),
            judged=np.array([t for t, _ in judged]),
            costs={k: np.array([float(costs[k][spot[t]]) for t, costs in judged]) for k in judged[0][1]},
        )

    def _recalled(self) -> Remembered | None:
        """The memory as it is; its entries were written in the order of the steps and of their rows."""
        written = [
            (t, row) for t, step in enumerate(self.steps) if step.costs is not None for row in step.rows
        ]
        return recall(self._watched.agent.memory, self._problems.world, self.states, written)


def _film(number: int, parts: dict[str, Any]) -> EpisodeFilm:
    costs = {k.removeprefix("costs/"): v for k, v in parts.items() if k.startswith("costs/")}
    plain: dict[str, Any] = {name: parts[name] for name in _PARTS}
    return EpisodeFilm(number, costs=costs, frames=unpacked(parts["frames"]), **plain)


def _remembered(parts: dict[str, Any]) -> Remembered:
    parts = {FILMS.get(name, name): part for name, part in parts.items()}
    plain = {name: parts[name].item() for name in ("moments", "capacity", "episodes", "share")}
    found: dict[str, Any] = {**parts, **plain, "frames": unpacked(parts["frames"])}
    return Remembered(**found)


def _by_number(item: tuple[str, Any]) -> int:
    return int(item[0])
