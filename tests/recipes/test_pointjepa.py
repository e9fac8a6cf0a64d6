"""Point-JEPA: each cloud by itself, what is hidden stays hidden, the average is of the trunk, sizes are the paper's."""

import pytest
import torch

import openjepa
from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.jepa import Tokens, View
from openjepa.recipes import build, configure
from openjepa.signals.points import open_clouds

from ..signals.points.shapes import clouds

SMALL = {
    "signal.count": "96",
    "signal.groups": "16",
    "signal.size": "8",
    "encoder.width": "32",
    "encoder.depth": "2",
    "encoder.stem.widths": "[8, 16, 16, 32]",
    "predictor.width": "16",
    "predictor.heads": "2",
    "predictor.depth": "1",
}


def small(**changes: str):
    model = build(configure("point-jepa", "tiny", SMALL | changes))
    return model, open_clouds(clouds(16), count=96).read(range(16))


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_it_keeps_the_contract(norm: str) -> None:
    model, batch = small(**{"encoder.stem.norm": norm})
    openjepa.check_jepa(model, batch[:8])


def test_no_point_of_a_hidden_group_reaches_the_context() -> None:
    model, batch = small()
    model.eval()
    (pair,) = model.pairs(batch, Rng(0, 0))
    tokens = pair.context.tokens
    hidden = ~pair.context.shown
    changed = torch.where(hidden[..., None], 1e3, tokens.values)
    moved = torch.where(hidden[..., None], 1e3, tokens.positions)
    other = View(Tokens(changed, moved), pair.context.keep, pair.context.valid)
    there = pair.context.present
    with torch.no_grad():
        one, two = model.encoder(pair.context), model.encoder(other)
    there = torch.ones(one.shape[:2], dtype=torch.bool) if there is None else there
    assert torch.equal(one[there], two[there])


def test_prediction_and_target_of_a_cloud_are_made_of_it_alone() -> None:
    model, batch = small(**{"target.norm": "layer"})
    model.eval()
    other = batch[torch.tensor([0, *range(8, 15)])]
    with torch.no_grad():
        one, two = model(batch[:8], Rng(0, 0)), model(other, Rng(0, 0))
    for name in ("s_y", "prediction"):
        first, second = (getattr(part, name)[0] for part in (one, two))
        assert torch.allclose(first[0], second[0], atol=1e-5)
        assert not torch.allclose(first[1], second[1], atol=1e-3)


def test_the_average_is_of_the_trunk_and_begins_as_the_encoder() -> None:
    model, batch = small()
    model.eval()
    view = model.whole(batch)
    assert torch.equal(model.encoder(view), model.target.encoder(view))
    names = {name for name, _ in model.target.named_parameters()}
    assert names and not any(part in name for name in names for part in ("stem", "positions"))
    model.train()
    model(batch, Rng(0, 0)).loss.backward()
    assert all(p.grad is None for p in model.target.parameters())
    assert model.encoder.stem.near[0].weight.grad.abs().sum() > 0
    config = configure("point-jepa")
    assert config.target.momentum(0, 41_000) == pytest.approx(0.995, abs=1e-5)
    assert config.target.momentum(40_999, 41_000) == 1


def test_a_guard_takes_contexts_of_few_groups() -> None:
    for context, most in (("[0.01, 0.02]", 1), ("[0.2, 0.3]", 3)):
        model, batch = small(**{"hiding.context": context})
        output = model(batch, Rng(0, 0))
        assert output.s_x[0].shape[1] <= most and output.loss.isfinite()


def test_positions_are_added_before_every_block() -> None:
    model, batch = small()
    model.eval()
    view = model.whole(batch[:2])
    encoder = model.encoder
    with torch.no_grad():
        places = encoder.positions(view.tokens)
        x = encoder.stem(view)
        for block in encoder.blocks:
            x = block(x + places)
        assert torch.allclose(encoder(view), encoder.norm(x), atol=1e-6)


def test_the_papers_model_has_the_papers_size() -> None:
    with torch.device("meta"):
        model = configure("point-jepa").build()

    def block(d: int) -> int:
        return 12 * d * d + 13 * d

    def place(d: int) -> int:
        return 4 * 128 + 129 * d

    stem = 4 * 128 + 2 * 128 + 129 * 256 + 513 * 512 + 2 * 512 + 513 * 384
    assert sum(p.numel() for p in model.encoder.stem.parameters()) == stem
    assert sum(p.numel() for p in model.encoder.parameters()) == stem + 12 * block(384) + 2 * 384 + place(384)
    predictor = 6 * block(192) + 385 * 192 + 193 * 384 + 2 * 192 + 192 + place(192)
    assert sum(p.numel() for p in model.predictor.parameters()) == predictor


def test_a_pointnet_needs_groups_of_points() -> None:
    with pytest.raises(UserError, match="embeds groups of points"):
        configure("ts-jepa", "tiny", {"encoder.stem": "pointnet"}).build()
