"""Sound from files, folders, tar shards and arrays."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from openjepa.common.contents import Contents
from openjepa.common.distributed import local_device
from openjepa.common.reach import regular
from openjepa.errors import UserError, warn
from openjepa.signals.audio.batch import Waves
from openjepa.signals.audio.decode import (
    RATES,
    SUFFIXES,
    SoundHeader,
    broken,
    decode,
    inspect,
    library,
    mono,
    resample,
)
from openjepa.signals.audio.sound_set import LoadedMels, SoundSet, cuts_of
from openjepa.signals.audio.spectrogram import LogMel
from openjepa.signals.base import Labels
from openjepa.signals.parts import number_of
from openjepa.signals.readers.arrays import read_array_file
from openjepa.signals.readers.folders import FolderFiles, Names, list_folder
from openjepa.signals.readers.shards import TarFiles, Wanted, find_shards, read_shards
from openjepa.signals.readers.skipped import Skipped, attempt, attempt_all, nothing, say_skipped
from openjepa.signals.readers.splits import pick_split

IN_MEMORY_BYTES = 2**30
"""Recordings whose spectrograms have no more bytes than this are decoded once and held."""
SHARDED = Wanted(frozenset(SUFFIXES), "a file of sound", "recordings")
PARTS = ("label", "group", "fold")
"""What the names of files can tell."""
TOGETHER = 60.0
"""Seconds of sound whose spectrograms are made at once."""
SPOKEN = 6.0
"""Natural logarithms above the floor that some band of a recording must reach, or it is silent (26 dB)."""


class SoundCut(Protocol):
    """How recordings become clips; `openjepa.signals.audio.AudioSignal` says it."""

    @property
    def rate(self) -> int: ...
    @property
    def frames(self) -> int: ...
    @property
    def clips(self) -> str: ...
    @property
    def names(self) -> str: ...
    def spec(self, rate: int) -> LogMel:
        """For recordings that had `rate` samples a second."""
        ...


@dataclass(frozen=True)
class KnownSounds:
    """What is known of N recordings, each a list of N or `None`: their classes, groups and folds.

    Attributes:
        classes: all that there are, where more are known than the labels show.
    """

    labels: Sequence[str | None] | None = None
    groups: Sequence[str] | None = None
    folds: Sequence[int] | None = None
    classes: Sequence[str] = ()


def open_sounds(data: Any, signal: SoundCut, *, split: str = "train", strict: bool = True) -> SoundSet:
    """Open recordings and cut them into clips.

    Args:
        data: one of
            a folder of files (wav, flac, ogg, mp3 and others of any rate and channels) at any depth, labelled by its
            first-level sub-folders; `train`, `test` and `val` sub-folders are splits;
            a tar shard of such files, a glob pattern or a folder of shards, whose names begin with their split;
            labelled by `key.cls` or by the folders in the shard;
            one file; a `.npy` or `.npz` file of sound `[N, S]` at the signal's rate;
            `Waves`; an array `[N, S]` or a list of arrays `[S]` at the signal's rate, or a pair of these and labels.
        signal: an `AudioSignal`.
        split: `train`, `test` or `val`.
        strict: whether the pattern `signal.names` must fit.

    Raises:
        UserError: nothing is there or readable, it lacks the split, or nothing is to be heard.
    """
    if isinstance(data, SoundSet):
        return _checked(data, signal)
    if isinstance(data, str | Path):
        return _open_path(Path(data).expanduser(), signal, split, strict)
    pick_split("this data", ("train",), split)
    if isinstance(data, Waves):
        return _of_waves("recordings", data, signal)
    if isinstance(data, tuple) and len(data) == 2 and not np.isscalar(data[1]):
        return _of_waves("array", Waves(data[0], signal.rate, data[1]), signal)
    if isinstance(data, np.ndarray | Tensor | list):
        return _of_waves("array", Waves(data, signal.rate), signal)
    raise UserError(
        f"a {type(data).__name__} is no sound: give a path, an array [N, samples] at {signal.rate:,} samples a second, "
        "or openjepa.signals.audio.Waves with another rate"
    )


def _checked(data: SoundSet, signal: SoundCut) -> SoundSet:
    spec = signal.spec(data.rate)
    if data.spec != spec or data.shape[1] != signal.frames:
        raise UserError(
            f"{data.name}: its clips of {data.shape[0]} bands and {data.shape[1]} frames were opened for another "
            f"signal than this one of {spec.bands} and {signal.frames}: open them with the signal of this model"
        )
    return data


class EncodedSounds:
    """Encoded recordings; a subclass says where each one's bytes are."""

    def file(self, row: int) -> Path | BinaryIO:
        raise NotImplementedError

    def inspect(self, row: int) -> SoundHeader:
        return inspect(self.file(row))

    def decode(self, row: int, rate: int, first: int = 0, count: int | None = None) -> NDArray[np.float32]:
        return decode(self.file(row), rate, first, count)


class SoundFiles(FolderFiles, EncodedSounds):
    """Recordings below a folder."""


class SoundShards(TarFiles, EncodedSounds):
    """Recordings in tar shards."""


class DecodedSounds:
    """Recordings of which a clip is decoded when it is asked for."""

    in_memory = False

    def __init__(self, files: Any, rows: Sequence[int], headers: Sequence[SoundHeader], spec: LogMel) -> None:
        self.files, self.rows, self.spec = files, list(rows), spec
        self.totals = [header.seconds for header in headers]
        self.seconds = sum(self.totals)
        self.lengths = np.array([spec.frames(round(t * spec.rate)) for t in self.totals], np.int64)

    def waves(self, row: int, first: int, frames: int) -> Tensor:
        begin, count = first * self.spec.hop - self.spec.before, self.spec.span(frames)
        before = max(0, -begin)
        sound = self.files.decode(self.rows[row], self.spec.rate, max(0, begin), count - before)
        return pad(torch.from_numpy(sound), (before, count - before - len(sound)))

    def mels(self, rows: NDArray[np.int64], first: NDArray[np.int64], frames: int) -> Tensor:
        raise NotImplementedError

    def name(self, row: int) -> str:
        return self.files.name(self.rows[row])

    def broken(self) -> tuple[type[BaseException], ...]:
        return broken()

    def contents(self) -> Contents | None:
        return self.files.contents()


def _open_path(path: Path, signal: SoundCut, split: str, strict: bool) -> SoundSet:
    if shards := find_shards(path):
        return _open_shards(str(path), shards, signal, split, strict)
    if path.is_dir():
        return _open_folder(path, signal, split, strict)
    if path.suffix in (".npy", ".npz") and path.is_file():
        with read_array_file(path, split, "recordings") as found:
            sounds = _of_waves(str(path), Waves(found.samples, signal.rate, found.labels), signal)
        sounds.splits = found.splits
        return sounds
    if path.suffix.lower() in SUFFIXES and path.exists():
        regular(path)
        pick_split(str(path), ("train",), split)
        return _build(str(path), SoundFiles(path.parent, [path.name], None), signal, KnownSounds())
    what = "is no sound" if path.exists() else "does not exist"
    raise UserError(
        f"{path} {what}: give a folder of files that end in {', '.join(SUFFIXES[:4])} and so on, one of them, "
        "tar shards of them, or a numpy file"
    )


def _open_folder(root: Path, signal: SoundCut, split: str, strict: bool) -> SoundSet:
    found = list_folder(root, split)
    kept = [i for i, name in enumerate(found.names) if Path(name).suffix.lower() in SUFFIXES]
    chosen = set(kept)
    others = [Skipped(name, "no file of sound") for i, name in enumerate(found.names) if i not in chosen]
    names = [found.names[i] for i in kept]
    folders = None if found.labels is None else [found.class_of(i) for i in kept]
    known = told_by_names(names, signal.names, folders, found.classes or (), strict)
    skipped = [*found.skipped, *others]
    return _build(str(root), SoundFiles(found.folder, names, None), signal, known, found.splits, skipped)


def _open_shards(name: str, shards: Sequence[Path], signal: SoundCut, split: str, strict: bool) -> SoundSet:
    splits, places, index = read_shards(name, shards, split, SHARDED)
    names = [entry.split("/", 1)[1] for entry in index.names]
    numbered = any(label >= 0 for label in index.labels)
    labels: list[str | None] = [str(n) if n >= 0 else None for n in index.labels]
    if not numbered:
        labels = [entry.split("/", 1)[0] if "/" in entry else None for entry in names]
    known = told_by_names(names, signal.names, labels if any(labels) else None, strict=strict)
    return _build(name, SoundShards(places, index), signal, known, splits, index.skipped)


def told_by_names(
    names: Sequence[str],
    pattern: str,
    folders: Sequence[str | None] | None,
    classes: Sequence[str] = (),
    strict: bool = True,
) -> KnownSounds:
    """What the files' names tell, by a pattern such as `{label}_{group}_{take}`; labels of folders where it has none.

    Unless `strict`, as where a trained model looks at other recordings, a pattern that fits no name is but warned of.

    Raises:
        UserError: a pattern that names none of `label`, `group` and `fold`, that no name fits, or a fold that is no
            number.
    """
    if not pattern:
        return KnownSounds(folders, classes=classes)
    parts = re.split(r"\{(\w+)\}", pattern)
    fields = parts[1::2]
    if not set(fields) & set(PARTS) or len(set(fields)) < len(fields):
        raise UserError(
            f"signal.names {pattern!r} must name one or more of {{label}}, {{group}} and {{fold}}, each part once, "
            "such as {label}_{group}_{take}"
        )
    expression = "".join(re.escape(p) if i % 2 == 0 else f"(?P<{p}>.+?)" for i, p in enumerate(parts))
    stems = [Path(name).name.removesuffix(Path(name).suffix) for name in names]
    found = [re.fullmatch(expression, stem) for stem in stems]
    missing = [name for name, match in zip(names, found, strict=True) if match is None]
    said = f"signal.names {pattern!r} does not fit {len(missing):,} of {len(names):,} files, such as "
    if missing and len(missing) == len(names) and not strict:
        warn(f"{said}{missing[0]}: labels are those of folders, and no groups are known")
        return KnownSounds(folders, classes=classes)
    if missing:
        raise UserError(said + missing[0])
    told = {p: [m[p] for m in found if m is not None] for p in PARTS if p in fields}
    if bad := [fold for fold in told.get("fold", ()) if not fold.isdecimal()]:
        raise UserError(f"signal.names {pattern!r}: the fold of a file is {bad[0]!r}, and folds are numbers")
    folds = [int(fold) for fold in told["fold"]] if "fold" in told else None
    if "label" in told:
        return KnownSounds(told["label"], told.get("group"), folds)
    return KnownSounds(folders, told.get("group"), folds, classes)


def _build(
    name: str,
    files: Any,
    signal: SoundCut,
    known: KnownSounds,
    splits: tuple[str, ...] = ("train",),
    skipped: Sequence[Skipped] = (),
) -> SoundSet:
    """Look at every header, and where all fit into memory make all spectrograms, once."""
    if len(files) == 0:
        raise _nothing(name, 0, skipped)
    library()
    errors = broken()
    looked = attempt_all(lambda row: attempt(lambda: files.inspect(row), errors), len(files), threaded=True)
    headers = {row: found for row, found in enumerate(looked) if isinstance(found, SoundHeader)}
    failed = {row: found for row, found in enumerate(looked) if isinstance(found, str)}
    if not headers:
        raise _nothing(name, len(files), [*skipped, *_named(files, failed)])
    own = _usual([header.rate for header in headers.values()])
    spec = signal.spec(own)
    frames = sum(spec.frames(round(h.seconds * spec.rate)) for h in headers.values())
    rows = list(headers)
    if frames * spec.bands * 4 > IN_MEMORY_BYTES:
        held: Any = DecodedSounds(files, rows, [headers[row] for row in rows], spec)
    else:
        found = attempt_all(
            lambda i: attempt(lambda: files.decode(rows[i], spec.rate), errors), len(rows), threaded=True
        )
        failed |= {rows[i]: why for i, why in enumerate(found) if isinstance(why, str)}
        rows = [row for row in rows if row not in failed]
        sounds = [sound for sound in found if not isinstance(sound, str)]
        held = _loaded(name, sounds, spec)
    missing = [*skipped, *_named(files, failed)]
    if not rows or held is None:
        raise _nothing(name, len(files), missing)
    say_skipped(name, missing, len(rows), "recordings")
    keys = Names([files.name(row) for row in rows])
    return _set(name, held, spec, signal, known, rows, own, splits, missing, keys)


def _of_waves(name: str, waves: Waves, signal: SoundCut) -> SoundSet:
    values = waves.values.cpu().numpy() if isinstance(waves.values, Tensor) else waves.values
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype != object:
        values = values[None]
    count = len(values)
    if count == 0:
        raise UserError(f"{name}: it holds no recordings")
    rates = (
        np.broadcast_to(np.asarray(waves.rate, dtype=np.float64), (count,))
        if _numeric(waves.rate, count)
        else None
    )
    if rates is None or not (rates > 0).all():
        raise UserError(
            f"{name}: the rate {waves.rate!r} is not one number of samples a second, or one a recording"
        )
    if not ((rates >= RATES[0]) & (rates <= RATES[1])).all():
        wrong = float(rates[(rates < RATES[0]) | (rates > RATES[1])][0])
        raise UserError(f"{name}: {wrong:g} samples a second are no rate of sound: give it in Hz")
    own = _usual([round(rate) for rate in rates.tolist()])
    spec = signal.spec(own)
    sounds = []
    for i in range(count):
        try:
            sound = mono(np.asarray(values[i].cpu() if isinstance(values[i], Tensor) else values[i]))
        except (ValueError, TypeError) as error:
            raise UserError(f"{name}: recording {i}: {error}") from None
        sounds.append(resample(sound, float(rates[i]), spec.rate))
    held = _loaded(name, sounds, spec)
    known = _known(name, waves, count)
    return _set(name, held, spec, signal, known, list(range(count)), own, ("train",), [])


def _numeric(rate: Any, count: int) -> bool:
    try:
        shape = np.asarray(rate, dtype=np.float64).shape
    except (TypeError, ValueError):
        return False
    return shape in ((), (count,))


def _known(name: str, waves: Waves, count: int) -> KnownSounds:
    def one_each(what: str, values: Any) -> list[Any] | None:
        if values is None:
            return None
        values = np.asarray(values.cpu() if isinstance(values, Tensor) else values)
        if values.shape != (count,) or values.dtype.kind not in "iubUS":
            raise UserError(
                f"{name}: {what} of shape {list(values.shape)} and type {values.dtype} for {count} recordings: give "
                "one whole number or name each"
            )
        return values.tolist()

    labels, groups, folds = (one_each(w, getattr(waves, w)) for w in ("labels", "groups", "folds"))
    named = None if labels is None else [None if v in (-1, "") else _class_name(v) for v in labels]
    return KnownSounds(named, None if groups is None else [str(v) for v in groups], folds)


def _class_name(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _mels(sounds: Sequence[NDArray[np.float32]], spec: LogMel) -> list[Tensor]:
    """`[frames, bands]` of each recording, made on this process's device, those of similar length together."""
    device, found = local_device(), [torch.empty(0)] * len(sounds)
    order = sorted(range(len(sounds)), key=lambda i: len(sounds[i]))
    while order:
        longest = max(1, len(sounds[order[-1]]))
        count = max(1, int(TOGETHER * spec.rate) // longest)
        order, rows = order[:-count], order[-count:]
        batch = torch.zeros(len(rows), longest)
        for padded, row in zip(batch, rows, strict=True):
            padded[: len(sounds[row])] = torch.from_numpy(sounds[row])
        mels = spec.whole(batch.to(device)).transpose(1, 2).cpu()
        for part, row in zip(mels, rows, strict=True):
            found[row] = part[: spec.frames(len(sounds[row]))].clone()
    return found


def _loaded(name: str, sounds: Sequence[NDArray[np.float32]], spec: LogMel) -> LoadedMels | None:
    """Spectrograms of sounds at the signal's rate; `None` of none."""
    if not sounds:
        return None
    mels = _mels(sounds, spec)
    silent = sum(_silent(sound, part, spec) for sound, part in zip(sounds, mels, strict=True))
    if silent == len(mels):
        raise UserError(f"{name}: nothing is to be heard in any of {len(mels):,} recordings: they are silent")
    if silent:
        warn(f"{name}: {silent:,} of {len(mels):,} recordings are silent and teach nothing")
    return LoadedMels(torch.cat(mels), [len(part) for part in mels], sum(map(len, sounds)) / spec.rate)


def _silent(sound: NDArray[np.float32], mels: Tensor, spec: LogMel) -> bool:
    """Whether no band is loud enough, or the sound keeps one value but where it begins and ends."""
    inside = sound[spec.window : -spec.window] if len(sound) > 4 * spec.window else sound
    constant = len(inside) == 0 or float(inside.var()) < 10 ** (spec.floor / 10)
    return constant or float(mels.max()) < np.log(10 ** (spec.floor / 10)) + SPOKEN


def _set(
    name: str,
    held: Any,
    spec: LogMel,
    signal: SoundCut,
    known: KnownSounds,
    rows: Sequence[int],
    rate: int,
    splits: tuple[str, ...],
    skipped: Sequence[Skipped],
    keys: Any = None,
) -> SoundSet:
    cuts = cuts_of(held.lengths, signal.frames, signal.clips == "tiles")
    labels = _labels(known, np.array(rows)[cuts.row], name if len(held.lengths) < len(cuts.row) else "")
    return SoundSet(
        name,
        held,
        spec,
        signal.frames,
        cuts,
        rate=rate,
        labels=labels,
        splits=splits,
        skipped=skipped,
        keys=keys,
    )


def _labels(known: KnownSounds, rows: NDArray[np.int64], tiled: str) -> Labels | None:
    """Of the clips that are cut out of recordings `rows`; `tiled`: the clips of one recording are a group."""
    chosen = rows.tolist()
    groups, group_names = None, None
    if known.groups is not None:
        group_names = {number_of(name): name for name in set(known.groups)}
        groups = np.array([number_of(known.groups[row]) for row in chosen], np.int64)
    elif tiled:
        groups = rows.astype(np.int64)
    names: tuple[str, ...] | None = None
    values = np.full(len(chosen), -1, np.int64)
    if known.labels is not None:
        own = [known.labels[row] for row in chosen]
        names = tuple(sorted({*(name for name in own if name is not None), *known.classes}, key=_order))
        number = {name: i for i, name in enumerate(names)}
        values = np.array([-1 if name is None else number[name] for name in own], np.int64)
    if not names and groups is None:
        return None
    folds = None if known.folds is None else np.array([known.folds[row] for row in chosen], np.int64)
    return Labels(values, names, groups, folds, group_names)


def _order(name: str) -> tuple[int, int, str]:
    """Numbers in their order, before names."""
    return (0, int(name), name) if name.isdecimal() else (1, 0, name)


def _usual(rates: Sequence[int]) -> int:
    """The rate of most recordings."""
    values, counts = np.unique(np.array(rates), return_counts=True)
    return int(values[counts.argmax()])


def _named(files: Any, failed: dict[int, str]) -> list[Skipped]:
    return [Skipped(files.name(row), why) for row, why in sorted(failed.items())]


def _nothing(name: str, count: int, skipped: Sequence[Skipped]) -> UserError:
    what = f"none of its {count} recordings is readable" if count else "it holds no files of sound"
    return nothing(name, what, skipped, f"files that end in {', '.join(SUFFIXES)}")
