"""SIGReg against the formula of the released package, and LeJEPA's loss on views of two sizes."""

import pytest
import torch
from torch import Tensor

from openjepa.guards import SIGReg
from openjepa.rng import Rng


def released(z: Tensor, directions: Tensor) -> Tensor:
    """`EppsPulley()` along unit `directions` `[D, M]`: 17 points on [0, 3], doubled by symmetry; double precision."""
    points = torch.arange(17, dtype=torch.double) * 3 / 16
    normal = torch.exp(-0.5 * points**2)
    total = torch.zeros((), dtype=torch.double)
    for column in (z.double() @ directions.double()).T:
        turned = column[:, None] * points
        gap = (turned.cos().mean(0) - normal) ** 2 + turned.sin().mean(0) ** 2
        inner = gap * normal
        area = (inner.sum() - (inner[0] + inner[-1]) / 2) * 3 / 16
        total = total + 2 * area * len(z) / directions.shape[1]
    return total


def directions_of(guard: SIGReg, width: int) -> Tensor:
    drawn = torch.randn(width, guard.slices, generator=Rng(0, 0).generator())
    return drawn / drawn.norm(dim=0)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_sigreg_is_the_released_one(scale: float) -> None:
    guard = SIGReg(slices=64)
    z = (scale * torch.randn(128, 16, generator=torch.Generator().manual_seed(1))).requires_grad_()
    value, _ = guard([z], Rng(0, 0))
    (gradient,) = torch.autograd.grad(value, z)
    expected = released(z, directions_of(guard, 16))
    (theirs,) = torch.autograd.grad(expected, z)
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    assert float((gradient - theirs).abs().max()) < 1e-5 * float(theirs.abs().max())
