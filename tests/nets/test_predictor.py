"""The predictor: told where, told nothing, blocks apart or together."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from openjepa.jepa import Tokens, View
from openjepa.nets.predictor import Identity, Narrow, TokenPredictor
from openjepa.signals.images.signal import grid_positions

GRID, COUNT = (4, 4), 16


def predictor(condition: str = "positions", **settings: object) -> TokenPredictor:
    torch.manual_seed(0)
    net = Narrow.parse({"width": 8, "depth": 2, "heads": 2} | settings).build(12, GRID, condition)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    return net.eval()


def inputs(batch: int = 3) -> tuple[Tensor, View, View]:
    generator = torch.Generator().manual_seed(1)
    order = torch.rand(batch, COUNT, generator=generator).argsort(1)
    tokens = Tokens(torch.randn(batch, COUNT, 5, generator=generator), grid_positions(*GRID), GRID)
    s_x = torch.randn(batch, 6, 12, generator=generator)
    select = order[:, 6:12].view(batch, 2, 3)
    return s_x, View(tokens, keep=order[:, :6]), View(tokens, select=select)


@pytest.mark.parametrize("joint", [False, True])
def test_shapes_and_sample_independence(joint: bool) -> None:
    net, (s_x, context, target) = predictor(joint=joint), inputs()
    out = net(s_x, context, target)
    assert out.shape == (3, 2, 3, 12)
    s_x = s_x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net(s_x, context, target)[1].sum(), s_x)
    assert [bool(g.count_nonzero()) for g in gradient] == [False, True, False]


def test_targets_lie_where_their_view_places_them() -> None:
    net, (s_x, context, target) = predictor(), inputs()
    place = target.tokens.positions + torch.randn(3, COUNT, 2, generator=torch.Generator().manual_seed(2))
    moved = net(s_x, context, replace(target, place=place))
    assert not torch.allclose(moved, net(s_x, context, target), atol=1e-3)
    tokens = replace(target.tokens, positions=place)
    torch.testing.assert_close(moved, net(s_x, context, replace(target, tokens=tokens)))


def test_apart_each_block_is_predicted_as_if_alone() -> None:
    net, (s_x, context, target) = predictor(joint=False), inputs()
    together = net(s_x, context, target)
    for block in range(2):
        assert target.select is not None
        alone = net(s_x, context, replace(target, select=target.select[:, block : block + 1]))
        torch.testing.assert_close(together[:, block : block + 1], alone)


def test_together_blocks_see_one_another() -> None:
    net, (s_x, context, target) = predictor(joint=True), inputs()
    assert target.select is not None
    alone = net(s_x, context, replace(target, select=target.select[:, :1]))
    assert not torch.allclose(net(s_x, context, target)[:, :1], alone, atol=1e-3)
    apart = predictor(joint=False)
    apart.load_state_dict(net.state_dict())  # of one block, both ways are the same computation
    torch.testing.assert_close(apart(s_x, context, replace(target, select=target.select[:, :1])), alone)


@pytest.mark.parametrize("joint", [False, True])
def test_the_order_of_questions_is_the_order_of_answers(joint: bool) -> None:
    net, (s_x, context, target) = predictor(joint=joint), inputs()
    assert target.select is not None
    turned = net(s_x, context, replace(target, select=target.select.flip(1, 2)))
    torch.testing.assert_close(turned, net(s_x, context, target).flip(1, 2))


def test_told_nothing_it_answers_the_same_everywhere() -> None:
    s_x, context, target = inputs()
    blind, told = (predictor(c)(s_x, context, target) for c in ("none", "positions"))
    torch.testing.assert_close(blind, blind[:, :1, :1].expand_as(blind))
    assert not torch.allclose(told, told[:, :1, :1].expand_as(told), atol=1e-2)


def test_no_selection_asks_for_every_token() -> None:
    net, (s_x, context, target) = predictor(), inputs()
    every = torch.arange(COUNT).expand(3, 1, COUNT)
    out = net(s_x, context, replace(target, select=None))
    torch.testing.assert_close(out, net(s_x, context, replace(target, select=every)))


def test_an_encoder_that_replaces_hands_over_all_tokens() -> None:
    net, (_, context, target) = predictor(), inputs()
    everything = torch.randn(3, COUNT, 12)
    out = net(everything, context, target)
    torch.testing.assert_close(out, net(everything, replace(context, keep=None), target))


def test_the_identity_predicts_the_context_itself() -> None:
    s_x, context, target = inputs()
    assert torch.equal(Identity().build(12, GRID, "none")(s_x, context, target)[:, 0], s_x)
