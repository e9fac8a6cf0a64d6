"""Files that are whole or absent."""

import os

import pytest

from openjepa.common import files


def test_of_two_processes_that_write_one_file_the_last_is_kept(tmp_path, monkeypatch):
    path = tmp_path / "table.csv"
    with files.whole(path) as mine:
        mine.write(b"mine")
        monkeypatch.setattr(os, "getpid", lambda: -1)
        with files.whole(path) as other:
            other.write(b"other")
        assert path.read_bytes() == b"other"
        monkeypatch.undo()
    assert path.read_bytes() == b"mine" and os.listdir(tmp_path) == ["table.csv"]


def test_what_is_broken_off_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), files.whole(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["table.csv"]
