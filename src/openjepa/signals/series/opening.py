"""Opening series: files, folders, tables, arrays."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from openjepa.common.reach import regular
from openjepa.errors import UserError
from openjepa.signals.readers.arrays import splits_in
from openjepa.signals.readers.folders import list_folder
from openjepa.signals.readers.pairs import paired
from openjepa.signals.readers.skipped import Skipped, nothing, say_skipped
from openjepa.signals.readers.splits import pick_split
from openjepa.signals.series.batch import SeriesCut
from openjepa.signals.series.reading import SUFFIXES, OneSeries, of_array, read_file
from openjepa.signals.series.series_set import SeriesSet, series_set

ORDER = ("train", "val", "test")


def open_series(
    data: Any,
    cut: SeriesCut,
    *,
    split: str = "train",
    adapt: bool = False,
    labels: Any = None,
    groups: Any = None,
    name: str = "array",
) -> SeriesSet:
    """Open series and cut them into samples.

    Args:
        data: one of
            a `.csv` or `.parquet` table, a row a step and a column a channel (`cut.columns`, `by`, `label`, `group` say
            which), or of lists, a row a series; a single series is split in time, by `cut.parts`;
            a `.ts` or `.tsv` file of the UCR and UEA archives; of `NAME_TRAIN.ts` the test split is `NAME_TEST.ts`;
            a `.npz` file with `x` `[N, C, T]` or `[N, T]` and, where there are such, `y`, `groups`, `lengths`,
            `channels`; or `x_train`, `y_train`, `x_test`, `y_test`; a `.npy` file;
            a folder of these, labelled by its first-level sub-folders; `train`, `test`, `val` sub-folders are splits;
            an array or tensor `[N, C, T]`, `[N, T]` or `[T]`, or a pair of these and labels.
        cut: a `SeriesSignal`.
        split: `train`, `test` or `val`.
        adapt: whether samples are no longer than the longest series.
        labels, groups: of an array: a class or a number, and whom or what it is of, one a series.
        name: what messages call an array.

    Raises:
        UserError: nothing is there, nothing in it is readable, it lacks the split.
    """
    if isinstance(data, str | Path):
        if not str(data):
            raise UserError("the data have an empty name: give a path")
        return _open_path(Path(data).expanduser(), cut, split, adapt)
    if isinstance(data, tuple) and len(data) == 2 and labels is None:
        data, labels = data
    if not isinstance(data, np.ndarray | Tensor):
        raise UserError(
            f"a {type(data).__name__} is no set of series: give a path, or an array [N, C, T], [N, T] or [T]"
        )
    found = of_array(np.asarray(data), name, labels, groups)
    return _settled(name, cut, found, split, adapt)


def _settled(name: str, cut: SeriesCut, found: list[OneSeries], split: str, adapt: bool) -> SeriesSet:
    """Series of data that say nothing of splits: one series is split in time, several are all of `train`."""
    if len(found) == 1 and found[0].answer is None and cut.parts is not None:
        there = [part for part, share in zip(ORDER, cut.parts, strict=True) if share > 0]
        return series_set(name, cut, found, adapt=adapt, part=ORDER.index(pick_split(name, there, split)))
    pick_split(name, ("train",), split)
    return series_set(name, cut, found, adapt=adapt)


def _open_path(path: Path, cut: SeriesCut, split: str, adapt: bool) -> SeriesSet:
    if path.is_dir():
        return _open_folder(path, cut, split, adapt)
    regular(path)
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(
            f"{path}: is no file of series: give one that ends in {', '.join(SUFFIXES)}, or a folder of them"
        )
    pairs = paired(path.parent, [path.name])
    if pairs is not None:
        chosen = path.parent / pairs[pick_split(str(path), tuple(pairs), split)]
        return series_set(str(path), cut, read_file(chosen, chosen.name, cut, split), adapt=adapt)
    if path.suffix.lower() == ".npz":
        parts = splits_in(path)
        if len(parts) > 1:
            chosen_split = pick_split(str(path), parts, split)
            return series_set(str(path), cut, read_file(path, path.name, cut, chosen_split), adapt=adapt)
    return _settled(str(path), cut, read_file(path, path.name, cut, "train"), split, adapt)


def _open_folder(root: Path, cut: SeriesCut, split: str, adapt: bool) -> SeriesSet:
    top = sorted(path.name for path in root.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    pairs = paired(root, top)
    if pairs is not None:
        chosen = pairs[pick_split(str(root), tuple(pairs), split)]
        return series_set(str(root), cut, read_file(root / chosen, chosen, cut, split), adapt=adapt)
    listing = list_folder(root, split)
    skipped, found = list(listing.skipped), list[OneSeries]()
    for i, name in enumerate(listing.names):
        if not name.lower().endswith(SUFFIXES):
            continue
        try:
            several = read_file(listing.folder / name, name, cut, "train")
        except UserError as error:
            skipped.append(Skipped.of(name, listing.folder / name, error))
            continue
        label = listing.class_of(i)
        for one in several:
            if label is not None and one.answer is None and one.steps is None:
                one = replace(one, answer=label)
            found.append(one if one.group or len(several) == 1 else replace(one, group=name))
    if not found:
        raise nothing(
            str(root), "it holds no readable series", skipped, f"files that end in {', '.join(SUFFIXES)}"
        )
    say_skipped(str(root), skipped, len(found), "series")
    if listing.splits == ("train",) and len(found) == 1:
        return _settled(str(root), cut, found, split, adapt)
    return series_set(str(root), cut, found, adapt=adapt, skipped=skipped)
