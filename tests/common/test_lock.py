"""One process at a time writes to a directory."""

import os
import signal
from pathlib import Path

import pytest

from openjepa.common import lock
from openjepa.common.lock import LOCK, sole_writer
from openjepa.errors import OpenJEPAWarning, UserError


def in_a_child(directory: Path, act) -> int:
    """What `act` returns in another process that holds the directory, or 1 if it cannot have it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with sole_writer(directory):
                code = act()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_the_second_gets_one_sentence_and_leaves_everything(tmp_path: Path) -> None:
    with sole_writer(tmp_path / "deep/run") as held:
        (tmp_path / "deep/run/kept").write_text("")
        sentence = rf"written to by another process \({os.getpid()} on"
        with pytest.raises(UserError, match=sentence) as caught, sole_writer(tmp_path / "deep/run"):
            pass
        assert "\n" not in str(caught.value)
        assert in_a_child(tmp_path / "deep/run", lambda: 0) == 1
        held.check()
        assert {path.name for path in (tmp_path / "deep/run").iterdir()} == {"kept", LOCK}
    assert in_a_child(tmp_path / "deep/run", lambda: 0) == 0
    assert [path.name for path in (tmp_path / "deep/run").iterdir()] == ["kept"]


def test_a_directory_that_stayed_empty_is_gone_again(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for name in ("deep/run", "mine"):
        with sole_writer(tmp_path / name):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_killed_owner_has_let_go(tmp_path: Path) -> None:
    assert in_a_child(tmp_path / "run", lambda: os.kill(os.getpid(), signal.SIGKILL)) == -signal.SIGKILL
    assert (tmp_path / "run" / LOCK).exists()
    with sole_writer(tmp_path / "run"):
        pass


def test_a_worker_does_not_hold_it_beyond_its_parents_end(tmp_path: Path) -> None:
    release, wait = os.pipe()

    def leave_a_worker() -> int:
        if os.fork() == 0:
            os.close(wait)
            os.read(release, 1)
            os._exit(0)
        os._exit(0)

    assert in_a_child(tmp_path / "run", leave_a_worker) == 0
    with sole_writer(tmp_path / "run"):
        pass
    os.close(wait)


def test_what_was_taken_away_is_noticed(tmp_path: Path) -> None:
    for take in (Path.rmdir, lambda path: (path.rmdir(), path.mkdir(), (path / LOCK).touch())):
        with sole_writer(tmp_path / "run") as held:
            (tmp_path / "run" / LOCK).unlink()
            take(tmp_path / "run")
            with pytest.raises(UserError, match="removed, moved or replaced"):
                held.check()


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file/run"):
        with pytest.raises(UserError, match="cannot be written"), sole_writer(path):
            pass


def test_a_file_system_without_locks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "fcntl", None)
    with pytest.warns(OpenJEPAWarning, match="has no locks"), sole_writer(tmp_path / "run") as held:
        held.check()


def test_episodes_are_collected_by_one_process_at_a_time(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    from openjepa.worlds.collect import collect

    sentences = []

    def again(what: str, done: int, total: int) -> None:
        if what == "collecting episodes" and done == 0:
            with pytest.raises(UserError) as caught:
                collect("two-rooms", episodes=2, steps=2, out=tmp_path / "episodes")
            sentences.append(str(caught.value))

    found = collect("two-rooms", episodes=2, steps=2, out=tmp_path / "episodes", worlds=2, progress=again)
    assert len(found) == 2
    assert len(sentences) == 1 and "written to by another process" in sentences[0]
    collect("two-rooms", episodes=3, steps=2, out=tmp_path / "episodes", worlds=2)
