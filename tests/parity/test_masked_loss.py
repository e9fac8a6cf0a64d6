"""The whole of each recipe's loss, value and gradients, against straight and slow references from the papers' formulas.

The references use the model's parameters by name and nothing else of the library: loops over samples, views and
blocks, attention head by head, positions number by number, in double precision.
"""

import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.guards import SIGReg
from openjepa.jepa import JEPA, Pair
from openjepa.recipes import build, configure

SIDE, WIDTH, HEADS, NARROW = 6, 16, 2, 8
TINY = {
    "signal.size": "24",
    "signal.patch": "4",
    "signal.channels": "1",
    "signal.mean": "[0.5]",
    "signal.std": "[0.3]",
    "encoder.width": str(WIDTH),
    "encoder.depth": "2",
    "encoder.heads": str(HEADS),
}

Parameters = Mapping[str, Tensor]


def small(recipe: str, **changes: str) -> JEPA:
    extra = {name.replace("__", "."): value for name, value in changes.items()}
    model = build(configure(recipe, changes=TINY | extra), seed=0)
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():  # large enough for every term to matter
        parameter.data.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def images(count: int) -> Tensor:
    return torch.rand(count, 1, 24, 24, generator=torch.Generator().manual_seed(2))


def linear(p: Parameters, name: str, x: Tensor) -> Tensor:
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def standardised(x: Tensor, eps: float) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(((x - mean) ** 2).mean(-1, keepdim=True) + eps)


def norm(p: Parameters, name: str, x: Tensor) -> Tensor:
    return standardised(x, 1e-6) * p[f"{name}.weight"] + p[f"{name}.bias"]


def gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def block(p: Parameters, name: str, x: Tensor, heads: int) -> Tensor:
    """One pre-norm transformer block on one sample, `[N, D]`."""
    n, width = x.shape
    each = width // heads
    q, k, v = linear(p, f"{name}.attention.qkv", norm(p, f"{name}.norm1", x)).split(width, -1)
    mixed = []
    for h in range(heads):
        part = slice(h * each, (h + 1) * each)
        scores = torch.stack([torch.stack([q[i, part] @ k[j, part] for j in range(n)]) for i in range(n)])
        weights = torch.exp(scores / math.sqrt(each))
        mixed.append((weights / weights.sum(1, keepdim=True)) @ v[:, part])
    x = x + linear(p, f"{name}.attention.proj", torch.cat(mixed, 1))
    hidden = gelu(linear(p, f"{name}.mlp.0", norm(p, f"{name}.norm2", x)))
    return x + linear(p, f"{name}.mlp.2", hidden)


def position(token: int, width: int) -> Tensor:
    """MAE's: the column in the first half, the row in the second, each as sines, then cosines."""
    quarter = width // 4
    parts = []
    for coordinate in (token % SIDE, token // SIDE):
        angles = [coordinate / 10000 ** (i / quarter) for i in range(quarter)]
        parts += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
    return torch.tensor(parts, dtype=torch.double)


def encode(p: Parameters, prefix: str, raw: Tensor, tokens: list[int]) -> Tensor:
    """Representations of one sample's `tokens`, of which alone the encoder knows."""
    embedded = [linear(p, f"{prefix}embed", raw[t]) + position(t, WIDTH) for t in tokens]
    x = torch.stack(embedded)
    for i in range(2):
        x = block(p, f"{prefix}blocks.{i}", x, HEADS)
    return norm(p, f"{prefix}norm", x)


def predict(p: Parameters, s_x: Tensor, known: list[int], asked: list[int]) -> Tensor:
    x = [linear(p, "predictor.enter", s) + position(t, NARROW) for s, t in zip(s_x, known, strict=True)]
    x += [p["predictor.mask_token"] + position(t, NARROW) for t in asked]
    x = torch.stack(x)
    for i in range(2):
        x = block(p, f"predictor.blocks.{i}", x, 2)
    return linear(p, "predictor.leave", norm(p, "predictor.norm", x[len(known) :]))


def distance(kind: str, prediction: Tensor, target: Tensor) -> Tensor:
    gap = (prediction - target).abs()
    return gap**2 if kind == "l2" else torch.where(gap < 1, gap**2 / 2, gap - 0.5)


def i_jepa_reference(p: Parameters, pair: Pair, joint: bool, energy: str) -> Tensor:
    """Mean over samples, blocks, tokens and features of D(predictor(f(context), positions), LN(f_ema(image)))."""
    context = pair.context
    assert context.keep is not None and pair.select is not None
    terms = []
    for raw, keep, select in zip(
        context.tokens.values.double(), context.keep.tolist(), pair.select.tolist(), strict=True
    ):
        s_x = encode(p, "encoder.", raw, keep)
        s_y = standardised(encode(p, "target.encoder.", raw, list(range(SIDE**2))), 1e-5).detach()
        if joint:
            every = [token for tokens in select for token in tokens]
            guesses = predict(p, s_x, keep, every).split(len(select[0]))
        else:
            guesses = [predict(p, s_x, keep, tokens) for tokens in select]
        terms += [distance(energy, g, s_y[tokens]) for g, tokens in zip(guesses, select, strict=True)]
    return torch.stack(terms).mean()


PREDICTOR = {"predictor__width": str(NARROW), "predictor__depth": "2", "predictor__heads": "2"}


def same_gradients(model: JEPA, loss: Tensor, reference: Tensor) -> set[str]:
    """Compare for every trainable parameter; the names of the networks they belong to."""
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    ours = torch.autograd.grad(loss, list(named.values()), retain_graph=True)
    expected = torch.autograd.grad(reference, list(named.values()))
    for name, a, b in zip(named, ours, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")
    assert max(float(gradient.abs().max()) for gradient in ours) > 1e-2
    return {name.split(".")[0] for name in named}


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("energy", ["l2", "smooth-l1"])
def test_the_masked_loss_and_its_gradients_equal_the_reference(joint: bool, energy: str) -> None:
    changes = PREDICTOR | {"predictor__joint": str(joint).lower(), "energy": energy, "hiding__targets": "3"}
    model, batch = small("i-jepa", **changes), images(2)
    (pair,), loss = model.pairs(batch, Rng(0, 5)), model(batch, Rng(0, 5)).loss
    parameters = {name: parameter.double() for name, parameter in model.named_parameters()}
    reference = i_jepa_reference(parameters, pair, joint, energy)
    torch.testing.assert_close(loss.double(), reference, rtol=1e-5, atol=1e-5)
    assert same_gradients(model, loss, reference) == {"encoder", "predictor"}


def test_blocks_see_one_another_only_when_joint() -> None:
    losses = []
    for joint in ("false", "true"):
        model = small("i-jepa", **PREDICTOR, predictor__joint=joint)
        losses.append(float(model(images(2), Rng(0, 5)).loss.detach()))
    assert abs(losses[0] - losses[1]) > 1e-4


def sigreg_reference(z: Tensor, directions: Tensor) -> Tensor:
    t = torch.linspace(-3, 3, 33, dtype=torch.double)
    values = []
    for direction in directions.T:
        empirical = torch.stack([torch.exp(1j * point * (z @ direction)).mean() for point in t])
        gap = (empirical - torch.exp(-(t**2) / 2)).abs() ** 2 * torch.exp(-(t**2) / 2)
        values.append(len(z) * torch.trapezoid(gap, t))
    return torch.stack(values).mean()


def test_le_jepas_loss_and_its_gradients_equal_the_formula() -> None:
    changes = {"head__hidden": "12", "head__width": "5", "hiding__local_views": "2"}
    model = small(
        "lejepa",
        **changes,
        hiding__local_augment__size="12",
        guard__weight="0.2",
        guard__slices="6",
        guard__knots="33",
    )
    assert isinstance(model.guard, SIGReg)
    output = model(images(8), Rng(0, 5))
    z = torch.stack([s[:, 0] for s in output.s_x], 1).double()  # [B, V, D], the global views first
    centre = (z[:, 0] + z[:, 1]) / 2
    agreement = torch.stack([(centre[n] - z[n, v]) ** 2 for n in range(8) for v in range(4)]).mean()
    rng = Rng(0, 5)
    model.pairs(images(8), rng)  # the guard draws its directions after hiding has drawn
    directions = torch.randn(5, 6, generator=rng.generator()).double()
    directions = directions / directions.norm(dim=0)
    gaussian = torch.stack([sigreg_reference(z[:, v], directions) for v in range(4)]).mean()
    reference = 0.8 * agreement + 0.2 * gaussian
    torch.testing.assert_close(output.loss.double(), reference, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(output.terms["energy"].double(), agreement.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(output.terms["sigreg"].double(), gaussian.detach(), rtol=1e-5, atol=1e-5)
    assert same_gradients(model, output.loss, reference) == {"encoder", "head"}
