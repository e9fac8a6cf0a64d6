"""V-JEPA 2-AC: from films and logs to an action, as the docs have it."""

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import openjepa
from openjepa.cli import main
from openjepa.jepa import Tokens, View
from openjepa.nets.frames import FrozenFrames
from openjepa.worlds import make
from openjepa.worlds.collect import collect

pytest.importorskip("h5py")


@pytest.mark.filterwarnings("ignore::openjepa.OpenJEPAWarning")
def test_the_documented_lines_lead_from_films_and_logs_to_an_action(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "video.md").read_text()
    (code,) = [c for c in re.findall(r"^```py\n(.*?)^```$", page, flags=re.M | re.S) if "vjepa2-ac" in c]
    known: dict[str, Any] = {}
    exec(compile(code, "<documentation>", "exec"), known)
    action, world = known["action"], known["world"]
    assert action.shape == (1, 3) and np.isfinite(action).all()
    assert (action >= world.actions.low - 1e-6).all() and (action <= world.actions.high + 1e-6).all()
    assert known["model"].encoder.grid == (8, 8)
    moved = world.step(known["start"], action, np.random.default_rng(0))
    assert np.abs(moved.values - known["start"].values).sum() > 0


@pytest.mark.filterwarnings("ignore::openjepa.OpenJEPAWarning")
def test_the_documented_commands_take_films_as_a_camera_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    av = pytest.importorskip("av")
    monkeypatch.chdir(tmp_path)
    logs = collect(make("arm", size=64), "scripted", episodes=18, steps=16, out="logs")
    Path("films").mkdir()
    for i in range(18):
        with av.open(f"films/IMG_{i:04d}.mp4", "w") as out:
            stream = out.add_stream("mpeg4", rate=4, width=64, height=64, pix_fmt="yuv420p")
            for frame in np.moveaxis(np.asarray(logs[i].frames), 1, -1):
                out.mux(
                    stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24"))
                )
            out.mux(stream.encode())
    page = (Path(__file__).parents[2] / "docs" / "video.md").read_text()
    section = page[page.index("## I have a robot") :]
    lines = re.findall(r"^openjepa (train .*)$", section, flags=re.M)
    for line in lines[:2]:  # the third needs the Hub
        main([*shlex.split(line), "--train.steps", "2", "--train.batch_size", "4"])
    assert openjepa.load("runs/robot").config.recipe == "vjepa2-ac"


@pytest.mark.filterwarnings("ignore::openjepa.OpenJEPAWarning")
@pytest.mark.parametrize("recipe", ["vjepa2-ac", "dino-wm"])
def test_it_learns_on_an_encoder_of_the_hub_which_stays_as_it_was(recipe: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "pred_num_hidden_layers": 1}
    sizes |= {"pred_hidden_size": 24, "pred_num_attention_heads": 2, "patch_size": 8, "crop_size": 32}
    theirs = transformers.VJEPA2Model(transformers.VJEPA2Config(**sizes, frames_per_clip=4)).eval()
    theirs.save_pretrained(tmp_path / "released")
    logs = collect(make("arm", size=32), "scripted", episodes=9, steps=24, out=tmp_path / "logs")
    options = {
        "encoder.source": f"hub:{tmp_path / 'released'}",
        "signal.size": 32,
        "train.steps": 3,
        "train.batch_size": 4,
    }
    openjepa.train(recipe, preset="tiny", data=logs, options=options, out=tmp_path / "run")
    model: Any = openjepa.load(tmp_path / "run")
    (net,) = (part for part in model.encoder.modules() if isinstance(part, FrozenFrames))
    frames = torch.from_numpy(np.asarray(logs[0].frames)[:2]).float() / 255
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (model.signal.mean, model.signal.std))
    normal = (frames - mean) / std
    view = View(Tokens(normal.flatten(1).unsqueeze(1), normal.new_zeros(1, 1, 2), (1, 1)))
    with torch.no_grad():
        film = theirs.get_vision_features(normal[:, None].expand(-1, 2, -1, -1, -1))
        expected = torch.nn.functional.layer_norm(film, film.shape[-1:])
        torch.testing.assert_close(net(view), expected, rtol=1e-4, atol=1e-4)
