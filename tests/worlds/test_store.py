"""Writing episodes: a full disk, and what a beginning that was cut short leaves."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from openjepa.errors import UserError
from openjepa.worlds import hdf5_writing
from openjepa.worlds.actions import Box
from openjepa.worlds.reading import open_episodes
from openjepa.worlds.store import Store

from .sets import SIDE, episode

pytest.importorskip("h5py")


def new(folder: Path) -> Store:
    return Store(folder, (3, SIDE, SIDE), Box.symmetric(9.0, 2), ("place",), {"world": "line"})


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("begun", [0, 5])
def test_a_full_disk_costs_one_sentence_and_the_same_command_goes_on(begun: int, tmp_path: Path) -> None:
    """A part has 80 kB, the whole 240 kB."""
    limits = [str(limit) for limit in (0, 300, 32_000, 92_000, 152_000, 212_000)]
    words = [sys.executable, "-m", "tests.worlds.full_disk", str(tmp_path), str(begun), *limits]
    root = Path(__file__).parents[2]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=300, cwd=root)
    found = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in found] == limits
    assert all(line[1:] == ["0", "2", "0"] for line in found), done.stdout  # and nothing partial is left
    said = done.stderr.splitlines()
    assert len(said) == len(limits) and all("make room and give the same command again" in s for s in said)
    whole = {open_episodes(path).fingerprint for path in tmp_path.iterdir()}
    assert len(whole) == 1 and len(open_episodes(tmp_path / f"{begun}-0")) == 12


def test_a_refusal_in_the_middle_keeps_what_was_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = new(tmp_path / "set")
    store.add([episode(0, 5)])

    def refused(*_: object) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    with monkeypatch.context() as patch:
        patch.setattr("openjepa.worlds.hdf5_writing._Lenient._write", refused)
        for attempt in (lambda: store.add([episode(1, 6)]), store.finish):
            with pytest.raises(
                UserError, match=r"Disk quota exceeded\); the episodes finished before are kept"
            ):
                attempt()
    assert len(store) == 1 and len(open_episodes(tmp_path / "set")) == 1
    again = new(tmp_path / "set")
    again.add([episode(1, 6)])
    again.finish()
    opened = open_episodes(tmp_path / "set")
    assert [len(one) for one in opened] == [5, 6] and np.array_equal(opened[1].frames, episode(1, 6).frames)


@pytest.mark.parametrize("left", [[], ["data"], ["data", "parts", "data/.metadata.json.partial", ".lock"]])
def test_what_a_cut_beginning_leaves_does_not_block_the_next(left: list[str], tmp_path: Path) -> None:
    for name in left:
        path = tmp_path / "set" / name
        path.parent.mkdir(exist_ok=True)
        path.touch() if name.rpartition("/")[2].startswith(".") else path.mkdir()
    assert len(new(tmp_path / "set")) == 0


@pytest.mark.parametrize("name", ["notes.txt", "data/notes.txt", "else/.lock"])
def test_a_folder_of_something_else_is_left_alone(name: str, tmp_path: Path) -> None:
    path = tmp_path / "set" / name
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.raises(UserError, match="holds no collected episodes"):
        new(tmp_path / "set")


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    new(tmp_path / "set").add([episode(0, 5)])
    part = tmp_path / "set/parts/00000000.hdf5"
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(UserError, match=r"00000000\.hdf5"):
        new(tmp_path / "set")


def test_ctrl_c_while_hdf5_writes_ends_once_hdf5_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Raised within HDF5's call of our file, KeyboardInterrupt is a segmentation fault."""
    store, written = new(tmp_path / "set"), hdf5_writing._Lenient.write

    def write(self: hdf5_writing._Lenient, data: object) -> int:
        signal.raise_signal(signal.SIGINT)
        return written(self, data)

    episodes = [episode(0, 5), episode(1, 4)]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(hdf5_writing._Lenient, "write", write)
        store.add(episodes)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    store = new(tmp_path / "set")
    store.add(episodes[len(store) :])
    store.finish()
    assert list(open_episodes(tmp_path / "set").lengths) == [5, 4]
