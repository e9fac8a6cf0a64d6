"""Who produces the target: momentum and half-life, where gradients end, what is subtracted."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from openjepa.check import check_jepa
from openjepa.common.distributed import BatchNorm
from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.jepa import JEPA, Tokens, View
from openjepa.recipes import build, configure
from openjepa.targets import EMA, EMATarget, Frozen, Shared, TargetBase, half_life

from . import ranks

SMALL = {
    "signal.size": "16",
    "signal.patch": "4",
    "signal.channels": "1",
    "signal.mean": "[0.5]",
    "signal.std": "[0.25]",
    "encoder.width": "16",
    "encoder.depth": "1",
    "encoder.heads": "2",
    "predictor.width": "8",
    "predictor.depth": "1",
    "predictor.heads": "2",
}


def model(**changes: str) -> JEPA:
    return build(configure("i-jepa", None, SMALL | changes))


def images(count: int = 6) -> Tensor:
    return torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(0))


class Features(nn.Module):
    """An encoder of views that is one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, view: View) -> Tensor:
        return self.layer(view.tokens.values)


def tracked(config: EMA, start: float, end: float) -> tuple[EMATarget, nn.Module, nn.Module]:
    """A target that followed an encoder at `start`, whose parameters have since jumped to `end`."""
    encoder, head = Features().double(), nn.BatchNorm1d(3).double()
    for parameter in encoder.parameters():
        nn.init.constant_(parameter, start)
    target = config.build()
    target.follow(encoder, head)
    for parameter in encoder.parameters():
        nn.init.constant_(parameter, end)
    return target, encoder, head


def level(target: EMATarget) -> float:
    weights = target.encoder.layer.weight
    assert weights.min() == weights.max()
    return float(weights[0, 0].detach())


@pytest.mark.parametrize("half", [1.0, 10.0, 173.0])
def test_after_a_half_life_half_is_forgotten(half: float) -> None:
    target, encoder, head = tracked(EMA(half_life=half, to_one=False), 0.0, 1.0)
    for step in range(int(half)):
        target.update(encoder, head, step, 1000)
    assert level(target) == pytest.approx(0.5, abs=1e-12)


def test_a_half_life_below_one_is_a_share_of_the_run() -> None:
    target, encoder, head = tracked(EMA(half_life=0.25, to_one=False), 0.0, 1.0)
    for step in range(50):
        target.update(encoder, head, step, 200)
    assert level(target) == pytest.approx(0.5, abs=1e-12)


def test_a_half_life_of_zero_copies_the_encoder() -> None:
    target, encoder, head = tracked(EMA(half_life=0), 0.0, 1.0)
    target.update(encoder, head, 0, 10)
    assert level(target) == 1.0


@given(half=st.floats(0, 1e5), total=st.integers(1, 10**6), to_one=st.booleans())
def test_the_momentum_rises_in_a_line_to_exactly_one(half: float, total: int, to_one: bool) -> None:
    ema = EMA(half_life=half, to_one=to_one)
    first, middle, last = (ema.momentum(step, total) for step in (0, total // 2, total - 1))
    assert 0 <= first <= middle <= last <= 1
    if to_one and half > 0:
        assert last == 1.0
        if total > 1:
            line = 1 - (1 - first) * (1 - (total // 2) / (total - 1))
            assert middle == pytest.approx(line, abs=1e-12)
    else:
        assert first == last


def test_the_last_step_leaves_the_target_alone() -> None:
    target, encoder, head = tracked(EMA(half_life=1), 0.0, 1.0)
    target.update(encoder, head, 99, 100)
    assert level(target) == 0.0


def test_the_papers_momenta_have_the_stated_half_lives() -> None:
    assert round(half_life(0.996)) == 173 and round(half_life(0.998)) == 346
    assert EMA(half_life=half_life(0.996), to_one=False).momentum(0, 1) == pytest.approx(0.996, abs=1e-12)
    assert half_life(1.0) == float("inf") and half_life(0.0) == 0.0


def test_batch_norm_of_the_target_keeps_statistics_of_what_the_target_sees() -> None:
    target = EMA(half_life=1).build()
    encoder, head = Features(), nn.Sequential(nn.Flatten(0, 1), BatchNorm(3))
    target.follow(encoder, head)
    head(torch.randn(8, 2, 3) + 5)  # the online network sees other values than the target
    view = View(Tokens(torch.randn(4, 2, 3) - 5, torch.zeros(1, 2, 1)))
    target([view], lambda views: [])
    target.update(encoder, head, 0, 10)
    seen = target.encoder(view).flatten(0, 1).mean(0)
    torch.testing.assert_close(target.head[1].running_mean, 0.1 * seen)


@pytest.mark.parametrize("kind", ["ema", "frozen"])
def test_at_first_the_target_equals_the_encoder_and_never_has_gradients(kind: str) -> None:
    jepa = model(target=kind)
    for name, parameter in jepa.encoder.named_parameters():
        copied = dict(jepa.target.encoder.named_parameters())[name]
        assert torch.equal(parameter, copied) and copied is not parameter
    output = jepa(images(), Rng(0, 0))
    assert not output.s_y[0].requires_grad
    output.loss.backward()
    assert all(p.grad is None and not p.requires_grad for p in jepa.target.parameters())


def stepped(jepa: JEPA) -> dict[str, Tensor]:
    """The target's state before one training step that the encoder takes."""
    before = copy.deepcopy(jepa.target.state_dict())
    optimiser = torch.optim.SGD([p for p in jepa.parameters() if p.requires_grad], 1.0)
    jepa(images(), Rng(0, 0)).loss.backward()
    optimiser.step()
    jepa.after_step(0, 100)
    return before


def test_ema_moves_and_frozen_stands_still() -> None:
    ema = model(target="ema")
    before = stepped(ema)
    assert any(not torch.equal(before[name], tensor) for name, tensor in ema.target.state_dict().items())
    frozen = model(target="frozen").train()
    before = stepped(frozen)
    assert all(torch.equal(before[name], tensor) for name, tensor in frozen.target.state_dict().items())


def test_frozen_batch_norm_stands_still_too() -> None:
    head = BatchNorm(3)
    target = Frozen().build()
    target.follow(Features(), nn.Sequential(nn.Flatten(0, 1), head))
    target.train()
    view = View(Tokens(torch.randn(4, 2, 3), torch.zeros(1, 2, 1)))
    target([view], lambda views: [])
    assert torch.equal(target.head[1].running_mean, torch.zeros(3))
    assert not target.head.training and not target.encoder.training


def test_features_come_from_the_average_alone() -> None:
    ema, frozen, shared = (model(target=kind) for kind in ("ema", "frozen", "shared"))
    assert ema.evaluated is ema.target.encoder
    assert frozen.evaluated is frozen.encoder and shared.evaluated is shared.encoder


@pytest.mark.parametrize("stop", [False, True])
def test_shared_is_the_encoder_with_or_without_its_gradient(stop: bool) -> None:
    jepa = model(target="shared", **{"target.stop_gradient": str(stop).lower()})
    assert not list(jepa.target.parameters())
    pairs = jepa.pairs(images(), Rng(0, 0))
    (s_y,) = jepa.targets(pairs, jepa.represent([pairs[0].context]))
    assert s_y.requires_grad is not stop
    everything = jepa.encoder(View(pairs[0].target[0].tokens))
    rows = torch.arange(len(everything))[:, None, None]
    torch.testing.assert_close(s_y, everything[rows, pairs[0].select])


def test_a_view_that_is_both_context_and_target_is_encoded_once() -> None:
    sizes = {"head.hidden": "8", "encoder.width": "16", "encoder.depth": "1"}
    views = {"hiding.global_views": "2", "hiding.local_views": "1", "hiding.local_augment.size": "16"}
    jepa = build(configure("lejepa", "tiny-vit", sizes | views))
    seen = []
    jepa.encoder.register_forward_hook(lambda module, args, output: seen.append(len(output)))
    output = jepa(torch.rand(4, 1, 28, 28), Rng(0, 0))
    assert sum(seen) == 4 * len(output.s_x)
    centre = (output.s_x[0] + output.s_x[1]) / 2
    torch.testing.assert_close(output.s_y[0][:, 0], centre)


def test_layer_norm_and_position_centring() -> None:
    raw = torch.randn(8, 5, 16, generator=torch.Generator().manual_seed(0)) * 3 + 1
    normed = TargetBase(Shared(norm="layer")).normalise(raw)
    torch.testing.assert_close(normed.mean(-1), torch.zeros(8, 5), rtol=0, atol=1e-5)
    torch.testing.assert_close(normed.var(-1, unbiased=False), torch.ones(8, 5), rtol=0, atol=1e-4)
    centred = TargetBase(Shared(centre="position")).normalise(raw)
    for position in range(5):
        torch.testing.assert_close(centred[:, position], raw[:, position] - raw[:, position].mean(0))
    both = TargetBase(Shared(norm="layer", centre="position")).normalise(raw)
    torch.testing.assert_close(both, nn.functional.layer_norm(centred, (16,)))
    assert torch.equal(TargetBase(Shared()).normalise(raw), raw)


SETTINGS = [Shared(norm="layer", centre="position"), Shared(centre="position")]


def _through(config: Shared, inputs: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    weight = torch.linspace(-1, 1, 24).view(4, 6).sin().requires_grad_()
    s_y = TargetBase(config).normalise(inputs @ weight)
    (gradient,) = torch.autograd.grad((s_y - wanted).square().mean(), weight)
    return s_y.detach(), gradient


def _on_one_rank(rank: int, config: Shared, inputs: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    return _through(config, inputs.chunk(2)[rank], wanted.chunk(2)[rank])


@pytest.mark.parametrize("config", SETTINGS, ids=["layer", "none"])
def test_centring_on_two_processes_equals_one_in_value_and_gradient(config: Shared) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs, wanted = torch.randn(8, 3, 4, generator=generator), torch.randn(8, 3, 6, generator=generator)
    value, gradient = _through(config, inputs, wanted)
    answers = ranks.run(_on_one_rank, config, inputs, wanted)
    torch.testing.assert_close(torch.cat([a[0] for a in answers]), value, rtol=1e-5, atol=1e-5)
    averaged = torch.stack([a[1] for a in answers]).mean(0)
    torch.testing.assert_close(averaged, gradient, rtol=1e-4, atol=1e-6)


def test_an_average_of_the_trunk_takes_stem_and_positions_from_the_encoder() -> None:
    sizes = {"encoder.width": "16", "encoder.depth": "2", "encoder.heads": "2", "target.layers": "1"}
    jepa = build(configure("i-jepa", "tiny-vit", sizes | {"target.average": "trunk"}))
    view = jepa.whole(torch.rand(2, 1, 28, 28))
    torch.testing.assert_close(jepa.evaluated(view), jepa.encoder(view))
    with torch.no_grad():
        for name, parameter in jepa.encoder.named_parameters():
            parameter.add_(1.0 if name.startswith("embed") else 0.0)
    torch.testing.assert_close(jepa.evaluated(view), jepa.encoder(view))  # the stem is one and the same
    own = {name for name, _ in jepa.target.named_parameters()}
    assert own and all(name.startswith(("encoder.own.blocks", "encoder.own.norm")) for name in own)
    with torch.no_grad():
        jepa.encoder.norm.bias.add_(1.0)
    jepa.after_step(0, 10)
    moved = jepa.target.encoder.own.norm.bias
    assert 0 < float(moved.detach().mean()) < 1
    check_jepa(jepa, torch.rand(6, 1, 28, 28))


def test_an_average_of_the_trunk_needs_an_encoder_that_has_one() -> None:
    with pytest.raises(UserError, match=r"target\.average trunk needs an encoder of stem and blocks"):
        build(configure("lejepa", "tiny", {"target": "ema", "target.average": "trunk"}))


def test_levels_that_do_not_divide_the_features_are_refused_before_training():
    with pytest.raises(UserError, match=r"target.levels 5 does not divide the target's 96 features"):
        build(configure("i-jepa", "tiny-vit", {"target.levels": "5"}))
