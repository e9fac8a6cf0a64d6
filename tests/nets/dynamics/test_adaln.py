"""LeWM's predictor: sizes, its start, and a plain re-implementation."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openjepa.nets.dynamics.actions import ActionMLP, RawActions, Smoothed
from openjepa.nets.dynamics.adaln import AdaLN, AdaLNDynamics
from openjepa.nets.heads import Projector


def millions(*modules: nn.Module) -> float:
    return sum(p.numel() for module in modules for p in module.parameters()) / 1e6


def test_parameters_at_the_papers_size() -> None:
    with torch.device("meta"):
        net = AdaLN().build(192, 10)  # ViT-Tiny, a block of 5 actions of 2 numbers
    assert round(millions(net.actions), 2) == 0.16
    assert round(millions(net) - millions(net.actions), 2) == 10.79


def scrambled(net: AdaLNDynamics) -> AdaLNDynamics:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return net.eval()


def small(grid: tuple[int, int] | None = None) -> AdaLNDynamics:
    config = AdaLN(history=4, depth=2, heads=3, head_width=5, hidden=11, dropout=0.5)
    return config.build(6, 7, grid)


@pytest.mark.parametrize("grid", [None, (2, 2)])
def test_at_the_start_blocks_are_the_identity(grid: tuple[int, int] | None) -> None:
    torch.manual_seed(0)
    net = small(grid)
    shape = (6,) if grid is None else (4, 6)
    states = torch.randn(2, 4, *shape)
    expected = F.layer_norm(states + net.positions.view(4, *shape), (6,))
    for actions in (torch.zeros(2, 4, 7), torch.randn(2, 4, 7)):
        torch.testing.assert_close(net(states, actions), expected)


def test_at_the_start_the_gates_alone_learn() -> None:
    torch.manual_seed(0)
    net = small()
    net(torch.randn(2, 4, 6), torch.randn(2, 4, 7)).square().mul(torch.randn(2, 4, 6)).sum().backward()
    for block in net.blocks:
        assert block.get_parameter("steer.weight").grad.any()  # ty: ignore
        assert not block.get_parameter("attention.qkv.weight").grad.any()  # ty: ignore


def test_dropout_only_in_training() -> None:
    net, states, actions = scrambled(small()), torch.randn(2, 4, 6), torch.randn(2, 4, 7)
    assert torch.equal(net(states, actions), net(states, actions))
    net.train()
    assert not torch.equal(net(states, actions), net(states, actions))


def plainly(net: AdaLNDynamics, states: Tensor, actions: Tensor) -> Tensor:
    """Maes et al., arXiv:2603.19312, one sample, one frame and one head at a time, on vectors."""
    weights = dict(net.named_parameters())

    def linear(name: str, x: Tensor, bias: bool = True) -> Tensor:
        return x @ weights[f"{name}.weight"].T + (weights[f"{name}.bias"] if bias else 0)

    def norm(x: Tensor, eps: float, name: str | None = None) -> Tensor:
        centred = x - x.mean()
        x = centred / (centred.square().mean() + eps).sqrt()
        return x if name is None else x * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    rows = []
    for sample, condition in zip(states, actions, strict=True):
        frames = [x + weights["positions"][t, 0] for t, x in enumerate(sample)]
        smooth = [linear("actions.0", a) for a in condition]
        conditions = [linear("actions.3", (h := linear("actions.1", a)) * torch.sigmoid(h)) for a in smooth]
        for i in range(len(net.blocks)):
            block, heads, width = f"blocks.{i}", 3, 5
            six = [linear(f"{block}.steer", c * torch.sigmoid(c)).split(6) for c in conditions]
            inputs = [
                norm(norm(x, 1e-6) * (1 + scale) + shift, 1e-5, f"{block}.attention_norm")
                for x, (shift, scale, *_) in zip(frames, six, strict=True)
            ]
            qkv = [linear(f"{block}.attention.qkv", x, bias=False).split(heads * width) for x in inputs]
            after = []
            for t, x in enumerate(frames):
                seen = []
                for head in range(heads):
                    part = slice(head * width, (head + 1) * width)
                    scores = torch.stack([qkv[t][0][part] @ qkv[u][1][part] for u in range(t + 1)])
                    shares = torch.softmax(scores / math.sqrt(width), 0)
                    seen.append(sum(share * qkv[u][2][part] for u, share in enumerate(shares)))
                attended = linear(f"{block}.attention.proj", torch.cat(seen))
                x = x + six[t][2] * attended
                y = norm(norm(x, 1e-6) * (1 + six[t][4]) + six[t][3], 1e-5, f"{block}.mlp.0")
                y = linear(f"{block}.mlp.1", y)
                y = y * (1 + torch.erf(y / math.sqrt(2))) / 2
                after.append(x + six[t][5] * linear(f"{block}.mlp.4", y))
            frames = after
        rows.append(torch.stack([norm(x, 1e-5, "norm") for x in frames]))
    return torch.stack(rows)


def test_it_is_the_paper_written_plainly() -> None:
    net = scrambled(small())
    states, actions = torch.randn(2, 4, 6), torch.randn(2, 4, 7)
    torch.testing.assert_close(net(states, actions), plainly(net, states, actions), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("grid", [None, (1, 2)])
def test_the_change_of_the_newest_state_is_predicted_also_in_a_rollout(grid: tuple[int, int] | None) -> None:
    plain = scrambled(small(grid))
    config = AdaLN(history=4, depth=2, heads=3, head_width=5, hidden=11, dropout=0.5, residual=True)
    net = config.build(6, 7, grid).eval()
    net.load_state_dict(plain.state_dict())
    states, actions = torch.randn(2, 4, *net.shape), torch.randn(2, 4, 7)
    torch.testing.assert_close(net(states, actions), states + plain(states, actions))
    known, condition = states, torch.cat([actions, torch.randn(2, 2, 7)], 1)
    for step in range(4, 7):  # the window slides from the first step on
        known = torch.cat([known, net(known[:, -4:], condition[:, step - 4 : step])[:, -1:]], 1)
    torch.testing.assert_close(net.unroll(states, condition), known[:, 4:], atol=1e-5, rtol=1e-4)


def test_tokens_of_a_frame_are_told_the_same_and_see_one_another() -> None:
    net = scrambled(small((1, 2)))
    states, actions = torch.randn(1, 2, 2, 6).requires_grad_(), torch.randn(1, 2, 7).requires_grad_()
    by_state, by_action = torch.autograd.grad(net(states, actions)[0, 0, 0].sum(), (states, actions))
    assert by_state[0, 0, 1].any() and not by_state[0, 1].any()
    assert by_action[0, 0].any() and not by_action[0, 1].any()


def test_the_papers_projector_serves_as_its_head() -> None:
    head = Projector(hidden=16, layers=1, width=6).build(6)
    net = AdaLN(history=3, depth=1, heads=1, hidden=8).build(6, 7, head=head.mlp)  # ty: ignore
    assert net(torch.randn(4, 3, 6), torch.randn(4, 3, 7)).shape == (4, 3, 6)


@pytest.mark.parametrize("config", [RawActions(), ActionMLP(hidden=5), Smoothed(smooth=4)])
def test_action_encoders_give_what_they_say(config: RawActions | ActionMLP | Smoothed) -> None:
    net = config.build(7, 12)
    out = net(torch.randn(2, 3, 7))
    assert out.shape == (2, 3, config.out(7, 12))
    assert config.out(7, 12) == (7 if config.kind == "identity" else 12)


def test_raw_actions_steer_as_well() -> None:
    net = scrambled(AdaLN(depth=1, heads=1, hidden=8, actions=RawActions()).build(6, 7))
    states = torch.randn(1, 3, 6)
    assert not torch.allclose(net(states, torch.zeros(1, 3, 7)), net(states, torch.ones(1, 3, 7)), atol=1e-3)
