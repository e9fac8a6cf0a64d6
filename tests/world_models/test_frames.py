"""Frames of episodes as samples: embedded with their episode and step, and variables read off their states."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import openjepa
from openjepa import cli
from openjepa.errors import OpenJEPAWarning, UserError
from openjepa.evals import probe_runs
from openjepa.evals.table import ProbeTable
from openjepa.recipes.worlds import WorldRecipe
from openjepa.world_models.conditions import Proprioception
from openjepa.worlds.reading import open_episodes

from .. import dots

h5py = pytest.importorskip("h5py")

LENGTH = 12


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dot on two cameras; the state is its place and a joint that nothing shows."""
    path, rng = tmp_path_factory.mktemp("frames") / "logs.hdf5", np.random.default_rng(0)
    row, column = np.mgrid[:16, :16] + 0.5
    with h5py.File(path, "w") as file:
        for i in range(16):
            actions = rng.uniform(-1.5, 1.5, (LENGTH, 2)).astype(np.float32)
            places = np.clip(rng.uniform(4, 12, 2) + np.cumsum(actions, 0), 2, 14)
            dots_ = np.exp(-((column - places[:, :1, None]) ** 2 + (row - places[:, 1:, None]) ** 2) / 4)
            frames = np.repeat((255 * dots_).astype(np.uint8)[..., None], 3, -1)
            group = file.create_group(f"episode_{i}")
            group["obs/front_image"], group["obs/wrist_image"] = frames, frames[:, ::-1]
            hidden = rng.normal(size=(LENGTH, 1))
            group["obs/state"] = np.concatenate([places, hidden], 1).astype(np.float32)
            group["actions"] = actions
    return path


@pytest.fixture(scope="module")
def run(logs: Path) -> Path:
    out = logs.parent / "run"
    options = dots.options("pldm", train__steps=3) | {"signal.camera": "[front, wrist]"}
    openjepa.train("pldm", data=str(logs), out=out, options=options)
    return out


@pytest.mark.parametrize("suffix", [".csv", ".npy"])
def test_states_of_logs_are_a_table_of_episode_step_and_state(
    suffix: str, run: Path, logs: Path, tmp_path: Path
) -> None:
    path = tmp_path / f"states{suffix}"
    cli.main(["embed", str(run), "-o", str(path), "--json"])
    table = path if suffix == ".csv" else path.with_name("states.samples.csv")
    rows = list(csv.DictReader(table.open()))
    assert [(row["episode"], int(row["step"])) for row in rows] == [
        (f"episode_{i}", t) for i in range(16) for t in range(LENGTH)
    ]
    episodes = open_episodes(logs, camera=["front", "wrist"])
    assert float(rows[LENGTH + 3]["label state 0"]) == pytest.approx(float(episodes[1].state[3, 0]))
    expected = openjepa.load(run).embed(episodes[1].frames).numpy()
    if suffix == ".npy":
        found = np.load(path)[LENGTH : 2 * LENGTH]
    else:
        found = np.array([[float(row[f"e{d}"]) for d in range(16)] for row in rows[LENGTH : 2 * LENGTH]])
    assert np.allclose(found, expected, atol=1e-5)


def test_splits_are_those_of_training(run: Path) -> None:
    config = openjepa.load(run).config
    assert isinstance(config, WorldRecipe)
    train, test, every = (
        set(config.samples("", split).episodes.called) for split in ("train", "test", "all")
    )
    assert not train & test and train | test == every and len(test) == 4
    windows = config.open(config.data, adapt=False)
    assert test == {windows.episodes.called[int(i)] for i in windows.split()[1]}


def test_a_state_of_several_frames_is_that_of_the_newest(logs: Path) -> None:
    options = dots.options("pldm", train__steps=2) | {
        "signal.camera": "front",
        "signal.stack": "2",
        "signal.block": "2",
        "hiding.frames": "4",
        "hiding.rollout": "2",
    }
    out = logs.parent / "stacked"
    openjepa.train("pldm", data=str(logs), out=out, options=options)
    model = openjepa.load(out)
    assert isinstance(model.config, WorldRecipe)
    frames = model.config.samples()
    assert frames.step[0] == 2 and len(frames) == 16 * (LENGTH - 2) and frames.key(0) == "episode_0:2"
    one = frames.read([5])
    seen = open_episodes(logs, camera="front")[0].frames
    assert np.array_equal(one.frames[0].numpy(), seen[[5, 7]]) and frames.step[5] == 7
    assert frames.labels is not None
    assert np.array_equal(frames.labels.values[5], one.state[0, -1].numpy())


def test_variables_are_read_off_states_beside_random_and_classical_features(
    run: Path, capsys: pytest.CaptureFixture
) -> None:
    cli.main(["probe", str(run), "--kinds", "linear", "--classical", "quick", "--json"])
    table = ProbeTable.from_dict(json.loads(capsys.readouterr().out))
    assert table.noun == "frames"
    rows = {score.row: score for score in table.scores}
    assert list(rows) == ["raw pixels", "HOG", "random init", "model", "model + best classical"]
    assert {score.metric for score in rows.values()} == {"R²"} and rows["model"].groups == 4
    assert rows["model"].tested == 4 * LENGTH
    assert list(rows["raw pixels"].each) == ["state 0", "state 1", "state 2"]
    assert rows["raw pixels"].each["state 0"] > 0.5 and rows["raw pixels"].each["state 2"] < 0.3
    assert rows["raw pixels"].mean == pytest.approx(np.mean(list(rows["raw pixels"].each.values())))
    assert "R² of each, linear" in str(table) and json.loads((run / "probe.json").read_text())


def test_joints_that_are_missing_are_left_out_and_counted(run: Path, logs: Path, tmp_path: Path) -> None:
    holes = tmp_path / "holes.hdf5"
    holes.write_bytes(logs.read_bytes())
    with h5py.File(holes, "a") as file:
        file["episode_3/obs/state"][4, 1] = np.nan
    with pytest.warns(OpenJEPAWarning, match="1 of 192 frames have no label and are left out"):
        table = probe_runs([run], test=str(holes), kinds=["linear"], classical="none")
    assert table.score("model", "linear").tested == 16 * LENGTH - 1


def test_frames_of_which_nothing_is_known_are_refused_in_a_sentence(logs: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.hdf5"
    bare.write_bytes(logs.read_bytes())
    with h5py.File(bare, "a") as file:
        for group in file.values():
            del group["obs/state"]
    options = dots.options("pldm", train__steps=2) | {"signal.camera": "front"}
    openjepa.train("pldm", data=str(bare), out=tmp_path / "run", options=options)
    with pytest.raises(UserError, match=r"has no labels; record its variables.*--names\.state"):
        probe_runs([tmp_path / "run"])


def test_proprioception_that_is_missing_is_named(logs: Path, tmp_path: Path) -> None:
    holes = tmp_path / "holes.hdf5"
    holes.write_bytes(logs.read_bytes())
    with h5py.File(holes, "a") as file:
        file["episode_3/obs/state"][4, 2] = np.nan
    episodes = open_episodes(holes, camera="front")
    Proprioception(variables=("state 0", "state 1")).check(episodes)
    with pytest.raises(UserError, match=r"state 2 is NaN at step 4 of episode_3 \(1 of 192 frames"):
        Proprioception().check(episodes)
