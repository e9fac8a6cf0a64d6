"""Two rooms, a wall between them, a door in the wall.

Geometry, start, goal and success are those of EB-JEPA (arXiv:2602.03604, `eb_jepa/datasets/two_rooms`), itself PLDM's
(arXiv:2502.14819), in the units of their 65 x 65 frames: faces of the border at 4 and 60, wall in 20..44 and 1 to
either side, door in 10..54 and 4 to either side, the dot a point for collisions. Ours differs in two things: pictures
are in colour (theirs: a channel for the dot, one for the wall), and a step into a wall ends exactly where it meets it
(theirs adds noise of 0.5 in the environment, and takes back the whole step in the data). All walls are vertical; so are
theirs in effect, whose `h_` layouts are listed but built as vertical ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from openjepa.errors import UserError
from openjepa.worlds.factors import DANGER, Factor, numbers, unknown
from openjepa.worlds.geometry import shortest
from openjepa.worlds.planar import Planar
from openjepa.worlds.raster import disc
from openjepa.worlds.registry import register
from openjepa.worlds.state import State

LOW, HIGH = 4.0, 60.0
"""Inner faces of the border."""
MARGIN = 2.6
"""Gap between starts or goals and any wall: two standard deviations of the published dot."""

_PLACES = np.stack(np.meshgrid([13.0, 51.0], [16.0, 24.0, 32.0, 40.0, 48.0], indexing="ij"), -1).reshape(
    -1, 2
)
HAZARDS = tuple(np.insert(_PLACES, 2, radius, axis=1) for radius in (4.5, 6.0))
"""Dangerous discs seen and held out, in the middle of either room."""


@register("two-rooms")
@dataclass(frozen=True)
class TwoRooms(Planar):
    """By default wall and door are random (`vary=()` fixes them at 32 and 18) and the goal is in the other room.

    The factor `hazard`, off by default, is a disc to stay out of; starts and goals are.
    """

    vary: tuple[str, ...] = ("wall", "door")

    arena: ClassVar[float] = 65.0
    layout: ClassVar[tuple[str, ...]] = ("wall", "door", "thickness", "opening", "hazard")
    difficulty: ClassVar[Mapping[str, Any]] = {"room": "other", "distance": (0, np.inf)}
    """The goal's room: the other (the published protocol), the same or any; the way's length, units, from and to."""

    @cached_property
    def factors(self) -> Mapping[str, Factor]:
        beyond = [*range(14, 20), *range(45, 51)]
        return {
            "wall": numbers("x of the wall's middle", 32, range(20, 45), beyond),
            "door": numbers("y of the door's middle", 18, range(10, 55), [9, 55]),
            "thickness": numbers("of the wall", 2, [2], [1, 3, 4]),
            "opening": numbers("of the door, to either side of its middle", 4, [4], [3, 5]),
            "hazard": Factor(
                "x, y and radius of a dangerous disc; radius 0 for none", (0, 0, 0), *HAZARDS, (0, 60)
            ),
            **self.looks,
        }

    def boxes(self, factors: Mapping[str, NDArray]) -> NDArray:
        left, right, top, bottom = _faces(factors)
        one = np.ones_like(left)
        a, b = -one, self.arena * one
        border = [(a, a, LOW * one, b), (HIGH * one, a, b, b), (a, a, b, LOW * one), (a, HIGH * one, b, b)]
        wall = [(left, a, right, top), (left, bottom, right, b)]
        return np.stack([np.stack(box, -1) for box in border + wall], 1)

    def start(self, factors: Mapping[str, NDArray], n: int, rng: Generator) -> NDArray:
        return _within(factors, rng.random(n) < 0.5, rng)

    def propose(self, state: State, rng: Generator, wanted: Mapping[str, Any]) -> tuple[NDArray, NDArray]:
        left, right = _faces(state.factors)[:2]
        other = state.values[:, 0] >= (left + right) / 2
        rooms = {"other": other, "same": ~other, "any": rng.random(len(state)) < 0.5}
        if wanted["room"] not in rooms:
            raise unknown("room for goals", wanted["room"], rooms)
        values = _within(state.factors, rooms[wanted["room"]], rng)
        length = self.separation(state, State(values, state.factors))
        low, high = wanted["distance"]
        return values, (length >= low) & (length <= high)

    def separation(self, state: State, goal: State) -> NDArray:
        return self._way(state, goal)[0]

    def expert(self, state: State, goal: State, cautious: ArrayLike = False) -> NDArray:
        return self.towards(state, self._way(state, goal, cautious)[1])

    def danger(self, state: State) -> NDArray:
        hazard = state.factors["hazard"]
        return np.linalg.norm(state.values - hazard[:, :2], axis=1) < hazard[:, 2]

    def scene(self, state: State) -> NDArray[np.float32]:
        canvas, hazard = super().scene(state), state.factors["hazard"]
        some = np.flatnonzero(hazard[:, 2])
        if len(some):
            part, red = canvas[some], np.broadcast_to(DANGER, (len(some), 3))
            disc(part, hazard[some, :2], hazard[some, 2], red, self.arena)
            canvas[some] = part
        return canvas

    def _way(self, state: State, goal: State, cautious: ArrayLike = False) -> tuple[NDArray, NDArray]:
        """Length of the shortest way and its first point, by the door's corners and, with caution, round the hazard."""
        left, right, top, bottom = _faces(state.factors)
        start, end = state.values[:, None], goal.values[:, None]
        posts = [(x, y) for x in (left - 0.5, right + 0.5) for y in (top + 0.5, bottom - 0.5)]
        corners = np.stack([np.stack(post, -1) for post in posts], 1)
        barriers = self.barriers(state.factors)
        length, first = shortest(np.concatenate([start, corners, end], 1), barriers)
        hazard = state.factors["hazard"] + [0, 0, 0.5]
        shy = np.flatnonzero(np.broadcast_to(cautious, len(state)) & (hazard[:, 2] > 0.5))
        if len(shy):
            ring = _ring(hazard[shy], start[shy, 0], end[shy, 0])
            nodes = np.concatenate([start[shy], corners[shy], ring[0], end[shy]], 1)
            longer, other = shortest(nodes, barriers[shy], ring[1])
            found = np.isfinite(longer)
            length[shy[found]], first[shy[found]] = longer[found], other[found]
        return length, first


def _ring(hazard: NDArray, start: NDArray, end: NDArray) -> tuple[NDArray, NDArray]:
    """Corners of a way round each disc, `[n, 12, 2]`; the discs, shrunk where start or end lies inside, `[n, 3]`."""
    away = [np.linalg.norm(node - hazard[:, :2], axis=1) for node in (start, end)]
    radius = np.minimum(hazard[:, 2], np.minimum(*away) - 1e-6).clip(0)
    angle = np.arange(12) * np.pi / 6
    ring = np.stack([np.cos(angle), np.sin(angle)], -1) * (radius[:, None, None] / np.cos(np.pi / 12) + 0.1)
    return hazard[:, None, :2] + ring, np.column_stack([hazard[:, :2], radius])


def _faces(factors: Mapping[str, NDArray]) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """The wall's left and right face, the door's top and bottom; `[n]` each."""
    half, opening = factors["thickness"] / 2, factors["opening"]
    wall, door = factors["wall"], factors["door"]
    return wall - half, wall + half, door - opening, door + opening


def _within(factors: Mapping[str, NDArray], first: NDArray, rng: Generator) -> NDArray:
    """`[n, 2]` places uniform over the left room where `first`, else over the right one, out of hazards."""
    left, right = _faces(factors)[:2]
    low = np.where(first, LOW + MARGIN, right + MARGIN)
    high = np.where(first, left - MARGIN, HIGH - MARGIN)
    low, high = (
        np.stack([x, np.full_like(x, y)], 1) for x, y in ((low, LOW + MARGIN), (high, HIGH - MARGIN))
    )
    hazard = factors["hazard"]
    place, bad = np.empty_like(low), np.full(len(low), True)
    for _ in range(200):
        place[bad] = low[bad] + rng.random((int(bad.sum()), 2)) * (high - low)[bad]
        bad = np.linalg.norm(place - hazard[:, :2], axis=1) < hazard[:, 2] + 1
        if not bad.any():
            return place
    raise UserError(
        f"two-rooms: a hazard of radius {hazard[bad][0, 2]:g} leaves no place in its room; make it smaller"
    )
