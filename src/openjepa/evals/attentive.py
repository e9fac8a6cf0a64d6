"""The attentive probe: one learnable query looks at all frozen tokens.

Bardes et al. 2024 (V-JEPA, arXiv:2404.08471) section 4.3: cross-attention of one query, a residual, an MLP with a
residual, a linear classifier; AdamW with a cosine from 1e-3 to 0, 20 epochs, weight decay 0.001 for images. No
augmentation here (the released evaluation augments), and more epochs where 20 are fewer than 1,000 steps.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from openjepa.evals.splits import Rows

EPOCHS, LEAST_STEPS = 20, 1000


class AttentiveClassifier(nn.Module):
    """Tokens `[B, N, D]` to class scores `[B, K]`.

    With a single query the keys' projection can be applied to the query and the values' projection to the weighted
    mean of the tokens: the same function as the usual order, at a fraction 2/D of its multiplications.
    """

    def __init__(self, dim: int, classes: int, heads: int | None = None) -> None:
        super().__init__()
        self.heads = heads or next(
            h for h in (16, 12, 8, 6, 4, 3, 2, 1) if (dim % h == 0 and dim >= 32 * h) or h == 1
        )
        self.norm_tokens, self.norm_mlp = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query = nn.Parameter(torch.randn(dim) * 0.02)
        self.key, self.value = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.classify = nn.Linear(dim, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        x, heads = self.norm_tokens(tokens), self.heads
        part = x.shape[-1] // heads
        asked = torch.einsum(
            "hp,hpd->dh", self.query.view(heads, part), self.key.weight.view(heads, part, -1)
        )
        attention = (x @ asked / math.sqrt(part)).softmax(1)  # [B, N, heads]
        seen = attention.transpose(1, 2) @ x  # [B, heads, D]
        value = torch.einsum("bhd,hpd->bhp", seen, self.value.weight.view(heads, part, -1)).flatten(1)
        pooled = self.query + value + self.value.bias
        return self.classify(pooled + self.mlp(self.norm_mlp(pooled)))


def fit_attentive(
    tokens: Callable[[Rows], Tensor],
    labels: Tensor,
    dim: int,
    classes: int,
    *,
    seed: int,
    epochs: int | None = None,
    batch_size: int = 256,
    lr: float = 1e-3,
    weight_decay: float = 1e-3,
    device: torch.device | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> AttentiveClassifier:
    """Train the classifier on frozen tokens; everything random follows from `seed`.

    Args:
        tokens: gives `[B, N, D]` for the numbers of B samples, from memory or by encoding anew.
        labels: `[n]` in 0..classes-1.
        epochs: by default 20, or what makes 1,000 steps where that is more.
    """
    steps = math.ceil(len(labels) / batch_size)
    epochs = epochs or max(EPOCHS, math.ceil(LEAST_STEPS / steps))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AttentiveClassifier(dim, classes).to(device)
    order = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * steps)
    for epoch in range(epochs):
        for rows in torch.randperm(len(labels), generator=order).split(batch_size):
            loss = cross_entropy(model(tokens(rows.numpy()).to(device)), labels[rows].to(device))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        if progress:
            progress("attentive probe", epoch + 1, epochs)
    return model.eval()
