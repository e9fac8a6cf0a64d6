"""Relative positions: buckets as in iRPE, one table whatever the batch, scores of queries and offsets."""

import math

import pytest
import torch

from openjepa.jepa import Tokens, View
from openjepa.nets.positions import Relative, RelativePositions
from openjepa.nets.transformer import Attention, ViT
from openjepa.signals.images.signal import ImageSignal, grid_positions

SIGNAL = ImageSignal(size=32, patch=8, channels=1, mean=(0.0,), std=(1.0,))


def bucket(x: int) -> int:
    """iRPE's piecewise index (equation 18) with alpha 1.9, beta 3.8 and gamma 15.2, cut to a whole number."""
    if abs(x) <= 1.9:
        return x
    far = 1.9 + math.log(abs(x) / 1.9) / math.log(15.2 / 1.9) * 1.9
    return int(math.copysign(min(round(far), 3.8), x))


def test_buckets_are_those_of_irpe() -> None:
    near = RelativePositions().near(grid_positions(20, 3))[0]
    for i in range(0, 60, 7):
        for j in range(60):
            row, column = i // 3 - j // 3, i % 3 - j % 3
            assert near[i, j] == (bucket(row) + 3) * 7 + bucket(column) + 3
    assert Relative.buckets(SIGNAL) == 49 and int(near.max()) < 49


def test_scores_are_products_of_queries_and_offsets() -> None:
    torch.manual_seed(0)
    layer = Attention(8, 2, buckets=49)
    torch.nn.init.normal_(layer.offsets)
    x, near = torch.randn(3, 6, 8), RelativePositions().near(grid_positions(2, 3))
    q, k, v = layer.qkv(x).view(3, 6, 3, 2, 4).permute(2, 0, 3, 1, 4)
    scores = torch.empty(3, 2, 6, 6)
    for i in range(6):
        for j in range(6):
            scores[:, :, i, j] = (q[:, :, i] * (k[:, :, j] + layer.offsets[near[0, i, j]])).sum(-1) / 2
    want = layer.proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(layer(x, near=near), want)
    torch.testing.assert_close(layer(x, near=near.expand(3, -1, -1)), want)  # a table a sample
    torch.testing.assert_close(layer(x, 4, near=near), want[:, 4:])
    mask = torch.rand(3, 1, 1, 6) < 0.6
    mask[..., 0] = True
    hidden = scores.masked_fill(~mask, -torch.inf).softmax(-1) @ v
    torch.testing.assert_close(layer(x, near=near, mask=mask), layer.proj(hidden.transpose(1, 2).flatten(2)))


@pytest.mark.parametrize("hide", ["drop", "replace"])
def test_where_a_window_lies_makes_no_difference(hide: str) -> None:
    torch.manual_seed(0)
    config = ViT(width=16, depth=2, heads=2, positions=Relative(), hide=hide)
    net = config.build(SIGNAL)
    for block in net.blocks:
        torch.nn.init.normal_(block.attention.offsets)
    values, keep = torch.randn(2, 16, 64), torch.tensor([[0, 3, 7], [1, 2, 9]])
    here = grid_positions(4, 4)
    with torch.no_grad():
        one, two = (net(View(Tokens(values, place, (4, 4)), keep)) for place in (here, here + 5))
        moved = net(View(Tokens(values, here.flip(1), (4, 4)), keep))
    assert torch.equal(one, two)
    assert not torch.allclose(one, moved, atol=1e-4)
    net(View(Tokens(values, here, (4, 4)), keep)).square().sum().backward()
    assert all(block.attention.offsets.grad.abs().sum() > 0 for block in net.blocks)
