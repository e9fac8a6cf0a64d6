"""An arm of two links with a gripper, moved as DROID's robots are: by differences of the hand's pose.

The state is the hand's pose (x, y, opening of the gripper), an action what is to be added to it, as in V-JEPA 2-AC
(arXiv:2506.09985; there in space, with three angles). The hand moves within a convex workspace: what leads out of it is
cut. The joints follow from the pose, so that the picture shows all of the state: two links have one way, on the given
side of the elbow, to put the hand at a place.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from openjepa.errors import UserError
from openjepa.worlds import raster
from openjepa.worlds.actions import Box
from openjepa.worlds.base import World
from openjepa.worlds.factors import AGENTS, GROUNDS, WALLS, Factor, colour, numbers
from openjepa.worlds.registry import register
from openjepa.worlds.state import State

ARENA = 64.0
"""Units of the picture's side. Places are measured from the shoulder, x to the right and y up."""
SHOULDER = 31.5, 59.0
"""The shoulder's place in the picture, whose rows go down."""
FOREARM = 24.0
SIDE, LOW, HIGH = 26.0, 12.0, 50.0
"""The workspace: x in -SIDE..SIDE, y in LOW..HIGH, and a unit short of the stretched arm."""
STRIDE, TURN = 2.5, 0.25
"""Largest step of the hand along an axis, units, and of the gripper, whose opening is 0..1."""
OPENING = 10.0
"""Units that opening the gripper counts as, in distances."""
NEAR = 3.0
"""Success is to be closer than this to the goal."""
ROUNDS = 100
"""Attempts to draw a goal at the asked distance."""


@register("arm")
@dataclass(frozen=True)
class Arm(World):
    """Starts and goals are anywhere in the workspace, goals at least `distance` away."""

    max_steps: int = 60

    variables: ClassVar[tuple[str, ...]] = ("x", "y", "opening")
    layout: ClassVar[tuple[str, ...]] = ("upper", "elbow")
    difficulty: ClassVar[Mapping[str, Any]] = {"distance": (8.0, np.inf)}
    """Distance of the goal from the start, from and to."""

    @cached_property
    def actions(self) -> Box:
        high = np.array([STRIDE, STRIDE, TURN], np.float32)
        return Box(-high, high)

    @cached_property
    def factors(self) -> Mapping[str, Factor]:
        return {
            "upper": numbers("length of the upper arm, units", 28, [26, 28, 30], [24, 32]),
            "elbow": numbers("side of the elbow, -1 left or 1 right of the hand", 1, [-1, 1], []),
            "ground_colour": colour("colour of the ground", GROUNDS),
            "base_colour": colour("colour of base and gripper", WALLS),
            "arm_colour": colour("colour of the arm", AGENTS),
        }

    def start(self, factors: Mapping[str, NDArray], n: int, rng: Generator) -> NDArray:
        return _anywhere(factors["upper"], rng)

    def advance(self, state: State, actions: NDArray, rng: Generator) -> NDArray:
        return _within(state.values + actions, state.factors["upper"])

    def settle(self, state: State, variables: NDArray) -> NDArray:
        inside = _within(variables, state.factors["upper"])
        out = np.abs(inside - variables).max(1) > 1e-3
        if out.any():
            x, y, opening = variables[out][0]
            raise UserError(
                f"arm: the hand cannot be at ({x:g}, {y:g}) with opening {opening:g}: x is -{SIDE:g}..{SIDE:g}, "
                f"y {LOW:g}..{HIGH:g}, within the arm's reach, and opening 0..1"
            )
        return inside

    def propose(self, state: State, rng: Generator, wanted: Mapping[str, Any]) -> tuple[NDArray, NDArray]:
        (low, high), values = wanted["distance"], state.values.copy()
        bad = np.full(len(values), True)
        for _ in range(ROUNDS):
            values[bad] = _anywhere(state.factors["upper"][bad], rng)
            length = self.separation(state, State(values, state.factors))
            bad = (length < low) | (length > high)
            if not bad.any():
                break
        return values, ~bad

    def separation(self, state: State, goal: State) -> NDArray:
        """Units in a straight line, which the convex workspace leaves free; the gripper's opening counts as a third
        axis."""
        return np.linalg.norm((goal.values - state.values) * [1, 1, OPENING], axis=1)

    def reached(self, state: State, goal: State) -> NDArray:
        return self.separation(state, goal) < NEAR

    def expert(self, state: State, goal: State, cautious: ArrayLike = False) -> NDArray[np.float32]:
        """Straight ahead, as far as one step can."""
        way = goal.values - state.values
        way[:, :2] *= np.minimum(1, STRIDE / np.maximum(np.abs(way[:, :2]).max(1, keepdims=True), 1e-9))
        return self.actions.clip(way)

    def joints(self, state: State) -> NDArray:
        """Angles of the upper arm, from the x axis, and of the forearm, from the upper arm; rad, `[n, 2]`."""
        x, y = state.values[:, 0], state.values[:, 1]
        upper, square = state.factors["upper"], x**2 + y**2
        bend = np.arccos(((square - upper**2 - FOREARM**2) / (2 * upper * FOREARM)).clip(-1, 1))
        bend *= state.factors["elbow"]
        lean = np.arctan2(FOREARM * np.sin(bend), upper + FOREARM * np.cos(bend))
        return np.stack([np.arctan2(y, x) - lean, bend], 1)

    def draw(self, state: State) -> NDArray[np.uint8]:
        factors, size, n = state.factors, self.size, len(state)
        first = self.joints(state)[:, :1]
        elbow = factors["upper"][:, None] * np.concatenate([np.cos(first), np.sin(first)], 1)
        hand = state.values[:, :2]
        along = (hand - elbow) / FOREARM
        apart = np.stack([-along[:, 1], along[:, 0]], 1) * (1 + 3 * state.values[:, 2:])
        x, y = SHOULDER
        base = np.array([[0, y + 2, ARENA, ARENA], [x - 5, y - 2, x + 5, y + 2]])
        mask = raster.boxes_mask(np.broadcast_to(base, (n, 2, 4)), size, ARENA)
        canvas = raster.paint(mask, factors["ground_colour"], factors["base_colour"])
        links = [
            (np.zeros_like(hand), elbow, 2.5, "arm_colour"),
            (elbow, hand - 3 * along, 1.8, "arm_colour"),
            (hand - 3 * along - apart, hand - 3 * along + apart, 1.0, "base_colour"),
            (hand - 3 * along - apart, hand + along - apart, 1.0, "base_colour"),
            (hand - 3 * along + apart, hand + along + apart, 1.0, "base_colour"),
        ]
        for begin, end, radius, paint in links:
            link = raster.capsule_mask(_seen(begin), _seen(end), np.full(n, radius), size, ARENA)
            raster.blend(canvas, link, factors[paint])
        return raster.finish(canvas)


def _seen(place: NDArray) -> NDArray:
    """Places in the picture."""
    return SHOULDER + place * [1, -1]


def _within(values: NDArray, upper: NDArray) -> NDArray:
    """Poses cut to the workspace."""
    inside = np.clip(values, [-SIDE, LOW, 0], [SIDE, HIGH, 1])
    far = np.linalg.norm(inside[:, :2], axis=1)
    inside[:, :2] *= np.minimum(1, (upper + FOREARM - 1) / far)[:, None]
    return inside


def _anywhere(upper: NDArray, rng: Generator) -> NDArray:
    """Poses uniform over the workspace."""
    values, bad = np.empty((len(upper), 3)), np.full(len(upper), True)
    low, high = np.array([-SIDE, LOW, 0]), np.array([SIDE, HIGH, 1])
    while bad.any():
        values[bad] = low + rng.random((int(bad.sum()), 3)) * (high - low)
        bad = np.linalg.norm(values[:, :2], axis=1) > upper + FOREARM - 1
    return values
