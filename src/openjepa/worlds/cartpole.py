"""A pole on a cart on a rail: swing it up, balance it, bring it to a place. The action is a force.

Barto, Sutton & Anderson, 1983, without friction; force and success of the remote-control task of TS-JEPA
(arXiv:2406.04853): +-20 N, |x - x_d| <= 0.05 m and |theta| <= 0.05 rad. Its steps of 1 ms give identical consecutive
pictures, so ours are 20 ms, integrated in four; and the rail is 2.4 m long, so that 0.05 m is a pixel of 64.
A single picture shows no velocity: models need two.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from openjepa.errors import UserError
from openjepa.worlds import control, raster
from openjepa.worlds.actions import Box
from openjepa.worlds.base import World
from openjepa.worlds.factors import AGENTS, GROUNDS, WALLS, Factor, colour, numbers
from openjepa.worlds.registry import register
from openjepa.worlds.state import State

GRAVITY, CART, POLE = 9.81, 1.0, 0.1
"""m/s^2; masses of cart and pole, kg."""
LIMIT = 1.2
"""The cart's middle stays within this, m; the rail's ends stop it without bounce."""
FORCE = 20.0
"""Largest force, N."""
STEP, SUBSTEPS = 0.02, 4
"""Seconds between actions, and Runge-Kutta steps in between."""
TOLERANCE = 0.05
"""Tolerances of position, m, and angle, rad, at the goal."""
ARENA, SCALE = 64.0, 20.0
"""Units of the picture's side, and units a metre."""


@register("cart-pole")
@dataclass(frozen=True)
class CartPole(World):
    """The angle is 0 upright, positive to the right. Values are position, velocity, angle and angular velocity.

    Args:
        begin: where the pole is at first, hanging (swing it up) or within 0.2 rad of upright (balance it).
    """

    max_steps: int = 300
    begin: Literal["hanging", "upright"] = "hanging"

    variables: ClassVar[tuple[str, ...]] = ("position", "velocity", "sine", "cosine", "spin")
    """m, m/s, of the angle, of the angle, rad/s."""
    layout: ClassVar[tuple[str, ...]] = ("length",)
    difficulty: ClassVar[Mapping[str, Any]] = {"target": (-0.6, 0.6)}
    """Position where the cart should stand, m, from and to; upright and still."""

    def __post_init__(self) -> None:
        if self.begin not in ("hanging", "upright"):
            raise UserError(f"cart-pole: begin is 'hanging' or 'upright', not {self.begin!r}")
        super().__post_init__()

    @cached_property
    def actions(self) -> Box:
        return Box.symmetric(FORCE, 1)

    @cached_property
    def factors(self) -> Mapping[str, Factor]:
        return {
            "length": numbers("half the pole's length, m", 0.5, [0.45, 0.5, 0.55], [0.35, 0.6]),
            "ground_colour": colour("colour of the ground", GROUNDS),
            "cart_colour": colour("colour of cart and rail", WALLS),
            "pole_colour": colour("colour of the pole", AGENTS),
        }

    def start(self, factors: Mapping[str, NDArray], n: int, rng: Generator) -> NDArray:
        low, high = np.array([-0.6, -0.1, -0.2, -0.1]), np.array([0.6, 0.1, 0.2, 0.1])
        values = low + rng.random((n, 4)) * (high - low)
        values[:, 2] += np.pi if self.begin == "hanging" else 0
        return _wrapped(values)

    def advance(self, state: State, actions: NDArray, rng: Generator) -> NDArray:
        values, force, length = state.values, actions[:, 0], state.factors["length"]
        for _ in range(SUBSTEPS):
            values = _stopped(_runge_kutta(values, force, length, STEP / SUBSTEPS), length)
        return _wrapped(values)

    def observe(self, state: State) -> NDArray[np.float32]:
        x, velocity, angle, spin = state.values.T
        return np.stack([x, velocity, np.sin(angle), np.cos(angle), spin], 1).astype(np.float32)

    def settle(self, state: State, variables: NDArray) -> NDArray:
        x, velocity, sine, cosine, spin = variables.T
        if np.any(np.abs(x) > LIMIT + 1e-6):
            raise UserError(f"cart-pole: the rail ends at {LIMIT} m, position is {x[np.abs(x).argmax()]:g}")
        return np.stack([x.clip(-LIMIT, LIMIT), velocity, np.arctan2(sine, cosine), spin], 1)

    def propose(self, state: State, rng: Generator, wanted: Mapping[str, Any]) -> tuple[NDArray, NDArray]:
        low, high = wanted["target"]
        if not -LIMIT <= low <= high <= LIMIT:
            raise UserError(
                f"cart-pole: the rail is -{LIMIT}..{LIMIT} m, the target cannot be in {low:g}..{high:g}"
            )
        values = np.zeros((len(state), 4))
        values[:, 0] = low + (high - low) * rng.random(len(state))
        return values, np.ones(len(state), bool)

    def separation(self, state: State, goal: State) -> NDArray:
        """The greater of the errors in position and angle (m, rad): not a path's length, but zero at the goal alone."""
        return np.abs(_wrapped(state.values - goal.values)[:, [0, 2]]).max(1)

    def reached(self, state: State, goal: State) -> NDArray:
        return self.separation(state, goal) <= TOLERANCE

    def expert(self, state: State, goal: State, cautious: ArrayLike = False) -> NDArray[np.float32]:
        """Energy pumping while the pole is down, a linear regulator near the top."""
        force = control.force(_wrapped(state.values - goal.values * [1, 1, 0, 1]), state.factors["length"])
        return force.clip(-FORCE, FORCE).astype(np.float32)[:, None]

    def draw(self, state: State) -> NDArray[np.uint8]:
        factors, size = state.factors, self.size
        middle = ARENA / 2 - 0.5
        x, angle = middle + SCALE * state.values[:, 0], state.values[:, 2]
        pivot = np.stack([x, np.full_like(x, middle)], 1)
        along = np.stack([np.sin(angle), -np.cos(angle)], 1)
        tip = pivot + 2 * SCALE * factors["length"][:, None] * along
        ends = SCALE * LIMIT + 4
        rail = (
            np.array([[-ends, 2.5, ends, 3.5], [-ends - 2, -2.5, -ends, 5.5], [ends, -2.5, ends + 2, 5.5]])
            + middle
        )
        cart = np.stack([x - 4, pivot[:, 1] - 2.5, x + 4, pivot[:, 1] + 2.5], 1)[:, None]
        boxes = np.concatenate([np.broadcast_to(rail, (len(x), 3, 4)), cart], 1)
        canvas = raster.paint(
            raster.boxes_mask(boxes, size, ARENA), factors["ground_colour"], factors["cart_colour"]
        )
        pole = raster.capsule_mask(pivot, tip, np.full(len(x), 1.4), size, ARENA)
        raster.blend(canvas, pole, factors["pole_colour"])
        return raster.finish(canvas)


def energy(values: NDArray, length: ArrayLike) -> NDArray:
    """Kinetic and potential energy of cart and pole, J, `[n]`; zero for a still pole at the pivot's height."""
    _, v, angle, spin = values.T
    arm = POLE * np.asarray(length)
    kinetic = (CART + POLE) * v**2 / 2 + arm * v * spin * np.cos(angle) + 2 / 3 * arm * length * spin**2
    return kinetic + GRAVITY * arm * np.cos(angle)


def _slope(values: NDArray, force: NDArray, length: NDArray) -> NDArray:
    _, v, angle, spin = values.T
    sine, cosine, total = np.sin(angle), np.cos(angle), CART + POLE
    push = (force + POLE * length * spin**2 * sine) / total
    turn = (GRAVITY * sine - cosine * push) / (length * (4 / 3 - POLE * cosine**2 / total))
    return np.stack([v, push - POLE * length * turn * cosine / total, spin, turn], 1)


def _runge_kutta(values: NDArray, force: NDArray, length: NDArray, dt: float) -> NDArray:
    a = _slope(values, force, length)
    b = _slope(values + dt / 2 * a, force, length)
    c = _slope(values + dt / 2 * b, force, length)
    d = _slope(values + dt * c, force, length)
    return values + dt / 6 * (a + 2 * b + 2 * c + d)


def _stopped(values: NDArray, length: NDArray) -> NDArray:
    """At the rail's end an impulse on the cart takes its velocity; the pole's follows from the coupled masses."""
    x, v, angle, spin = values.T
    out = (np.abs(x) > LIMIT) & (x * v > 0)
    kick = np.where(out, v, 0)
    return np.stack([x.clip(-LIMIT, LIMIT), v - kick, angle, spin + 0.75 * np.cos(angle) / length * kick], 1)


def _wrapped(values: NDArray) -> NDArray:
    """The angle in -pi..pi."""
    wrapped = values.copy()
    wrapped[:, 2] = (values[:, 2] + np.pi) % (2 * np.pi) - np.pi
    return wrapped
