"""Scaled dot-product attention by one of two kernels: PyTorch's fused one, or plain matrix products."""

from collections.abc import Generator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor


class Kernels:
    """Which kernels `attend` uses."""

    plain = False


@contextmanager
def plain_products() -> Generator[None]:
    """Let `attend` compute in plain matrix products inside: in bf16 on a CPU the fused kernel's gradient is slow."""
    before, Kernels.plain = Kernels.plain, True
    try:
        yield
    finally:
        Kernels.plain = before


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    dropout: float = 0.0,
    bias: Tensor | None = None,
) -> Tensor:
    """`softmax(q kᵀ / √d + bias) v`, `[B, heads, N, d]`.

    Args:
        q: `[B, heads, N, d]`.
        k, v: `[B, heads, M, d]`.
        mask: bool, True where a query may look, broadcasts to `[B, heads, N, M]`.
        dropout: of the weights.
        bias: `[B, heads, N, M]`.
    """
    if not Kernels.plain:
        added = mask if bias is None else bias if mask is None else bias.masked_fill(~mask, -torch.inf)
        return F.scaled_dot_product_attention(q, k, v, added, dropout)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return F.dropout(scores.softmax(-1), dropout) @ v
