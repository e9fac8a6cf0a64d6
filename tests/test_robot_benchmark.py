"""The benchmark of a robot's logs at minimal sizes: an encoder of the films, V-JEPA 2-AC on it, a table."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from benchmarks import robot

from openjepa.worlds.reading import open_episodes

from .signals.video.films import film

pytest.importorskip("pyarrow")
EPISODES, FRAMES = 24, 24


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Films of a few episodes, and joints three times as often, which follow their commands."""
    folder = tmp_path / "logs"
    folder.mkdir()
    data = film(FRAMES, rate=10, sides=(48, 64))
    with tarfile.open(folder / "g1-video.tar", "w") as tar:
        for i in range(EPISODES):
            member = tarfile.TarInfo(f"{i}.mp4")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    random, rows = np.random.default_rng(0), 3 * FRAMES
    action = random.normal(0, 100, (EPISODES, rows, 26)).cumsum(1)
    state = np.concatenate([np.zeros_like(action[:, :1]), action[:, :-1]], 1)
    np.savez(
        folder / "g1-joints.npz",
        state=state.reshape(-1, 26).astype(np.int16),
        action=action.reshape(-1, 26).astype(np.int16),
        offset=rows * np.arange(EPISODES + 1),
        episode=np.arange(EPISODES),
    )
    monkeypatch.setattr(robot, "EPISODES", EPISODES)
    return folder


@pytest.mark.filterwarnings("ignore::openjepa.OpenJEPAWarning")
def test_vjepa2_ac_stands_on_an_encoder_of_the_films_and_moves_the_joints_by_what_commands_change(
    logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"train.steps": 2, "train.batch_size": 8, "train.precision": "fp32"}
    recipe, preset, options = robot.ENCODERS["v-jepa-2"]
    monkeypatch.setattr(robot, "ENCODERS", {"v-jepa-2": (recipe, preset, {**options, **small})})
    out = tmp_path / "out"
    words = [word for name, value in small.items() for word in ("--set", f"{name}={value}")]
    robot.main([str(logs), "--out", str(out), "--recipe", "vjepa2-ac", *words])
    found = json.loads((out / "robot-vjepa2-ac-0.json").read_text())
    assert found["minutes"] > 0 and len(found["openloop"]["variables"]) == 13
    config = json.loads((out / "vjepa2-ac-0/config.json").read_text())
    assert config["condition"]["future"] == "moved" and config["names"]["actions"] == robot.CHANGE
    assert config["encoder"]["source"] == str(out / "v-jepa-2-0")
    text = (out / "robot-vjepa2-ac-0.md").read_text()
    assert "| model, read off its states |" in text and "| linear, with actions |" in text
    trained = open_episodes(out / "train")[0]
    changes = open_episodes(out / "train", names={"actions": robot.CHANGE})[0].actions
    np.testing.assert_allclose(trained.state[0] + changes.cumsum(0), trained.actions, atol=1e-4)
