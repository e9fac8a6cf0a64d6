"""Opening point clouds: files, folders, arrays."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from openjepa.common.reach import regular
from openjepa.errors import UserError
from openjepa.signals.parts import number_of
from openjepa.signals.points.cloud_set import MOST, CloudSet, OneCloud, cloud_set, settled
from openjepa.signals.readers.arrays import read_array_file
from openjepa.signals.readers.clouds import SUFFIXES, on_surface, read_shape
from openjepa.signals.readers.folders import list_folder
from openjepa.signals.readers.pairs import paired
from openjepa.signals.readers.skipped import Skipped, nothing, say_skipped
from openjepa.signals.readers.splits import pick_split


def open_clouds(
    data: Any,
    *,
    count: int,
    split: str = "train",
    labels: Any = None,
    groups: Any = None,
    name: str = "array",
) -> CloudSet:
    """Open a set of clouds.

    Args:
        data: one of
            a folder of `.ply`, `.off`, `.obj`, `.pcd`, `.las`, `.laz`, `.xyz` and `.npy` files, at any depth, labelled
            by its first-level sub-folders; `train`, `test`, `val` below it or below these are splits; of meshes, points
            are spread over the surface;
            a `.npz` file with `x` or `points` `[N, P, 3]` and, where there are such, `y` or `label`, `classes`,
            `groups`, or `x_train` and so on; of `name-train.npz` the test split is `name-test.npz`; a `.npy` file;
            an array or tensor `[N, P, 3]`, a list of arrays `[P, 3]`, or a pair of these and labels.
        count: points of a sample.
        split: `train`, `test` or `val`.
        labels, groups: of an array: a class, and whom or what it is of, one a cloud.
        name: what messages call an array.

    Raises:
        UserError: nothing is there, nothing in it is readable, it lacks the split.
    """
    if isinstance(data, str | Path):
        if not str(data):
            raise UserError("the data have an empty name: give a path")
        return _open_path(Path(data).expanduser(), count, split)
    if isinstance(data, tuple) and len(data) == 2 and labels is None:
        data, labels = data
    pick_split(name, ("train",), split)
    if isinstance(data, Tensor):
        data = data.numpy()
    if not isinstance(data, np.ndarray | list):
        raise UserError(f"a {type(data).__name__} is no set of clouds: give a path, or an array [N, P, 3]")
    return cloud_set(name, of_arrays(data, name, labels, groups), count)


def of_arrays(
    clouds: Any, name: str, labels: Any = None, groups: Any = None, classes: Any = None
) -> list[OneCloud]:
    """Of an array `[N, P, 3]`, or of arrays `[P, 3]`.

    Raises:
        UserError: another shape or type; labels or groups that are not one a cloud.
    """
    for i, cloud in enumerate(clouds):
        values = np.asarray(cloud)
        if values.ndim != 2 or values.shape[1] != 3 or values.dtype.kind not in "iuf" or not len(values):
            shape = list(np.shape(clouds)) if isinstance(clouds, np.ndarray) else list(values.shape)
            raise UserError(
                f"{name}: an array of shape {shape} and type {values.dtype} is no set of clouds: give points "
                f"[N, P, 3], or a list of [P, 3] (cloud {i})"
            )
    if not len(clouds):
        raise UserError(f"{name}: it holds no clouds")
    given = {"labels": labels, "groups": groups}
    for what, values in given.items():
        if values is not None and np.shape(values) != (len(clouds),):
            raise UserError(
                f"{name}: {what} have shape {list(np.shape(values))} for {len(clouds)} clouds: give one each"
            )
    names = None if labels is None else [_class(value, classes) for value in np.asarray(labels)]
    return [
        OneCloud(
            f"{name}[{i}]",
            np.asarray(cloud),
            None if names is None else names[i],
            "" if groups is None else str(groups[i]),
        )
        for i, cloud in enumerate(clouds)
    ]


def _class(value: Any, classes: NDArray[Any] | None) -> str | None:
    if str(value) in ("-1", ""):
        return None
    if classes is not None and np.issubdtype(type(value), np.integer) and 0 <= int(value) < len(classes):
        return str(classes[int(value)])
    return str(value)


def _open_path(path: Path, count: int, split: str) -> CloudSet:
    if path.is_dir():
        return _open_folder(path, count, split)
    regular(path)
    pairs = paired(path.parent, [path.name])
    if pairs is not None:
        path = path.parent / pairs[pick_split(str(path), tuple(pairs), split)]
        return cloud_set(str(path), _of_file(path, "train"), count)
    return cloud_set(str(path), _of_file(path, split), count)


def _of_file(path: Path, split: str) -> list[OneCloud]:
    """The clouds of one file."""
    if path.suffix.lower() not in (".npz", ".npy"):
        pick_split(str(path), ("train",), split)
        return [_of_shape(path, path.name)]
    with read_array_file(path, split, "clouds") as arrays:
        values, labels, classes = np.asarray(arrays.samples), arrays.labels, arrays.other("classes")
        several = len(arrays.splits) > 1
        groups = arrays.other(*((f"groups_{split}", f"{split}_groups") if several else ("groups",)))
    if values.ndim == 2:
        values = values[None]
    return of_arrays(values, path.name, labels, groups, classes)


def _of_shape(path: Path, name: str) -> OneCloud:
    shape = read_shape(path)
    if shape.triangles is None:
        return OneCloud(name, shape.points)
    return OneCloud(name, on_surface(shape, MOST, np.random.default_rng(number_of(name))))


def _open_folder(root: Path, count: int, split: str) -> CloudSet:
    top = sorted(path.name for path in root.iterdir() if path.suffix.lower() in (".npz", ".npy"))
    pairs = paired(root, top)
    if pairs is not None:
        chosen = root / pairs[pick_split(str(root), tuple(pairs), split)]
        return cloud_set(str(root), _of_file(chosen, "train"), count)
    listing = list_folder(root, "train")
    inner = _inner_splits(listing.names) if listing.splits == ("train",) else set()
    wanted = pick_split(str(root), tuple(sorted(inner)), split) if inner else ""
    listing = listing if inner else list_folder(root, split)
    skipped, found = list(listing.skipped), list[OneCloud]()
    for i, name in enumerate(listing.names):
        if not name.lower().endswith(SUFFIXES) or (inner and f"/{wanted}/" not in name):
            continue
        try:
            one = _of_shape(listing.folder / name, name)
            found.append(replace(one, points=settled(one), label=listing.class_of(i)))
        except UserError as error:
            skipped.append(Skipped.of(name, listing.folder / name, error))
    if not found:
        raise nothing(
            str(root), "it holds no readable cloud", skipped, f"files that end in {', '.join(SUFFIXES)}"
        )
    say_skipped(str(root), skipped, len(found), "clouds")
    return cloud_set(str(root), found, count, skipped)


def _inner_splits(names: list[str]) -> set[str]:
    """Splits below the folders of classes, as ModelNet has them."""
    parts = [name.split("/") for name in names]
    found = {path[1] for path in parts if len(path) > 2}
    return found if {"train", "test"} <= found and all(len(path) > 2 for path in parts) else set()
