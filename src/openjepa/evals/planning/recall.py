"""The content of an agent's short-term memory, kept to be looked at."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from openjepa.agent.memory import ShortTermMemory
from openjepa.worlds import State, World
from openjepa.worlds.pictures import Pixels

REMEMBERED = 1_000
"""The most moments of the memory whose place is kept."""
MOST = 2**31
"""Bytes of pictures that are unpacked at most."""
MOMENTS = 8
"""Moments that are shown as pictures, from the cheapest to the dearest."""


@dataclass(frozen=True, eq=False)
class Remembered:
    """The content of the short-term memory after the first group of episodes.

    Attributes:
        moments, capacity, episodes: moments, the most there can be, the episodes that they are of.
        places: `[N, 2]`, states of up to `REMEMBERED` moments on their first two principal axes.
        share: of the states' variance that these two hold, 0..1.
        costs: `[N]`, intrinsic, beside `places`.
        frames, prices: uint8 `[m, C, H, W]` and `[m]`, picture and intrinsic cost of some moments, cheapest first.
    """

    moments: int
    capacity: int
    episodes: int
    places: NDArray
    share: float
    costs: NDArray
    frames: Pixels
    prices: NDArray


def recall(
    memory: ShortTermMemory, world: World, states: Sequence[State], written: Sequence[tuple[int, int]]
) -> Remembered | None:
    """The content of a memory; `None` of fewer than three moments, which make no map.

    Args:
        states: of n worlds, step by step.
        written: step and row of every moment that was ever written, in that order.
    """
    if len(memory) < 3:
        return None
    entries = [written[i] for i in ring(len(written), memory.capacity)]
    some = np.unique(np.linspace(0, len(memory) - 1, min(len(memory), REMEMBERED)).astype(int))
    seen, costs = memory.states[some].flatten(1).double().cpu(), memory.costs.cpu()
    seen = seen - seen.mean(0)
    power, axes = torch.linalg.eigh(seen @ seen.T)
    order = costs.argsort().numpy()
    picked = order[np.linspace(0, len(order) - 1, min(MOMENTS, len(order))).astype(int)]
    pictured = [states[step].take([row]) for step, row in (entries[i] for i in picked)]
    return Remembered(
        moments=len(memory),
        capacity=memory.capacity,
        episodes=len({row for _, row in entries}),
        places=(axes[:, -2:] * power[-2:].clamp(min=0).sqrt()).flip(1).numpy(),
        share=float(power[-2:].sum() / power.sum().clamp(min=1e-12)),
        costs=costs[some].numpy(),
        frames=world.render(State.concatenate(pictured)),
        prices=costs[picked].numpy(),
    )


def ring(written: int, capacity: int) -> list[int]:
    """The number of the write that each place of a ring holds."""
    kept = min(written, capacity)
    return [written - 1 - (written - 1 - place) % capacity for place in range(kept)]


def packed(frames: Pixels) -> NDArray[np.uint8]:
    """Pictures compressed without loss: those of one episode are much alike. The four numbers of the shape go
    before."""
    shape = np.array(frames.shape, np.int32).tobytes()
    return np.frombuffer(shape + zlib.compress(frames.tobytes()), np.uint8).copy()


def unpacked(packed: NDArray[np.uint8]) -> Pixels:
    """The inverse. Raises ValueError where it is none."""
    shape = np.frombuffer(packed[:16].tobytes(), np.int32)
    size = int(np.prod(shape, dtype=np.float64))
    if not 0 <= size <= MOST:
        raise ValueError(f"pictures of shape {shape.tolist()}")
    pixels = zlib.decompressobj().decompress(packed[16:].tobytes(), size + 1)
    return np.frombuffer(bytearray(pixels), np.uint8).reshape(shape)
