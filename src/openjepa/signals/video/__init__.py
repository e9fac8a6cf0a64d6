"""Video: films, folders of frames, tar shards, arrays and moving Fashion-MNIST, as clips of one length and size."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from openjepa.errors import UserError
from openjepa.signals.readers.arrays import read_array_file
from openjepa.signals.readers.shards import find_shards
from openjepa.signals.readers.splits import pick_split
from openjepa.signals.video.clips import ClipCut, ClipSet
from openjepa.signals.video.decode import SUFFIXES
from openjepa.signals.video.moving import NAMES, open_moving
from openjepa.signals.video.sources import open_arrays, open_file, open_folder, open_shards

__all__ = ["ClipCut", "ClipSet", "open_video"]


def open_video(
    data: Any,
    cut: ClipCut,
    *,
    split: str = "train",
    size: tuple[int, int],
    channels: int | None = None,
    group: str = "",
) -> ClipSet:
    """Open a set of clips.

    Args:
        data: one of
            `"moving-fashion-mnist"`, labelled by what moves, or `"moving-fashion-mnist-direction"`;
            a folder of films (mp4, mkv, webm, avi, gif and others), labelled by its first-level sub-folders (films
            beside these have no label, -1); `train`, `test` and `val` sub-folders are splits;
            a folder like that, with folders of frames (jpg, png and others) in the place of films;
            a tar shard of films, a glob pattern, or a folder of shards, whose names begin with their split; labelled by
            `key.cls` or by the folders in the shard;
            a single film; a `.npy` or `.npz` file; an array or tensor of clips (see `sources.open_arrays`), or a pair
            of these and labels.
        cut: which frames make a clip.
        split: `train`, `test` or `val`. A set without splits is all `train`; `val` stands in for a missing `test`.
        size: height and width of the clips: the largest middle part of that shape, resized.
        channels: 1 or 3 for films. `None`: 1 if all are grey, else 3; an array's own.
        group: how files tell which source they come from, e.g. `{group}-{clip}`: no split takes a group apart.

    Raises:
        UserError: nothing is there, nothing in it is readable, it lacks the split, or an argument is out of range.
    """
    if isinstance(data, str | Path):
        if str(data) in NAMES:
            return open_moving(str(data), split, cut, size, channels)
        if not str(data):
            raise UserError("the data have an empty name: give a path")
        return _open_path(Path(data).expanduser(), cut, split, size, channels, group)
    pick_split("this data", ("train",), split)
    if isinstance(data, np.ndarray | Tensor):
        return open_arrays(data, None, cut, size, channels)
    if isinstance(data, tuple) and len(data) == 2 and not isinstance(data[1], np.ndarray | Tensor):
        return open_arrays(data[0], data[1], cut, size, channels)
    if isinstance(data, tuple) and len(data) == 2 and data[1].ndim == 1:
        return open_arrays(data[0], data[1], cut, size, channels)
    if isinstance(data, list | tuple) and all(isinstance(film, np.ndarray | Tensor) for film in data):
        return open_arrays(data, None, cut, size, channels)
    raise UserError(
        f"clips cannot be read from a {type(data).__name__}: give a path, an array, a list of arrays, or a pair "
        "(clips, labels)"
    )


def _open_path(
    path: Path, cut: ClipCut, split: str, size: tuple[int, int], channels: int | None, group: str
) -> ClipSet:
    if shards := find_shards(path):
        return open_shards(str(path), shards, split, cut, size, _film_channels(channels), group)
    if path.is_dir():
        return open_folder(path, split, cut, size, _film_channels(channels), group)
    if path.suffix in (".npy", ".npz") and path.is_file():
        with read_array_file(path, split, "clips") as found:
            origin = path if path.suffix == ".npy" else None
            clips = open_arrays(found.samples, found.labels, cut, size, channels, str(path), origin)
        clips.splits = found.splits
        return clips
    if path.suffix.lower() in SUFFIXES and path.is_file():
        pick_split(str(path), ("train",), split)
        return open_file(path, cut, size, _film_channels(channels))
    if path.exists():
        raise UserError(
            f"{path} is neither a folder nor a film nor a .tar, .tar.gz, .tgz, .npy or .npz file: name one of these, "
            "or put the film into a folder"
        )
    raise UserError(
        f"{path} does not exist: give a folder of films or of folders of frames, tar shards, or one of "
        f"{', '.join(NAMES)}"
    )


def _film_channels(channels: int | None) -> int | None:
    if channels not in (None, 1, 3):
        raise UserError(f"signal.channels is {channels}: films have 1 (grey) or 3 (colours)")
    return channels
