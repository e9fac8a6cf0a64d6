"""Minari's layout: `data/main_data.hdf5`, a group an episode, and `data/metadata.json`.

Minari reads what `store` writes (`minari.MinariDataset(folder / "data")`, from version 0.5 on), and what Minari's own
collector has written is read here, if its observations hold pictures. `store` puts frames into `observations/frame`,
`[T+1, C, H, W]`, and physical variables into `observations/state`.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from openjepa.errors import UserError
from openjepa.worlds.actions import Box
from openjepa.worlds.hdf5 import read_files
from openjepa.worlds.records import Progress, Recording, settle
from openjepa.worlds.truncated import open_hdf5

MAIN, METADATA, PARTS = "data/main_data.hdf5", "data/metadata.json", "parts"
VERSION = "0.5.0"
"""The first version of Minari with this layout."""


def number_of(group: str) -> int:
    """12 of `episode_12`."""
    return int(group.rsplit("_", 1)[-1])


def describe(
    frame: tuple[int, int, int], actions: Box | int, variables: Sequence[str], about: Mapping[str, Any]
) -> dict[str, Any]:
    """The metadata of a folder without episodes; `about` must be plain data."""
    spaces = {"frame": _box(np.zeros(frame, np.uint8), np.full(frame, 255, np.uint8))}
    if variables:
        bound = np.full(len(variables), np.inf, np.float32)
        spaces["state"] = _box(-bound, bound)
    discrete = {"type": "Discrete", "dtype": "int64", "start": 0, "n": actions}
    action = discrete if isinstance(actions, int) else _box(actions.low, actions.high)
    names = [str(about.get(key) or default) for key, default in (("world", "episodes"), ("policy", "any"))]
    return {
        "dataset_id": "/".join("".join(c if c.isalnum() else "-" for c in name) for name in names) + "-v0",
        "data_format": "hdf5",
        "jpeg_encoding": False,
        "minari_version": VERSION,
        "observation_space": json.dumps({"type": "Dict", "subspaces": spaces}),
        "action_space": json.dumps(action),
        "algorithm_name": names[1],
        "total_episodes": 0,
        "total_steps": 0,
        "openjepa": json.loads(json.dumps({**about, "frame": frame, "variables": list(variables)})),
    }


def open_minari(folder: Path, names: Mapping[str, str], progress: Progress | None) -> Recording:
    """Episodes of a folder that `Store` or Minari wrote, finished or not; `folder` is the one above `data`.

    Raises:
        UserError: see `hdf5.read_files`; or the folder is of a kind that is not read, such as Minari's arrow files.
    """
    about = _metadata(folder)
    if about.get("data_format", "hdf5") != "hdf5":
        raise UserError(
            f"{folder} is a Minari data set of format {about['data_format']!r}: only 'hdf5' is read, so record it with "
            "data_format='hdf5'"
        )
    files, parts = [folder / MAIN], sorted((folder / PARTS).glob("*.hdf5"))
    if not files[0].exists():
        files = []
    elif parts:  # an extension that has not been finished
        with open_hdf5(files[0]) as main:
            parts = [part for part in parts if f"episode_{int(part.stem)}" not in main]
    ours, space = about.get("openjepa", {}), json.loads(about.get("action_space", "{}"))
    expected = about.get("total_episodes")
    if ours:
        names = {"frames": "observations/frame", "actions": "actions", **names}
        if ours.get("variables"):
            names = {"state": "observations/state", **names}
    found, source, skipped = read_files(str(folder), [*files, *parts], names, expected, progress)
    return settle(
        str(folder),
        found,
        source,
        skipped,
        _actions(folder, space),
        first=space.get("start", 0),
        variables=tuple(ours.get("variables", ())),
        about=ours,
    )


def _metadata(folder: Path) -> dict[str, Any]:
    path = folder / METADATA
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} is truncated or not JSON ({error}); restore it, or remove it to go without"
        ) from None


def _actions(folder: Path, space: Mapping[str, Any]) -> Box | int | None:
    kind = space.get("type")
    if kind == "Discrete":
        return int(space["n"])
    if kind == "Box":
        return Box(*(np.asarray(space[side], np.float32).ravel() for side in ("low", "high")))
    if kind is None:
        return None
    raise UserError(f"{folder} has actions of the kind {kind}: only Box and Discrete are read")


def _box(low: np.ndarray, high: np.ndarray) -> dict[str, Any]:
    return {
        "type": "Box",
        "dtype": str(low.dtype),
        "shape": list(low.shape),
        "low": low.tolist(),
        "high": high.tolist(),
    }
