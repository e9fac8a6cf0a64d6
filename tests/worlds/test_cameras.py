"""Logs of several cameras, films and frames of floating numbers: whose pictures are read, and what is refused."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import openjepa
from openjepa.errors import UserError
from openjepa.evals.planning.cloning import open_windows
from openjepa.report.command import command_for
from openjepa.signals.frames import FrameSignal
from openjepa.worlds.reading import open_episodes

from .. import dots
from ..signals.video import films
from . import stored
from .sets import frames_of

h5py = pytest.importorskip("h5py")
pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

ROWS = (30, 26, 28)
FRONT, WRIST = "observation.images.front", "observation.images.wrist"


def numbers(frames: np.ndarray) -> list[int]:
    """Which pictures of `films.film` frames are."""
    import torch

    return films.numbers(torch.from_numpy(frames))


def two_cameras(path: Path, count: int = 3, length: int = 9) -> Path:
    """robomimic's layout; the wrist's pictures lie on their side."""
    return stored.robomimic(path, stored.actions_of((length,) * count), wrist="obs/wrist_image")


def filmed(
    folder: Path,
    rows: Sequence[int] = ROWS,
    shown: Sequence[int] | None = None,
    version: int = 2,
    cameras: Sequence[str] = (FRONT, WRIST),
) -> Path:
    """LeRobot's layout with films; from version 3 on all episodes are in one film."""
    (folder / "data/chunk-000").mkdir(parents=True)
    (folder / "meta").mkdir()
    kinds = dict.fromkeys(cameras, "video") | {"action": "float32", "observation.state": "float32"}
    path = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
    if version == 3:
        path = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
    info = {
        "codebase_version": f"v{version}.0",
        "total_episodes": len(rows),
        "features": {key: {"dtype": kind} for key, kind in kinds.items()},
        "fps": 25,
        "video_path": path,
    }
    (folder / "meta/info.json").write_text(json.dumps(info))
    begun = 0
    for i, (count, taken) in enumerate(zip(rows, stored.actions_of(rows), strict=True)):
        columns = {
            "action": taken.tolist(),
            "observation.state": [[float(begun + t)] for t in range(count)],
            "episode_index": [i] * count,
            "frame_index": list(range(count)),
        }
        parquet.write_table(pyarrow.table(columns), folder / f"data/chunk-000/episode_{i:06d}.parquet")
        for key in cameras if version == 2 else ():
            name = path.format(episode_chunk=0, video_key=key, episode_index=i)
            films.write(folder, {name: films.film((shown or rows)[i])})
        begun += count
    if version == 3:
        begins = (np.cumsum(rows) - rows).tolist()
        table = {"episode_index": list(range(len(rows)))}
        for key in cameras:
            films.write(
                folder, {path.format(chunk_index=0, file_index=0, video_key=key): films.film(sum(rows))}
            )
            table |= {f"videos/{key}/{name}": [0] * len(rows) for name in ("chunk_index", "file_index")}
            table[f"videos/{key}/from_timestamp"] = [begin / 25 for begin in begins]
        (folder / "meta/episodes/chunk-000").mkdir(parents=True)
        parquet.write_table(pyarrow.table(table), folder / "meta/episodes/chunk-000/file-000.parquet")
    return folder


def tabled(
    folder: Path,
    columns: str = "action_0,action_1,state_elbow",
    cameras: Sequence[str] = ("",),
    rows: Sequence[int] = ROWS,
) -> Path:
    """Films with a table beside each."""
    folder.mkdir()
    for i, (count, taken) in enumerate(zip(rows, stored.actions_of(rows), strict=True)):
        lines = [f"{a},{b},{t}" for t, (a, b) in enumerate(taken)]
        (folder / f"run_{i}.csv").write_text("\n".join([columns, *lines]) + "\n")
        for camera in cameras:
            films.write(folder, {f"{camera}/run_{i}.mp4" if camera else f"run_{i}.mp4": films.film(count)})
    return folder


# cameras


def test_a_camera_is_named_by_the_last_part_of_its_path(tmp_path: Path) -> None:
    path = two_cameras(tmp_path / "a.hdf5")
    for name in ("wrist", "wrist_image", "obs/wrist_image"):
        opened = open_episodes(path, camera=name)
        assert np.array_equal(opened[1].frames, frames_of(1, 9)[:, :, ::-1]) and opened.cameras.names == (
            name,
        )


@pytest.mark.parametrize("held", [True, False])
def test_several_cameras_lie_behind_or_beside_one_another(held: bool, tmp_path: Path) -> None:
    path = two_cameras(tmp_path / "a.hdf5")
    front, wrist = (open_episodes(path, camera=name)[2].frames for name in ("front", "wrist"))
    both = open_episodes(path, camera=["wrist", "front"], in_memory=held)
    assert both.frame == (6, 16, 16) and np.array_equal(both[2].frames, np.concatenate([wrist, front], 1))
    views = open_episodes(path, camera=["front", "wrist"], camera_as="views", in_memory=held)[2].frames
    assert views.shape == (9, 3, 32, 32) and not views[:, :, 16:].any()
    assert np.array_equal(views[:, :, :16, :16], front) and np.array_equal(views[:, :, :16, 16:], wrist)
    small = open_episodes(path, camera=["front", "wrist"], camera_as="views", size=16, in_memory=held)
    assert small.frame == (3, 16, 16)


@pytest.mark.parametrize(
    ("camera", "said"),
    [
        ("wirst", r"no camera 'wirst': it has obs/front_image, obs/wrist_image.*did you mean 'wrist"),
        (
            (),
            r"several cameras \(obs/front_image, obs/wrist_image\): name one with "
            r"--signal\.camera front,.* when training",
        ),
    ],
)
def test_a_camera_that_is_not_there_names_those_that_are(camera: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        open_episodes(two_cameras(tmp_path / "a.hdf5"), camera=camera)


def test_a_camera_and_a_path_of_frames_are_not_both_given(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give one of them"):
        open_episodes(two_cameras(tmp_path / "a.hdf5"), camera="wrist", names={"frames": "obs/front_image"})


def test_cameras_of_unequal_length_are_named_with_their_episode(tmp_path: Path) -> None:
    path = two_cameras(tmp_path / "a.hdf5")
    with h5py.File(path, "a") as file:
        group = file["data/demo_1/obs"]
        short = group["wrist_image"][:5]
        del group["wrist_image"]
        group["wrist_image"] = short
    opened = open_episodes(path, camera=["front", "wrist"])
    assert len(opened) == 2 and "obs/front_image 9, obs/wrist_image 5" in opened.skipped[0].reason


@pytest.mark.parametrize("arranged", ["channels", "views"])
def test_a_run_keeps_its_cameras(arranged: str, tmp_path: Path) -> None:
    path = two_cameras(tmp_path / "a.hdf5", 6)
    small = dots.options("pldm", train__steps=2)
    options = small | {"signal.camera": "[front, wrist]", "signal.camera_as": arranged}
    run = tmp_path / "run"
    openjepa.train("pldm", data=str(path), out=run, options=options)
    model = openjepa.load(run)
    signal = model.config.signal
    assert signal.camera == ("front", "wrist") and signal.channels == (6 if arranged == "channels" else 3)
    assert open_windows(model).episodes.frame == signal.frame
    told = "front and wrist are 6 channels of one frame"
    assert signal.changed(FrameSignal()) == (told if arranged == "channels" else "")
    command = command_for(model.config.model_dump(mode="json"))
    assert command is not None and '--signal.camera \'["front", "wrist"]\'' in command
    looked_at = signal.side_by_side(open_windows(model).read([0]).frames)
    assert looked_at.shape[-3:] == ((3, 16, 32) if arranged == "channels" else (3, 16, 16))


# floating numbers


@pytest.mark.parametrize("white", [1.0, 255.0])
def test_floating_frames_are_in_one_of_two_ranges_which_the_run_keeps(white: float, tmp_path: Path) -> None:
    path = tmp_path / "a.hdf5"
    with h5py.File(path, "w") as file:
        for i in range(6):
            bright = np.moveaxis(frames_of(i, 10), 1, -1) * 10.0  # episode 0 alone has no bright picture
            file[f"episode_{i}/image"] = (bright / 255 * white).astype(np.float32)
            file[f"episode_{i}/actions"] = stored.actions_of((10,))[0]
    opened = open_episodes(path)
    assert opened.cameras.white == white
    assert np.array_equal(opened[3].frames, frames_of(3, 10) * 10)
    with pytest.raises(UserError, match=r"where white is 0\.01: set signal\.white"):
        open_episodes(path, white=0.01)
    run = tmp_path / "run"
    openjepa.train("pldm", data=str(path), out=run, options=dots.options("pldm", train__steps=2))
    signal = openjepa.load(run).config.signal
    assert signal.white == white and f"floating numbers in 0..{white:g}" in signal.changed(FrameSignal())


# films


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("held", [True, False])
def test_lerobot_films_give_the_frames_of_their_rows(version: int, held: bool, tmp_path: Path) -> None:
    folder = filmed(tmp_path / "set", version=version)
    opened = open_episodes(folder, camera="wrist", in_memory=held)
    assert len(opened) == 3 and not opened.skipped and opened.frame == (3, 48, 64)
    for i, (one, rows) in enumerate(zip(opened, ROWS, strict=True)):
        begun = sum(ROWS[:i]) if version == 3 else 0
        assert numbers(one.frames) == [(begun + t) % 40 for t in range(rows)]
        assert one.state[0, 0] == sum(ROWS[:i])
    window = open_episodes(folder, camera="front", size=32, in_memory=held).windows(3, block=5)
    place = np.flatnonzero((window.episode == 1) & (window.start == 7))
    shown = numbers(window.read(place).frames[0].numpy())
    begun = ROWS[0] if version == 3 else 0
    assert shown == [(begun + t) % 40 for t in (7, 12, 17)]


@pytest.mark.parametrize("frames", [20, 33])
def test_films_of_other_lengths_than_their_tables_are_left_out_and_named(frames: int, tmp_path: Path) -> None:
    folder = filmed(tmp_path / "set", shown=(30, frames, 28))
    opened = open_episodes(folder, camera="front")
    assert len(opened) == 2
    assert opened.skipped[0].name == "episode 1"
    assert (
        f"has {frames} frames to second" in opened.skipped[0].reason and "26 rows" in opened.skipped[0].reason
    )
    with pytest.raises(UserError, match=r"none of its 3 episodes can be read \(episode 0: .*has 9 frames"):
        open_episodes(filmed(tmp_path / "all", shown=(9, 9, 9)), camera="front")


def test_a_damaged_or_missing_film_costs_its_episode(tmp_path: Path) -> None:
    folder = filmed(tmp_path / "set")
    (folder / f"videos/chunk-000/{FRONT}/episode_000000.mp4").unlink()
    (folder / f"videos/chunk-000/{FRONT}/episode_000001.mp4").write_bytes(b"no film")
    opened = open_episodes(folder, camera="front")
    assert len(opened) == 1 and {one.name for one in opened.skipped} == {"episode 0", "episode 1"}
    assert "not a readable film" in opened.skipped[1].reason


def test_a_missing_meta_file_is_named(tmp_path: Path) -> None:
    folder = filmed(tmp_path / "v3", version=3)
    (folder / "meta/episodes/chunk-000/file-000.parquet").unlink()
    with pytest.raises(UserError, match="lacks meta/episodes"):
        open_episodes(folder, camera="front")
    (folder / "meta/info.json").unlink()
    with pytest.raises(UserError, match=r"lacks meta/info\.json: copy the whole folder meta"):
        open_episodes(folder, camera="front")


@pytest.mark.parametrize(
    "path",
    ["../{video_key}.mp4", "{episode_index.__class__}.mp4", "{secret}.mp4", "{episode_index:99999999d}.mp4"],
)
def test_a_template_of_paths_reaches_nothing_outside(path: str, tmp_path: Path) -> None:
    folder = filmed(tmp_path / "set")
    info = json.loads((folder / "meta/info.json").read_text())
    (folder / "meta/info.json").write_text(json.dumps(info | {"video_path": path}))
    with pytest.raises(UserError, match="none of its 3 episodes can be read"):
        open_episodes(folder, camera="front")


def test_films_with_tables(tmp_path: Path) -> None:
    opened = open_episodes(tabled(tmp_path / "one"))
    assert len(opened) == 3 and opened.variables == ("state_elbow",) and opened.action_dim == 2
    for i, one in enumerate(opened):
        assert numbers(one.frames) == list(range(ROWS[i]))
        assert np.allclose(one.actions, stored.actions_of(ROWS)[i][:-1])
        assert one.state[:, 0].tolist() == list(range(ROWS[i]))
    two = tabled(tmp_path / "two", cameras=("front", "wrist"))
    assert open_episodes(two, camera=["front", "wrist"]).frame == (6, 48, 64)
    with pytest.raises(UserError, match=r"several cameras \(front, wrist\)"):
        open_episodes(two)


def test_rows_with_times_have_the_frames_that_are_shown_then(tmp_path: Path) -> None:
    folder = tabled(tmp_path / "set")
    for i, count in enumerate(ROWS):
        clock = 1.7e9 * (i == 1)  # one log tells the time of day
        rows = [f"{clock + t / 50},{t},{t / 2}" for t in range(2 * count)]
        (folder / f"run_{i}.csv").write_text("\n".join(["timestamp,action,state", *rows]))
    opened = open_episodes(folder)
    assert not opened.skipped
    assert numbers(opened[1].frames) == [t // 2 for t in range(2 * ROWS[1])]


def test_mistakes_in_tables_are_named(tmp_path: Path) -> None:
    folder = tabled(tmp_path / "set")
    (folder / "run_0.csv").write_text("action,state\n1,2\n3\n")
    (folder / "run_1.csv").write_text("action_0,action_1,state_elbow\n" + "0.5,0.1,\n" * 25)
    opened = open_episodes(folder)
    reasons = {one.name: one.reason for one in opened.skipped}
    assert (
        "line 3 has 1 cells" in reasons["run_0.csv"]
        and "26 frames, its table 25 rows" in reasons["run_1.csv"]
    )
    with pytest.raises(UserError, match="no columns of actions: its columns are speed, turn"):
        open_episodes(tabled(tmp_path / "other", columns="speed,turn,state"))
    named = open_episodes(tmp_path / "other", names={"actions": "turn"})
    assert named.action_dim == 1
    for i in range(3):
        (folder / f"run_{i}.csv").unlink()
    with pytest.raises(UserError, match=r"films with a table NAME\.csv"):
        open_episodes(folder)


# a real robot


def test_a_real_robots_logs(tmp_path: Path) -> None:
    given = os.environ.get("OPENJEPA_TEST_DATA", "")
    if not (Path(given) / "robot/g1-video.tar").is_file():
        pytest.skip("OPENJEPA_TEST_DATA has no robot/g1-video.tar")
    from benchmarks.robot import VARIABLES, lerobot

    folder = lerobot(Path(given) / "robot", tmp_path / "g1", range(6))
    opened = open_episodes(folder, size=32)
    assert not opened.skipped and opened.lengths.tolist() == [130, 114, 118, 122, 136, 148]
    assert opened.frame == (3, 32, 32) and opened.variables == tuple(VARIABLES) and opened.action_dim == 26
    moved = np.abs(np.diff(opened[0].frames.astype(float), axis=0)).mean((1, 2, 3))
    assert (moved > 0).mean() > 0.9
    small = dots.options("pldm", train__steps=2)
    run = tmp_path / "run"
    openjepa.train("pldm", data=str(folder), out=run, options=small | {"signal.camera": "head"})
    assert openjepa.load(run).config.signal.camera == ("head",)
