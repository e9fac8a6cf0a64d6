"""A world small enough for tests: a bright dot on 16 x 16 pixels that goes where the action tells it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openjepa.signals.frames import Window
from openjepa.worlds.actions import Box
from openjepa.worlds.episodes import Episodes
from openjepa.worlds.records import Raw, settle

SIDE = 16
SIZES = {
    "signal.size": 16,
    "encoder.channels": [8, 8],
    "encoder.blocks": 0,
    "encoder.width": 16,
    "train.steps": 10,
    "train.batch_size": 8,
    "train.precision": "fp32",
    "train.save_every": 0.3,
    "train.health_every": 0.5,
}
PLAN = {
    "planner": "cem",
    "cost.prediction_error": "0",
    "planner.samples": "8",
    "planner.iterations": "2",
    "planner.elites": "4",
    "planner.horizon": "3",
    "oracle.samples": "4",
    "oracle.elites": "2",
    "oracle.iterations": "1",
    "cloning.frames": "30",
    "cloning.updates": "3",
    "cloning.hidden": "8",
    "episodes": "3",
}
"""A protocol of seconds, as on the command line."""
OF_RECIPE = {
    "pldm": {
        "signal.block": 1,
        "hiding.frames": 5,
        "hiding.forced": False,
        "hiding.rollout": 3,
        "encoder.patch": 1,
        "predictor": "gru",
        "terms.inverse_hidden": 16,
        "terms.motion": 0.1,
    },
    "lewm": {
        "signal.block": 2,
        "head.hidden": 16,
        "head.width": 8,
        "predictor.depth": 1,
        "predictor.heads": 2,
        "predictor.head_width": 8,
        "predictor.hidden": 16,
        "guard.slices": 16,
    },
    "latent-action": {
        "hiding.frames": 5,
        "hiding.rollout": 3,
        "signal.block": 1,
        "terms.inverse_hidden": 16,
        "condition.latent.hidden": 16,
    },
    "mixture": {
        "hiding.frames": 5,
        "hiding.rollout": 3,
        "signal.block": 1,
        "terms.inverse_hidden": 16,
        "condition.latent.hidden": 16,
        "condition.latent.heads": 3,
    },
    "remote-jepa": {"hiding.frames": 5, "hiding.rollout": 3, "predictor.hidden": [16]},
}
OF_RECIPE["h-jepa"] = OF_RECIPE["pldm"] | {
    "level2.span": 2,
    "level2.steps": 2,
    "level2.lift.hidden": [8],
    "level2.lift.width": 4,
    "level2.macro.width": 2,
    "level2.macro.hidden": [8],
    "level2.predictor.hidden": [8],
}
RECIPES = list(OF_RECIPE)


def options(recipe: str, **changes: object) -> dict[str, object]:
    """Dotted options; in keywords, `train__lr` stands for `train.lr`."""
    return SIZES | OF_RECIPE[recipe] | {name.replace("__", "."): value for name, value in changes.items()}


@dataclass(frozen=True)
class Drawn:
    """Frames drawn when asked for; number i is episode i."""

    places: list[NDArray]

    def frames(self, number: int, first: int, stop: int) -> NDArray[np.uint8]:
        return draw(self.places[number][first:stop])

    def info(self, number: int) -> dict[str, Any]:
        return {}


def draw(places: NDArray) -> NDArray[np.uint8]:
    """`[N, 2]` places in 0..16 to `[N, 3, 16, 16]`."""
    row, column = np.mgrid[:SIDE, :SIDE] + 0.5
    off = (column - places[:, :1, None]) ** 2 + (row - places[:, 1:, None]) ** 2
    return np.repeat((255 * np.exp(-off / 4)).astype(np.uint8)[:, None], 3, 1)


def episodes(count: int = 20, steps: int = 12, seed: int = 0) -> Episodes:
    """Random walks; actions are 2 numbers in -1..1."""
    random = np.random.default_rng(seed)
    raws, walks = [], []
    for i in range(count):
        actions = random.uniform(-1, 1, (steps, 2)).astype(np.float32)
        walk = random.uniform(4, 12, 2) + np.cumsum(np.concatenate([np.zeros((1, 2)), actions]), 0)
        walks.append(walk)
        raws.append(Raw(f"walk {i}", steps + 1, actions, walk.astype(np.float32)))
    return Episodes(settle("dots", raws, Drawn(walks), [], Box.symmetric(1.0, 2), variables=("x", "y")))


def windows(count: int = 12, frames: int = 5, block: int = 1) -> Window:
    """Of as many episodes, evenly spread."""
    cut = episodes(20).windows(frames, block)
    return cut.read(torch.linspace(0, len(cut) - 1, count).long())


def frames_of(count: int = 6) -> Tensor:
    """uint8 `[count, 3, 16, 16]`."""
    return windows(count, 1).frames[:, 0]
