"""V-JEPA 2-AC's predictor: sizes, its start, and a plain re-implementation."""

import math

import pytest
import torch
from torch import Tensor

from openjepa.errors import UserError
from openjepa.nets.dynamics.block_causal import BlockCausal, BlockCausalDynamics
from openjepa.nets.positions import RotaryStyle

GRID = (3, 3)


def test_parameters_at_the_papers_size() -> None:
    with torch.device("meta"):
        net = BlockCausal().build(1408, 14, (16, 16))  # ViT-g's tokens; 7 numbers of action and 7 of state
    assert round(sum(p.numel() for p in net.parameters()) / 1e6, 1) == 305.2


def small(style: RotaryStyle = "interleaved", state: int = 2) -> BlockCausalDynamics:
    net = BlockCausal(width=28, depth=2, heads=2, history=4, state=state, rotary=style).build(5, 6, GRID)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return net.eval()


def turned(x: Tensor, place: tuple[int, int, int], style: RotaryStyle) -> Tensor:
    """One head's 14 numbers: shares of 4 for time, row, column; 2 left over."""
    x = x.clone()
    for axis, position in enumerate(place):
        for pair in range(2):
            i = 4 * axis + 2 * pair
            frequency = [100.0**-pair] * 2 if style == "interleaved" else [1.0, 0.01]
            (a, b), (one, two) = x[i : i + 2].clone(), (position * f for f in frequency)
            x[i] = a * math.cos(one) - b * math.sin(one)
            x[i + 1] = b * math.cos(two) + a * math.sin(two)
    return x


def plainly(net: BlockCausalDynamics, states: Tensor, actions: Tensor, style: RotaryStyle) -> Tensor:
    """arXiv:2506.09985, section 3, one token and one head at a time, for one sample: `[T, 9, 5]` and `[T, 6]`."""
    weights = dict(net.named_parameters())

    def linear(name: str, x: Tensor) -> Tensor:
        return weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]

    def norm(name: str, x: Tensor) -> Tensor:
        x = (x - x.mean()) / (x.var(correction=0) + 1e-6).sqrt()
        return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    tokens, places = [], []
    for t, (patches, condition) in enumerate(zip(states, actions, strict=True)):
        tokens += [linear("tell.0", condition[:4]), linear("tell.1", condition[4:])]
        tokens += [linear("enter", patch) for patch in patches]
        places += [(t, 0, 0)] * 2 + [(t, r, c) for r in range(3) for c in range(3)]
    for i in range(2):
        qkv = [
            linear(f"blocks.{i}.attention.qkv", norm(f"blocks.{i}.norm1", x)).view(3, 2, 14) for x in tokens
        ]
        for one, place in zip(qkv, places, strict=True):
            for head in range(2):
                one[0, head], one[1, head] = (turned(one[j, head], place, style) for j in (0, 1))
        after = []
        for me, x in enumerate(tokens):
            seen = []
            visible = [qkv[u] for u in range(len(tokens)) if places[u][0] <= places[me][0]]
            for head in range(2):
                scores = torch.stack([qkv[me][0, head] @ other[1, head] for other in visible])
                shares = torch.softmax(scores / math.sqrt(14), 0)
                seen.append(sum(share * other[2, head] for share, other in zip(shares, visible, strict=True)))
            x = x + linear(f"blocks.{i}.attention.proj", torch.cat(seen))
            y = linear(f"blocks.{i}.mlp.0", norm(f"blocks.{i}.norm2", x))
            y = y * (1 + torch.erf(y / math.sqrt(2))) / 2
            after.append(x + linear(f"blocks.{i}.mlp.2", y))
        tokens = after
    out = [linear("leave", norm("norm", x)) for x in tokens]
    return torch.stack(out).view(len(states), 11, 5)[:, 2:]


@pytest.mark.parametrize("style", ["interleaved", "tiled"])
def test_it_is_the_paper_written_plainly(style: RotaryStyle) -> None:
    net = small(style)
    states, actions = torch.randn(1, 2, 9, 5), torch.randn(1, 2, 6)
    with torch.no_grad():
        expected = plainly(net, states[0], actions[0], style)
        torch.testing.assert_close(net(states, actions)[0], expected, rtol=1e-4, atol=1e-5)


def test_action_and_state_lie_at_a_step_and_patches_at_a_place() -> None:
    places = small().step_positions(1, 2, torch.device("cpu"))
    assert places.shape == (22, 3)
    assert places[:2].tolist() == [[1, 0, 0], [1, 0, 0]]
    assert places[2:5].tolist() == [[1, 0, 0], [1, 0, 1], [1, 0, 2]] and places[10].tolist() == [1, 2, 2]
    assert places[11:13].tolist() == [[2, 0, 0], [2, 0, 0]] and places[21].tolist() == [2, 2, 2]
    assert small(state=0).step_positions(0, 1, torch.device("cpu")).shape == (10, 3)


def test_patches_see_their_own_step_whole_and_none_later() -> None:
    net = small()
    states, actions = torch.randn(1, 3, 9, 5).requires_grad_(), torch.randn(1, 3, 6).requires_grad_()
    by_state, by_action = torch.autograd.grad(net(states, actions)[0, 1, 0].sum(), (states, actions))
    assert [bool(g.any()) for g in by_state[0].flatten(0, 1)] == [True] * 18 + [False] * 9
    assert by_action[0, :2].all() and not by_action[0, 2].any()


def test_what_blocks_add_begins_smaller_the_deeper_they_are() -> None:
    torch.manual_seed(0)
    net = BlockCausal(width=64, depth=8, heads=2).build(5, 14, GRID)
    for last in ("attention.proj.weight", "mlp.2.weight"):
        first, eighth = (net.blocks[i].get_parameter(last).std().item() for i in (0, 7))
        assert first == pytest.approx(0.02 / math.sqrt(2), rel=0.05)
        assert eighth == pytest.approx(0.02 / 4, rel=0.05)


def test_actions_that_are_all_state_are_refused() -> None:
    with pytest.raises(UserError, match="leaves nothing of actions of 7 numbers"):
        BlockCausal(state=7).build(5, 7, GRID)
