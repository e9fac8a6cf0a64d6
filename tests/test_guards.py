"""Guards equal slow references written from their papers' formulas, on one process and on two."""

import numpy as np
import pytest
import torch
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.guards import KNOTS, NoGuard, SIGReg, VICReg, epps_pulley, sigreg_null

from . import ranks


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def unit(width: int, count: int, seed: int = 1) -> Tensor:
    directions = normal(width, count, seed=seed)
    return directions / directions.norm(dim=0)


def sigreg_reference(z: Tensor, directions: Tensor, knots: int) -> Tensor:
    """Mean over directions of N * integral of |phi(t) - exp(-t^2/2)|^2 exp(-t^2/2) dt, in double precision."""
    t = torch.linspace(-3, 3, knots, dtype=torch.double)
    values = []
    for direction in directions.double().T:
        projection = z.double() @ direction
        empirical = torch.stack([torch.exp(1j * point * projection).mean() for point in t])
        gap = (empirical - torch.exp(-(t**2) / 2)).abs() ** 2 * torch.exp(-(t**2) / 2)
        values.append(len(z) * torch.trapezoid(gap, t))
    return torch.stack(values).mean()


def vicreg_reference(z: Tensor) -> tuple[Tensor, Tensor]:
    """Equations 1 to 4 of arXiv:2105.04906, one number at a time."""
    n, d = z.shape
    mean = sum(z[i] for i in range(n)) / n
    covariance = sum(torch.outer(z[i] - mean, z[i] - mean) for i in range(n)) / (n - 1)
    hinge = sum(torch.relu(1 - torch.sqrt(covariance[j, j] + 1e-4)) for j in range(d)) / d
    off = sum(covariance[i, j] ** 2 for i in range(d) for j in range(d) if i != j) / d
    return hinge, off


@pytest.mark.parametrize("knots", [3, 9, 17, 33])
@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0, 30.0])
def test_sigreg_equals_its_formula_in_value_and_gradient(knots: int, scale: float) -> None:
    z, directions = (normal(24, 6) * scale + 0.3).requires_grad_(), unit(6, 10)
    ours = epps_pulley(z, directions, knots)
    (gradient,) = torch.autograd.grad(ours, z)
    reference = sigreg_reference(z, directions, knots)
    (expected,) = torch.autograd.grad(reference, z)
    torch.testing.assert_close(ours.double(), reference, rtol=1e-5, atol=0)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)


def test_sigreg_gradient_equals_finite_differences() -> None:
    z, directions = normal(8, 3).requires_grad_(), unit(3, 5)
    (gradient,) = torch.autograd.grad(epps_pulley(z, directions), z)
    step = 1e-2
    for row, column in [(0, 0), (3, 1), (7, 2)]:
        nudge = torch.zeros_like(z)
        nudge[row, column] = step
        rise = epps_pulley(z + nudge, directions) - epps_pulley(z - nudge, directions)
        assert float(gradient[row, column]) == pytest.approx(rise.item() / (2 * step), abs=2e-4, rel=1e-2)


@pytest.mark.parametrize("knots", [17, KNOTS])
def test_sigreg_of_a_normal_batch_is_its_null(knots: int) -> None:
    directions = torch.eye(2000)  # every column of a batch counts as a batch of its own
    values = torch.stack([epps_pulley(normal(32, 2000, seed=i), directions, knots) for i in range(40)])
    error = float(values.std()) / 40**0.5
    assert abs(float(values.mean()) - sigreg_null(knots)) < 3 * error < 0.02


@pytest.mark.parametrize(("knots", "null"), [(17, 1.0519), (KNOTS, 1.0525)])
def test_the_null_is_exact(knots: int, null: float) -> None:
    """The expectation over batches of two samples, by Gauss and Hermite's quadrature."""
    points, weights = (torch.from_numpy(part) for part in np.polynomial.hermite_e.hermegauss(60))
    t = torch.linspace(-3, 3, knots, dtype=torch.double)
    normal, waves = torch.exp(-(t**2) / 2), torch.exp(1j * points[:, None] * t)
    gap = ((waves[:, None] + waves) / 2 - normal).abs() ** 2 * normal
    expected = (torch.outer(weights, weights) / (2 * np.pi) * 2 * torch.trapezoid(gap, t)).sum().item()
    assert sigreg_null(knots) == pytest.approx(expected, rel=1e-6)
    assert sigreg_null(knots) == pytest.approx(null, abs=5e-5)


@pytest.mark.parametrize("count", [16, 128, 512])
def test_sigreg_of_a_collapsed_batch_grows_with_the_batch(count: int) -> None:
    collapsed = torch.zeros(count, 8, requires_grad=True)
    value = epps_pulley(collapsed, unit(8, 32))
    assert value.item() == pytest.approx(0.402 * count, rel=2e-3)
    (gradient,) = torch.autograd.grad(value, collapsed)
    assert gradient.isfinite().all()


def test_sigreg_stays_finite_far_away() -> None:
    z = (1e4 * normal(32, 8)).requires_grad_()
    value = epps_pulley(z, unit(8, 32))
    (gradient,) = torch.autograd.grad(value, z)
    assert value.isfinite() and gradient.isfinite().all()


@pytest.mark.parametrize("guard", [SIGReg(slices=32), VICReg()])
def test_guards_compute_in_float32_under_autocast(guard: SIGReg | VICReg) -> None:
    z = normal(64, 16).requires_grad_()
    expected, _ = guard([z], Rng(0, 0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, _ = guard([z], Rng(0, 0))
    assert value.dtype == torch.float32
    assert value.item() == expected.item()


def test_sigreg_directions_are_fresh_every_step_and_repeat_with_the_seed() -> None:
    guard, z = SIGReg(slices=4), [normal(32, 8)]
    first, again, next_step, other_seed = (
        float(guard(z, Rng(seed, step))[0]) for seed, step in [(0, 0), (0, 0), (0, 1), (1, 0)]
    )
    assert first == again
    assert len({first, next_step, other_seed}) == 3


def test_sigreg_of_many_views_is_the_mean_of_each() -> None:
    guard, views = SIGReg(slices=16), [normal(32, 8, seed=i) * (i + 1) for i in range(3)]
    together, logged = guard(views, Rng(0, 0))
    alone = [guard([view], Rng(0, 0))[0] for view in views]  # the same directions serve all views of a step
    assert float(together) == pytest.approx(float(torch.stack(alone).mean()), rel=1e-6)
    assert float(logged["sigreg/null"]) == pytest.approx(float(together) / sigreg_null())


def test_sigreg_refuses_an_even_number_of_knots() -> None:
    with pytest.raises(UserError, match=r"knots: must be odd.*use 17"):
        SIGReg.parse({"knots": 16})


def test_vicreg_equals_its_formula_in_value_and_gradient() -> None:
    z = (normal(12, 5) * torch.tensor([0.2, 0.5, 1.0, 2.0, 0.9])).requires_grad_()
    guard = VICReg(std=3.0, covariance=0.7)
    value, logged = guard([z], Rng(0, 0))
    (gradient,) = torch.autograd.grad(value, z)
    hinge, off = vicreg_reference(z)
    (expected,) = torch.autograd.grad(3.0 * hinge + 0.7 * off, z)
    assert float(logged["vicreg/std"]) == pytest.approx(hinge.item(), rel=1e-5)
    assert float(logged["vicreg/covariance"]) == pytest.approx(off.item(), rel=1e-5)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


def test_vicreg_pushes_a_collapsed_batch_apart() -> None:
    z = (1e-3 * normal(16, 4)).requires_grad_()
    value, _ = VICReg()([z], Rng(0, 0))
    (gradient,) = torch.autograd.grad(value, z)
    assert float(value.detach()) == pytest.approx(1, abs=0.02)
    spread = ((z - z.mean(0)) * gradient).sum()
    assert gradient.isfinite().all() and spread < 0  # stepping against the gradient widens the batch


@pytest.mark.parametrize(
    ("guard", "expected"), [(NoGuard(), 2.0), (VICReg(), 5.0), (SIGReg(weight=0.25), 0.75 * 2 + 0.25 * 3)]
)
def test_guards_combine_with_the_energy_as_their_papers_do(
    guard: NoGuard | VICReg | SIGReg, expected: float
) -> None:
    assert float(guard.combine(torch.tensor(2.0), torch.tensor(3.0))) == pytest.approx(expected)


def _guard_through_a_layer(guard: SIGReg | VICReg, inputs: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
    weight = normal(6, 4, seed=5).requires_grad_()
    value, _ = guard([inputs @ weight, (inputs @ weight).tanh()], rng)
    (gradient,) = torch.autograd.grad(value, weight)
    return value.detach(), gradient


def _on_one_rank(rank: int, guard: SIGReg | VICReg, inputs: Tensor) -> tuple[Tensor, Tensor]:
    part = inputs.chunk(2)[rank]
    return _guard_through_a_layer(guard, part, Rng(0, 3, start=rank * len(part), total=len(inputs)))


@pytest.mark.parametrize("guard", [SIGReg(slices=32), VICReg()])
def test_two_processes_equal_one_on_the_concatenated_batch(guard: SIGReg | VICReg) -> None:
    inputs = normal(20, 6)
    value, gradient = _guard_through_a_layer(guard, inputs, Rng(0, 3))
    answers = ranks.run(_on_one_rank, guard, inputs)
    for other, _ in answers:
        torch.testing.assert_close(other, value, rtol=1e-5, atol=1e-6)
    averaged = torch.stack([part for _, part in answers]).mean(0)  # what DDP and FSDP2 do
    torch.testing.assert_close(averaged, gradient, rtol=1e-4, atol=1e-5)
    assert gradient.norm() > 1e-3
