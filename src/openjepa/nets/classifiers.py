"""Heads for fine-tuning: from an encoder and a batch to one output a class, or a variable.

All are built alike, `config.build(signal, encoder, outputs)`, into a module that takes the encoder and a batch.
"""

from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from openjepa.config import Choice
from openjepa.errors import UserError
from openjepa.jepa import View, fitting, mean_of
from openjepa.nets.attention import attend
from openjepa.nets.channel_heads import Contextual, PostLocal, PreLocal
from openjepa.nets.transformer import Block, initialise, mlp


class MeanLinear(Choice):
    """A linear map of the mean over the encoder's tokens, behind a layer norm."""

    kind: Literal["linear"] = "linear"

    def build(self, signal: Any, encoder: nn.Module, outputs: int) -> "MeanHead":
        return MeanHead(signal, encoder.width, outputs)  # ty: ignore[invalid-argument-type]


class Attentive(Choice):
    """A query that looks at the encoder's tokens behind a few blocks of their own, and a linear map (V-JEPA 2)."""

    kind: Literal["attentive"] = "attentive"
    depth: int = Field(3, ge=0, le=64)
    """Blocks of self-attention among the tokens; 0: the query alone (V-JEPA)."""
    heads: int | None = Field(None, ge=1, le=1024)
    """None: one for 64 numbers of the encoder's width, at least 1."""
    mlp_ratio: float = Field(4.0, gt=0, le=64)
    norm_eps: float = Field(1e-6, gt=0)

    def build(self, signal: Any, encoder: nn.Module, outputs: int) -> "AttentiveHead":
        """Raises UserError when the encoder's width does not divide into heads."""
        return AttentiveHead(self, signal, encoder.width, outputs)  # ty: ignore[invalid-argument-type]


Classifier = Annotated[
    MeanLinear | Attentive | Contextual | PostLocal | PreLocal, Field(discriminator="kind")
]


class MeanHead(nn.Module):
    """`(encoder, batch) -> [B, outputs]`."""

    def __init__(self, signal: Any, width: int, outputs: int) -> None:
        super().__init__()
        self.signal = signal
        self.norm, self.leave = nn.LayerNorm(width), nn.Linear(width, outputs)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, encoder: nn.Module, batch: Any) -> Tensor:
        view = View(self.signal.tokenise(batch))
        return self.read(encoder(view), view.present)

    def read(self, tokens: Tensor, present: Tensor | None = None) -> Tensor:
        """`[B, N, D] -> [B, outputs]`; `present` says which tokens are there, `[B, N]`."""
        return self.leave(self.norm(mean_of(tokens, present)))


class AttentiveHead(nn.Module):
    """`(encoder, batch) -> [B, outputs]`.

    One learned query attends to the tokens, without a projection behind it, and goes through an MLP, each with a
    residual (Assran et al., arXiv:2506.09985, section 5.1). Answers start at zero.
    """

    def __init__(self, config: Attentive, signal: Any, width: int, outputs: int) -> None:
        super().__init__()
        heads = config.heads or max((h for h in range(1, width // 64 + 1) if width % h == 0), default=1)
        if width % heads:
            raise UserError(f"the encoder's width, {width}, is not a multiple of classifier.heads {heads}")
        eps = config.norm_eps
        self.signal, self.heads = signal, heads
        self.blocks = nn.ModuleList(Block(width, heads, config.mlp_ratio, eps) for _ in range(config.depth))
        self.query = nn.Parameter(torch.zeros(width))
        self.ask, self.tell = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.norm1, self.norm2 = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)
        self.mlp = mlp(width, config.mlp_ratio)
        self.leave = nn.Linear(width, outputs)
        initialise(self, "trunc")
        nn.init.trunc_normal_(self.query, std=0.02)
        nn.init.zeros_(self.leave.weight)

    def forward(self, encoder: nn.Module, batch: Any) -> Tensor:
        view = View(self.signal.tokenise(batch))
        tokens = encoder(view)
        return self.read(tokens, fitting(view.present, tokens))

    def read(self, tokens: Tensor, present: Tensor | None = None) -> Tensor:
        """`[B, N, D] -> [B, outputs]`; `present` says which tokens are there, `[B, N]`."""
        mask = None if present is None else present[:, None, None]
        for block in self.blocks:
            tokens = block(tokens, mask=mask)
        query = self.query.expand(len(tokens), 1, -1)
        q, (k, v) = self.ask(query), self.tell(self.norm1(tokens)).chunk(2, -1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))
        pooled = query + attend(q, k, v, mask).transpose(1, 2).flatten(2)
        pooled = pooled + self.mlp(self.norm2(pooled))
        return self.leave(pooled[:, 0])
