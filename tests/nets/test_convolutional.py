"""Encoders and predictors of convolutions, recurrent and plain predictors of vectors, and branches."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openjepa.errors import UserError
from openjepa.nets.convolutional import Conv, ConvEncoder
from openjepa.nets.dynamics.base import Borrowed
from openjepa.nets.dynamics.branches import Branches
from openjepa.nets.dynamics.gru import GRU
from openjepa.nets.dynamics.maps import Maps
from openjepa.nets.dynamics.mlp import MLP, Inverse


def encoder(frame: tuple[int, int, int] = (3, 20, 14), **settings: object) -> ConvEncoder:
    torch.manual_seed(0)
    return Conv.parse({"channels": [4, 6], "blocks": 1, "width": 10} | settings).build(frame).eval()


def test_a_vector_a_frame() -> None:
    net = encoder()
    assert net.grid is None and net.width == 10
    out = net(torch.rand(5, 3, 20, 14))
    assert out.shape == (5, 10)
    torch.testing.assert_close(out.mean(1), torch.zeros(5), atol=1e-5, rtol=0)
    assert net(torch.rand(2, 4, 3, 20, 14)).shape == (2, 4, 10)


def test_a_map_a_frame() -> None:
    net = encoder(output="map")
    assert net.grid == (5, 4)  # halved twice, rounded up
    out = net(torch.rand(2, 4, 3, 20, 14))
    assert out.shape == (2, 4, 10, 5, 4)
    torch.testing.assert_close(out.mean(2), torch.zeros(2, 4, 5, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.square().mean(2), torch.ones(2, 4, 5, 4), atol=1e-2, rtol=0)


def test_squares_become_channels() -> None:
    net = encoder(patch=2)
    assert net.state_dict()["stacks.0.conv.weight"].shape == (4, 12, 3, 3)
    assert net(torch.rand(5, 3, 20, 14)).shape == (5, 10)
    assert encoder(patch=2, output="map").grid == (3, 2)
    with pytest.raises(UserError, match="squares of 4: change"):
        encoder(patch=4)


def test_a_strided_stack_is_a_convolution_and_a_relu() -> None:
    net = encoder(halve="stride", blocks=0, output="map", norm=False)
    assert net.grid == (5, 4)
    frames = torch.rand(5, 3, 20, 14)
    x = frames
    for stack in net.stacks:
        x = F.conv2d(x, stack.conv.weight, stack.conv.bias, stride=2, padding=1).relu()
    torch.testing.assert_close(net(frames), net.leave(x))


def test_without_a_norm_nothing_is_normalised() -> None:
    assert encoder(norm=False)(torch.rand(5, 3, 20, 14)).mean(1).abs().max() > 1e-3


@pytest.mark.parametrize("output", ["vector", "map"])
def test_frames_do_not_meet_and_bytes_are_floats(output: str) -> None:
    net = encoder(output=output)
    frames = torch.randint(
        0, 256, (3, 2, 3, 20, 14), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    together = net(frames)
    torch.testing.assert_close(together[1, 1], net(frames[1, 1:])[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together, net(frames.float() / 255))
    assert not torch.allclose(together[0, 0], together[0, 1], atol=1e-3)


def test_it_is_eb_jepas_impala_written_plainly() -> None:
    net = encoder(frame=(2, 65, 65), channels=[16, 32, 32], blocks=2, width=512)
    assert sum(p.numel() for p in net.parameters()) == 1_426_096
    x = frames = torch.rand(2, 2, 65, 65)
    for s in range(3):
        x = F.max_pool2d(_conv(net, f"stacks.{s}.conv", x), 3, 2, 1)
        for b in range(2):
            inner = F.relu(_conv(net, f"stacks.{s}.blocks.{b}.conv1", x))
            x = F.relu(x + _conv(net, f"stacks.{s}.blocks.{b}.conv2", inner))
    assert x.shape == (2, 32, 9, 9)
    x = F.linear(x.flatten(1), net.get_parameter("leave.1.weight"), net.get_parameter("leave.1.bias"))
    torch.testing.assert_close(net(frames), F.layer_norm(x, (512,)), atol=1e-5, rtol=1e-5)


def _conv(net: nn.Module, name: str, x: Tensor) -> Tensor:
    return F.conv2d(x, net.get_parameter(f"{name}.weight"), net.get_parameter(f"{name}.bias"), padding=1)


def test_the_gru_is_torchs_with_the_latent_as_its_hidden_state() -> None:
    torch.manual_seed(0)
    norm = nn.LayerNorm(6)
    net = GRU().build(6, 2, head=Borrowed(norm))
    theirs = nn.GRU(2, 6, batch_first=True)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        net.cell.get_parameter(name).data.copy_(theirs.get_parameter(f"{name}_l0"))
    state, actions = norm(torch.randn(3, 6)), torch.randn(3, 4, 2)
    unrolled = net.unroll(state[:, None], actions)
    for t in range(4):
        _, hidden = theirs(actions[:, t : t + 1], state[None])
        state = norm(hidden[0])
        torch.testing.assert_close(unrolled[:, t], state)


def test_maps_change_where_the_kernel_reaches_and_actions_everywhere() -> None:
    torch.manual_seed(0)
    net = Maps(channels=8, layers=2, kernel=3).build(4, 2, (9, 9))
    nn.init.normal_(net.layers[-1].weight)  # ty: ignore
    state, action = torch.randn(1, 1, 4, 9, 9).requires_grad_(), torch.zeros(1, 1, 2).requires_grad_()
    out = net(state, action)
    (by_action,) = torch.autograd.grad(out[..., 4, 4].sum(), action, retain_graph=True)
    assert by_action.all()
    moved = net(state, action + 1) - out
    assert (moved.abs().amax((0, 1, 2)) > 0).all()


def test_maps_predict_a_change() -> None:
    net = Maps(channels=8).build(4, 2, (5, 5))
    for parameter in net.layers[-1].parameters():
        nn.init.zeros_(parameter)
    state = torch.randn(2, 3, 4, 5, 5)
    assert torch.equal(net(state, torch.randn(2, 3, 2)), state)


def test_an_action_scales_and_shifts_every_hidden_layer() -> None:
    torch.manual_seed(0)
    net = MLP(hidden=(16, 12), steer="film").build(4, 2)
    state, action = torch.randn(5, 4), torch.randn(5, 2)
    steer, x = net.mlp.steer(action), state
    for layer, gain, shift in zip(
        net.mlp.layers, (steer[:, :16], steer[:, 16:28]), (steer[:, 28:44], steer[:, 44:]), strict=False
    ):
        x = F.relu(layer(x) * (1 + gain) + shift)
    torch.testing.assert_close(net.step(state, action), net.mlp.layers[-1](x))


@pytest.mark.parametrize("layers", [0, 2])
def test_the_inverse_model_reads_both_states_of_any_shape(layers: int) -> None:
    torch.manual_seed(0)
    net = Inverse((2, 3), 16, layers, 4)
    assert sum(isinstance(layer, nn.Linear) for layer in net.mlp) == layers + 1
    s, s_next = torch.randn(5, 7, 2, 3), torch.randn(5, 7, 2, 3)
    assert net(s, s_next).shape == (5, 7, 4)
    assert not torch.allclose(net(s, s_next), net(s_next, s), atol=1e-3)


def test_branches_follow_the_one_that_is_named() -> None:
    torch.manual_seed(0)
    members = [MLP(hidden=(8,)).build(4, 2) for _ in range(3)]
    net = Branches(members)
    assert net.condition_dim == 5
    states, actions = torch.randn(2, 3, 4), torch.randn(2, 3, 2)
    every = net.every(states, actions)
    assert every.shape == (2, 3, 3, 4)
    for k, member in enumerate(members):
        torch.testing.assert_close(every[:, :, k], member(states, actions))
        chosen = torch.cat([actions, F.one_hot(torch.full((2, 3), k), 3).float()], -1)
        torch.testing.assert_close(net(states, chosen), member(states, actions))
    evenly = torch.cat([actions, torch.full((2, 3, 3), 1 / 3)], -1)
    torch.testing.assert_close(net(states, evenly), every.mean(2))


def test_only_the_branch_that_is_followed_learns() -> None:
    net = Branches([MLP(hidden=(8,)).build(4, 2) for _ in range(3)])
    told = torch.cat([torch.randn(2, 3, 2), F.one_hot(torch.full((2, 3), 1), 3).float()], -1)
    net(torch.randn(2, 3, 4), told).sum().backward()
    learnt = [any(p.grad is not None and p.grad.any() for p in member.parameters()) for member in net.members]
    assert learnt == [False, True, False]


def test_a_branch_works_only_where_it_is_followed() -> None:
    torch.manual_seed(0)
    members = [MLP(hidden=(8,)).build(4, 2) for _ in range(3)]
    net, asked = Branches(members), [0, 0, 0]
    for k, member in enumerate(members):
        member.register_forward_pre_hook(lambda _, given, k=k: asked.__setitem__(k, asked[k] + len(given[0])))
    heads = torch.tensor([[0, 2, 2], [2, 0, 0]])
    states, actions = torch.randn(2, 4), torch.randn(2, 3, 2)
    found = net.unroll(states[:, None], torch.cat([actions, F.one_hot(heads, 3).float()], -1))
    assert asked == [3, 0, 3]
    for row, state in enumerate(states):
        for step, k in enumerate(heads[row]):
            state = members[k].step(state[None], actions[row, step, None])[0]
            torch.testing.assert_close(found[row, step], state)
    found.sum().backward()
    assert all(p.grad is not None for p in net.parameters())  # gradients are averaged over ranks


def test_bad_sizes_are_refused() -> None:
    with pytest.raises(UserError, match=r"channels"):
        Maps.parse({"channels": 12})
