"""Storing episodes where no file may become longer than so many bytes; a line for each limit, how its processes ended.

Such a file is refused as on a full disk, but for the number of the error. Each limit has processes of its own, forked.
"""

import ctypes
import os
import resource
import sys
from pathlib import Path

import numpy as np

from openjepa.errors import UserError
from openjepa.worlds.actions import Box
from openjepa.worlds.episodes import Episode
from openjepa.worlds.store import Store
from openjepa.worlds.truncated import import_h5py

EPISODES, TOGETHER, STEPS = 12, 4, 20


def collect(out: Path, episodes: int, limit: int = resource.RLIM_INFINITY) -> int:
    """The status that a process for it ends with."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        store = Store(out, (3, 16, 16), Box.symmetric(9.0, 2), ("place",))
        while len(store) < episodes:
            store.add([made(number) for number in range(len(store), min(len(store) + TOGETHER, episodes))])
        store.finish()
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        return ctypes.CDLL(None).exit(
            2
        )  # HDF5 tidies up, but not all of Python and torch, which takes a second
    return ctypes.CDLL(None).exit(0)


def made(number: int) -> Episode:
    rng = np.random.default_rng(number)
    frames = rng.integers(0, 256, (STEPS + 1, 3, 16, 16), np.uint8)
    actions, state = rng.normal(size=(STEPS, 2)), rng.normal(size=(STEPS + 1, 1))
    return Episode(frames, actions.astype(np.float32), state.astype(np.float32), {"seed": number})


if __name__ == "__main__":
    import_h5py(Path())  # once, not in every process
    folder, begun = Path(sys.argv[1]), int(sys.argv[2])
    for limit in sys.argv[3:]:
        out = folder / f"{begun}-{limit}"
        before = collect(out, begun) if begun else 0
        ended = collect(out, EPISODES, int(limit))
        left = [path.name for path in out.rglob("*.partial")]
        sys.stdout.write(" ".join(map(str, [limit, before, ended, collect(out, EPISODES), *left])) + "\n")
        sys.stdout.flush()
