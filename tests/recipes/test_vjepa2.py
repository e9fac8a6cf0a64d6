"""V-JEPA 2."""

import pytest
import torch

import openjepa
from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.jepa import View, gather
from openjepa.recipes import build, configure
from openjepa.training.optim import learning_rate

SMALL = {
    "signal.size": "[16, 24]",
    "signal.frames": "4",
    "signal.patch": "4",
    "hiding.size": "null",
    "encoder.width": "24",
    "encoder.depth": "2",
    "encoder.heads": "2",
    "predictor.width": "24",
    "target.layers": "1",
}


PLAIN = {
    "predictor.depth": "2",
    "encoder.stem": "null",
    "hiding.frames": "null",
    "hiding.target_augment": "null",
}


def clips(count: int = 8, frames: int = 4, height: int = 16, width: int = 24) -> torch.Tensor:
    seed = torch.manual_seed(0)
    return torch.randint(0, 256, (count, frames, 3, height, width), dtype=torch.uint8, generator=seed)


@pytest.mark.parametrize(
    ("preset", "encoder", "predictor", "layout"),
    [
        ("vit-l16", 303.9, 22.1, (8, 16, 16)),
        ("vit-h16", 631.6, 22.3, (8, 16, 16)),
        ("vit-g16", 1012.2, 22.4, (8, 16, 16)),
        ("vit-g16-384-cooldown", 1012.2, 22.4, (32, 24, 24)),
    ],
)
def test_the_papers_sizes_have_its_numbers_of_parameters(
    preset: str, encoder: float, predictor: float, layout: tuple[int, ...]
):
    """In millions."""
    with torch.device("meta"):
        model = configure("v-jepa-2", preset).build()
    counted = {
        name: sum(p.numel() for p in getattr(model, name).parameters()) / 1e6
        for name in ("encoder", "predictor")
    }
    assert counted["encoder"] == pytest.approx(encoder, abs=0.1)
    assert counted["predictor"] == pytest.approx(predictor, abs=0.1)
    assert model.signal.layout == layout


@pytest.mark.parametrize("style", ["interleaved", "tiled"])
def test_it_keeps_the_contract(style: str):
    options = {**SMALL, "encoder.positions.style": style, "predictor.positions.style": style}
    openjepa.check_jepa(build(configure("v-jepa-2", "tiny-vit", options)), clips())


def test_the_learning_rate_warms_up_stays_and_the_last_stage_lets_it_fall():
    train = configure("v-jepa-2", "vit-l16").train
    assert learning_rate(train, 0) == pytest.approx(1e-4)
    assert learning_rate(train, 12_000) == learning_rate(train, 239_999) == 5.25e-4
    last = configure("v-jepa-2", "vit-l16-cooldown").train
    assert learning_rate(last, 0) == 5.25e-4
    assert learning_rate(last, 11_999) == pytest.approx(1e-6)
    halfway = learning_rate(last, 6_000)
    assert halfway == pytest.approx((5.25e-4 + 1e-6) / 2, rel=1e-3)


def test_the_momentum_is_the_same_from_first_step_to_last():
    target = configure("v-jepa-2", "vit-l16").target
    assert (
        target.momentum(0, 240_000) == target.momentum(239_999, 240_000) == pytest.approx(0.99925, abs=1e-6)
    )


def test_target_equals_encoder_at_the_start():
    model = build(configure("v-jepa-2", "tiny-vit", SMALL))
    view = model.whole(clips())
    assert torch.equal(model.encoder(view), model.target.encoder(view))


def test_each_samples_kept_tokens_are_turned_by_their_own_places():
    """Whatever their order, and whichever tokens the samples beside it keep."""
    model = build(configure("v-jepa-2", "tiny-vit", SMALL)).eval()
    tokens = model.signal.tokenise(clips(2))
    order = torch.stack([torch.randperm(48, generator=torch.Generator().manual_seed(s)) for s in (1, 2)])
    keep = order[:, :20]
    together = model.encoder(View(tokens, keep))
    for row in range(2):
        alone = model.signal.tokenise(clips(2)[row : row + 1])
        rising, back = keep[row].sort()
        expected = model.encoder(View(alone, rising.unsqueeze(0)))[0]
        torch.testing.assert_close(together[row, back], expected, rtol=1e-4, atol=1e-5)
    places = gather(tokens.positions, keep)
    assert not torch.equal(places[0], places[1])
    moved = model.encoder(View(tokens, keep.flip(0)))
    assert (moved - together).abs().max() > 1e-3


def test_where_all_positions_move_alike_features_stay_but_not_in_the_released_style():
    """Rotary positions are relative; the released code's are not."""
    found = {}
    for style in ("interleaved", "tiled"):
        model = build(configure("v-jepa-2", "tiny-vit", {**SMALL, "encoder.positions.style": style})).eval()
        with torch.no_grad():
            for block in model.encoder.blocks:
                block.attention.qkv.weight.mul_(4)
        here = model.signal.tokenise(clips(2))
        there = type(here)(here.values, here.positions + torch.tensor([3.0, 5.0, 2.0]), here.layout)
        found[style] = (model.encoder(View(here)) - model.encoder(View(there))).abs().max()
    assert found["interleaved"] < 1e-4 < 1e-2 < found["tiled"]


def test_longer_and_larger_clips_fit_the_same_weights():
    """The last stage starts from the first one's weights."""
    first = build(configure("v-jepa-2", "tiny-vit", SMALL))
    longer = {**SMALL, **PLAIN, "signal.size": "[24, 32]", "signal.frames": "8"}
    last = build(configure("v-jepa-2", "tiny-cooldown", longer), seed=1)
    last.load_state_dict(first.state_dict())
    assert last(clips(8, 8, 24, 32), Rng(0, 0)).loss.isfinite()
    early, late = clips(2, 8, 24, 32)[:, :4, :, :16, :24], clips(2, 8, 24, 32)
    assert first.tokens(early).shape[1] == 2 * 4 * 6 and last.tokens(late).shape[1] == 4 * 6 * 8
    assert torch.equal(first.tokens(early), last.tokens(early))


def test_the_last_stage_is_a_run_that_starts_from_a_run(tmp_path):
    options = SMALL | {"train.batch_size": "8", "signal.stride": "1"}
    first = openjepa.train(
        "v-jepa-2",
        data=clips(40),
        preset="tiny-vit",
        options=options | {"train.steps": "2"},
        out=tmp_path / "first",
    )
    longer = {"signal.size": "[24, 32]", "signal.frames": "8", "train.steps": "2", "train.lr": "1e-12"}
    last = openjepa.train(
        "v-jepa-2",
        data=clips(40, 8, 24, 32),
        preset="tiny-cooldown",
        options=options | PLAIN | longer | {"init": str(tmp_path / "first")},
        out=tmp_path / "last",
    )
    assert last.config.train.cooldown == 1 and last.signal.layout == (4, 6, 8)
    of_first = first.state_dict()
    for name, value in last.state_dict().items():
        torch.testing.assert_close(value, of_first[name], rtol=0, atol=1e-6)


def test_one_mask_token_stands_for_what_both_kinds_of_tubes_hide():
    model = build(configure("v-jepa-2", "tiny-vit", SMALL))
    assert model.predictor.mask_token.shape == (24,)
    output = model(clips(), Rng(0, 0))
    assert len(output.prediction) == 2
    output.loss.backward()
    assert model.predictor.mask_token.grad.abs().sum() > 0


def test_predictions_of_a_sample_depend_on_it_alone_and_on_where_they_are_asked_for():
    model = build(configure("v-jepa-2", "tiny-vit", SMALL)).eval()
    (pair, _) = model.pairs(clips(), Rng(0, 0))
    s_x = model.encoder(pair.context)
    whole = model.predictor(s_x, pair)
    other = s_x.clone()
    other[1:] += 1
    changed = model.predictor(other, pair)
    torch.testing.assert_close(changed[0], whole[0], rtol=1e-4, atol=1e-5)
    assert (changed[1:] - whole[1:]).abs().amax((1, 2, 3)).min() > 1e-4
    assert whole[0, 0].std(0).max() > 1e-4, "all places get one prediction"


def test_heads_too_narrow_for_three_axes_are_refused():
    with pytest.raises(UserError, match="no room for 3-D rotary positions"):
        build(configure("v-jepa-2", "tiny-vit", {**SMALL, "encoder.heads": "6"}))


def test_a_classifier_of_attention_learns_on_a_run(tmp_path):
    options = {**SMALL, "train.steps": "2", "train.batch_size": "8"}
    data = (clips(40).numpy(), torch.arange(40).remainder(2).numpy())
    openjepa.train("v-jepa-2", data=data, preset="tiny-vit", options=options, out=tmp_path / "run")
    tuned = openjepa.train(
        "finetune",
        data=data,
        options={
            "source": str(tmp_path / "run"),
            "classifier": "attentive",
            "classifier.depth": "1",
            "train.steps": "4",
            "train.batch_size": "8",
        },
        out=tmp_path / "tuned",
    )
    assert tuned.predict(clips()).shape == (8, 2)
    torch.testing.assert_close(tuned.predict(clips()).sum(1), torch.ones(8))


def test_the_tiny_presets_context_and_target_are_different_crops():
    model = build(configure("v-jepa-2", "tiny", {"train.batch_size": "8"}))
    batch = torch.randint(0, 256, (8, 8, 3, 72, 96), dtype=torch.uint8)
    (pair,) = model.pairs(batch, Rng(0, 0))
    assert pair.place is not None and pair.context.tokens is not pair.target[0].tokens
    output = model(batch, Rng(0, 0))
    output.loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.encoder.parameters())
