"""SIGReg against the formula of the released package, and LeJEPA's loss on views of two sizes."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.guards import SIGReg
from openjepa.jepa import JEPA
from openjepa.recipes import build, configure


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


def directions_of(guard: SIGReg, width: int, rng: Rng) -> Tensor:
    drawn = torch.randn(width, guard.slices, generator=rng.generator())
    return drawn / drawn.norm(dim=0)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_sigreg_is_the_released_one(scale: float) -> None:
    guard = SIGReg(slices=64)
    z = (scale * torch.randn(128, 16, generator=torch.Generator().manual_seed(1))).requires_grad_()
    value, _ = guard([z], Rng(0, 0))
    (gradient,) = torch.autograd.grad(value, z)
    expected = released(z, directions_of(guard, 16, Rng(0, 0)))
    (theirs,) = torch.autograd.grad(expected, z)
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    assert float((gradient - theirs).abs().max()) < 1e-5 * float(theirs.abs().max())


def lejepa(**changes: object) -> JEPA:
    """The paper's views and head on pictures of 16 px, without what is drawn from torch's own generator."""
    sizes = {
        "signal.size": 16,
        "signal.patch": 4,
        "hiding.local_augment.size": 8,
        "encoder.width": 16,
        "encoder.depth": 1,
        "encoder.heads": 2,
        "encoder.drop_path": 0,
        "head.hidden": 24,
        "head.embedding": 12,
        "head.width": 8,
        "guard.slices": 16,
    }
    dotted = {name: str(value) for name, value in (sizes | changes).items()}
    return build(configure("lejepa", "vit-l14", dotted), seed=0).train()


def pictures(model: JEPA, count: int) -> Tensor:
    shape = (count, model.signal.channels, 16, 16)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(2))


def normalised(x: Tensor, layer: torch.nn.Module) -> Tensor:
    centred = x - x.mean(0)
    return centred / (centred.square().mean(0) + layer.eps).sqrt() * layer.weight + layer.bias


@pytest.mark.parametrize("target", ["shared", "shared, without gradients"])
def test_lejepa_on_two_global_and_six_local_views(target: str) -> None:
    """Every view is encoded alone; one projector call sees all of them, one after the other."""
    model = lejepa(**{"target.stop_gradient": target != "shared"})
    batch, rng = pictures(model, 6), Rng(0, 0)
    loss = model(batch, Rng(0, 0)).loss
    ours = torch.autograd.grad(loss, list(model.parameters()))

    views = [pair.context for pair in model.pairs(batch, rng)]
    assert [len(view.tokens.values[0]) for view in views] == [16, 16, 4, 4, 4, 4, 4, 4]
    pooled = torch.cat([model.encoder(view).mean(1) for view in views])
    first, norm1, _, second, norm2, _, last = model.head.mlp
    hidden = F.relu(normalised(F.linear(model.head.embed(pooled), first.weight), norm1))
    hidden = F.relu(normalised(F.linear(hidden, second.weight), norm2))
    z = F.linear(hidden, last.weight, last.bias).view(8, 6, -1)
    centre = z[:2].mean(0) if target == "shared" else z[:2].mean(0).detach()
    energy = (centre - z).square().mean()
    directions = directions_of(model.guard, 8, rng)
    sigreg = torch.stack([released(view, directions) for view in z]).mean().float()
    expected = 0.95 * energy + 0.05 * sigreg
    theirs = torch.autograd.grad(expected, list(model.parameters()))

    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    largest = max(float(gradient.abs().max()) for gradient in theirs)
    for gradient, other in zip(ours, theirs, strict=True):
        assert float((gradient - other).abs().max()) < 1e-5 * largest


def test_views_of_one_size_are_not_treated_otherwise() -> None:
    model = lejepa(**{"hiding.global_views": 4, "hiding.local_views": 0})
    views = [pair.context for pair in model.pairs(pictures(model, 6), Rng(0, 0))]
    together = torch.cat([view.tokens.values for view in views])
    alone = model.head(
        model.encoder(type(views[0])(type(views[0].tokens)(together, views[0].tokens.positions)))
    )
    assert torch.equal(torch.cat(model.represent(views)), alone)
