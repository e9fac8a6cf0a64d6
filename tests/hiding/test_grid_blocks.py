"""Blocks on grids, and the curriculum of two kinds of them: sizes, covering, padding, what is lost, pacing."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.hiding import GridBlocks, TimeFrequency
from openjepa.jepa import Tokens

LAYOUT = (8, 24)
SIGNAL = SimpleNamespace(layout=LAYOUT, axes=("frequency", "time"), noun="clips")
LATE = GridBlocks(targets=3, target_scale=(0.05, 0.075), extend=("time",))


def tokens(lengths: list[int]) -> Tokens:
    count = LAYOUT[0] * LAYOUT[1]
    positions = torch.cartesian_prod(*(torch.arange(float(n)) for n in LAYOUT))[None]
    valid = torch.arange(LAYOUT[1]) < torch.tensor(lengths)[:, None]
    valid = None if bool(valid.all()) else valid[:, None].expand(-1, LAYOUT[0], -1).flatten(1)
    return Tokens(torch.zeros(len(lengths), count, 2), positions, LAYOUT, valid)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([(), ("time",), ("frequency",), ("time", "frequency")]))
def test_contexts_and_targets_share_nothing_and_are_there(seed: int, extend: tuple[str, ...]):
    lengths = torch.randint(1, 25, (16,), generator=torch.Generator().manual_seed(seed)).tolist()
    hiding = LATE.model_copy(update={"extend": extend}).build(SIGNAL)
    visible, blocks = hiding.masks(tokens(lengths), Rng(seed, 0))
    there = torch.arange(24) < torch.tensor(lengths)[:, None, None]
    assert (
        not (visible & blocks.any(1)).any()
        and not (visible & ~there).any()
        and not (blocks & ~there[:, None]).any()
    )
    least = (torch.tensor(lengths) * 8 * 0.05).ceil()
    assert (visible.flatten(1).sum(1) >= least).all() and blocks.flatten(1).any(1).all()


def test_blocks_are_rectangles_of_the_papers_sizes():
    _, blocks = GridBlocks().build(SIGNAL).masks(tokens([24] * 200), Rng(0, 0))
    rows, columns = blocks.any(3).sum(2), blocks.any(2).sum(2)
    assert torch.equal(rows * columns, blocks.flatten(2).sum(2))
    share = (rows * columns) / 192
    assert share.min() > 0.12 and share.max() < 0.23 and 0.15 < share.mean() < 0.2
    corners = blocks.float().flatten(2).mean((0, 1))[[0, 23, 168, 191]]
    assert (corners > 0).all()  # the grid's edges are reached


def test_a_block_keeps_its_area_where_the_grid_is_low():
    flat = SimpleNamespace(layout=(2, 60), axes=SIGNAL.axes, noun="clips")
    positions = torch.zeros(1, 120, 2)
    _, blocks = GridBlocks().build(flat).masks(Tokens(torch.zeros(50, 120, 1), positions, (2, 60)), Rng(0, 0))
    assert 0.13 < blocks.flatten(2).sum(2).float().mean() / 120 < 0.2


def test_extended_targets_take_their_times_from_the_context():
    visible, blocks = LATE.build(SIGNAL).masks(tokens([24] * 64), Rng(1, 0))
    seen, hidden = visible.any(1), blocks.any(1).any(1)
    assert not (seen & hidden).any()
    plain, _ = LATE.model_copy(update={"extend": ()}).build(SIGNAL).masks(tokens([24] * 64), Rng(1, 0))
    assert plain.sum() > visible.sum() > 0


def test_pairs_hold_what_the_masks_say():
    padded = tokens([24, 10, 2, 1])
    hiding = GridBlocks().build(SIGNAL)
    visible, blocks = hiding.masks(padded, Rng(0, 7))
    (pair,) = hiding.apply(padded, Rng(0, 7))
    assert torch.equal(pair.context.there.unflatten(1, LAYOUT), visible)
    for sample in range(4):
        for block in range(4):
            asked = pair.select[sample, block][pair.asked[sample, block]]
            assert set(asked.tolist()) == set(blocks[sample, block].flatten().nonzero()[:, 0].tolist())
    alone = GridBlocks(target_sees="hidden").build(SIGNAL)
    (pair,) = alone.apply(padded, Rng(0, 7))
    assert torch.equal(pair.target[0].there.unflatten(1, LAYOUT), blocks.any(1))
    assert pair.select.shape[1] == 1


@pytest.mark.parametrize("config", [GridBlocks(), TimeFrequency()])
def test_draws_are_those_of_the_global_batch(config):
    hiding = config.build(SIGNAL)
    lengths = [24, 3, 9, 1, 24, 17, 2, 5]
    (whole,) = hiding.apply(tokens(lengths), Rng(2, 3, steps=10))
    parts = [
        hiding.apply(tokens(lengths[i : i + 4]), Rng(2, 3, start=i, total=8, steps=10))[0] for i in (0, 4)
    ]
    assert torch.equal(whole.context.there, torch.cat([part.context.there for part in parts]))
    (other,) = hiding.apply(tokens(lengths), Rng(2, 4, steps=10))
    assert not torch.equal(whole.context.there, other.context.there)


def test_drawing_again_shifts_no_other_draw():
    counts = []
    for lengths in ([24] * 8, [1] * 8):
        rng = Rng(0, 0)
        GridBlocks().build(SIGNAL).apply(tokens(lengths), rng)
        counts.append(float(rng.shared(1)))
    assert counts[0] == counts[1]


def test_the_curriculum_follows_its_pace():
    config = TimeFrequency()
    assert config.chance(0.0) == pytest.approx(0.01) and config.chance(1.0) == pytest.approx(1.0)
    assert config.chance(0.25) == pytest.approx(0.5, abs=1e-3)
    falling = TimeFrequency(order="falling")
    assert falling.chance(0.0) == pytest.approx(0.99) and falling.chance(1.0) == pytest.approx(0.0)
    hiding, steps, late = config.build(SIGNAL), 1000, []
    for step in range(steps):
        chosen = hiding._chosen(Rng(0, step, steps=steps))
        late.append(chosen is hiding.late)
    for share in (0, 250, 500, 750):
        found = sum(late[share : share + 250]) / 250
        assert abs(found - config.chance((share + 125) / steps)) < 0.11


@pytest.mark.parametrize(
    ("options", "layout", "axes", "said"),
    [
        ({}, None, ("place",), "grid of two axes"),
        ({"extend": ("pitch",)}, LAYOUT, SIGNAL.axes, "none of the axes"),
        ({"target_scale": (0.5, 0.99)}, LAYOUT, SIGNAL.axes, "can never hold"),
    ],
)
def test_what_cannot_hold_is_refused_when_it_is_built(options, layout, axes, said: str):
    signal = SimpleNamespace(layout=layout, axes=axes, noun="clips")
    with pytest.raises(UserError, match=said):
        GridBlocks(**options).build(signal)
