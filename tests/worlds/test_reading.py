"""Episodes on disk: what is read of each layout, what is refused, and how far a file reaches."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

import openjepa
from openjepa import cli
from openjepa.common.reach import FOLLOW_LINKS
from openjepa.errors import UserError
from openjepa.evals.planning.cloning import open_windows
from openjepa.report.command import command_for
from openjepa.worlds.reading import open_episodes

from .. import dots
from . import stored
from .sets import frames_of

h5py = pytest.importorskip("h5py")
pytest.importorskip("pyarrow")

layouts = pytest.mark.parametrize("layout", stored.WRITERS)


@layouts
@pytest.mark.parametrize("held", [True, False])
def test_every_layout_gives_its_episodes(layout: str, held: bool, tmp_path: Path) -> None:
    opened = open_episodes(stored.WRITERS[layout](tmp_path / "set"), in_memory=held)
    assert len(opened) == 3 and not opened.skipped and opened.frame == (3, 16, 16)
    for number, rows in enumerate(stored.actions_of()):
        one = opened[number]
        assert np.array_equal(one.frames, frames_of(number, len(one.frames)))
        assert np.array_equal(one.actions, rows[: len(one.actions)]) and len(one.frames) >= len(rows)


@layouts
@pytest.mark.parametrize("value", [1e30, -1e30, np.inf, -np.inf])
def test_one_outlying_action_is_refused_with_its_episode_in_every_layout(
    layout: str, value: float, tmp_path: Path
) -> None:
    actions = stored.actions_of((40, 30, 50))
    actions[1][7, 1] = value
    opened = open_episodes(stored.WRITERS[layout](tmp_path / "set", actions))
    assert len(opened) == 2 and len(opened.skipped) == 1
    skipped = opened.skipped[0]
    assert skipped.name in ("episode 1", "episode_1", "demo_1")
    assert "number 1 of its action at step 7 is" in skipped.reason
    assert all(0.5 < std < 2 for std in opened.action_scale()["action_std"])


@layouts
def test_missing_actions_stay_missing(layout: str, tmp_path: Path) -> None:
    actions = stored.actions_of((40, 30, 50))
    actions[1][7] = np.nan
    opened = open_episodes(stored.WRITERS[layout](tmp_path / "set", actions))
    assert len(opened) == 3 and not opened.skipped
    assert np.isnan(opened[1].actions[7]).all() and opened.windows(2).gaps == 1


def test_what_rarely_moves_is_not_outlying(tmp_path: Path) -> None:
    actions = stored.actions_of((400, 300, 500))
    for rows in actions:
        rows[:] = 1e-9 * rows
    actions[1][7] = 1.0
    assert not open_episodes(stored.ours(tmp_path / "set", actions)).skipped


def test_what_followed_a_step_is_never_the_camera(tmp_path: Path) -> None:
    path = stored.robomimic(tmp_path / "a.hdf5")
    assert np.array_equal(open_episodes(path)[0].frames, frames_of(0, 5))
    two = stored.robomimic(tmp_path / "b.hdf5", wrist="obs/wrist_image", later="next_obs/wrist_image")
    with pytest.raises(UserError, match=r"--signal\.camera front, .*\[front, wrist\]") as refused:
        open_episodes(two)
    assert "next_obs" not in str(refused.value)
    named = open_episodes(two, names={"frames": "next_obs/front_image"})
    assert np.array_equal(named[0].frames, frames_of(0, 6)[1:]) and named.subset([0]).names == named.names


# how far a file reaches


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file outside of any set."""
    path = tmp_path / "secret.png"
    path.write_bytes(stored.png(frames_of(9, 1)[0]))
    return path


@pytest.mark.parametrize("name", ["absolute", "../secret.png", "../../secret.png"])
def test_a_picture_named_by_a_table_lies_in_its_folder(name: str, secret: Path, tmp_path: Path) -> None:
    path = str(secret) if name == "absolute" else name
    folder = stored.lerobot(tmp_path / "set", image=lambda i, t, data: {"bytes": None, "path": path})
    with pytest.raises(UserError, match="leads out of the folder"):
        open_episodes(folder)
    within = stored.lerobot(tmp_path / "ok", image=lambda i, t, data: {"bytes": None, "path": "a.png"})
    (within / "a.png").write_bytes(secret.read_bytes())
    assert len(open_episodes(within)) == 3


def test_links_out_of_a_folder_are_followed_only_when_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, outside = stored.lerobot(tmp_path / "set"), tmp_path / "outside.parquet"
    first = folder / "data/chunk-000/episode_000000.parquet"
    first.rename(outside)
    first.symlink_to(outside)
    opened = open_episodes(folder)
    assert len(opened) == 2 and FOLLOW_LINKS in opened.skipped[0].reason
    file = tmp_path / "plain" / "a.hdf5"
    file.parent.mkdir()
    file.symlink_to(stored.robomimic(tmp_path / "b.hdf5"))
    with pytest.raises(UserError, match=FOLLOW_LINKS):
        open_episodes(file.parent)
    assert len(open_episodes(file)) == 3  # named by the user
    monkeypatch.setenv(FOLLOW_LINKS, "1")
    assert len(open_episodes(folder)) == len(open_episodes(file.parent)) == 3


@pytest.mark.parametrize("kind", ["external link", "soft link to it", "external storage", "virtual"])
def test_hdf5_files_hold_their_own_numbers(kind: str, tmp_path: Path) -> None:
    path, other = stored.robomimic(tmp_path / "a.hdf5"), stored.robomimic(tmp_path / "b.hdf5")
    with h5py.File(path, "a") as file:
        group = file["data/demo_1"]
        shape = group["obs/front_image"].shape
        del group["obs/front_image"]
        if "link" in kind:
            place = "outside" if "soft" in kind else "data/demo_1/obs/front_image"
            file[place] = h5py.ExternalLink(other, "data/demo_1/obs/front_image")
            if "soft" in kind:
                group["obs/front_image"] = h5py.SoftLink("/outside")
        elif kind == "virtual":
            layout = h5py.VirtualLayout(shape, np.uint8)
            layout[:] = h5py.VirtualSource(str(other), "data/demo_1/obs/front_image", shape)
            group.create_virtual_dataset("obs/front_image", layout)
        else:
            external = [(str(other), 0, h5py.h5f.UNLIMITED)]
            group.create_dataset("obs/front_image", shape, np.uint8, external=external)
    with pytest.raises(UserError, match=r"into this one"):
        open_episodes(path)


def test_soft_links_within_a_file_are_followed(tmp_path: Path) -> None:
    path = stored.robomimic(tmp_path / "a.hdf5")
    with h5py.File(path, "a") as file:
        file.move("data/demo_1/obs/front_image", "shared")
        file["data/demo_1/obs/front_image"] = h5py.SoftLink("/shared")
        file["data/demo_2/loop"] = h5py.SoftLink("/data/demo_2/loop")
    assert len(open_episodes(path)) == 3


@pytest.mark.parametrize("where", ["set.hdf5", "set/a.hdf5"])
def test_pipes_are_not_read(where: str, tmp_path: Path) -> None:
    path = tmp_path / where
    path.parent.mkdir(exist_ok=True)
    os.mkfifo(path)
    with pytest.raises(UserError, match="pipe, socket or device"):
        open_episodes(tmp_path / where.split("/")[0])


def test_claims_are_bounded(tmp_path: Path) -> None:
    huge = tmp_path / "huge.hdf5"
    with h5py.File(huge, "w") as file:
        for name, shape in (("observations/frame", (3, 3, 16, 16)), ("actions", (10**7, 60000))):
            file.create_dataset(f"episode_0/{name}", shape, np.uint8, chunks=True)
    with pytest.raises(UserError, match="it claims 600,000,000,000 bytes"):
        open_episodes(huge)
    folder = stored.lerobot(tmp_path / "set")
    info = json.loads((folder / "meta/info.json").read_text())
    for claim, said in ((10**12, "total_episodes"), (10**6, None)):
        (folder / "meta/info.json").write_text(json.dumps(info | {"total_episodes": claim}))
        if said:
            with pytest.raises(UserError, match=said):
                open_episodes(folder)
        else:
            opened = open_episodes(folder)
            assert len(opened) == 3 and opened.skipped[-1].name == "998,997 more episodes to episode 999999"
    with pytest.raises(UserError, match="1,000,000,000 kinds"):
        open_episodes(stored.flat(tmp_path / "a.h5", [np.array([[0], [10**9 - 1], [1]])]))


def test_names_chosen_in_python_are_kept_for_the_commands(tmp_path: Path) -> None:
    path = stored.robomimic(tmp_path / "a.hdf5", stored.actions_of((9,) * 6), wrist="obs/wrist_image")
    data = open_episodes(path, names={"frames": "obs/wrist_image", "state": "obs/joints"}, size=16)
    run = tmp_path / "run"
    openjepa.train("pldm", data=data, out=run, options=dots.options("pldm", train__steps=2))
    config = openjepa.load(run).config
    assert config.names.frames == "obs/wrist_image" and config.data == str(path)
    assert open_windows(openjepa.load(run)).episodes.fingerprint == data.fingerprint
    command = command_for(config.model_dump(mode="json"))
    assert command is not None and "--names.frames obs/wrist_image" in command
    cli.main(["train", "--config", str(run), "--out", str(tmp_path / "again"), "--json"])
    assert openjepa.load(tmp_path / "again").config.names == config.names
