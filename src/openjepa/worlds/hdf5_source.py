"""Frames and infos of episodes in HDF5 files, read when asked for."""

import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from openjepa.worlds.pictures import Pixels, from_array, from_encoded
from openjepa.worlds.truncated import locate, open_hdf5, require_plausible

_OPEN = 8  # files that a process keeps open


@dataclass(frozen=True)
class RowRange:
    """The place of an episode: rows `first` to `stop - 1` (`None`: to the end) of the arrays in a file's group."""

    name: str
    file: Path
    group: str = "/"
    first: int = 0
    stop: int | None = None


class Hdf5Source:
    """Frames in HDF5 files, as `records.EpisodeSource`.

    Args:
        places: the rows of each episode.
        field: path of the frames within an episode.
    """

    def __init__(self, places: Sequence[RowRange], field: str) -> None:
        self._places, self._field = list(places), field
        self._files: OrderedDict[tuple[int, Path], Any] = OrderedDict()

    @property
    def files(self) -> list[Path]:
        """Each once, in order."""
        return list(dict.fromkeys(place.file for place in self._places))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": OrderedDict()}

    def frames(self, number: int, first: int, stop: int) -> Pixels:
        place = self._places[number]
        array = locate(self._group(place), self._field)
        require_plausible(array)
        found = array[place.first + first : place.first + stop]
        if len(found) < stop - first:
            raise ValueError(f"{place.file.name} has lost frames")
        return from_encoded([row.tobytes() for row in found]) if found.ndim <= 2 else from_array(found)

    def info(self, number: int) -> dict[str, Any]:
        """The group's attributes, nested at `/`, and those of its `infos` that have one number a frame."""
        place, info = self._places[number], {}
        if place.group == "/":
            return info
        group = self._group(place)
        for key, value in group.attrs.items():
            *parents, leaf = key.split("/")
            node = info
            for name in parents:
                node = node.setdefault(name, {})
            node[leaf] = value.item() if isinstance(value, np.generic) else value
        frames = len(locate(group, self._field))
        infos = locate(group, "infos") if "infos" in group else ()
        for key in infos:
            array = locate(infos, key)
            if getattr(array, "shape", None) == (frames,) and array.dtype.kind in "biuf":
                info[key] = array[()]
        return info

    def _group(self, place: RowRange) -> Any:
        key = os.getpid(), place.file  # an HDF5 handle does not survive a fork
        if key not in self._files:
            self._files[key] = open_hdf5(place.file)
            if len(self._files) > _OPEN:
                self._files.popitem(last=False)[1].close()
        self._files.move_to_end(key)
        return locate(self._files[key], place.group)
