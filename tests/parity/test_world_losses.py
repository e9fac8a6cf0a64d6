"""The losses of PLDM, EB-JEPA and LeWM against their formulas, written out once more from the papers' released code."""

import math

import pytest
import torch
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.recipes import build, configure
from openjepa.world_models.model import WorldJEPA

from .. import dots


def model_of(recipe: str, **changes: object) -> WorldJEPA:
    texts = {name: str(value) for name, value in dots.options(recipe, **changes).items()}
    model = build(configure(recipe, "tiny", texts))
    assert isinstance(model, WorldJEPA)
    return model


def hinge(x: Tensor, over: int) -> Tensor:
    return torch.relu(1 - torch.sqrt(x.var(over) + 1e-4)).mean()


def off_diagonal_mean(x: Tensor) -> Tensor:
    """`[N, D]`: mean squared covariance of two different features."""
    width, covariance = x.shape[1], torch.cov(x.T)
    return covariance.square()[~torch.eye(width, dtype=torch.bool)].mean()


@pytest.mark.parametrize("over", ["window", "first"])
def test_pldm(over: str) -> None:
    """`window`: `VC_IDM_Sim_Regularizer` with `first_t_only: False`; `first`: PLDM's `VICReg`."""
    width = 16
    weights = {"std": 3.0, "covariance": 2.0, "similarity": 0.7, "inverse": 1.1, "motion": 0.3}
    model = model_of(
        "pldm",
        guard_over=over,
        guard__std=weights["std"],
        guard__covariance=weights["covariance"] / (width - 1),
        **{f"terms__{name}": weights[name] for name in ("similarity", "inverse", "motion")},
    )
    window = dots.windows(8)
    loss = model(window, Rng(0, 0)).loss
    z, actions = model.encode(window.frames), model.signal.normalise_actions(window.actions)
    state, energy = z[:, 0], torch.zeros(())
    for step in range(3):
        state = model.encoder.net.norm(model.predictor.cell(actions[:, step], state))
        energy = energy + (state - z[:, step + 1]).square().mean() / 3
    samples = z.flatten(0, 1) if over == "window" else z[:, 0]
    condition = model.terms.inverse.mlp(torch.cat([z[:, :-1], z[:, 1:]], -1))
    expected = (
        energy
        + weights["std"] * hinge(samples, 0)
        + weights["covariance"] * off_diagonal_mean(samples)
        + weights["similarity"] * (z[:, 1:] - z[:, :-1]).pow(2).mean()
        + weights["inverse"] * (condition - actions).square().mean()
        + weights["motion"] * hinge(z[:, 1:], 1)
    )
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)


def test_lewm() -> None:
    """Mean squared error of the next embedding plus 0.09 SIGReg of each step's embeddings, over 1.09."""
    model = model_of("lewm", terms__inverse=0).eval()  # batch norm by its running statistics, no dropout
    window = dots.windows(8, 4, 2)
    loss = model(window, Rng(0, 0)).loss
    z, actions = model.encode(window.frames), model.signal.normalise_actions(window.actions)
    energy = (model.predictor(z[:, :3], actions) - z[:, 1:]).square().mean()
    directions = torch.randn(z.shape[-1], 16, generator=Rng(0, 0).generator())
    directions /= directions.norm(dim=0)
    t = torch.linspace(-3, 3, model.guard.knots)
    values = []
    for step in range(4):
        phi = torch.exp(1j * (z[:, step] @ directions)[..., None] * t).mean(0)
        gap = (phi - torch.exp(-t.square() / 2)).abs().square() * torch.exp(-t.square() / 2)
        values.append(len(z) * torch.trapezoid(gap, t).mean())
    expected = (energy + 0.09 * torch.stack(values).mean()) / 1.09
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)


def test_the_papers_weights() -> None:
    pldm, eb, lewm = configure("pldm"), configure("pldm", "eb-jepa"), configure("lewm")
    assert (pldm.guard.std, pldm.guard.covariance) == (3.98, pytest.approx(6.92 / 511))
    assert (eb.guard.std, eb.guard.covariance) == (16, pytest.approx(8 / 511))
    assert (eb.terms.similarity, eb.terms.inverse, eb.terms.motion) == (12, 1, 0)
    assert (eb.hiding.frames, eb.hiding.rollout, eb.train.batch_size) == (17, 8, 384)
    assert lewm.guard.weight / (1 - lewm.guard.weight) == pytest.approx(0.09)
    assert math.isclose(lewm.train.lr, 5e-5)
    assert lewm.train.clip == pytest.approx(1 / 1.09)  # of a loss that is theirs over 1.09
    assert (lewm.guard.knots, lewm.encoder.positions.kind) == (33, "learned")
    assert pldm.train.lr == pytest.approx(1.75e-4)  # 7e-4 * batch / 256
    assert (pldm.encoder.channels, pldm.terms.inverse_layers, eb.terms.inverse_layers) == ((16, 32, 32), 1, 2)


def test_the_papers_sizes() -> None:
    """LeWM has 18.0 M parameters (measured on the released code; ours lacks its class token)."""
    counts = {
        (recipe, preset): sum(p.numel() for p in build(configure(recipe, preset)).parameters()) / 1e6
        for recipe, preset in (("lewm", "push-t"), ("pldm", "eb-jepa"))
    }
    assert counts["lewm", "push-t"] == pytest.approx(18.0, abs=0.2)
    assert counts["pldm", "eb-jepa"] == pytest.approx(2.3, abs=0.3)
