"""Recordings from files, folders, arrays and MNE's objects."""

import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from openjepa.common.reach import regular
from openjepa.errors import UserError, warn
from openjepa.signals.electrodes.batch import Cut
from openjepa.signals.electrodes.mne_objects import from_mne, is_mne, read_fif
from openjepa.signals.electrodes.montage import place
from openjepa.signals.electrodes.recording import Event, Piece, Prepared, Recording, prepare
from openjepa.signals.electrodes.recording_set import RecordingSet, windows_of
from openjepa.signals.readers.edf import read_edf
from openjepa.signals.readers.folders import list_folder
from openjepa.signals.readers.skipped import Skipped, nothing, say_skipped

SUFFIXES = (".edf", ".bdf", ".fif", ".fif.gz", ".npz")
MEMBER_BYTES = 2**33
"""The largest file that is read into memory."""
NOBODY = {"", "x", "anonymous", "anon", "unknown"}
"""What headers say where they say nothing of who was recorded."""
_DAMAGED = (OSError, EOFError, ValueError, LookupError, MemoryError, zipfile.BadZipFile, zlib.error)


def open_recordings(
    data: Any,
    signal: Cut,
    *,
    split: str = "train",
    channels: Sequence[str] | None = None,
    rate: float | None = None,
    labels: Any = None,
    groups: Any = None,
) -> RecordingSet:
    """Open recordings and cut them into windows.

    Args:
        data: one of
            a `.edf`, `.bdf`, `.fif` or `.npz` file, or a folder of them at any depth, labelled by its first-level
            sub-folders; `train`, `test` and `val` sub-folders are splits;
            MNE's Raw or Epochs, or a list of them; a list of `Recording`;
            an array `[N, C, S]` of windows or `[C, S]` of one recording in microvolts, or a pair of these and labels.
        signal: an `ElectrodeSignal`: rate, band, length and kind of the windows.
        split: `train`, `test` or `val`, of a folder.
        channels, rate: names of an array's channels, and its samples a second (`None`: the signal's).
        labels, groups: of an array: a class, and who was recorded, each `[N]`.

    Raises:
        UserError: nothing is there or readable, no electrode is known, no window fits, or arguments contradict.
    """
    if isinstance(data, RecordingSet):
        return data
    if isinstance(data, str | Path):
        return _open_path(Path(data), signal, split)
    if isinstance(data, tuple) and len(data) == 2 and labels is None:
        data, labels = data
    if is_mne(data) or isinstance(data, Recording):
        data = [data]
    if (
        isinstance(data, Sequence)
        and data
        and all(is_mne(item) or isinstance(item, Recording) for item in data)
    ):
        found = [r for item in data for r in ([item] if isinstance(item, Recording) else from_mne(item))]
        return windows_of("recordings", signal, [prepare(r, signal.rate, signal.band) for r in found])
    if isinstance(data, np.ndarray | Tensor):
        found = _of_array("array", np.asarray(data), signal, channels, rate, labels, groups)
        grouped = groups is not None or len(found) == 1
        prepared = [_prepared(r, signal) for r in found]
        return windows_of("array", signal, prepared, grouped=grouped, keys=_numbered("array", len(found)))
    raise UserError(
        f"a {type(data).__name__} is no recording: give a path, an array [N, C, S] with channels=, MNE's Raw or "
        "Epochs, or a list of openjepa.signals.electrodes.Recording"
    )


def _open_path(path: Path, signal: Cut, split: str) -> RecordingSet:
    if path.is_dir():
        return _open_folder(path, signal, split)
    regular(path, MEMBER_BYTES)
    if not path.name.lower().endswith(SUFFIXES):
        raise UserError(
            f"{path}: is no recording: give a file that ends in {', '.join(SUFFIXES)}, or a folder of them"
        )
    found = [_prepared(one, signal) for one in _read(path, path.name, signal)]
    return windows_of(str(path), signal, found, keys=_numbered(path.name, len(found)))


def _numbered(name: str, count: int) -> list[str]:
    """Keys of the recordings of one file or array: its name, or the number of each."""
    return [name] if count == 1 else [str(i) for i in range(count)]


def _open_folder(root: Path, signal: Cut, split: str) -> RecordingSet:
    listing = list_folder(root, split)
    skipped, found, keys = list(listing.skipped), list[Prepared](), list[str]()
    for i, name in enumerate(listing.names):
        if not name.lower().endswith(SUFFIXES):
            continue
        label = listing.class_of(i)
        try:
            several = _read(listing.folder / name, name, signal)
            for number, one in enumerate(several):
                one = one if label is None or signal.windows == "events" else replace(one, label=label)
                found.append(_prepared(one, signal))
                keys.append(f"{listing.inside}{name}" + (f"[{number}]" if len(several) > 1 else ""))
        except UserError as error:
            skipped.append(Skipped.of(name, listing.folder / name, error))
    if not found:
        raise nothing(
            str(root), "it holds no readable recording", skipped, f"files that end in {', '.join(SUFFIXES)}"
        )
    say_skipped(str(root), skipped, len(found), "recordings")
    return windows_of(str(root), signal, found, skipped, keys=keys)


def _prepared(recording: Recording, signal: Cut) -> Prepared:
    return prepare(recording, signal.rate, signal.band)


def _read(path: Path, name: str, signal: Cut) -> list[Recording]:
    """The recordings of one file, each with its person."""
    regular(path, MEMBER_BYTES)
    suffix = path.name.lower()
    if suffix.endswith((".edf", ".bdf")):
        found = [_of_edf(path, name)]
    elif suffix.endswith(".npz"):
        found = _of_npz(path, name, signal)
    else:
        found = read_fif(path)
    person = _person(name, signal.subject)
    return [replace(one, subject=person or one.subject) for one in found]


def _person(name: str, pattern: str) -> str:
    try:
        match = re.search(pattern, name) if pattern else None
    except re.error as error:
        raise UserError(f"signal.subject {pattern!r} is no regular expression: {error}") from None
    return next((group for group in match.groups() if group), "") if match else ""


def _of_edf(path: Path, name: str) -> Recording:
    file = read_edf(path)
    kept = [i for i, channel in enumerate(file.channels) if channel.unit == "µV" and not channel.why_not]
    for channel in file.channels:
        if channel.why_not:
            warn(f"{path}: channel {channel.name} is left out: {channel.why_not}")
    other = [c for c in file.channels if c.unit != "µV" and not c.why_not and place(c.name) is not None]
    told = ", ".join(f"{channel.name} in {channel.unit!r}" for channel in other[:3])
    if not kept:
        raise UserError(
            f"{path}: none of its {len(file.channels)} channels is a voltage with a sound scale"
            + (f" ({told}): write uV, mV or V into its header" if told else "")
        )
    if told:
        warn(f"{path}: {len(other)} electrodes are left out, since they are no voltages: {told}")
    return Recording(
        name,
        [file.channels[i].name for i in kept],
        [file.channels[i].rate for i in kept],
        [Piece(run.start, [run.values[i] for i in kept]) for run in file.runs],
        events=[Event(*note) for note in file.annotations],
        subject=_patient(file.patient),
    )


def _patient(field: str) -> str:
    """Who an EDF header says was recorded; empty where it tells no code and no name.

    EDF+ has code, sex, date of birth and name: sex and date alone name nobody.
    """
    words = field.split(" ")
    plus = len(words) >= 4 and words[1] in ("M", "F", "X")
    said = [words[0], *words[3:]] if plus else words
    return "" if all(word.lower() in NOBODY for word in said) else field


def _of_npz(path: Path, name: str, signal: Cut) -> list[Recording]:
    """`x` `[N, C, S]` or `[C, S]` with `channels`, and where there are such `rate`, `y` and `groups`."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            parts = {key: file[key] for key in ("x", "channels", "rate", "y", "groups") if key in file.files}
    except _DAMAGED as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    if "x" not in parts:
        raise UserError(
            f"{path}: it holds no array named x: save recordings with numpy.savez(path, x=..., channels=...)"
        )
    channels = parts.get("channels")
    rate = parts.get("rate")
    if rate is not None and (rate.size != 1 or rate.dtype.kind not in "iuf"):
        raise UserError(f"{path}: rate is no number: save the samples a second as one number")
    return _of_array(
        name,
        parts["x"],
        signal,
        None if channels is None else [str(c) for c in channels.ravel()],
        None if rate is None else float(rate.ravel()[0]),
        parts.get("y"),
        parts.get("groups"),
    )


def _of_array(
    name: str,
    values: np.ndarray,
    signal: Cut,
    channels: Sequence[str] | None,
    rate: float | None,
    labels: Any,
    groups: Any,
) -> list[Recording]:
    """Each of `[N, C, S]` is a recording of its own, without anything before or after."""
    if values.dtype.kind not in "iuf" or values.ndim not in (2, 3) or 0 in values.shape:
        raise UserError(
            f"{name}: an array of type {values.dtype} and shape {list(values.shape)} is no recording: give numbers "
            "[N, C, S] or [C, S] in microvolts"
        )
    values = values[None] if values.ndim == 2 else values
    names = list(channels) if channels is not None else list(signal.channels)
    if len(names) != values.shape[1]:
        told = "names no channels" if not names else f"names {len(names)} channels"
        raise UserError(
            f"{name}: {values.shape[1]} channels, and it {told}: give channels= with a name for each"
        )
    kinds, people = (
        _one_each(name, "labels", labels, len(values)),
        _one_each(name, "groups", groups, len(values)),
    )
    return [
        Recording(
            f"{name}[{i}]" if len(values) > 1 else name,
            names,
            [rate or signal.rate] * len(names),
            [Piece(0.0, window)],
            subject="" if people is None else people[i] or "",
            label=None if kinds is None else kinds[i],
        )
        for i, window in enumerate(values)
    ]


def _one_each(name: str, what: str, values: Any, count: int) -> list[str | None] | list[str] | None:
    if values is None:
        return None
    values = np.asarray(values)
    if values.ndim == 0:
        values = np.repeat(values, count)
    if values.shape != (count,):
        raise UserError(
            f"{name}: {what} have shape {list(values.shape)} for {count} recordings: give one each"
        )
    return [None if what == "labels" and value in (-1, "") else str(value) for value in values.tolist()]
