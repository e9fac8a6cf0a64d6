"""A JEPA of one's own: see what lies on one side of a random straight cut, predict what lies on the other.

    python examples/new_variant.py

The hiding is new; the target is the encoder itself, with SIGReg against collapse; the energy is an angle; sizes are
those of I-JEPA's tiny transformer. Trainer, health, probes and report come with it.
"""

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

import openjepa
from openjepa.common.rng import Rng
from openjepa.energies import Cosine, Energy
from openjepa.guards import Guard, SIGReg
from openjepa.hiding.base import HidingChoice
from openjepa.jepa import Pair, View
from openjepa.recipes import register
from openjepa.recipes.ijepa import IJEPA
from openjepa.signals.images.signal import ImageSignal
from openjepa.targets import Shared, Target


class Half(HidingChoice):
    """The context is one side of a line through the centre, at a random angle; the other side is the target."""

    kind: Literal["half"] = "half"

    def build(self, signal: ImageSignal) -> "HalfHiding":
        return HalfHiding(signal)


class HalfHiding:
    def __init__(self, signal: ImageSignal) -> None:
        self.signal = signal

    def __call__(self, batch: Tensor, rng: Rng) -> list[Pair]:
        tokens = self.signal.tokenise(batch)
        row, column = (tokens.positions - tokens.positions.mean(1, keepdim=True)).unbind(-1)  # [1, N] each
        angle = 2 * math.pi * rng.uniform(len(batch), 1).to(row.device)
        seen, hidden = (row * angle.cos() + column * angle.sin()).argsort(1).tensor_split(2, 1)  # [B, N / 2]
        return [Pair(View(tokens, keep=seen), (View(tokens),), hidden.unsqueeze(1))]


@register("half-image")
class HalfImage(IJEPA):
    """I-JEPA's row of six choices with four of them changed."""

    paper: ClassVar[str] = "none yet"

    recipe: Literal["half-image"] = "half-image"
    hiding: Half = Half()
    target: Target = Shared()
    energy: Energy = Cosine()
    guard: Guard = SIGReg(slices=128)

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {name: IJEPA.presets["tiny-vit"][name] for name in ("signal", "encoder", "predictor")}
    }


def stripes(count: int) -> Tensor:
    """`[count, 1, 28, 28]`: waves at random angles, so that one side of an image tells much about the other."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 28), torch.linspace(-1, 1, 28), indexing="ij")
    angle = math.pi * torch.rand(count, 1, 1, generator=torch.Generator().manual_seed(0))
    return (0.5 + 0.5 * torch.sin(8 * (x * angle.cos() + y * angle.sin()))).unsqueeze(1)


if __name__ == "__main__":
    images = stripes(64)
    options = {"train.steps": 10, "train.batch_size": 16, "encoder.depth": 2}  # for real: thousands of steps
    model = openjepa.train("half-image", data=images, options=options)
    openjepa.check_jepa(model, images[:8])
    print(f"one vector for each of {len(model.embed(images))} images")
