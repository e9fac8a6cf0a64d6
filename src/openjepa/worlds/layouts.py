"""Maze layouts: perfect mazes on a grid of rooms, by number."""

from collections import deque
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from openjepa.errors import UserError


@dataclass(frozen=True, eq=False)
class Layouts:
    """L different mazes of `rooms` x `rooms` rooms, room `r` in row `r // rooms`; there is one way between any two.

    Attributes:
        rooms: rooms along a side.
        doors: `[L, R, R]` bool, whether one steps from room to room.
        steps: `[L, R, R]`, rooms on the way from one to another (0 for the same).
        following: `[L, R, R]`, the next room on that way.
        turns: `[L, R, R]`, changes of direction on it.
    """

    rooms: int
    doors: NDArray[np.bool_]
    steps: NDArray[np.int64]
    following: NDArray[np.int64]
    turns: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.doors)

    def closed(self) -> tuple[NDArray, NDArray]:
        """Neighbouring rooms between which there is a wall: `[L, (rooms - 1)^2]` each."""
        edges = _edges(self.rooms)
        shut = ~self.doors[:, edges[:, 0], edges[:, 1]]
        chosen = np.stack([edges[row] for row in shut])
        return chosen[..., 0], chosen[..., 1]


@lru_cache(maxsize=16)
def layouts(rooms: int, count: int) -> Layouts:
    """The first `count` mazes of this size, all different; 2 x 2 rooms make four, the U in its four rotations.

    Raises:
        UserError: there are fewer.
    """
    found: dict[bytes, NDArray] = {}
    for number in range(20 * count + 200):
        doors = _grow(rooms, np.random.default_rng([rooms, number]))
        found.setdefault(doors.tobytes(), doors)
        if len(found) == count:
            break
    else:
        raise UserError(
            f"maze: only {len(found)} different layouts of {rooms} x {rooms} rooms found, not {count}"
        )
    doors = np.stack(list(found.values()))
    tables = [np.stack(table) for table in zip(*(_ways(one, rooms) for one in doors), strict=True)]
    return Layouts(rooms, doors, *tables)


def _edges(rooms: int) -> NDArray[np.int64]:
    """Pairs of neighbouring rooms, `[2 rooms (rooms - 1), 2]`."""
    room = np.arange(rooms * rooms).reshape(rooms, rooms)
    across = np.stack([room[:, :-1].ravel(), room[:, 1:].ravel()], 1)
    down = np.stack([room[:-1].ravel(), room[1:].ravel()], 1)
    return np.concatenate([across, down])


def _grow(rooms: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """A random spanning tree by depth-first search, which makes long winding ways; `[R, R]` symmetric."""
    count = rooms * rooms
    edges = _edges(rooms)
    near = np.zeros((count, count), bool)
    near[edges[:, 0], edges[:, 1]] = near[edges[:, 1], edges[:, 0]] = True
    doors, visited = np.zeros_like(near), np.zeros(count, bool)
    way = [int(rng.integers(count))]
    visited[way[0]] = True
    while way:
        fresh = np.flatnonzero(near[way[-1]] & ~visited)
        if len(fresh) == 0:
            way.pop()
            continue
        room = int(rng.choice(fresh))
        doors[way[-1], room] = doors[room, way[-1]] = visited[room] = True
        way.append(room)
    return doors


def _ways(doors: NDArray[np.bool_], rooms: int) -> tuple[NDArray, NDArray, NDArray]:
    """Breadth-first search from every room: steps, following room and turns, `[R, R]` each."""
    count = len(doors)
    steps, turns = np.zeros((count, count), np.int64), np.zeros((count, count), np.int64)
    following = np.tile(np.arange(count), (count, 1))
    for goal in range(count):
        queue, seen = deque([goal]), {goal}
        while queue:
            room = queue.popleft()
            for other in np.flatnonzero(doors[room]).tolist():
                if other in seen:
                    continue
                seen.add(other)
                queue.append(other)
                steps[other, goal] = steps[room, goal] + 1
                following[other, goal] = room
                bend = room != goal and room - other != following[room, goal] - room
                turns[other, goal] = turns[room, goal] + bend
    return steps, following, turns
