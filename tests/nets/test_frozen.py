"""Trained encoders inside world models: ours and Hugging Face's, by where they lie."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from openjepa.common.files import CHECKPOINTS, CONFIG, WEIGHTS
from openjepa.errors import OpenJEPAWarning, UserError
from openjepa.hub.store import save_model
from openjepa.jepa import Tokens, View
from openjepa.nets.frames import FrozenFrames, frame_encoder
from openjepa.nets.frozen import FrozenNet
from openjepa.recipes import build, configure
from openjepa.signals.images.signal import ImageSignal

SMALL = {
    "signal.size": "16",
    "signal.patch": "4",
    "encoder.width": "16",
    "encoder.depth": "1",
    "encoder.heads": "2",
    "predictor.width": "8",
    "predictor.depth": "1",
    "predictor.heads": "2",
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An I-JEPA of grey pictures of 16 px."""
    path = tmp_path_factory.mktemp("encoders") / "ours"
    model = build(configure("i-jepa", "tiny-vit", SMALL), seed=5)
    for parameter in model.target.parameters():
        nn.init.normal_(parameter, std=0.2)  # so that it is not the online encoder
    save_model(model, path)
    return path


def encoder(frame: tuple[int, int, int] = (1, 16, 16), **options: object) -> FrozenFrames:
    config = FrozenNet.parse(options).known()
    net = frame_encoder(config, frame)
    assert isinstance(net, FrozenFrames)
    config.fill(net.net)
    return net


def view(frames: torch.Tensor) -> View:
    return View(Tokens(frames.flatten(1).unsqueeze(1), frames.new_zeros(1, 1, 2), (1, 1)))


def test_it_is_the_encoder_that_the_source_evaluates(source: Path) -> None:
    import openjepa

    net, model = encoder(source=str(source)), openjepa.load(source)
    frames = torch.rand(3, 1, 16, 16)
    signal = model.signal
    pixels = (frames - signal.mean[0]) / signal.std[0]
    torch.testing.assert_close(net(view(pixels)), model.tokens(frames))
    assert (net.width, net.grid) == (16, (4, 4))
    assert FrozenNet(source=str(source)).known().scale(3) == {"mean": signal.mean, "std": signal.std}


def test_a_convolutional_encoder_of_ours_is_read_as_well(tmp_path: Path) -> None:
    import openjepa

    model = build(configure("lejepa", "tiny", {"head.hidden": "16", "head.width": "8"}), seed=3)
    save_model(model, tmp_path)
    side = model.signal.size
    net, frames = encoder((1, side, side), source=str(tmp_path)), torch.rand(2, 1, side, side)
    pixels = (frames - model.signal.mean[0]) / model.signal.std[0]
    torch.testing.assert_close(net(view(pixels)), openjepa.load(tmp_path).tokens(frames))


def test_an_encoder_of_films_is_given_each_frame_as_a_tubelet_that_stands_still(tmp_path: Path) -> None:
    import openjepa

    small = {**SMALL, "signal.size": "[16]", "encoder.width": "24", "predictor.width": "24"}
    small |= {"signal.frames": "4", "hiding.size": "null", "target.layers": "1"}
    model = build(configure("v-jepa-2", "tiny-vit", small), seed=3)
    for parameter in model.target.parameters():
        nn.init.normal_(parameter, std=0.2)  # so that it is not the online encoder
    save_model(model, tmp_path)
    net = encoder((3, 16, 16), source=str(tmp_path))
    frames = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (model.signal.mean, model.signal.std))
    still = frames.unsqueeze(1).expand(-1, 2, -1, -1, -1)
    expected = openjepa.load(tmp_path).tokens(still.contiguous())
    torch.testing.assert_close(net(view((frames / 255 - mean) / std)), expected, rtol=1e-4, atol=1e-5)
    assert net.grid == (4, 4)
    one = net(view((frames[:1] / 255 - mean) / std))
    torch.testing.assert_close(one, expected[:1], rtol=1e-4, atol=1e-5)
    later = frames.clone()
    later[1:] = 255 - later[1:]
    before, after = (net(view((f / 255 - mean) / std)) for f in (frames, later))
    assert torch.equal(before[0], after[0]) and not torch.equal(before[1], after[1])  # no frame sees another


def test_an_unfinished_run_gives_its_latest_checkpoint_that_is_sound(source: Path, tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_bytes((source / CONFIG).read_bytes())
    with pytest.raises(UserError, match="holds no model yet"):
        encoder(source=str(tmp_path))
    for step, weights in (("000009", (source / WEIGHTS).read_bytes()), ("000010", b"cut off")):
        path = tmp_path / CHECKPOINTS / f"step-{step}"
        path.mkdir(parents=True)
        (path / WEIGHTS).write_bytes(weights)
    with pytest.warns(OpenJEPAWarning, match=r"step-000010.* falling back to .*step-000009"):
        net = encoder(source=str(tmp_path))
    frames = view(torch.rand(2, 1, 16, 16))
    torch.testing.assert_close(net(frames), encoder(source=str(source))(frames))


def test_frames_of_other_sizes_and_channels_are_fitted(source: Path) -> None:
    net = encoder((3, 32, 32), source=str(source))
    assert net(view(torch.rand(2, 3, 32, 32))).shape == (2, 16, 16)
    grey = torch.rand(2, 1, 16, 16)
    torch.testing.assert_close(
        encoder((3, 16, 16), source=str(source))(view(grey.expand(2, 3, 16, 16))),
        encoder(source=str(source))(view(grey)),
        rtol=1e-4,
        atol=1e-5,
    )
    assert encoder((3, 32, 32), source=str(source), size=24)(view(torch.rand(2, 3, 32, 32))).shape[1] == 36
    with pytest.raises(UserError, match=r"18 px do not divide .* set encoder\.size"):
        encoder(source=str(source), size=18)


def test_nothing_in_it_is_trained(source: Path) -> None:
    net = encoder(source=str(source), norm="layer")
    net.train()
    assert not any(module.training for module in net.modules())
    assert not any(p.requires_grad for p in net.parameters())
    tokens = net(view(torch.rand(2, 1, 16, 16).requires_grad_()))
    assert not tokens.requires_grad
    assert tokens.mean(-1).abs().max() < 1e-5 and (tokens.var(-1, correction=0) - 1).abs().max() < 1e-3
    torch.testing.assert_close(net.finish(3 * tokens), tokens, rtol=1e-3, atol=1e-3)


def test_sources_that_are_none_are_named(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"give --encoder\.source a run"):
        FrozenNet().known()
    with pytest.raises(UserError, match="holds neither a run nor"):
        FrozenNet(source=str(tmp_path)).known()
    save_model(build(configure("lewm", "tiny", {"head.hidden": "8"})), tmp_path / "world")
    with pytest.raises(UserError, match="a run of lewm, which is no image encoder"):
        FrozenNet(source=str(tmp_path / "world")).known()


def small_dino(path: Path) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = transformers.Dinov2Model(transformers.Dinov2Config(**sizes, patch_size=4, image_size=16))
    model.save_pretrained(path)
    (path / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "image_processor_type": "x"})
    )
    return model.eval()


def test_hugging_faces_models_give_their_patch_tokens(tmp_path: Path) -> None:
    theirs = small_dino(tmp_path)
    net = encoder((3, 16, 16), source=str(tmp_path))
    frames = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        expected = theirs(frames).last_hidden_state[:, 1:]
    torch.testing.assert_close(net(view(frames)), expected)
    known = FrozenNet(source=f"hub:{tmp_path}").known()
    assert known.scale(3) == {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}
    assert known.model_copy(update={"statistics": "half"}).scale(3) == {"mean": (0.5,), "std": (0.5,)}
    again = frame_encoder(known.model_copy(update={"pretrained": False}), (3, 16, 16))
    again.load_state_dict(net.state_dict())  # from the saved config alone, without the source
    torch.testing.assert_close(again(view(frames)), expected)
    assert encoder((3, 16, 16), source=str(tmp_path), size=24)(view(frames)).shape == (2, 36, 16)


def test_v_jepa_2_is_given_each_frame_as_a_still_film(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "pred_num_hidden_layers": 1}
    sizes |= {"pred_hidden_size": 24, "pred_num_attention_heads": 2, "patch_size": 8, "crop_size": 16}
    theirs = transformers.VJEPA2Model(transformers.VJEPA2Config(**sizes, frames_per_clip=4)).eval()
    theirs.save_pretrained(tmp_path)
    net = encoder((3, 16, 16), source=str(tmp_path), norm="layer")
    frames = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        film = theirs.get_vision_features(frames[:, None].expand(-1, 2, -1, -1, -1))
    torch.testing.assert_close(net(view(frames)), torch.nn.functional.layer_norm(film, (24,)))
    assert net.grid == (2, 2) and not any("predictor" in name for name in net.state_dict())


def test_weights_that_are_missing_or_left_out_are_told(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    small_dino(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    save_file(tensors | {"classifier.weight": torch.zeros(2, 2)}, file, {"format": "pt"})
    with pytest.warns(OpenJEPAWarning, match=r"1 tensors are left out, such as classifier\.weight"):
        encoder((3, 16, 16), source=str(tmp_path))
    name = next(name for name in tensors if name.endswith("query.weight"))
    save_file({key: value for key, value in tensors.items() if key != name}, file, {"format": "pt"})
    with pytest.raises(UserError, match="lacks 1 of its encoder's tensors, such as"):
        encoder((3, 16, 16), source=str(tmp_path))


def test_pickled_weights_are_never_opened(tmp_path: Path) -> None:
    model = small_dino(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="cannot be read"):
        encoder((3, 16, 16), source=str(tmp_path))


@pytest.mark.filterwarnings("ignore::openjepa.OpenJEPAWarning")  # the frames' range is wider
def test_a_source_of_another_range_scales_frames_to_its_own_units() -> None:
    signal = ImageSignal(size=16, channels=1, patch=4, range=(10, 61), mean=(0.5,), std=(0.25,))
    known = FrozenNet(source="x", architecture={"kind": "ours", "signal": signal.model_dump(mode="json")})
    found = known.scale(3)
    frames = torch.randint(0, 256, (2, 1, 16, 16), dtype=torch.uint8)
    theirs = (frames / 255 - found["mean"][0]) / found["std"][0]
    assert torch.allclose(theirs, (signal.to_float(frames) - 0.5) / 0.25, atol=1e-4)
