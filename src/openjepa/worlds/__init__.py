"""Worlds to act in: simulators with pictures, policies that collect, an oracle that knows the truth.

Where Gymnasium is installed, `gymnasium.make("openjepa/TwoRooms-v0")` and its like work once this is imported.
"""

from importlib.util import find_spec

from openjepa.worlds.arm import Arm
from openjepa.worlds.base import Box, State, World
from openjepa.worlds.branch import Branch
from openjepa.worlds.cartpole import CartPole
from openjepa.worlds.maze import Maze
from openjepa.worlds.opening import open_world
from openjepa.worlds.oracle import Oracle
from openjepa.worlds.policies import (
    BehaviourPolicy,
    LegWalk,
    PerturbedExpert,
    Random,
    RandomWalk,
    Scripted,
    WallSeekingWalk,
)
from openjepa.worlds.registry import make, names, register
from openjepa.worlds.two_rooms import TwoRooms

if find_spec("gymnasium"):
    from openjepa.worlds.gym import register_all

    register_all()

__all__ = [
    "Arm",
    "BehaviourPolicy",
    "Box",
    "Branch",
    "CartPole",
    "LegWalk",
    "Maze",
    "Oracle",
    "PerturbedExpert",
    "Random",
    "RandomWalk",
    "Scripted",
    "State",
    "TwoRooms",
    "WallSeekingWalk",
    "World",
    "make",
    "names",
    "open_world",
    "register",
]
