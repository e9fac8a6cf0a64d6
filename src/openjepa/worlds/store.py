"""Writing episodes, in Minari's layout (see `minari`), so that whatever interrupts it, finished episodes are kept.

Each batch of episodes is first a file of its own in `parts/`, complete or absent, since a process that is killed while
it writes to an HDF5 file leaves nothing readable of it. At the end the parts become one file.
"""

import json
import os
import shutil
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from openjepa.common.lock import LOCK
from openjepa.common.renamed import POLICIES
from openjepa.errors import UserError
from openjepa.signals.images.decode import BROKEN
from openjepa.worlds.actions import Box
from openjepa.worlds.episodes import Episode
from openjepa.worlds.hdf5_writing import writing
from openjepa.worlds.minari import MAIN, METADATA, PARTS, describe, number_of, part_files, read_metadata
from openjepa.worlds.records import first_line
from openjepa.worlds.truncated import import_h5py, open_hdf5

CHUNK_BYTES = 2**18
"""Bytes of frames that are compressed together: more packs better, less is faster to read windows from."""


class Store:
    """A folder that episodes are added to.

    Args:
        folder: new, or one that was begun with the same `about`.
        frame: channels, rows, columns.
        actions: bounds of one action, or how many discrete ones there are.
        variables: names of the P variables of the state.
        about: how the episodes are made, plain data; kept in `metadata.json` under `openjepa`.

    Raises:
        UserError: h5py is missing, the folder holds something else, or it cannot be written.
    """

    def __init__(
        self,
        folder: str | Path,
        frame: tuple[int, int, int],
        actions: Box | int,
        variables: Sequence[str] = (),
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self._discrete = Path(folder).expanduser(), isinstance(actions, int)
        self._main, self._parts = self.folder / MAIN, self.folder / PARTS
        import_h5py(self._main)
        made = describe(frame, actions, variables, about or {})
        if (self.folder / METADATA).is_file():
            self._check(made)
        elif self.folder.exists() and not _unbegun(self.folder):
            raise UserError(f"{self.folder} exists and holds no collected episodes: name another folder")
        else:
            with self._writing():
                self._main.parent.mkdir(parents=True, exist_ok=True)
                self._save(made)
        self._count = self._counted()

    def discard_unbegun(self) -> None:
        """Remove what was written where no episode was, so that the name is free for the next attempt."""
        if len(self) == 0 and not self._main.exists():
            shutil.rmtree(self._main.parent, ignore_errors=True)

    def __len__(self) -> int:
        """Episodes on disk."""
        return self._count

    def add(self, episodes: Sequence[Episode]) -> None:
        """Write some episodes, all or none of them.

        Raises:
            UserError: the disk is full or refuses; what was added before is kept.
        """
        with self._writing():
            self._parts.mkdir(exist_ok=True)
            with whole(self._parts / f"{len(self):08d}.hdf5") as path, writing(path) as (part, check):
                for number, episode in enumerate(episodes, len(self)):
                    self._write(part.create_group(f"episode_{number}"), number, episode)
                    check()
        self._count += len(episodes)

    def finish(self) -> None:
        """Put all episodes into one file and count them; may be interrupted and called again.

        Raises:
            UserError: as `add`.
        """
        parts = part_files(self.folder)
        if not parts:
            return
        with self._writing():
            with whole(self._main) as path:
                extended = self._main.exists()
                if extended:
                    shutil.copyfile(self._main, path)
                with writing(path, "r+" if extended else "w") as (main, check):
                    for file in parts:
                        self._move(file, main)
                        check()
                    totals = _totals(main, self._discrete)
            self._save({**self._saved(), **totals, "dataset_size": round(self._main.stat().st_size / 1e6, 1)})
            shutil.rmtree(self._parts)

    def _move(self, file: Path, main: Any) -> None:
        with open_hdf5(file) as part:
            for name in sorted(part, key=number_of):
                if name not in main:  # as it is after an interruption
                    part.copy(name, main)  # without unpacking

    def _counted(self) -> int:
        if files := part_files(self.folder):
            try:
                with open_hdf5(files[-1]) as part:
                    return 1 + max(map(number_of, part))
            except BROKEN as error:
                raise UserError(
                    f"{files[-1]} is damaged ({first_line(error)}): remove it and give the same command again"
                ) from None
        return read_metadata(self.folder).total_episodes or 0

    def _saved(self) -> dict[str, Any]:
        return read_metadata(self.folder).model_dump(mode="json", exclude_unset=True)

    def _save(self, metadata: Mapping[str, Any]) -> None:
        with whole(self.folder / METADATA) as path:
            path.write_text(json.dumps(metadata))

    def _check(self, made: Mapping[str, Any]) -> None:
        """Raises UserError where the folder was begun with other settings."""
        there = self._saved()
        old, new = dict(there.get("openjepa") or {}), made["openjepa"]
        if "policy" in old:
            old["policy"] = POLICIES.get(old["policy"], old["policy"])
        for key in [*new, *old]:
            if old.get(key) != new.get(key):
                raise UserError(
                    f"{self.folder} holds other episodes ({key} was {old.get(key)!r} and is {new.get(key)!r}): "
                    "name another folder"
                )

    def _write(self, group: Any, number: int, episode: Episode) -> None:
        steps = len(episode)
        group.attrs["id"], group.attrs["total_steps"] = number, steps
        rows = max(1, min(steps + 1, CHUNK_BYTES // episode.frames[0].nbytes))
        packed = {"compression": "gzip", "compression_opts": 1}  # measured: half of lzf's size, read as fast
        chunks = (rows, *episode.frames.shape[1:])
        group.create_dataset("observations/frame", data=episode.frames, chunks=chunks, **packed)
        if episode.state.shape[1]:
            group["observations/state"] = episode.state
        group["actions"] = episode.actions.argmax(1) if self._discrete else episode.actions
        group["rewards"] = np.zeros(steps)
        group["terminations"] = np.zeros(steps, bool)
        group["truncations"] = np.arange(steps) == steps - 1
        infos = group.create_group("infos")
        for key, value in _flat(episode.info):
            if isinstance(value, np.ndarray) and value.shape == (steps + 1,):
                infos[key] = value
            else:
                group.attrs[key] = value

    @contextmanager
    def _writing(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"{self.folder} cannot be written ({error.strerror or error}); the episodes finished before are kept: "
                "make room and give the same command again"
            ) from error


def _unbegun(folder: Path) -> bool:
    """Whether there is nothing in a folder but what a beginning leaves that was cut short."""
    if not folder.is_dir():
        return False
    left = (Path(METADATA).parent.name, PARTS)
    return all(
        path.name in left if path.is_dir() else path.name == LOCK or path.name.endswith(".partial")
        for path in folder.rglob("*")
    )


@contextmanager
def whole(path: Path) -> Generator[Path]:
    """A path to write to that takes the name `path` once its contents are on the disk."""
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        yield partial
        handle = os.open(partial, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _flat(info: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in info.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}/")
        else:
            yield prefix + key, value


def _totals(main: Any, discrete: bool) -> dict[str, Any]:
    """The metadata of all episodes; the actions' statistics leave out rows with NaN."""
    totals = {
        "total_episodes": len(main),
        "total_steps": sum(int(main[n].attrs["total_steps"]) for n in main),
    }
    actions = np.concatenate([main[name]["actions"][()] for name in main])
    known = np.zeros((0, 1)) if discrete else actions[np.isfinite(actions).all(1)]
    if len(known) == 0:
        return totals
    known = known.astype(np.float64)
    statistics = {"low": known.min(0), "high": known.max(0), "mean": known.mean(0), "std": known.std(0)}
    return totals | {"action_statistics": {name: values.tolist() for name, values in statistics.items()}}
