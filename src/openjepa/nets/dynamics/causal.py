"""The base of transformers that predict a frame from those before it."""

from typing import Any

import torch
from torch import Tensor, nn

from openjepa.nets.dynamics.base import Dynamics, Memory
from openjepa.nets.transformer import KeysValues


class CausalDynamics(Dynamics):
    """Blocks over the tokens of all frames, each seeing its own frame and earlier ones, whose keys and values are kept.

    A block is called as `block(x [N, T, D], first, memory=, mask=, **extra)` and gives the tokens from `first` on.
    """

    blocks: nn.ModuleList

    def memory(self) -> Memory:
        return Memory([KeysValues() for _ in self.blocks])

    def attend(self, x: Tensor, memory: Memory, newest: bool, **extra: Any) -> Tensor:
        """Tokens `[N, k, n, D]` of k steps that follow those in `memory` through all blocks; or the last step's alone,
        `[N, 1, n, D]`."""
        steps, tokens = x.shape[1:3]
        mask = causal_mask(memory.steps, steps, tokens, x.device)
        x = x.flatten(1, 2)
        for i, (block, remembered) in enumerate(zip(self.blocks, memory.parts, strict=True), 1):
            first = (steps - 1) * tokens if newest and i == len(self.blocks) else 0
            x = block(x, first, memory=remembered, mask=mask, **extra)
        return x.unflatten(1, (-1, tokens))


def causal_mask(past: int, steps: int, tokens: int, device: torch.device) -> Tensor | None:
    """The block-causal mask: a token sees all of its own and of earlier steps.

    `[steps * tokens, (past + steps) * tokens]`, True where it may look; `None` when all may look everywhere.
    """
    if steps == 1:
        return None
    when = torch.arange(past + steps, device=device).repeat_interleave(tokens)
    return when[past * tokens :, None] >= when[None]


def feed_forward(width: int, hidden: int, dropout: float) -> nn.Sequential:
    """The MLP of a block, its layer norm in front: `[..., width]` to the same."""
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.Linear(width, hidden),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, width),
        nn.Dropout(dropout),
    )
