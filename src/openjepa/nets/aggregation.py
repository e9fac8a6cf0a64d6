"""A head in which queries draw from tokens by cross-attention, each by itself (DMT-JEPA)."""

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from openjepa.config import Choice
from openjepa.errors import UserError
from openjepa.jepa import mean_of
from openjepa.nets.transformer import Block, initialise


class Aggregation(Choice):
    """To every token is added what the mean of all draws from them (DMT-JEPA's context).

    Its average draws from each place's neighbours under `--target neighbours`.
    """

    kind: Literal["aggregation"] = "aggregation"
    pools: ClassVar[bool] = False
    depth: int = Field(2, ge=1, le=64)
    """Blocks of attention and MLP: the released code's two, the paper's best is one."""
    heads: int = Field(16, ge=1, le=1024)
    """The released code: as many as the encoder has."""
    mlp_ratio: float = Field(4.0, gt=0, le=64)
    norm_eps: float = Field(1e-6, gt=0)
    init: Literal["trunc", "xavier"] = "trunc"

    def build(self, width: int) -> "Aggregator":
        """Raises UserError where heads do not divide the encoder's width."""
        if width % self.heads:
            raise UserError(f"head.heads {self.heads} does not divide the encoder's width, {width}")
        return Aggregator(self, width)

    def out(self, width: int) -> int:
        return width


class Aggregator(nn.Module):
    """`[B, K, D] -> [B, K, D]`."""

    attends = True
    """Which tokens are there must be told."""

    def __init__(self, config: Aggregation, width: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(width, config.heads, config.mlp_ratio, config.norm_eps) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(width, config.norm_eps)
        initialise(self, config.init)

    def forward(self, tokens_BKD: Tensor, present: Tensor | None = None) -> Tensor:
        """`present`: which tokens are there, `[B, K]` bool; `None`: all."""
        mean = mean_of(tokens_BKD, present).unsqueeze(1)
        return tokens_BKD + self.ask(mean, tokens_BKD, None if present is None else present.unsqueeze(1))

    def ask(self, queries_BMD: Tensor, tokens_BND: Tensor, look: Tensor | None = None) -> Tensor:
        """What each query draws from tokens, `[B, M, D]`.

        A query attends to the tokens at which it looks and to itself, and alone changes from block to block.

        Args:
            look: `[B, M, N]` bool; `None`: at all.
        """
        batch, asking, known = len(tokens_BND), queries_BMD.shape[1], tokens_BND.shape[1]
        if look is None:
            look = queries_BMD.new_ones(batch, asking, known, dtype=torch.bool)
        itself = torch.eye(asking, dtype=torch.bool, device=look.device).expand(batch, -1, -1)
        mask = F.pad(torch.cat([look, itself], -1), (0, 0, known, 0))  # rows of tokens, which ask nothing
        for block in self.blocks:
            queries_BMD = block(torch.cat([tokens_BND, queries_BMD], 1), known, mask=mask)
        return self.norm(queries_BMD)
