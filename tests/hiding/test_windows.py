"""Windows: where they lie, how much of each is hidden, and what the draws depend on."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.hiding import Windows
from openjepa.jepa import Tokens
from openjepa.signals.images.signal import ImageSignal, grid_positions


def tokens(batch: int, rows: int, columns: int) -> Tokens:
    values = torch.arange(batch * rows * columns).view(batch, -1, 1).float()
    return Tokens(values, grid_positions(rows, columns), (rows, columns))


@given(
    side=st.integers(2, 7),
    windows=st.integers(1, 4),
    rows=st.integers(0, 5),
    columns=st.integers(0, 5),
    share=st.floats(0.01, 0.99),
    step=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_windows_are_whole_and_lie_apart(
    side: int, windows: int, rows: int, columns: int, share: float, step: int
) -> None:
    whole = tokens(6, side + windows - 1 + rows, side + windows - 1 + columns)
    hiding = Windows(side=side, windows=windows, share=share).build(ImageSignal(size=160))
    pairs = hiding.apply(whole, Rng(0, step))
    assert len(pairs) == windows
    corners = []
    for pair in pairs:
        keep, within, select = pair.context.keep, pair.within[:, 0], pair.select[:, 0]
        both = torch.cat([keep, within], 1).sort(1).values
        assert torch.equal(both, torch.arange(side**2).expand(6, -1))
        assert within.shape[1] == max(1, int(side**2 * share)) and keep.shape[1] >= 1
        assert (keep.diff(dim=1) > 0).all() and (within.diff(dim=1) > 0).all()
        values = pair.context.tokens.values
        assert torch.equal(values.gather(1, within[..., None]), whole.values.gather(1, select[..., None]))
        grid = values.view(6, side, side) - whole.values[:, :1]
        assert (grid.diff(dim=2) == 1).all() and (grid.diff(dim=1) == whole.layout[1]).all()
        corner = grid[:, 0, 0]
        corners.append(torch.stack([corner // whole.layout[1], corner % whole.layout[1]], 1))
        asked = pair.place.gather(1, select[..., None].expand(-1, -1, 2))
        here = pair.context.tokens.positions.expand(6, -1, -1).gather(1, within[..., None].expand(-1, -1, 2))
        assert torch.equal(asked, here)
    starts = torch.stack(corners, 1).sort(1).values
    assert (starts.diff(dim=1) > 0).all()  # rows and columns of one sample all differ


def test_every_place_and_every_token_is_drawn() -> None:
    hiding = Windows(side=5).build(ImageSignal(size=128))
    corners, keep, hidden = hiding.sample(tokens(400, 8, 8), Rng(0, 0))
    for axis in (0, 1):
        assert (
            torch.bincount(corners[..., axis].flatten().long()).tolist() == [400] * 4
        )  # all four, in any order
    first = torch.bincount((corners[:, 0, 0] * 4 + corners[:, 0, 1]).long(), minlength=16)
    assert first.min() > 10
    times = torch.bincount(hidden.flatten(), minlength=25)
    assert times.min() / times.max() > 0.7 and keep.shape[2] == 5


def test_draws_are_those_of_the_global_batch_and_of_the_step() -> None:
    hiding = Windows(side=5).build(ImageSignal(size=128))
    whole = hiding.sample(tokens(8, 8, 8), Rng(3, 5))
    parts = [hiding.sample(tokens(4, 8, 8), Rng(3, 5, start=i, total=8)) for i in (0, 4)]
    for one, two, all_ in zip(*parts, whole, strict=True):
        assert torch.equal(torch.cat([one, two]), all_)
    assert not torch.equal(whole[2], hiding.sample(tokens(8, 8, 8), Rng(3, 6))[2])


def test_a_grid_without_room_is_refused() -> None:
    with pytest.raises(UserError, match="4 windows of 12 x 12 tokens do not fit a grid of 14 x 14"):
        Windows(side=12).build(ImageSignal())
