"""Episodes of an evaluation as they went: plans over the map, a film beside what was imagined, costs, the memory."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openjepa.evals.planning import PlanningResult
from openjepa.evals.planning.film import EpisodeFilm, EpisodeFilms
from openjepa.evals.planning.play import EpisodeOutcome
from openjepa.evals.planning.recall import Remembered
from openjepa.report import pixels
from openjepa.report.charts import Chart, CurveLine, scatter, short
from openjepa.report.curves import Figure, figure
from openjepa.report.world_models.decoding import StateViewer
from openjepa.signals import pictures
from openjepa.worlds import World
from openjepa.worlds.planar import Planar

PLANS = 6
"""Drawn over a map."""
FRAMES = 60
"""Most frames of a film: longer episodes are shown in larger steps."""
SECONDS = 6.0
"""Seconds that a film of so many frames takes; shorter ones take less."""
SIDE = 128
"""Least side of a picture in a film, pixels."""
GAP, GREY = 6, 138
CHEAP, DEAR = np.array([11, 122, 117]), np.array([217, 130, 43])


@dataclass(frozen=True)
class Route:
    """A map: its picture, and paths over it in the world's units, as SVG."""

    picture: str
    side: float
    taken: str
    plans: list[str]
    start: tuple[float, float]
    goal: tuple[float, float]
    near: float


@dataclass(frozen=True)
class EpisodeCard:
    """One episode."""

    title: str
    went: str
    film: str
    still: str
    panels: list[str]
    costs: Figure
    route: Route | None
    drift: Figure | None


@dataclass(frozen=True)
class Moment:
    picture: str
    price: str


@dataclass(frozen=True)
class MemoryCard:
    """The memory's content."""

    said: str
    picture: str
    moments: list[Moment]
    cheapest: str
    dearest: str


def episode_cards(
    result: PlanningResult, films: EpisodeFilms, viewer: StateViewer | None
) -> tuple[list[EpisodeCard], MemoryCard | None]:
    """Every film, and the memory; without `viewer` what was imagined is left out."""
    world = result.protocol.own_world()
    outcomes = {outcome.number: outcome for outcome in result.row().outcomes}
    shown = [_episode_card(world, film, outcomes[film.number], viewer) for film in films.films]
    return shown, None if films.memory is None else _memory_card(films.memory)


def _episode_card(
    world: World | None, film: EpisodeFilm, outcome: EpisodeOutcome, viewer: StateViewer | None
) -> EpisodeCard:
    frames = film.frames
    block = 1 if viewer is None else viewer.model.block
    columns, names = [[pictures.to_rgb(frame) for frame in frames[::block]]], ["real"]
    imagined = None
    if viewer is not None:
        imagined = _imagine(viewer, film, _actions(film, viewer, block))
        columns.append([pictures.to_rgb(one) for one in viewer.decoder.draw(imagined).numpy()])
        names.append("imagined")
    columns.append([pictures.to_rgb(film.goal)] * len(columns[0]))
    film_of = _film(columns)
    reached = "reached its goal" if outcome.success else "did not reach its goal"
    return EpisodeCard(
        title=f"Episode {film.number}",
        went=f"{reached} in {outcome.steps} steps; {short(outcome.distance)} away at the start, "
        f"{short(outcome.final)} at the end{f'; {outcome.error}' if outcome.error else ''}",
        film=pixels.film_uri(film_of, max(1.0, SECONDS * len(film_of) / FRAMES)),
        still=pixels.film_uri(film_of[-1:], 1.0),
        panels=[*names, "goal"],
        costs=_costs(film),
        route=_route(world, film, viewer) if isinstance(world, Planar) else None,
        drift=None if isinstance(world, Planar) else _drift(world, film, imagined, viewer),
    )


def _actions(film: EpisodeFilm, viewer: StateViewer, block: int) -> Tensor:
    """Whole actions of the model `[K, block * A]`."""
    taken, space = film.actions, viewer.model.actions
    rows = np.eye(space)[taken] if isinstance(space, int) else taken
    whole = len(rows) // block * block
    return torch.from_numpy(np.ascontiguousarray(rows[:whole], np.float32)).reshape(whole // block, -1)


def _imagine(viewer: StateViewer, film: EpisodeFilm, actions: Tensor) -> Tensor:
    block, every = viewer.model.block, film.plans.shape[1]
    frames, known = film.frames[::block], film.known[::block]
    states = viewer.encode(frames[: len(actions) + 1], known[: len(actions) + 1])
    imagined = viewer.follow(states, actions.to(states.device), every)
    missing = len(frames) - len(imagined)  # the frame after a block that the episode's end cut short
    return torch.cat([imagined, imagined[-1:].expand(missing, *imagined.shape[1:])])


def _film(columns: Sequence[Sequence[pictures.Pixels]]) -> list[pictures.Pixels]:
    """Frames with the columns side by side, all of one size."""
    side = max(SIDE, columns[0][0].shape[0])
    chosen = np.unique(np.linspace(0, len(columns[0]) - 1, FRAMES).astype(int))
    gap = np.full((side, GAP, 3), GREY, np.uint8)
    found = []
    for i in chosen:
        row: list[NDArray] = []
        for column in columns:
            row += [gap] * bool(row) + [pictures.enlarge(column[i], (side, side))]
        found.append(np.concatenate(row, 1))
    return found


def _costs(film: EpisodeFilm) -> Figure:
    lines = [CurveLine(name, film.judged.tolist(), values.tolist()) for name, values in film.costs.items()]
    caption = "Weighted terms of the cost of the present state, over environment steps."
    return figure(Chart("Cost", caption, lines), f"cost{film.number}")


def _route(world: Planar, film: EpisodeFilm, viewer: StateViewer | None) -> Route:
    plans: list[str] = []
    if viewer is not None and viewer.reading is not None and len(film.planned):
        for k in np.unique(np.linspace(0, len(film.planned) - 1, PLANS + 1)[:-1].astype(int)):
            now = int(film.planned[k])
            states, actions = _until(viewer, film, now)
            with torch.no_grad():
                ahead = viewer.model.rollout(states, film.plans[None, None, k].to(states), past=actions)[0, 0]
            places = viewer.reading(ahead)[:, :2]
            plans.append(_path(np.concatenate([film.values[now : now + 1, :2], places])))
    x, y = film.values[0, :2].tolist()
    goal = film.wanted[:2].tolist()
    return Route(
        picture=pixels.data_uri(pictures.to_rgb(film.frames[0])),
        side=world.arena,
        taken=_path(film.values[:, :2]),
        plans=plans,
        start=(round(x, 1), round(y, 1)),
        goal=(round(goal[0], 1), round(goal[1], 1)),
        near=world.near,
    )


def _until(viewer: StateViewer, film: EpisodeFilm, now: int) -> tuple[Tensor, Tensor | None]:
    """The states that the model looks back on at a step, and the actions between them."""
    block, history = viewer.model.block, viewer.model.history
    first = max(now % block, now - (history - 1) * block)
    seen = slice(first, now + 1, block)
    states = viewer.encode(film.frames[seen], film.known[seen])[None]
    if now == first:
        return states, None
    taken = _actions(film, viewer, 1)[first:now]
    return states, taken.reshape(1, (now - first) // block, -1).to(states.device)


def _drift(
    world: World | None, film: EpisodeFilm, imagined: Tensor | None, viewer: StateViewer | None
) -> Figure | None:
    """The variables over time, real and read off what was imagined, for worlds without a map."""
    if imagined is None or viewer is None or viewer.reading is None:
        return None
    real, read = film.known, viewer.reading(imagined)
    steps = np.arange(len(real))
    clear = [i for i, r2 in enumerate(viewer.r2) if r2 > 0.5][:3]
    if not clear:
        return None
    lines = []
    for i in clear:
        name = f"observation {i}" if world is None else world.variables[i]
        lines.append(CurveLine(name, steps.tolist(), real[:, i].tolist()))
        lines.append(
            CurveLine(f"{name}, imagined", steps[:: viewer.model.block].tolist(), read[:, i].tolist())
        )
    caption = "Physical variables over environment steps, and the same read off the imagined states."
    return figure(Chart("Real and imagined", caption, lines), f"drift{film.number}")


def _memory_card(memory: Remembered) -> MemoryCard:
    low, high = np.quantile(memory.costs, (0.02, 0.98))
    warmth = ((memory.costs - low) / max(high - low, 1e-12)).clip(0, 1)[:, None]
    colours = (CHEAP + warmth * (DEAR - CHEAP)).round().astype(int)
    points = memory.places - memory.places.min(0)
    points = 0.03 + 0.94 * points / np.maximum(points.max(0), 1e-12)
    prices = [short(float(price)) for price in memory.prices]
    moments = [
        Moment(pixels.data_uri(pictures.to_rgb(f)), p) for f, p in zip(memory.frames, prices, strict=True)
    ]
    said = (
        f"After {memory.episodes} episodes it holds {memory.moments:,} moments of at most {memory.capacity:,}: states "
        f"in latent space, what was done there and what they cost. The map shows {len(memory.costs):,} of them on the "
        f"two directions in which they differ most, which hold {memory.share:.0%} of the variance."
    )
    picture = pixels.figure_uri(scatter(points, [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in colours]))
    return MemoryCard(said, picture, moments, short(float(low)), short(float(high)))


def _path(places: NDArray) -> str:
    """An SVG path through `[N, 2]`."""
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
