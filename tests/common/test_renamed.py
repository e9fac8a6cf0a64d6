"""Files that were saved under a recipe's old name are read as they were."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import openjepa
from openjepa import cli
from openjepa.common.renamed import RECIPES, NewName, current
from openjepa.errors import UserError
from openjepa.evals.planning import RemoteProtocol, remote_protocol_for
from openjepa.recipes import configure, find
from openjepa.recipes.remotejepa import RemoteJEPA
from openjepa.recipes.tsjepa import TSJEPA
from openjepa.report import write_report
from openjepa.report.record import read_record
from openjepa.training import Run, resume, train
from openjepa.training.checkpoints import SCALARS, SEAL
from openjepa.training.run import read_config

from .. import dots
from ..training.test_loop import InterruptedAt

OLD, NAME = "ts-jepa", "remote-jepa"


def age(run: Path) -> None:
    """Write a run's files again as they were before the recipe had its name."""
    for path in run.rglob("*.json"):
        data = json.loads(path.read_text())
        if path.name == SCALARS:
            del data[SEAL]
        path.write_text(json.dumps(data).replace(f'"{NAME}"', f'"{OLD}"'))
    for path in run.rglob("*.safetensors"):
        with safe_open(path, "pt") as file:
            metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        assert metadata["recipe"] == NAME
        save_file(tensors, path, metadata | {"recipe": OLD})
    assert json.loads((run / "config.json").read_text())["recipe"] == OLD


@pytest.fixture
def run(tmp_path: Path) -> Path:
    train(NAME, data=dots.episodes(), out=tmp_path / "run", options=dots.options(NAME))
    return tmp_path / "run"


def test_a_run_is_loaded_reported_and_its_command_repeats_it(run: Path) -> None:
    before, frames = openjepa.load(run), dots.frames_of(3)
    age(run)
    after = openjepa.load(run)
    assert after.config == before.config and torch.equal(after.embed(frames), before.embed(frames))
    assert torch.equal(openjepa.load(run / "model").embed(frames), before.embed(frames))
    assert read_record(run).config["recipe"] == NAME
    write_report(run)
    assert f"openjepa train {NAME}" in (run / "report.html").read_text()


def test_a_run_is_continued_to_the_same_weights(run: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        train(NAME, data=dots.episodes(), out=cut, options=dots.options(NAME), progress=InterruptedAt(8))
    age(cut)
    resume(cut, data=dots.episodes())
    expected = openjepa.load(run).state_dict()
    assert all(
        torch.equal(tensor, expected[name]) for name, tensor in openjepa.load(cut).state_dict().items()
    )
    assert Run.open(cut).config.recipe == NAME


def test_a_protocol_finds_the_models_that_it_was_made_with(run: Path, tmp_path: Path) -> None:
    changes = {"options": "{size: 16}", "baselines": "[]"}
    protocol = remote_protocol_for([str(run)], "two-rooms", changes)
    protocol.save(tmp_path / "protocol.json")
    age(run)
    again = RemoteProtocol.read(tmp_path / "protocol.json")
    assert again == protocol and again.models[0].weights
    (model,) = again.load(again.world())
    assert isinstance(model.config, RemoteJEPA)


def test_a_config_is_read_from_a_run_and_from_a_file(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    age(run)
    assert configure(NAME, None, None, read_config(run)) == Run.open(run).config
    (tmp_path / "mine.yaml").write_text(f"recipe: {OLD}\nsignal: {{kind: frames}}\ntrain: {{lr: 0.5}}\n")
    config = configure(NAME, None, None, read_config(tmp_path / "mine.yaml"))
    assert isinstance(config, RemoteJEPA) and config.train.lr == 0.5
    cli.main(["train", "--config", str(run), "--help"])
    assert f"Presets of {NAME}" in capsys.readouterr().out


def test_the_name_is_that_of_a_model_of_series_today(tmp_path: Path) -> None:
    series = {"recipe": OLD, "signal": {"kind": "series"}}
    assert current(series) == series
    for saved in (configure(OLD, "tiny").model_dump(mode="json"), {"recipe": OLD}):
        assert current(saved) == saved
    (tmp_path / "mine.yaml").write_text(f"recipe: {OLD}\ntrain: {{lr: 0.5}}\n")
    assert read_config(tmp_path / "mine.yaml")["recipe"] == OLD
    assert isinstance(configure(OLD, None, None, read_config(tmp_path / "mine.yaml")), TSJEPA)
    assert current({"recipe": "i-jepa"}) == {"recipe": "i-jepa"} and current([OLD]) == [OLD]


def test_whoever_types_an_old_name_is_told_todays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RECIPES, "older-jepa", NewName(NAME, "frames"))
    with pytest.raises(UserError, match=f"'older-jepa' is now called '{NAME}'"):
        find("older-jepa")
    for today in RECIPES.values():
        assert find(today.name).model_validate({}).signal.kind == today.signal
