"""Worlds in which a point moves on a plane among walls."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from openjepa.errors import UserError
from openjepa.worlds.actions import Box
from openjepa.worlds.base import World
from openjepa.worlds.factors import AGENTS, GROUNDS, WALLS, Factor, colour, numbers
from openjepa.worlds.geometry import SKIN, inside, travel
from openjepa.worlds.raster import boxes_mask, disc, finish, paint
from openjepa.worlds.state import State


@dataclass(frozen=True)
class Planar(World):
    """A disc on a plane, seen from above; an action is its displacement, cut where it meets a wall.

    Args:
        headings: 0 for continuous displacements; else that many discrete actions, steps of `stride` in as many
            directions, the first to the right and on towards the bottom.
    """

    headings: int = 0

    arena: ClassVar[float] = 64.0
    """Side of the square world, units; the published Two-Rooms frames have a pixel for each."""
    stride: ClassVar[float] = 2.45
    """Largest displacement along an axis in a step, units (EB-JEPA's planner bound)."""
    near: ClassVar[float] = 4.5
    """Success is to be closer than this to the goal, units (EB-JEPA, from DINO-WM's wall environment)."""
    slides: ClassVar[bool] = False
    """Whether what is left of a step goes on along the wall."""
    variables: ClassVar[tuple[str, ...]] = ("x", "y")

    @abstractmethod
    def boxes(self, factors: Mapping[str, NDArray]) -> NDArray:
        """The walls, `[n, R, 4]` as left, top, right, bottom."""

    def barriers(self, factors: Mapping[str, NDArray]) -> NDArray:
        """Boxes that the agent's centre cannot enter, `[n, R, 4]`; the walls themselves unless it has a size."""
        return self.boxes(factors)

    @cached_property
    def actions(self) -> Box | int:
        return self.headings or Box.symmetric(self.stride, 2)

    @property
    def looks(self) -> dict[str, Factor]:
        """Factors of every planar world."""
        return {
            "ground_colour": colour("colour of the ground", GROUNDS),
            "wall_colour": colour("colour of the walls", WALLS),
            "agent_colour": colour("colour of the agent", AGENTS),
            "agent_radius": numbers("the agent's radius, units", 2.5, [2.25, 2.5, 2.75], [1.75, 3.25]),
        }

    def displacement(self, actions: NDArray) -> NDArray:
        """`[n, 2]` units."""
        if not self.headings:
            return actions
        angle = 2 * np.pi * actions / self.headings
        return self.stride * np.stack([np.cos(angle), np.sin(angle)], 1)

    def towards(self, state: State, point: NDArray) -> NDArray:
        """The action that goes straight to a point `[n, 2]`, as far as one step can."""
        way = point - state.values[:, :2]
        if self.headings:
            angle = np.arctan2(way[:, 1], way[:, 0])
            return np.round(angle / (2 * np.pi) * self.headings).astype(np.int64) % self.headings
        way *= np.minimum(1, self.stride / np.maximum(np.abs(way).max(1, keepdims=True), 1e-9))
        return way.astype(np.float32)

    def advance(self, state: State, actions: NDArray, rng: Generator) -> NDArray:
        step = self.displacement(actions)
        return travel(state.values, step, self.barriers(state.factors), self.slides)

    def settle(self, state: State, variables: NDArray) -> NDArray:
        barriers = self.barriers(state.factors)
        stuck = inside(variables[:, :2], barriers + SKIN * np.array([1, 1, -1, -1]))
        if stuck.any():
            x, y = variables[stuck][0, :2]
            raise UserError(f"{self.name}: nothing can be at ({x:g}, {y:g}), inside a wall")
        return variables

    def reached(self, state: State, goal: State) -> NDArray:
        return np.linalg.norm(state.values[:, :2] - goal.values[:, :2], axis=1) < self.near

    def draw(self, state: State) -> NDArray[np.uint8]:
        canvas = self.scene(state)
        factors = state.factors
        disc(canvas, state.values[:, :2], factors["agent_radius"], factors["agent_colour"], self.arena)
        return finish(canvas)

    def scene(self, state: State) -> NDArray[np.float32]:
        """A canvas with everything but the agent."""
        mask = boxes_mask(self.boxes(state.factors), self.size, self.arena)
        return paint(mask, state.factors["ground_colour"], state.factors["wall_colour"])
