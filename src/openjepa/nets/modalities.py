"""Tokens of several kinds in one transformer, such as those of clips and of images."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ModalityEmbed(nn.Module):
    """Raw tokens `[B, N, F]` to `[B, N, width]`: each kind, told by its F, has a linear map of its own.

    A learned vector says which kind a token is of.

    Args:
        features: F of each kind.
    """

    def __init__(self, features: Sequence[int], width: int) -> None:
        super().__init__()
        self.features = tuple(features)
        self.maps = nn.ModuleList(nn.Linear(count, width) for count in features)
        self.kinds = Kinds(len(features), width)

    def forward(self, values: Tensor) -> Tensor:
        kind = self.features.index(values.shape[-1])
        return self.kinds(self.maps[kind](values), kind)


class Kinds(nn.Module):
    """Adds a learned vector to tokens of each kind; all start near zero, so that kinds begin alike."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.vectors = nn.ParameterList(torch.randn(width) * 1e-6 for _ in range(count))

    def forward(self, tokens: Tensor, kind: int) -> Tensor:
        return tokens + self.vectors[kind]
