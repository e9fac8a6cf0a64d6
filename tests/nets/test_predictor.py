"""The predictor: told where, told nothing, blocks apart or together."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from openjepa.jepa import Pair, Tokens, View
from openjepa.nets.predictor import Identity, Narrow, Ports, TokenPredictor
from openjepa.signals.images.signal import ImageSignal, grid_positions

GRID, COUNT = (4, 4), 16
SIGNAL = ImageSignal(size=16, patch=4)


def predictor(condition: str = "positions", **settings: object) -> TokenPredictor:
    torch.manual_seed(0)
    net = Narrow.parse({"width": 8, "depth": 2, "heads": 2} | settings).build(
        Ports(SIGNAL, 12, 12, condition)
    )
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    return net.eval()


def inputs(batch: int = 3) -> tuple[Tensor, Pair]:
    generator = torch.Generator().manual_seed(1)
    order = torch.rand(batch, COUNT, generator=generator).argsort(1)
    tokens = Tokens(torch.randn(batch, COUNT, 5, generator=generator), grid_positions(*GRID), GRID)
    s_x = torch.randn(batch, 6, 12, generator=generator)
    select = order[:, 6:12].view(batch, 2, 3)
    return s_x, Pair(View(tokens, keep=order[:, :6]), (View(tokens),), select)


@pytest.mark.parametrize("joint", [False, True])
def test_shapes_and_sample_independence(joint: bool) -> None:
    net, (s_x, pair) = predictor(joint=joint), inputs()
    out = net(s_x, pair)
    assert out.shape == (3, 2, 3, 12)
    s_x = s_x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net(s_x, pair)[1].sum(), s_x)
    assert [bool(g.count_nonzero()) for g in gradient] == [False, True, False]


def test_targets_lie_where_the_pair_places_them() -> None:
    net, (s_x, pair) = predictor(), inputs()
    place = pair.context.tokens.positions + torch.randn(
        3, COUNT, 2, generator=torch.Generator().manual_seed(2)
    )
    moved = net(s_x, replace(pair, place=place))
    assert not torch.allclose(moved, net(s_x, pair), atol=1e-3)
    tokens = replace(pair.target[0].tokens, positions=place)
    torch.testing.assert_close(moved, net(s_x, replace(pair, target=(View(tokens),))))


def test_apart_each_block_is_predicted_as_if_alone() -> None:
    net, (s_x, pair) = predictor(joint=False), inputs()
    together = net(s_x, pair)
    for block in range(2):
        assert pair.select is not None
        alone = net(s_x, replace(pair, select=pair.select[:, block : block + 1]))
        torch.testing.assert_close(together[:, block : block + 1], alone)


def test_together_blocks_see_one_another() -> None:
    net, (s_x, pair) = predictor(joint=True), inputs()
    assert pair.select is not None
    alone = net(s_x, replace(pair, select=pair.select[:, :1]))
    assert not torch.allclose(net(s_x, pair)[:, :1], alone, atol=1e-3)
    apart = predictor(joint=False)
    apart.load_state_dict(net.state_dict())  # of one block, both ways are the same computation
    torch.testing.assert_close(apart(s_x, replace(pair, select=pair.select[:, :1])), alone)


@pytest.mark.parametrize("joint", [False, True])
def test_the_order_of_questions_is_the_order_of_answers(joint: bool) -> None:
    net, (s_x, pair) = predictor(joint=joint), inputs()
    assert pair.select is not None
    turned = net(s_x, replace(pair, select=pair.select.flip(1, 2)))
    torch.testing.assert_close(turned, net(s_x, pair).flip(1, 2))


def test_told_nothing_it_answers_the_same_everywhere() -> None:
    s_x, pair = inputs()
    blind, told = (predictor(c)(s_x, pair) for c in ("none", "positions"))
    torch.testing.assert_close(blind, blind[:, :1, :1].expand_as(blind))
    assert not torch.allclose(told, told[:, :1, :1].expand_as(told), atol=1e-2)


def test_no_selection_asks_for_every_token() -> None:
    net, (s_x, pair) = predictor(), inputs()
    every = torch.arange(COUNT).expand(3, 1, COUNT)
    out = net(s_x, replace(pair, select=None))
    torch.testing.assert_close(out, net(s_x, replace(pair, select=every)))


def test_an_encoder_that_replaces_hands_over_all_tokens() -> None:
    net, (_, pair) = predictor(), inputs()
    everything = torch.randn(3, COUNT, 12)
    out = net(everything, pair)
    torch.testing.assert_close(out, net(everything, replace(pair, context=View(pair.context.tokens))))


def test_the_identity_predicts_the_context_itself() -> None:
    s_x, pair = inputs()
    assert torch.equal(Identity().build(Ports(SIGNAL, 12, 12, "none"))(s_x, pair)[:, 0], s_x)


def test_each_kind_of_pair_has_its_own_mask_token() -> None:
    torch.manual_seed(0)
    sizes = {"width": 8, "depth": 1, "heads": 2, "mask_init": "zero"}
    net = Narrow.parse(sizes).build(Ports(SIGNAL, 12, 12, kinds=2))
    assert net.mask_token.shape == (2, 8) and not net.mask_token.any()
    nn.init.normal_(net.mask_token)
    s_x, pair = inputs()
    second = replace(pair, kind=1)
    assert not torch.allclose(net(s_x, pair), net(s_x, second), atol=1e-3)
    net(s_x, second).sum().backward()
    assert net.mask_token.grad is not None and net.mask_token.grad.any(1).tolist() == [False, True]


@pytest.mark.parametrize("joint", [False, True])
def test_predictions_have_the_targets_width(joint: bool) -> None:
    s_x, pair = inputs()
    net = Narrow.parse({"width": 8, "depth": 1, "heads": 2, "joint": joint}).build(Ports(SIGNAL, 12, 20))
    assert net(s_x, pair).shape == (3, 2, 3, 20)


@pytest.mark.parametrize("joint", [False, True])
def test_what_is_padded_changes_no_answer(joint: bool) -> None:
    """A context of 6 tokens padded to 9, blocks of 3 padded to 5: what is there is answered as without padding."""
    net, (s_x, pair) = predictor(joint=joint), inputs()
    noise = torch.randn(3, 3, 12, generator=torch.Generator().manual_seed(3))
    keep, select = pair.context.keep, pair.select
    assert keep is not None and select is not None
    there = torch.arange(9).expand(3, 9) < 6
    context = View(pair.context.tokens, torch.cat([keep, keep[:, :3]], 1), there)
    asked = (torch.arange(5) < 3).expand(3, 2, 5)
    padded = replace(pair, context=context, select=torch.cat([select, select[..., :2]], 2), valid=asked)
    out = net(torch.cat([s_x, noise], 1), padded)
    torch.testing.assert_close(out[:, :, :3], net(s_x, pair), atol=1e-5, rtol=0)


ROTARY = {"positions": {"kind": "rotary"}, "width": 16}


@pytest.mark.parametrize("joint", [False, True])
def test_rotary_positions_are_those_of_what_the_context_keeps_and_of_what_is_asked_for(joint: bool) -> None:
    net, (s_x, pair) = predictor(joint=joint, **ROTARY), inputs()
    out, context = net(s_x, pair), pair.context
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    assert context.keep is not None
    turned = replace(pair, context=View(context.tokens, context.keep[:, order]))
    torch.testing.assert_close(net(s_x[:, order], turned), out, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(net(s_x[:, order], pair), out, atol=1e-3), "places of the context tell nothing"
    far = context.tokens.positions + 3.0
    both = replace(context.tokens, positions=far)
    shifted = replace(pair, context=View(both, context.keep), target=(View(both),))
    torch.testing.assert_close(net(s_x, shifted), out, rtol=1e-4, atol=1e-4)  # rotary positions are relative
    moved = replace(pair, place=context.tokens.positions + 1.0)
    assert not torch.allclose(net(s_x, moved), out, atol=1e-3)


def test_rotary_and_padding_leave_a_sample_as_it_is_alone() -> None:
    net, (s_x, pair) = predictor(joint=True, **ROTARY), inputs()
    out, keep = net(s_x, pair), pair.context.keep
    assert keep is not None
    longer = torch.cat([keep, keep[:, :2]], 1)
    there = torch.ones(longer.shape, dtype=torch.bool)
    there[:, 6:] = False
    padded = replace(pair, context=View(pair.context.tokens, longer, there))
    rubbish = torch.cat([s_x, 100 * torch.ones(3, 2, 12)], 1)
    torch.testing.assert_close(net(rubbish, padded), out, rtol=1e-4, atol=1e-5)
