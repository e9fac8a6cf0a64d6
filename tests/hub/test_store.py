"""Saved models come back equal, or say in one sentence why not."""

import json
import os
import pickle
from pathlib import Path

import pytest
import torch

from openjepa import hub
from openjepa.errors import UserError
from openjepa.hub.store import load_model, save_model
from openjepa.jepa import JEPA
from openjepa.recipes import build, configure

SMALL = {
    "signal.size": "8",
    "encoder.width": "16",
    "encoder.depth": "1",
    "encoder.heads": "2",
    "hiding.target_scale": "[0.2, 0.3]",
}


def model(recipe: str = "i-jepa", **changes: str) -> JEPA:
    options = SMALL if recipe == "i-jepa" else {k: v for k, v in SMALL.items() if "hiding" not in k}
    return build(configure(recipe, "tiny-vit", options | changes), seed=3)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_model(model(), tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("recipe", ["i-jepa", "lejepa"])
def test_round_trip_in_eval_mode(recipe: str, tmp_path: Path) -> None:
    original = model(recipe)
    save_model(original, tmp_path / "m")
    loaded = load_model(tmp_path / "m")
    assert loaded.config == original.config
    assert not loaded.training
    batch = torch.rand(3, 1, 8, 8)
    assert torch.equal(loaded.embed(batch), original.embed(batch))
    expected = original.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.state_dict().items())


def test_a_model_saved_before_an_option_existed_is_what_it_was(tmp_path: Path) -> None:
    """Also where the recipe's default is another now: LeJEPA's projector had no ReLU and no linear layer before it."""
    original = model("lejepa")
    save_model(original, tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    config = json.loads(path.read_text())
    for part, option in [("head", "activation"), ("head", "embedding"), ("encoder", "drop_path")]:
        del config[part][option]
    path.write_text(json.dumps(config))
    loaded = load_model(tmp_path / "m")
    assert loaded.config == original.config
    batch = torch.rand(3, 1, 8, 8)
    assert torch.equal(loaded.embed(batch), original.embed(batch))
    assert configure("lejepa", None, {"train.lr": "1"}, config).head == original.config.head


def test_overwriting_is_whole(saved: Path) -> None:
    save_model(model("lejepa"), saved)
    assert load_model(saved).config.recipe == "lejepa"
    assert sorted(path.name for path in saved.iterdir()) == ["config.json", "model.safetensors"]
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_a_model_without_a_recipe_is_not_saved(tmp_path: Path) -> None:
    nameless = model()
    nameless.config = None
    with pytest.raises(UserError, match="built from a recipe"):
        save_model(nameless, tmp_path / "m")


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        save_model(model(), tmp_path / "file" / "m")


def test_missing(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json does not exist"):
        load_model(tmp_path / "nowhere")
    (saved / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"model\.safetensors does not exist"):
        load_model(saved)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_truncated(saved: Path, file: str, share: float) -> None:
    path = saved / file
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(UserError, match="truncated") as caught:
        load_model(saved)
    assert str(path) in str(caught.value)


def test_another_recipe_or_size(saved: Path, tmp_path: Path) -> None:
    save_model(model("lejepa"), tmp_path / "other")
    (tmp_path / "other" / "model.safetensors").replace(saved / "model.safetensors")
    with pytest.raises(UserError, match="model of recipe lejepa, its config asks for i-jepa"):
        load_model(saved)
    save_model(model(), saved)
    config = json.loads((saved / "config.json").read_text())
    config["encoder"]["depth"] = 2
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"\d+ missing \(encoder\.blocks\.1\."):
        load_model(saved)
    config["encoder"]["depth"], config["encoder"]["width"] = 1, 32
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="of another shape"):
        load_model(saved)


def test_unknown_options_in_a_config_are_named(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text()) | {"steps": 3}
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"config\.json: unknown option 'steps'"):
        load_model(saved)


class Payload:
    """Makes a directory when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "model.pt"])
@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_code_is_refused_and_never_run(saved: Path, tmp_path: Path, name: str, zipped: bool) -> None:
    payload = Payload(tmp_path / "witness")
    (saved / "model.safetensors").unlink()
    if zipped:
        torch.save(payload, saved / name)
    else:
        (saved / name).write_bytes(pickle.dumps(payload))
    with pytest.raises(UserError, match="pickled file, which can run code"):
        hub.load_model(saved)
    assert not (tmp_path / "witness").exists()


def test_published_weights_are_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")
    created = []
    original = timm.create_model

    def create(name: str, **options: object) -> object:
        created.append(options.pop("pretrained"))
        return original(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", create)
    options = {
        "encoder": "timm",
        "encoder.name": "resnet10t",
        "encoder.pretrained": "true",
        "signal.size": "64",
    }
    save_model(build(configure("lejepa", "tiny", options)), tmp_path / "m")
    assert True in created
    created.clear()
    assert load_model(tmp_path / "m").config.encoder.pretrained is True
    assert set(created) == {False}
