"""A transformer that gives the outputs of several of its blocks, each through a norm of its own (V-JEPA 2.1)."""

from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from openjepa.jepa import View
from openjepa.nets.transformer import TokenEncoder, TokenTransformer

Level = Annotated[int, Field(ge=0, lt=256)]
"""The number of a block."""


class LevelsViT(TokenTransformer):
    """Our token transformer, of which several blocks' outputs are predicted."""

    kind: Literal["levels"] = "levels"
    levels: tuple[Level, ...] = Field((5, 11, 17, 23), min_length=1)
    """Numbers of the blocks whose outputs are given, from 0, rising; the last one must be among them."""

    @model_validator(mode="after")
    def _last(self) -> "LevelsViT":
        if list(self.levels) != sorted(set(self.levels)) or self.levels[-1] != self.depth - 1:
            raise ValueError(
                f"levels {list(self.levels)} must rise and end in the last block, {self.depth - 1}"
            )
        return self

    def build(self, signal: Any) -> "LevelsEncoder":
        return LevelsEncoder(self, signal)


class LevelsEncoder(TokenEncoder):
    """`View -> [B, K, L * D]`: the levels' outputs side by side, the last block's last.

    `layers` gives features `[B, K, D]`, as of any transformer; the last is the last level through its norm.
    """

    def __init__(self, config: LevelsViT, signal: Any) -> None:
        super().__init__(config, signal)
        del self.entrance  # a trunk alone would give one level
        self.levels, self.width = config.levels, config.width * len(config.levels)
        self.norm = nn.Identity()
        self.norms = nn.ModuleList(nn.LayerNorm(config.width, config.norm_eps) for _ in self.levels)

    def forward(self, view: View) -> Tensor:
        outputs = self._outputs(view)
        return torch.cat([norm(outputs[i]) for i, norm in zip(self.levels, self.norms, strict=True)], -1)

    def layers(self, view: View, count: int) -> list[Tensor]:
        outputs = self._outputs(view)
        return [*outputs[len(outputs) - count : -1], self.norms[-1](outputs[-1])]

    def _outputs(self, view: View) -> list[Tensor]:
        """Of every block, before any norm."""
        return self.trunk(self.enter(view), view, len(self.blocks))
