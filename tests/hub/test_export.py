"""Models as files that run elsewhere: the same features from the same bytes, without this library."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import openjepa
from openjepa.cli import main
from openjepa.errors import UserError
from openjepa.hub import export as exporting
from openjepa.hub.export import export
from openjepa.recipes import build, configure
from openjepa.signals.electrodes.montage import place

NEAR = 1e-4
VIT = {"encoder.width": "16", "encoder.depth": "2", "encoder.heads": "2"}
ELECTRODES = ("C3", "C4", "Cz", "Pz")


def model(name: str) -> Any:
    """Small random models, their batch norms away from where they begin."""
    presets = {"ijepa-convnet": ("i-jepa", "tiny", {}), "ijepa-vit": ("i-jepa", "tiny-vit", VIT)}
    presets |= {"lejepa": ("lejepa", "tiny", {}), "video": ("v-jepa-2", "tiny", VIT | {"signal.frames": "4"})}
    presets |= {"counts": ("lejepa", "tiny-vit", VIT | {"signal.range": "[100, 4000]"})}
    presets |= {"electrodes": ("signal-jepa", "tiny", {})}
    recipe, preset, options = presets[name]
    config = configure(recipe, preset, options)
    if name == "electrodes":
        known = {"channels": ELECTRODES, "places": tuple(map(place, ELECTRODES)), "scale": 10.0}
        config = config.model_copy(update={"signal": config.signal.model_copy(update=known)})
    built = build(config, 3)
    generator = torch.Generator().manual_seed(1)
    for value in built.buffers():
        if value.is_floating_point():
            value.add_(0.1 * torch.rand(value.shape, generator=generator))
    for value in built.parameters():
        if value.dim() > 1:
            value.data.mul_(2)
    return built.eval()


def given(of: Any, count: int) -> torch.Tensor:
    torch.manual_seed(5)
    return of.signal.traced_input(count)


def in_onnxruntime(path: Path, samples: torch.Tensor) -> list[np.ndarray]:
    session = pytest.importorskip("onnxruntime").InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"samples": samples.numpy()})


@pytest.mark.parametrize("name", ["ijepa-convnet", "ijepa-vit", "lejepa", "video", "electrodes"])
def test_onnx_gives_the_features_for_any_number_of_samples(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    of, path = model(name), tmp_path / "model.onnx"
    found = export(of, path, "onnx")
    assert found["difference"] <= NEAR and [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    for count in (1, 5):
        samples = given(of, count)
        expected = of.embed(samples).numpy()
        assert expected.std() > 1e-3
        (features,) = in_onnxruntime(path, samples)
        np.testing.assert_allclose(features, expected, rtol=0, atol=NEAR * max(1, abs(expected).max()))


LOADED = """
import sys
sys.modules["openjepa"] = None
import torch
program = torch.export.load(sys.argv[1])
samples, expected = torch.load(sys.argv[2], weights_only=True)
(features,) = program.module()(samples)
print(float((features - expected).abs().max()))
"""


def test_the_torch_program_runs_without_this_library(tmp_path: Path) -> None:
    of, path = model("counts"), tmp_path / "model.pt2"
    assert export(of, path, "torch")["difference"] <= NEAR
    samples = given(of, 4)
    torch.save((samples, of.embed(samples)), tmp_path / "expected.pt")
    command = [sys.executable, "-c", LOADED, str(path), str(tmp_path / "expected.pt")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) <= NEAR


def test_exporting_changes_neither_the_model_nor_the_random_state(tmp_path: Path) -> None:
    of = model("ijepa-vit")
    before = {name: value.clone() for name, value in of.state_dict().items()}
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    export(of, tmp_path / "m.pt2", "torch")
    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(value, before[name]) for name, value in of.state_dict().items())
    assert any(p.requires_grad for p in of.parameters())


@pytest.mark.parametrize(("variables", "format"), [(False, "onnx"), (True, "torch")])
def test_a_fine_tuned_model_gives_its_answers(variables: bool, format: Any, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    known = {"of": json.dumps(model("ijepa-vit").config.model_dump(mode="json")), "answers": "3"}
    known |= {"variables": "true", "mean": "[1, 2, 3]", "std": "[4, 5, 6]"} if variables else {}
    of = build(configure("finetune", "tiny", known), 0).eval()
    torch.nn.init.normal_(of.classifier.leave.weight)
    path = tmp_path / "file"
    found = export(of, path, format)
    assert found["outputs"] == ["features", "variables" if variables else "probabilities"]
    samples = given(of, 3)
    if format == "onnx":
        features, answers = in_onnxruntime(path, samples)
    else:
        features, answers = (part.numpy() for part in torch.export.load(path).module()(samples))
    np.testing.assert_allclose(answers, of.predict(samples).numpy(), atol=NEAR)
    np.testing.assert_allclose(features, of.embed(samples).numpy(), atol=NEAR)


def test_what_differs_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "mean_of", lambda tokens, present: tokens.mean(1) + 0.01)
    with pytest.raises(UserError, match=r"differs from the model by 0\.0\d+, so it was not kept"):
        export(model("ijepa-vit"), tmp_path / "m.pt2", "torch")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = build(configure("lewm", "tiny"), 0)
    with pytest.raises(
        UserError, match="a model of frames cannot be exported: only those whose samples are cut"
    ):
        export(world, tmp_path / "m.onnx", "onnx")
    with pytest.raises(UserError, match=r"no-folder/m\.pt2 cannot be written"):
        export(model("ijepa-vit"), tmp_path / "no-folder" / "m.pt2", "torch")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"openjepa\[onnx\]"):
        export(model("ijepa-vit"), tmp_path / "m.onnx", "onnx")


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from openjepa.hub.store import save_model

    of, folder = model("ijepa-vit"), tmp_path / "mine"
    save_model(of, folder)
    main(["export", str(folder), "--format", "torch"])
    said = capsys.readouterr().out
    assert str(folder / "model.pt2") in said and "uint8 [batch, 1, 28, 28]: pixels, as bytes" in said
    main(["export", str(folder), "--format", "openjepa", "-o", str(tmp_path / "again")])
    samples = given(of, 2)
    assert torch.equal(openjepa.load(tmp_path / "again").embed(samples), of.embed(samples))
    with pytest.raises(SystemExit):
        main(["export", str(folder), "--format", "openjepa"])
    assert "Name it with -o" in capsys.readouterr().err
