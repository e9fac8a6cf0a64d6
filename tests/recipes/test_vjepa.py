"""V-JEPA."""

import pytest
import torch

import openjepa
from openjepa.common.rng import Rng
from openjepa.recipes import build, configure

SMALL = {
    "signal.size": "[16, 24]",
    "signal.frames": "4",
    "signal.patch": "4",
    "hiding.size": "null",
    "encoder.width": "24",
    "encoder.depth": "2",
    "encoder.heads": "2",
    "predictor.width": "16",
    "target.layers": "1",
}


def clips(count: int = 8) -> torch.Tensor:
    return torch.randint(0, 256, (count, 4, 3, 16, 24), dtype=torch.uint8, generator=torch.manual_seed(0))


@pytest.mark.parametrize(
    ("preset", "encoder", "predictor"),
    [("vit-l16", 303.9, 22.1), ("vit-h16", 631.7, 22.2), ("vit-g16", 1012.2, 22.3)],
)
def test_the_papers_sizes_have_its_numbers_of_parameters(preset: str, encoder: float, predictor: float):
    """In millions."""
    with torch.device("meta"):
        model = configure("v-jepa", preset).build()
    counted = {
        name: sum(p.numel() for p in getattr(model, name).parameters()) / 1e6
        for name in ("encoder", "predictor")
    }
    assert counted["encoder"] == pytest.approx(encoder, abs=0.3)
    assert counted["predictor"] == pytest.approx(predictor, abs=0.3)
    assert model.signal.layout == (8, 14, 14)


def test_it_keeps_the_contract():
    openjepa.check_jepa(build(configure("v-jepa", "tiny-vit", SMALL)), clips())


def test_each_kind_of_pair_has_a_mask_token_of_its_own_that_starts_at_zero():
    model = build(configure("v-jepa", "tiny-vit", SMALL))
    assert model.predictor.mask_token.shape == (2, 16)
    assert (model.predictor.mask_token == 0).all()
    output = model(clips(), Rng(0, 0))
    assert len(output.prediction) == 2
    output.loss.backward()
    assert (model.predictor.mask_token.grad.abs().sum(1) > 0).all()


def test_the_loss_is_the_mean_over_kinds_of_the_mean_distance():
    model = build(configure("v-jepa", "tiny-vit", SMALL))
    output = model(clips(), Rng(0, 0))
    parts = [
        (guess - wanted).abs().mean() for guess, wanted in zip(output.prediction, output.s_y, strict=True)
    ]
    assert output.loss.item() == pytest.approx(torch.stack(parts).mean().item(), rel=1e-6)


def test_a_run_on_films_in_memory(tmp_path):
    options = {**SMALL, "train.steps": "4", "train.batch_size": "8"}
    model = openjepa.train("v-jepa", data=clips(40), preset="tiny-vit", options=options, out=tmp_path / "run")
    assert model.embed(clips()).shape == (8, 24)
    again = openjepa.load(tmp_path / "run")
    assert torch.equal(again.embed(clips()), model.embed(clips()))
