"""Frames and infos of episodes in HDF5 files, read when asked for."""

import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openjepa.signals.images.decode import BROKEN
from openjepa.worlds.pictures import Pixels, from_array, from_encoded, white_of
from openjepa.worlds.truncated import locate, open_hdf5, require_plausible

_OPEN = 8  # files that a process keeps open
LOOKED_AT = 8
"""Episodes, and frames of each, that show how white floating numbers are."""


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
        white: the value of white in frames of floating numbers; `None`: what some of them show.
    """

    def __init__(self, places: Sequence[RowRange], field: str, white: float | None = None) -> None:
        self._places, self._field, self.white = list(places), field, white
        self._files: OrderedDict[tuple[int, Path], Any] = OrderedDict()

    @property
    def files(self) -> list[Path]:
        """Each once, in order."""
        return list(dict.fromkeys(place.file for place in self._places))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": OrderedDict()}

    def frames(self, number: int, first: int, stop: int) -> Pixels:
        found = self._stored(number, first, stop)
        if found.ndim <= 2:
            return from_encoded([row.tobytes() for row in found])
        return from_array(found, self.white)

    def find_white(self) -> None:
        """Set `white` by some frames of some episodes, where frames are floating numbers and it is not known.

        Raises:
            UserError: values that lie in neither range.
        """
        looked_at = []
        for number in range(0, len(self._places), max(1, len(self._places) // LOOKED_AT)):
            try:
                rows = self._rows(number)
                picked = np.unique(np.linspace(0, rows - 1, LOOKED_AT).astype(int)) if rows else ()
                looked_at += [self._stored(number, int(row), int(row) + 1) for row in picked]
            except BROKEN:  # told when it is read
                continue
            if looked_at and looked_at[0].dtype.kind != "f":
                return
        if self.white is None and looked_at:
            self.white = white_of(np.concatenate([frames.ravel() for frames in looked_at]))

    def _rows(self, number: int) -> int:
        place = self._places[number]
        if place.stop is not None:
            return place.stop - place.first
        return len(locate(self._group(place), self._field))

    def _stored(self, number: int, first: int, stop: int) -> NDArray:
        """Frames as the file has them."""
        place = self._places[number]
        array = locate(self._group(place), self._field)
        require_plausible(array)
        found = array[place.first + first : place.first + stop]
        if len(found) < stop - first:
            raise ValueError(f"{place.file.name} has lost frames")
        return found

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
