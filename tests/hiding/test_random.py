"""Random masks: how much is hidden, what of padding, which axis, and what the draws depend on."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import openjepa
from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.hiding import RandomTokens
from openjepa.jepa import Tokens

from ..toy_signal import BagJEPA, Bags

LAYOUT = (4, 6)
SIGNAL = SimpleNamespace(layout=LAYOUT, axes=("frequency", "time"), noun="clips")


def tokens(batch: int, lengths: torch.Tensor | None = None) -> Tokens:
    """Of samples whose first `lengths` columns are there."""
    count = LAYOUT[0] * LAYOUT[1]
    positions = torch.cartesian_prod(*(torch.arange(float(n)) for n in LAYOUT))[None]
    valid = None
    if lengths is not None:
        valid = (torch.arange(LAYOUT[1]) < lengths[:, None])[:, None].expand(-1, LAYOUT[0], -1).flatten(1)
    return Tokens(torch.randn(batch, count, 3), positions, LAYOUT, valid)


def sets(index: torch.Tensor, valid: torch.Tensor | None) -> list[set[int]]:
    there = torch.ones_like(index, dtype=torch.bool) if valid is None else valid
    return [set(row[ok].tolist()) for row, ok in zip(index, there, strict=True)]


def both(pair) -> tuple[list[set[int]], list[set[int]]]:
    asked = None if pair.valid is None else pair.valid[:, 0]
    return sets(pair.context.keep, pair.context.valid), sets(pair.select[:, 0], asked)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.01, 0.99), st.integers(0, 1000))
def test_context_and_target_are_all_that_is_there_and_share_nothing(share: float, seed: int):
    lengths = torch.randint(1, 7, (8,), generator=torch.Generator().manual_seed(seed))
    padded = tokens(8, lengths)
    (pair,) = RandomTokens(share=share).build(SIGNAL).apply(padded, Rng(seed, 0))
    for seen, hidden, there in zip(*both(pair), padded.valid, strict=True):
        count = int(there.sum())
        assert not seen & hidden and seen | hidden == set(there.nonzero()[:, 0].tolist())
        assert len(hidden) == min(max(1, round(count * share)), count - 1)


def test_samples_of_equal_length_need_no_padding_and_draw_their_own_masks():
    (pair,) = RandomTokens(share=0.7).build(SIGNAL).apply(tokens(64), Rng(0, 0))
    assert pair.context.keep.shape == (64, 7) and pair.select.shape == (64, 1, 17)
    assert pair.context.valid is None and pair.valid is None
    seen = both(pair)[0]
    assert len(set(map(frozenset, seen))) > 60
    counts = torch.bincount(pair.select.flatten(), minlength=24)
    assert counts.min() > 25  # every token is hidden about as often


def test_what_is_hidden_along_an_axis_is_hidden_whole():
    lengths = torch.tensor([6, 4, 2, 1] * 8)
    hiding = RandomTokens(share=0.5, along="time").build(SIGNAL)
    hidden = hiding.sample(tokens(32, lengths), Rng(0, 0)).unflatten(1, LAYOUT)
    assert (hidden.any(1) == hidden.all(1)).all()
    assert hidden.any(1).sum(1).tolist() == [3, 2, 1, 0] * 8  # one column alone is never hidden
    across = (
        RandomTokens(share=0.5, along="frequency")
        .build(SIGNAL)
        .sample(tokens(8), Rng(0, 0))
        .unflatten(1, LAYOUT)
    )
    assert (across.any(2) == across.all(2)).all() and (across.any(2).sum(1) == 2).all()


def test_draws_are_those_of_the_global_batch_and_of_the_step():
    whole, hiding = tokens(8), RandomTokens().build(SIGNAL)
    hidden = hiding.sample(whole, Rng(3, 5))
    parts = [
        hiding.sample(Tokens(whole.values[i : i + 4], whole.positions, LAYOUT), Rng(3, 5, start=i, total=8))
        for i in (0, 4)
    ]
    assert torch.equal(hidden, torch.cat(parts))
    assert not torch.equal(hidden, hiding.sample(whole, Rng(3, 6)))


def test_a_target_that_sees_the_hidden_tokens_alone():
    (pair,) = (
        RandomTokens(target_sees="hidden").build(SIGNAL).apply(tokens(8, torch.tensor([2, 6] * 4)), Rng(0, 0))
    )
    (view,) = pair.target
    assert torch.equal(view.keep, pair.select[:, 0]) and torch.equal(view.valid, pair.valid[:, 0])
    assert [set(row.nonzero()[:, 0].tolist()) for row in view.there] == both(pair)[1]


class RandomBags(BagJEPA):
    """Bags of which a random half is hidden."""

    hiding: RandomTokens = RandomTokens(share=0.5)


@pytest.mark.parametrize("sees", ["all", "hidden"])
def test_targets_depend_on_what_their_encoder_sees_alone(sees: str):
    data = {**BagJEPA().model_dump(mode="json"), "hiding": {"kind": "random", "target_sees": sees}}
    model = RandomBags.parse(data).build().eval()
    there = torch.arange(9) < torch.tensor([[9], [6], [4], [8]])
    batch = Bags(torch.randn(4, 9, 2), torch.arange(9.0).expand(4, 9)[..., None], there)
    (pair,) = model.pairs(batch, Rng(0, 0))
    before = model(batch, Rng(0, 0)).s_y[0][pair.asked]

    def after(changed: torch.Tensor) -> torch.Tensor:
        numbers = torch.where(changed[..., None], torch.randn(4, 9, 2), batch.numbers)
        return model(Bags(numbers, batch.places, there), Rng(0, 0)).s_y[0][pair.asked]

    assert torch.allclose(before, after(~there), atol=1e-6)
    assert torch.allclose(before, after(pair.context.shown & there), atol=1e-6) == (sees == "hidden")
    openjepa.check_jepa(model, batch)


@pytest.mark.parametrize(
    ("options", "layout", "said"),
    [
        ({"along": "tim"}, LAYOUT, "frequency, time"),
        ({"along": "time"}, None, "no grid"),
        ({}, (1, 1), "has one"),
    ],
)
def test_what_cannot_hold_is_refused_when_it_is_built(options: dict, layout, said: str):
    signal = SimpleNamespace(layout=layout, axes=SIGNAL.axes, noun="clips")
    with pytest.raises(UserError, match=said):
        RandomTokens(**options).build(signal)
