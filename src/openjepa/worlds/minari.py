"""Minari's layout: `data/main_data.hdf5`, a group an episode, and `data/metadata.json`.

Minari reads what `store` writes (`minari.MinariDataset(folder / "data")`, from version 0.5 on), and what Minari's own
collector has written is read here, if its observations hold pictures. `store` puts frames into `observations/frame`,
`[T+1, C, H, W]`, and physical variables into `observations/state`.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from openjepa.common.reach import fitting, inside, parse_json, read_json
from openjepa.errors import UserError
from openjepa.worlds.actions import Box
from openjepa.worlds.fields import Asked
from openjepa.worlds.hdf5 import read_files
from openjepa.worlds.records import CHOICES, EPISODES, EpisodeRecording, Progress, settle
from openjepa.worlds.truncated import open_hdf5

MAIN, METADATA, PARTS = "data/main_data.hdf5", "data/metadata.json", "parts"
VERSION = "0.5.0"
"""The first version of Minari with this layout."""


class ActionMetadata(BaseModel):
    """Gymnasium's space of actions, as Minari writes it down."""

    type: str | None = None
    n: int | None = Field(None, ge=1, le=CHOICES)
    start: int = Field(0, ge=-(2**31), le=2**31)
    low: Any = None
    high: Any = None

    def actions(self, folder: Path) -> Box | int | None:
        """Raises UserError for another kind of space, or one that cannot be."""
        if self.type is None:
            return None
        if self.type not in ("Discrete", "Box"):
            raise UserError(f"{folder} has actions of the kind {self.type}: only Box and Discrete are read")
        if self.type == "Discrete" and self.n is not None:
            return self.n
        try:
            with np.errstate(over="ignore"):
                low, high = (np.asarray(side, np.float32).ravel() for side in (self.low, self.high))
            if self.type == "Box" and low.shape == high.shape and (low <= high).all() and low.size:
                return Box(low, high)
        except (TypeError, ValueError, OverflowError):
            pass
        raise UserError(f"{folder / METADATA}: action_space lacks its count or bounds: restore the file")


class OpenJEPAMetadata(BaseModel):
    """The part of the metadata that `Store` adds: how the episodes were made."""

    model_config = ConfigDict(extra="allow")

    variables: tuple[str, ...] = ()


class Metadata(BaseModel):
    """The part of `data/metadata.json` that is read."""

    model_config = ConfigDict(extra="allow")

    data_format: str = "hdf5"
    action_space: str = "{}"
    total_episodes: int | None = Field(None, ge=0, le=EPISODES)
    openjepa: OpenJEPAMetadata | None = None

    def space(self, folder: Path) -> ActionMetadata:
        """Raises UserError where it is no space."""
        where = f"{folder / METADATA}: action_space"
        return fitting(ActionMetadata, parse_json(self.action_space, where), where)


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


def open_minari(folder: Path, asked: Asked, progress: Progress | None) -> EpisodeRecording:
    """Episodes of a folder that `Store` or Minari wrote, finished or not; `folder` is the one above `data`.

    Raises:
        UserError: see `hdf5.read_files`; or the folder is of a kind that is not read, such as Minari's arrow files.
    """
    about = read_metadata(folder)
    if about.data_format != "hdf5":
        raise UserError(
            f"{folder} is a Minari data set of format {about.data_format!r}: only 'hdf5' is read, so record it with "
            "data_format='hdf5'"
        )
    parts = [inside(folder, f"{PARTS}/{part.name}") for part in part_files(folder)]
    files = [inside(folder, MAIN)] if (folder / MAIN).exists() else []
    if files and parts:  # an extension that has not been finished
        with open_hdf5(files[0]) as main:
            parts = [part for part in parts if f"episode_{int(part.stem)}" not in main]
    ours, space = about.openjepa, about.space(folder)
    if ours:
        known = {} if asked.cameras.names else {"frames": "observations/frame"}
        known |= {"actions": "actions"} | ({"state": "observations/state"} if ours.variables else {})
        asked = replace(asked, names=known | dict(asked.names))
    found, source, skipped, cameras = read_files(
        str(folder), [*files, *parts], asked, about.total_episodes, progress
    )
    return settle(
        str(folder),
        found,
        source,
        skipped,
        space.actions(folder),
        first=space.start,
        cameras=cameras,
        variables=ours.variables if ours else (),
        about=ours.model_dump(exclude_unset=True) if ours else {},
    )


def part_files(folder: Path) -> list[Path]:
    """Batches of episodes that have not been put into the one file, in their order."""
    return sorted(file for file in (folder / PARTS).glob("*.hdf5") if file.stem.isdigit())


def read_metadata(folder: Path) -> Metadata:
    """The metadata of a folder; without a file, the defaults.

    Raises:
        UserError: truncated, not JSON, or not what Minari or `Store` writes.
    """
    if not os.path.lexists(folder / METADATA):
        return Metadata()
    try:
        return fitting(Metadata, read_json(inside(folder, METADATA)), str(folder / METADATA))
    except UserError as error:
        raise UserError(f"{error}; or remove it to go without") from None


def _box(low: np.ndarray, high: np.ndarray) -> dict[str, Any]:
    return {
        "type": "Box",
        "dtype": str(low.dtype),
        "shape": list(low.shape),
        "low": low.tolist(),
        "high": high.tolist(),
    }
