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
from openjepa.worlds.policies import BoldWalk, Clumsy, Policy, Random, RandomWalk, Scripted, WideWalk
from openjepa.worlds.registry import make, names, register
from openjepa.worlds.two_rooms import TwoRooms

if find_spec("gymnasium"):
    from openjepa.worlds.gym import register_all

    register_all()

__all__ = [
    "Arm",
    "BoldWalk",
    "Box",
    "Branch",
    "CartPole",
    "Clumsy",
    "Maze",
    "Oracle",
    "Policy",
    "Random",
    "RandomWalk",
    "Scripted",
    "State",
    "TwoRooms",
    "WideWalk",
    "World",
    "make",
    "names",
    "open_world",
    "register",
]
