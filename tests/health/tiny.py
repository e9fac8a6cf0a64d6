"""A JEPA small enough to reason about: 4 × 4 patches of one pixel, a linear encoder, a predictor chosen by the test."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from openjepa.common.rng import Rng
from openjepa.energies import L2
from openjepa.guards import NoGuard
from openjepa.jepa import JEPA, Pair, Parts, Tokens, View, gather
from openjepa.targets import Shared

GRID = (4, 4)
KEPT, BLOCKS, BLOCK = 6, 2, 3


class Pixels:
    """Every pixel is a token of C values."""

    layout = GRID

    def batch(self, raw: Tensor) -> Tensor:
        return raw

    def to_float(self, batch: Tensor) -> Tensor:
        return batch.float()

    def tokenise(self, batch: Tensor) -> Tokens:
        rows, columns = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in GRID), indexing="ij")
        positions = torch.stack([rows, columns], -1).reshape(1, -1, 2)
        return Tokens(batch.float().flatten(2).transpose(1, 2), positions, GRID)


class Scatter:
    """The context keeps 6 random tokens of each sample; two blocks of 3 others are to be predicted."""

    def __call__(self, batch: Tensor, rng: Rng) -> list[Pair]:
        tokens = Pixels().tokenise(batch)
        order = rng.uniform(len(batch), tokens.values.shape[1]).argsort(1)
        select = order[:, KEPT : KEPT + BLOCKS * BLOCK].unflatten(1, (BLOCKS, BLOCK))
        return [Pair(View(tokens, keep=order[:, :KEPT]), (View(tokens),), select)]


class LinearEncoder(nn.Module):
    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(channels, width, bias=False)
        self.dropout = nn.Dropout(0.5)  # so that a measurement in training mode would not repeat

    def forward(self, view: View) -> Tensor:
        tokens = self.dropout(self.project(view.tokens.values))
        return tokens if view.keep is None else gather(tokens, view.keep)

    def layers(self, view: View, count: int) -> list[Tensor]:
        return [self(view)]

    def layout(self, layout: tuple[int, int]) -> tuple[int, int]:
        return layout


class Predictor(nn.Module):
    """`rule(s_x, context) -> [B, D]`, the same guess at every queried position."""

    def __init__(self, rule: Callable[[Tensor, View], Tensor]) -> None:
        super().__init__()
        self.rule = rule

    def forward(self, s_x: Tensor, pair: Pair) -> Tensor:
        return self.rule(s_x, pair.context)[:, None, None].expand(-1, BLOCKS, BLOCK, -1)


def mean_of_context(s_x: Tensor, context: View) -> Tensor:
    return s_x.mean(1)


def nothing(s_x: Tensor, context: View) -> Tensor:
    return torch.zeros_like(s_x[:, 0])


def tiny_jepa(rule: Callable[[Tensor, View], Tensor] = mean_of_context, channels: int = 8) -> JEPA:
    encoder = LinearEncoder(channels, channels)
    nn.init.eye_(encoder.project.weight)
    parts = Parts(
        signal=Pixels(),
        hiding=Scatter(),
        encoder=encoder,
        head=nn.Identity(),
        predictor=Predictor(rule),
        target=Shared().build(),
        energy=L2(),
        guard=NoGuard(),
    )
    return JEPA(None, parts)
