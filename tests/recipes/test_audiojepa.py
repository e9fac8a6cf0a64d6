"""Audio-JEPA (Riou et al.)."""

import pytest
import torch

import openjepa
from openjepa.common.rng import Rng
from openjepa.recipes import build, configure
from openjepa.signals.audio import Sounds

SMALL = {
    "signal.seconds": "0.4",
    "signal.bands": "32",
    "signal.mean": "0",
    "signal.std": "2",
    "encoder.channels": "[8, 16, 24, 24]",
    "predictor.width": "16",
    "guard": "none",
}


def clips(count: int = 8, frames: int = 40) -> Sounds:
    mels = torch.randn(count, 32, frames, generator=torch.Generator().manual_seed(0)) * 4 - 8
    lengths = torch.tensor([frames, frames, frames // 2, 12])[torch.arange(count) % 4]
    return Sounds(torch.arange(frames) < lengths[:, None], mels)


def test_the_papers_sizes():
    """65 patches of 80 bands and 2.08 s, of which 26 are seen; ViT-B, and a predictor of 8 layers of width 512."""
    with torch.device("meta"):
        model = configure("audio-jepa", "vit-b16").build()
    counted = {
        n: sum(p.numel() for p in getattr(model, n).parameters()) / 1e6 for n in ("encoder", "predictor")
    }
    assert counted == pytest.approx({"encoder": 85.3, "predictor": 26.0}, abs=0.2)
    assert model.signal.layout == (5, 13) and model.signal.frames == 208
    spec = model.signal.spec(48_000)
    assert (spec.window, spec.hop, spec.fft, spec.low, spec.high) == (400, 160, 400, 50.0, 8000.0)
    tokens = model.signal.tokenise(Sounds(torch.ones(4, 208, dtype=torch.bool), torch.randn(4, 80, 208)))
    (pair,) = model.hiding.apply(tokens, Rng(0, 0))
    assert pair.context.keep.shape == (4, 26) and pair.select.shape == (4, 1, 39)
    assert pair.target[0].keep.shape == (4, 39)


def test_its_momentum():
    target = configure("audio-jepa", "vit-b16").target
    assert target.momentum(0, 279_000) == pytest.approx(0.99995, abs=1e-7)


def test_targets_are_standardised_token_by_token_and_of_hidden_patches_alone():
    options = {k: v for k, v in SMALL.items() if k != "encoder.channels"} | {
        "encoder": "vit",
        "encoder.width": "32",
        "encoder.depth": "2",
        "encoder.heads": "2",
    }
    model = build(
        configure("audio-jepa", "tiny", options | {"signal.augment.views": "1", "target.layers": "1"})
    ).eval()
    batch = clips()
    (pair,) = model.pairs(batch, Rng(0, 0))
    output = model(batch, Rng(0, 0))
    wanted = output.s_y[0][pair.asked]
    assert wanted.mean(-1).abs().max() < 1e-5 and (wanted.var(-1, correction=0) - 1).abs().max() < 1e-2
    with torch.no_grad():  # the same by hand: the encoder on what is hidden of one clip
        view = pair.target[0]
        alone = model.encoder(view)[5][view.present[5]]
    expected = torch.nn.functional.layer_norm(alone, alone.shape[-1:])
    assert torch.allclose(output.s_y[0][5, 0][pair.asked[5, 0]], expected, atol=1e-5)
    distance = torch.nn.functional.smooth_l1_loss(output.prediction[0][pair.asked], wanted)
    assert output.loss.item() == pytest.approx(distance.item(), rel=1e-5)


def test_it_keeps_the_contract():
    openjepa.check_jepa(build(configure("audio-jepa", "tiny", SMALL)), clips())
