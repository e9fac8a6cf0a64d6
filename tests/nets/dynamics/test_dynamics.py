"""What all predictors of world models promise: causality, unrolling, candidates, errors."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn

from openjepa.common.distributed import BatchNorm
from openjepa.config import Config
from openjepa.errors import UserError
from openjepa.nets.dynamics.adaln import AdaLN
from openjepa.nets.dynamics.base import Borrowed, Dynamics
from openjepa.nets.dynamics.block_causal import BlockCausal
from openjepa.nets.dynamics.branches import Branches
from openjepa.nets.dynamics.concat import ConcatPredictor
from openjepa.nets.dynamics.gru import GRU
from openjepa.nets.dynamics.maps import Maps
from openjepa.nets.dynamics.mlp import MLP
from openjepa.nets.dynamics.motion import Motion, Moved
from openjepa.nets.dynamics.union import WorldPredictor
from openjepa.nets.transformer import KeysValues

WIDTH, ACTIONS, GRID = 8, 3, (2, 3)
SMALL = {"history": 3, "depth": 2, "heads": 2, "head_width": 4, "hidden": 16, "actions": {"kind": "smoothed"}}
BESIDE = {"history": 3, "action": 4, "depth": 2, "heads": 2, "head_width": 4, "hidden": 16}


def moved(**options: Any) -> Moved:
    scale = torch.tensor([[0.1], [0.2]]).expand(2, ACTIONS), torch.tensor([[1.0], [0.5]]).expand(2, ACTIONS)
    bounds = torch.tensor([[-9.0], [9.0]]).expand(2, ACTIONS)
    inner = BlockCausal(width=16, depth=2, heads=2, history=3, state=ACTIONS).build(WIDTH, 2 * ACTIONS, GRID)
    return Moved(inner, Motion(1, *scale, bounds, None), ACTIONS, **options)


PREDICTORS: dict[str, tuple[tuple[int, ...], Callable[..., Dynamics]]] = {
    "gru": ((WIDTH,), lambda **kw: GRU().build(WIDTH, ACTIONS, **kw)),
    "gru told by an mlp": (
        (WIDTH,),
        lambda **kw: GRU.parse({"actions": {"kind": "mlp"}}).build(WIDTH, ACTIONS, **kw),
    ),
    "mlp": ((WIDTH,), lambda **kw: MLP(hidden=(16,)).build(WIDTH, ACTIONS, **kw)),
    "mlp of changes": (
        (WIDTH,),
        lambda **kw: MLP(hidden=(16, 16), residual=True).build(WIDTH, ACTIONS, **kw),
    ),
    "mlp that the action steers": (
        (WIDTH,),
        lambda **kw: MLP(hidden=(16,), steer="film").build(WIDTH, ACTIONS, **kw),
    ),
    "maps": ((WIDTH, *GRID), lambda **kw: Maps(channels=8).build(WIDTH, ACTIONS, GRID, **kw)),
    "adaln": ((WIDTH,), lambda **kw: AdaLN.parse(SMALL).build(WIDTH, ACTIONS, **kw)),
    "adaln on one state": (
        (WIDTH,),
        lambda **kw: AdaLN.parse({**SMALL, "history": 1}).build(WIDTH, ACTIONS, **kw),
    ),
    "adaln on tokens": (
        (6, WIDTH),
        lambda **kw: AdaLN.parse(SMALL).build(WIDTH, ACTIONS, GRID, **kw),
    ),
    "block-causal": (
        (6, WIDTH),
        lambda **kw: BlockCausal(width=16, depth=2, heads=2, history=3, state=1).build(
            WIDTH, ACTIONS, GRID, **kw
        ),
    ),
    "block-causal without state": (
        (6, WIDTH),
        lambda **kw: BlockCausal(width=16, depth=2, heads=2, history=4, state=0).build(
            WIDTH, ACTIONS, GRID, **kw
        ),
    ),
    "concat, history of 3": (
        (6, WIDTH),
        lambda **kw: ConcatPredictor.parse(BESIDE).build(WIDTH, ACTIONS, GRID, **kw),
    ),
    "concat on vectors, history of 3": (
        (WIDTH,),
        lambda **kw: ConcatPredictor.parse(BESIDE).build(WIDTH, ACTIONS, **kw),
    ),
    "moved, history of 3": ((6, WIDTH + ACTIONS), moved),
    "branches": (
        (WIDTH,),
        lambda **kw: Branches([MLP(hidden=(16,)).build(WIDTH, ACTIONS - 2, **kw) for _ in "ab"]),
    ),
    "branches that remember": (
        (WIDTH,),
        lambda **kw: Branches([AdaLN.parse(SMALL).build(WIDTH, ACTIONS - 2, **kw) for _ in "ab"]),
    ),
}
all_predictors = pytest.mark.parametrize("name", PREDICTORS)


def build(name: str, **options: object) -> tuple[tuple[int, ...], Dynamics]:
    """In eval mode, with weights that let everything matter."""
    shape, make = PREDICTORS[name]
    torch.manual_seed(0)
    net = make(**options)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.4)
    return shape, net.eval()


WINDOWED = [name for name in PREDICTORS if build(name)[1].history > 1]


def draw(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def repeated(net: Dynamics, states: Tensor, actions: Tensor) -> Tensor:
    """`unroll` as one would write it without memory: forward on the last states, again and again."""
    seen = states
    for now in range(states.shape[1] - 1, actions.shape[1]):
        begin = max(0, now + 1 - net.history)
        prediction = net(seen[:, begin:], actions[:, begin : now + 1])[:, -1:]
        seen = torch.cat([seen, prediction], 1)
    return seen[:, states.shape[1] :]


@all_predictors
def test_forward_predicts_a_state_for_every_state(name: str) -> None:
    shape, net = build(name)
    states, actions = draw(2, 3, *shape), draw(2, 3, ACTIONS)
    assert net(states, actions).shape == states.shape


@all_predictors
def test_no_output_depends_on_what_comes_later(name: str) -> None:
    shape, net = build(name)
    for t in range(3):
        states, actions = draw(2, 3, *shape).requires_grad_(), draw(2, 3, ACTIONS).requires_grad_()
        output = net(states, actions)[:, t]
        by_state, by_action = torch.autograd.grad(output.square().sum(), (states, actions))
        assert not by_state[:, t + 1 :].any() and not by_action[:, t + 1 :].any()
        assert by_state[:, t].any() and by_action[:, t].any()
        later_states, later_actions = states.detach().clone(), actions.detach().clone()
        later_states[:, t + 1 :] += 7
        later_actions[:, t + 1 :] -= 7
        torch.testing.assert_close(net(later_states, later_actions)[:, t], output)


@pytest.mark.parametrize("name", WINDOWED)
def test_windows_use_their_past(name: str) -> None:
    shape, net = build(name)
    states, actions = draw(2, 3, *shape).requires_grad_(), draw(2, 3, ACTIONS).requires_grad_()
    by_state, by_action = torch.autograd.grad(net(states, actions)[:, 2].square().sum(), (states, actions))
    assert by_state[:, 0].any() and by_action[:, 0].any()


@all_predictors
def test_samples_do_not_meet(name: str) -> None:
    shape, net = build(name)
    states = draw(3, 2, *shape).requires_grad_()
    (gradient,) = torch.autograd.grad(net.unroll(states, draw(3, 4, ACTIONS))[1].sum(), states)
    assert [bool(g.any()) for g in gradient] == [False, True, False]


@all_predictors
@pytest.mark.parametrize(("observed", "horizon"), [(1, 1), (1, 2), (1, 6), (2, 3), (3, 1), (3, 4), (5, 3)])
def test_unrolling_is_forward_repeated(name: str, observed: int, horizon: int) -> None:
    shape, net = build(name)
    states, actions = draw(2, observed, *shape), draw(2, observed - 1 + horizon, ACTIONS)
    unrolled = net.unroll(states, actions)
    assert unrolled.shape == (2, horizon, *shape)
    torch.testing.assert_close(unrolled, repeated(net, states, actions), rtol=1e-5, atol=1e-5)


@all_predictors
@pytest.mark.parametrize("observed", [1, 2, 3])
def test_candidates_together_are_candidates_one_by_one(name: str, observed: int) -> None:
    shape, net = build(name)
    problems, candidates, horizon = 3, 4, 3
    states, past = draw(problems, observed, *shape), draw(problems, 1, observed - 1, ACTIONS, seed=2)
    future = draw(problems, candidates, horizon, ACTIONS, seed=3)
    actions = torch.cat([past.expand(-1, candidates, -1, -1), future], 2)
    together = net.unroll(states, actions)
    assert together.shape == (problems, candidates, horizon, *shape)
    for b in range(problems):
        for s in range(candidates):
            alone = net.unroll(states[b : b + 1], actions[b : b + 1, s])[0]
            torch.testing.assert_close(together[b, s], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["adaln", "block-causal"])
def test_the_context_is_computed_once_a_problem(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shape, net = build(name)
    rows: list[int] = []
    append = KeysValues.append

    def spy(self: KeysValues, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        rows.append(len(keys))
        return append(self, keys, values)

    monkeypatch.setattr(KeysValues, "append", spy)
    net.unroll(draw(2, 2, *shape), draw(2, 5, 2, ACTIONS))  # one candidate step of 5 in the history of 3
    assert rows == [
        2,
        2,
        10,
        10,
    ]  # the context for 2 problems, the newest state for 10 candidates, in 2 layers each


@all_predictors
def test_gradients_flow_through_every_unrolled_step(name: str) -> None:
    shape, net = build(name)
    states, actions = draw(2, 2, *shape).requires_grad_(), draw(2, 5, ACTIONS).requires_grad_()
    by_state, by_action = torch.autograd.grad(
        net.unroll(states, actions)[:, -1].square().sum(), (states, actions)
    )
    assert by_state[:, -1].any()
    assert by_action[:, -1].any() and by_action[:, -2].any() and by_action[:, 1].any()


@all_predictors
def test_bfloat16_is_near(name: str) -> None:
    shape, net = build(name)
    states, actions = draw(2, 2, *shape), draw(2, 3, 5, ACTIONS)
    exact = net.unroll(states, actions)
    with torch.autocast("cpu", torch.bfloat16):
        near = net.unroll(states, actions).float()
    assert (near - exact).abs().mean() < 0.1 * exact.abs().mean()


@all_predictors
def test_every_prediction_ends_in_the_head(name: str) -> None:
    class Double(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert x.shape[1:] == shape
            return 2 * x

    shape, plain = build(name)
    _, doubled = build(name, head=Double())
    states, actions = draw(2, 2, *shape), draw(2, 4, ACTIONS)
    torch.testing.assert_close(doubled(states, actions[:, :2]), 2 * plain(states, actions[:, :2]))
    torch.testing.assert_close(
        doubled.unroll(states, actions), repeated(doubled, states, actions), atol=1e-5, rtol=1e-5
    )


def test_a_batch_normalising_head_sees_vectors() -> None:
    net = GRU().build(WIDTH, ACTIONS, head=BatchNorm(WIDTH)).train()
    out = net(draw(16, 4, WIDTH), draw(16, 4, ACTIONS))
    torch.testing.assert_close(out.mean((0, 1)), torch.zeros(WIDTH), atol=1e-5, rtol=0)


def test_a_borrowed_head_is_trained_and_saved_by_its_owner_alone() -> None:
    norm = nn.LayerNorm(WIDTH)
    net = GRU().build(WIDTH, ACTIONS, head=Borrowed(norm))
    both = nn.ModuleDict({"norm": norm, "predictor": net})
    assert {id(p) for p in net.parameters()}.isdisjoint(id(p) for p in norm.parameters())
    save(dict(both.state_dict()))  # safetensors refuses a tensor under two names
    net(draw(2, 3, WIDTH), draw(2, 3, ACTIONS)).square().sum().backward()
    assert norm.weight.grad is not None
    nn.init.constant_(norm.bias, 5.0)
    assert net(draw(2, 3, WIDTH), draw(2, 3, ACTIONS)).mean() > 4


@all_predictors
def test_actions_of_another_size_are_refused(name: str) -> None:
    shape, net = build(name)
    with pytest.raises(UserError, match="built for conditions of 3 numbers a step, these have 2"):
        net(draw(2, 2, *shape), draw(2, 2, 2))
    with pytest.raises(UserError, match="built for conditions of 3 numbers a step, these have 4"):
        net.unroll(draw(2, 1, *shape), draw(2, 5, 2, 4))


@all_predictors
def test_states_of_another_shape_are_refused(name: str) -> None:
    shape, net = build(name)
    assert net.shape == shape
    for other in ((*shape[:-1], shape[-1] + 1), (1, *shape), (*shape, 1)):
        with pytest.raises(UserError, match=r"built for states of shape \["):
            net(draw(2, 2, *other), draw(2, 2, ACTIONS))


@all_predictors
def test_too_few_actions_or_samples_are_refused(name: str) -> None:
    shape, net = build(name)
    with pytest.raises(UserError, match="do not fit"):
        net(draw(2, 3, *shape), draw(2, 2, ACTIONS))
    with pytest.raises(UserError, match="do not fit"):
        net.unroll(draw(2, 3, *shape), draw(2, 2, ACTIONS))
    with pytest.raises(UserError, match="do not fit"):
        net.unroll(draw(2, 1, *shape), draw(3, 2, ACTIONS))


@pytest.mark.parametrize("name", WINDOWED)
def test_more_steps_than_the_history_are_refused(name: str) -> None:
    shape, net = build(name)
    with pytest.raises(
        UserError, match=rf"looks back on {net.history}: train on windows of {net.history + 1}"
    ):
        net(draw(2, net.history + 1, *shape), draw(2, net.history + 1, ACTIONS))


@pytest.mark.parametrize("config", [GRU(), MLP()])
def test_vector_predictors_refuse_maps(config: GRU | MLP) -> None:
    with pytest.raises(UserError, match="one vector a frame, the encoder gives 4 x 5"):
        config.build(WIDTH, ACTIONS, (4, 5))


def test_map_and_token_predictors_refuse_vectors() -> None:
    with pytest.raises(UserError, match="'maps' takes maps"):
        Maps().build(WIDTH, ACTIONS)
    with pytest.raises(UserError, match="takes patch tokens"):
        BlockCausal().build(WIDTH, ACTIONS)


def test_a_recipe_can_choose_any_by_its_kind() -> None:
    class Recipe(Config):
        predictor: WorldPredictor = GRU()

    kinds = ["gru", "mlp", "maps", "adaln", "block-causal"]
    for kind in kinds:
        assert Recipe.parse({"predictor": {"kind": kind}}).predictor.kind == kind
    with pytest.raises(UserError, match="multiple of heads"):
        Recipe.parse({"predictor": {"kind": "block-causal", "width": 10, "heads": 3}})
    with pytest.raises(UserError, match="kernel must be odd"):
        Recipe.parse({"predictor": {"kind": "maps", "kernel": 4}})
