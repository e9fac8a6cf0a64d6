"""A signal and a recipe of somebody else's: bags of unequally many numbers, hidden in part, predicted from the rest."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.conditions import Condition, Positions
from openjepa.energies import L2, Energy
from openjepa.guards import Guard, NoGuard
from openjepa.hiding.base import HidingChoice
from openjepa.jepa import Pair, Tokens, View
from openjepa.nets.predictor import Narrow
from openjepa.nets.transformer import ViT
from openjepa.recipes import Training, register
from openjepa.recipes.tokens import TokenRecipe
from openjepa.signals.base import Batch, Signal
from openjepa.signals.tasks import Tasks
from openjepa.targets import EMA, Target

MOST = 9


@dataclass(frozen=True, eq=False)
class Bags(Batch):
    """Numbers `[B, N, 2]` at places `[B, N, 1]`, of which `valid` `[B, N]` are there."""

    numbers: Tensor
    places: Tensor
    valid: Tensor


class BagSet:
    """Bags in memory, from a list of arrays `[n, 2]`."""

    noun, in_memory, name = "bags", True, "toy bags"

    def __init__(self, bags: Sequence[np.ndarray]) -> None:
        self.bags, self.shape = bags, (MOST, 2)
        self.labels = None

    def __len__(self) -> int:
        return len(self.bags)

    def read(self, indices: Any, rng: Rng | None = None) -> Bags:
        rows = [self.bags[i] for i in torch.as_tensor(indices).tolist()]
        numbers, valid = torch.zeros(len(rows), MOST, 2), torch.zeros(len(rows), MOST, dtype=torch.bool)
        for numbers_of, valid_of, row in zip(numbers, valid, rows, strict=True):
            numbers_of[: len(row)] = torch.from_numpy(row)
            valid_of[: len(row)] = True
        places = torch.arange(MOST, dtype=torch.float32).expand(len(rows), MOST)[..., None]
        return Bags(numbers, places, valid)

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, self.noun: len(self), "shape": [MOST, 2], "fingerprint": "", "skipped": []}


class BagSignal(Signal):
    """Each number of a bag is a token."""

    noun: ClassVar[str] = "bags"
    axes: ClassVar[tuple[str, ...]] = ("place",)
    kind: Literal["bags"] = "bags"
    mean: float = 0.0

    @property
    def features(self) -> int:
        return 2

    @property
    def layout(self) -> None:
        return None

    def open(self, data: Any, split: str = "train", *, adapt: bool = False) -> BagSet:
        return data if isinstance(data, BagSet) else BagSet(data)

    def fitted(self, samples: BagSet) -> Self:
        return self.model_copy(update={"mean": float(np.concatenate(samples.bags).mean())})

    def batch(self, raw: Any) -> Bags:
        return raw if isinstance(raw, Bags) else BagSet(raw).read(range(len(raw)))

    def tokenise(self, batch: Bags) -> Tokens:
        return Tokens(batch.numbers - self.mean, batch.places, valid=batch.valid)

    def tasks(self, batch: Bags) -> Tasks:
        return Tasks(batch, coarse=batch.numbers.sum(1))


class Part(HidingChoice):
    """A third of each bag's numbers are hidden, at random, and predicted in one block."""

    ragged: ClassVar[bool] = True
    kind: Literal["part"] = "part"

    def build(self, signal: BagSignal) -> "PartHiding":
        return PartHiding(signal)


class PartHiding:
    """Bags to a pair: samples keep and ask for unequally many tokens."""

    def __init__(self, signal: BagSignal) -> None:
        self.signal = signal

    def __call__(self, batch: Bags, rng: Rng) -> list[Pair]:
        tokens = self.signal.tokenise(batch)
        assert tokens.valid is not None
        count = tokens.valid.sum(1)
        order = rng.stream("mask").uniform(*tokens.valid.shape).masked_fill(~tokens.valid, 2).argsort(1)
        rank, hidden = torch.arange(MOST).expand_as(order), (count // 3).clamp_min(1)[:, None]
        select, asked = order[:, : MOST // 3], rank[:, : MOST // 3] < hidden
        kept = (rank >= hidden) & (rank < count[:, None])
        view = View(tokens, order, kept)
        return [Pair(view, (View(tokens),), select[:, None], valid=asked[:, None])]


INSTALLED = __name__ == "toy_signals"
"""Whether this file is a package of its own: only then does it stand in the list of recipes."""


@register("bag-jepa", listed=INSTALLED)
class BagJEPA(TokenRecipe):
    """A recipe for the signal above."""

    recipe: Literal["bag-jepa"] = "bag-jepa"
    preset: str = "tiny"
    signal: BagSignal = BagSignal()
    hiding: Part = Part()
    condition: Condition = Positions()
    encoder: ViT = ViT(width=16, depth=2, heads=2)
    predictor: Narrow = Narrow(width=16, depth=1, heads=2)
    target: Target = EMA(norm="layer", half_life=2)
    energy: Energy = L2()
    guard: Guard = NoGuard()
    train: Training = Training(steps=6, batch_size=16, precision="fp32")
    presets: ClassVar[dict[str, dict[str, Any]]] = {"tiny": {}}


def bags(count: int = 40, seed: int = 0) -> list[np.ndarray]:
    """Random bags of 3 to 9 numbers whose first column follows the place."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        n = int(rng.integers(3, MOST + 1))
        slope = rng.normal()
        found.append(np.stack([slope * np.arange(n), rng.normal(size=n)], 1).astype(np.float32))
    return found
