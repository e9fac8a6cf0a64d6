"""A-JEPA."""

import numpy as np
import pytest
import torch

import openjepa
from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.recipes import build, configure
from openjepa.signals.audio import Sounds

SMALL = {
    "signal.seconds": "0.4",
    "signal.bands": "32",
    "signal.hop": "0.01",
    "signal.patch": "8",
    "signal.mean": "-8",
    "signal.std": "4",
    "encoder.channels": "[8, 16, 24, 24]",
    "predictor.width": "16",
}


def clips(count: int = 8, frames: int = 40) -> Sounds:
    mels = torch.randn(count, 32, frames, generator=torch.Generator().manual_seed(0)) * 4 - 8
    lengths = torch.tensor([frames, frames, frames // 2, 12])[torch.arange(count) % 4]
    return Sounds(torch.arange(frames) < lengths[:, None], mels)


@pytest.mark.parametrize(
    ("preset", "encoder", "predictor"),
    [("vit-s16", 21.4, 50.7), ("vit-b16", 85.3, 51.2), ("vit-l16", 302.6, 51.5)],
)
def test_the_papers_sizes_have_their_numbers_of_parameters(preset: str, encoder: float, predictor: float):
    """In millions: ViT-S, B and L, and a predictor of 16 layers of width 512."""
    with torch.device("meta"):
        model = configure("a-jepa", preset).build()
    counted = {
        n: sum(p.numel() for p in getattr(model, n).parameters()) / 1e6 for n in ("encoder", "predictor")
    }
    assert counted == pytest.approx({"encoder": encoder, "predictor": predictor}, abs=0.4)
    assert model.signal.layout == (8, 64) and model.signal.features == 256


def test_it_keeps_the_contract():
    openjepa.check_jepa(build(configure("a-jepa", "tiny", SMALL)), clips())


def test_so_does_a_transformer_under_the_papers_choices():
    options = {k: v for k, v in SMALL.items() if k.startswith("signal")} | {
        **{f"encoder.{k}": v for k, v in (("width", "32"), ("depth", "2"), ("heads", "2"))},
        **{f"predictor.{k}": v for k, v in (("width", "16"), ("depth", "1"), ("heads", "2"))},
    }
    openjepa.check_jepa(build(configure("a-jepa", "vit-b16", options)), clips())


def test_target_and_encoder_are_equal_at_the_start_and_the_average_stands_still_at_the_end():
    model = build(configure("a-jepa", "tiny", SMALL))
    pairs = zip(model.encoder.parameters(), model.target.encoder.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    target = configure("a-jepa", "vit-b16").target
    assert target.momentum(0, 1000) < target.momentum(500, 1000) < target.momentum(999, 1000) == 1.0


def test_the_loss_is_the_mean_squared_distance_of_what_is_asked():
    model = build(configure("a-jepa", "tiny", {**SMALL, "guard": "none"}))
    output = model(clips(), Rng(0, 0))
    (pair,) = model.pairs(clips(), Rng(0, 0))
    asked = pair.asked
    assert asked is not None
    wanted = (output.prediction[0] - output.s_y[0]).square().mean(-1)[asked].mean()
    assert output.loss.item() == pytest.approx(wanted.item(), rel=1e-5)


@pytest.mark.parametrize("hiding", ["blocks", "random", "time-frequency"])
@pytest.mark.parametrize("sees", ["all", "hidden"])
def test_every_hiding_and_target_view_trains(hiding: str, sees: str, tmp_path):
    options = {
        **SMALL,
        "hiding": hiding,
        "hiding.target_sees": sees,
        "train.steps": "3",
        "train.batch_size": "8",
    }
    rng = np.random.default_rng(0)
    sounds = [rng.normal(0, 0.1, n).astype(np.float32) for n in rng.integers(1000, 9000, 40)]
    model = openjepa.train("a-jepa", data=sounds, preset="tiny", options=options, out=tmp_path / "run")
    loaded = openjepa.load(tmp_path / "run")
    assert torch.equal(model.embed(sounds[:3]), loaded.embed(sounds[:3]))
    assert loaded.embed(sounds[:3]).isfinite().all()


def test_regularised_masking_fine_tunes_the_small_transformer_and_is_refused_of_convolutions(tmp_path):
    random = np.random.default_rng(0)
    sounds = random.normal(0, 0.1, (40, 8000)).astype(np.float32)
    labels = np.arange(40) % 2
    short = {"train.steps": 2, "train.batch_size": 8}
    for preset in ("tiny-vit", "tiny"):
        run, tuned = tmp_path / preset, {**short, "source": str(tmp_path / preset), "barred": 0.25}
        openjepa.train("a-jepa", preset=preset, data=sounds, options={**short, "signal.rate": 8000}, out=run)
        if preset == "tiny":
            with pytest.raises(UserError, match="which this encoder does not have"):
                openjepa.train("finetune", data=(sounds, labels), options=tuned, out=tmp_path / "no")
            continue
        model = openjepa.train("finetune", data=(sounds, labels), options=tuned, out=tmp_path / "tuned")
        assert model.encoder.barred == 0.25
        given = model.signal.batch(sounds[:4])
        assert torch.equal(model.eval().predict(given), model.predict(given))  # none is barred in use
