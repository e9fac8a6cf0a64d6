"""Small sets of episodes on disk, in each layout that is read."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from openjepa.worlds.actions import Box
from openjepa.worlds.store import Store

from .sets import SIDE, episode, frames_of

LENGTHS = (5, 4, 6)


def actions_of(lengths: Sequence[int] = LENGTHS) -> list[np.ndarray]:
    """Random ones, `[T, 2]` each."""
    rng = np.random.default_rng(0)
    return [rng.normal(size=(length, 2)).astype(np.float32) for length in lengths]


def ours(folder: Path, actions: list[np.ndarray] | None = None) -> Path:
    """As `collect` writes it."""
    store = Store(folder, (3, SIDE, SIDE), Box.symmetric(9.0, 2), ("place",), {"world": "line"})
    made = [episode(i, len(rows)) for i, rows in enumerate(actions or actions_of())]
    for one, rows in zip(made, actions or actions_of(), strict=True):
        one.actions[:] = rows
    store.add(made)
    store.finish()
    return folder


def minari(folder: Path, actions: list[np.ndarray] | None = None) -> Path:
    """As somebody else's collector writes it."""
    ours(folder, actions)
    metadata = folder / "data" / "metadata.json"
    data = json.loads(metadata.read_text())
    del data["openjepa"]
    metadata.write_text(json.dumps(data))
    return folder


def robomimic(path: Path, actions: list[np.ndarray] | None = None, **more: str) -> Path:
    """A group an episode, `data/demo_0`; `more` names further cameras."""
    import h5py

    with h5py.File(path, "w") as file:
        for i, rows in enumerate(actions or actions_of()):
            group = file.create_group(f"data/demo_{i}")
            pictures = np.moveaxis(frames_of(i, len(rows) + 1), 1, -1)
            group["obs/front_image"], group["next_obs/front_image"] = pictures[:-1], pictures[1:]
            group["actions"], group["obs/joints"] = rows, np.zeros((len(rows), 3), np.float32)
            for name in more.values():
                group[name] = pictures[:-1][:, ::-1]
    return path


def flat(path: Path, actions: list[np.ndarray] | None = None) -> Path:
    """All rows end to end, with `ep_len` and `ep_offset`."""
    import h5py

    rows = actions or actions_of()
    counts = [len(one) for one in rows]
    with h5py.File(path, "w") as file:
        file["pixels"] = np.concatenate([np.moveaxis(frames_of(i, n), 1, -1) for i, n in enumerate(counts)])
        file["action"], file["ep_len"] = np.concatenate(rows), np.array(counts)
        file["ep_offset"] = np.cumsum(counts) - counts
    return path


def png(pixels: np.ndarray) -> bytes:
    """Of `[C, H, W]`."""
    out = io.BytesIO()
    Image.fromarray(np.moveaxis(pixels, 0, -1)).save(out, "png")
    return out.getvalue()


def lerobot(folder: Path, actions: list[np.ndarray] | None = None, image: Any = None) -> Path:
    """One file an episode; `image(number, step, bytes)` may replace what stands for a picture."""
    import pyarrow
    import pyarrow.parquet

    (folder / "data/chunk-000").mkdir(parents=True)
    (folder / "meta").mkdir()
    rows = actions or actions_of()
    kinds = {"observation.image": "image", "action": "float32", "observation.state": "float32"}
    features: dict[str, Any] = {key: {"dtype": kind} for key, kind in kinds.items()}
    features["observation.state"]["names"] = ["place"]
    info = {"codebase_version": "v2.1", "total_episodes": len(rows), "features": features, "fps": 10}
    (folder / "meta/info.json").write_text(json.dumps(info))
    for i, taken in enumerate(rows):
        encoded = [png(frame) for frame in frames_of(i, len(taken))]
        made = image or (lambda number, step, data: {"bytes": data, "path": None})
        table = pyarrow.table(
            {
                "observation.image": [made(i, t, data) for t, data in enumerate(encoded)],
                "action": taken.tolist(),
                "observation.state": [[float(t)] for t in range(len(taken))],
                "episode_index": [i] * len(taken),
                "frame_index": list(range(len(taken))),
            }
        )
        pyarrow.parquet.write_table(table, folder / f"data/chunk-000/episode_{i:06d}.parquet")
    return folder


WRITERS = {
    "ours": ours,
    "minari": minari,
    "robomimic": lambda path, actions=None: robomimic(path.with_suffix(".hdf5"), actions),
    "flat": lambda path, actions=None: flat(path.with_suffix(".h5"), actions),
    "lerobot": lerobot,
}
"""By layout; each gives the path to open."""
