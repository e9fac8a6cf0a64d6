"""Schedules are pure functions of the step; groups decide what decays."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from openjepa.recipes import build, configure
from openjepa.recipes.base import Training
from openjepa.training.optim import adamw, learning_rate, set_rates, weight_decay

from . import small

SHARES = st.floats(0, 1)
TRAININGS = st.builds(
    Training,
    steps=st.integers(1, 120),
    lr=st.floats(1e-5, 1),
    schedule=st.sampled_from(["cosine", "constant"]),
    warmup=st.floats(0, 0.99),
    cooldown=SHARES,
    start_lr=SHARES,
    final_lr=SHARES,
    weight_decay=SHARES,
    final_weight_decay=st.none() | SHARES,
)


@given(TRAININGS)
def test_learning_rate_starts_peaks_and_ends_exactly(training: Training) -> None:
    last = training.steps - 1
    warm = min(round(training.warmup * training.steps), last)
    rates = [learning_rate(training, step) for step in range(training.steps)]
    assert (
        rates[warm] == training.lr or (warm == last > 0) or training.cooldown * training.steps >= last - warm
    )
    if warm > 0:
        assert rates[0] == pytest.approx(training.lr * training.start_lr, abs=1e-15)
        assert all(a <= b * (1 + 1e-12) for a, b in pairwise(rates[: warm + 1]))
    if last > warm:
        ends = training.schedule == "cosine" or round(training.cooldown * training.steps) > 0
        assert rates[-1] == (training.lr * training.final_lr if ends else training.lr)
    falling = rates[warm:]
    assert all(b <= a * (1 + 1e-12) for a, b in pairwise(falling))
    assert all(0 <= rate <= training.lr * (1 + 1e-12) for rate in rates)


@given(TRAININGS)
def test_weight_decay_runs_from_its_first_to_its_last_value(training: Training) -> None:
    decays = [weight_decay(training, step) for step in range(training.steps)]
    assert decays[0] == pytest.approx(training.weight_decay)
    if training.final_weight_decay is None:
        assert len(set(decays)) == 1
    elif training.steps > 1:
        assert decays[-1] == training.final_weight_decay
        falls = training.final_weight_decay < training.weight_decay
        steps = [(b - a) * (-1 if falls else 1) for a, b in pairwise(decays)]
        assert min(steps) >= -1e-12


def test_known_values() -> None:
    cosine = Training(steps=11, lr=2.0, warmup=0.0, final_lr=0.5)
    assert learning_rate(cosine, 5) == pytest.approx(1.5)  # half way between 2 and 1
    constant = Training(steps=101, lr=2.0, schedule="constant", warmup=0.1, cooldown=0.2)
    assert [learning_rate(constant, s) for s in (0, 5, 10, 80)] == pytest.approx([0.0, 1.0, 2.0, 2.0])
    assert learning_rate(constant, 90) == pytest.approx(1.0)
    assert learning_rate(constant, 100) == 0


@pytest.mark.parametrize("recipe", small.RECIPES)
def test_only_matrices_decay_and_nothing_is_left_out(recipe: str) -> None:
    changes = {"encoder__positions": "learned"} if recipe == "i-jepa" else {}
    model = build(small.config(recipe, **changes))
    optimiser = adamw(model, model.config.train)
    names = {id(p): name for name, p in model.named_parameters()}
    decayed, others = ({names[id(p)] for p in group["params"]} for group in optimiser.param_groups)
    assert decayed | others == {name for name, p in model.named_parameters() if p.requires_grad}
    assert "encoder.embed.weight" in decayed
    assert all("bias" not in name and "norm" not in name and "mask_token" not in name for name in decayed)
    assert not any("position_table" in name for name in decayed)
    assert not any(name.startswith("target.") for name in decayed | others)


def test_i_jepas_mask_token_decays_as_in_the_released_code() -> None:
    model = build(small.config("i-jepa", train__decay_mask_tokens=True, encoder__hide="replace"))
    names = {id(p): name for name, p in model.named_parameters()}
    decayed = {names[id(p)] for p in adamw(model, model.config.train).param_groups[0]["params"]}
    assert {name for name in decayed if "mask_token" in name} == {
        "predictor.mask_token",
        "encoder.mask_token",
    }
    assert (
        configure("i-jepa", "vit-l16").train.decay_mask_tokens
        and not configure("lejepa").train.decay_mask_tokens
    )


def test_decay_acts_on_its_group_alone() -> None:
    layer = nn.Linear(3, 3)
    training = Training(steps=10, lr=0.5, weight_decay=0.2, warmup=0.0)
    optimiser = adamw(layer, training)
    with torch.no_grad():
        layer.bias.fill_(1.0)
    before = layer.weight.detach().clone()
    layer.weight.grad, layer.bias.grad = torch.zeros(3, 3), torch.zeros(3)
    assert set_rates(optimiser, training, 0, scale=0.5) == 0.25
    optimiser.step()
    assert torch.allclose(layer.weight, before * (1 - 0.25 * 0.2))
    assert torch.equal(layer.bias, torch.ones(3))
