"""The attentive probe: one learnable query looks at all frozen tokens that are there.

Bardes et al. 2024 (V-JEPA, arXiv:2404.08471) section 4.3: cross-attention of one query, a residual, an MLP with a
residual, a linear classifier; AdamW with a cosine from 1e-3 to 0, 20 epochs, weight decay 0.001 for images. No
augmentation here (the released evaluation augments), and more epochs where 20 are fewer than 1,000 steps.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, pad

from openjepa.evals.splits import Rows
from openjepa.evals.tasks import Classes, LabelTask

EPOCHS, LEAST_STEPS = 20, 1000


Seen = tuple[Tensor, Tensor | None]
"""Tokens `[B, N, D]`, and which of them are there, `[B, N]`; `None`: all."""


class AttentiveProbe(nn.Module):
    """Tokens `[B, N, D]` to `[B, K]`: scores of K classes, or K numbers.

    With a single query the keys' projection can be applied to the query and the values' projection to the weighted
    mean of the tokens: the same function as the usual order, at a fraction 2/D of its multiplications.
    """

    def __init__(self, dim: int, outputs: int, heads: int | None = None) -> None:
        super().__init__()
        self.heads = heads or next(
            h for h in (16, 12, 8, 6, 4, 3, 2, 1) if (dim % h == 0 and dim >= 32 * h) or h == 1
        )
        self.norm_tokens, self.norm_mlp = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query = nn.Parameter(torch.randn(dim) * 0.02)
        self.key, self.value = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.classify = nn.Linear(dim, outputs)

    def forward(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        if valid is not None:
            tokens = torch.where(valid[..., None], tokens, 0)
        x, heads = self.norm_tokens(tokens), self.heads
        part = x.shape[-1] // heads
        asked = torch.einsum(
            "hp,hpd->dh", self.query.view(heads, part), self.key.weight.view(heads, part, -1)
        )
        scores = x @ asked / math.sqrt(part)
        if valid is not None:
            scores = scores.masked_fill(~valid[..., None], -torch.inf)
        attention = scores.softmax(1)  # [B, N, heads]
        seen = attention.transpose(1, 2) @ x  # [B, heads, D]
        value = torch.einsum("bhd,hpd->bhp", seen, self.value.weight.view(heads, part, -1)).flatten(1)
        pooled = self.query + value + self.value.bias
        return self.classify(pooled + self.mlp(self.norm_mlp(pooled)))


def fit_attentive(
    tokens: Callable[[Rows], Seen],
    answers: Tensor,
    dim: int,
    task: LabelTask,
    *,
    seed: int,
    epochs: int | None = None,
    batch_size: int = 256,
    lr: float = 1e-3,
    weight_decay: float = 1e-3,
    device: torch.device | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Callable[[Sequence[Seen]], Tensor]:
    """Train the probe on frozen tokens; everything random follows from `seed`.

    Args:
        tokens: gives `[B, N, D]` for the numbers of B samples, from memory or by encoding anew.
        answers: `[n]` classes, or `[n, V]` numbers, which are standardised for the fit.
        epochs: by default 20, or what makes 1,000 steps where that is more.

    Returns:
        what answers for B samples, given the tokens of one or of several cuts of them.
    """
    steps = math.ceil(len(answers) / batch_size)
    epochs = epochs or max(EPOCHS, math.ceil(LEAST_STEPS / steps))
    read = _Reading.of(answers, task)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AttentiveProbe(dim, read.outputs).to(device)
    order = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * steps)
    for epoch in range(epochs):
        for rows in torch.randperm(len(answers), generator=order).split(batch_size):
            loss = read.loss(model(*_on(device, tokens(rows.numpy()))), answers[rows].to(device))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        if progress:
            progress("attentive probe", epoch + 1, epochs)
    model.eval()

    def answer(cuts: Sequence[Seen]) -> Tensor:
        with torch.no_grad():
            outputs = torch.stack([model(*_on(device, seen)).cpu() for seen in cuts])
        return read.answer(outputs)

    return answer


class _Reading:
    """How outputs become answers: the likeliest class, or numbers in their own units."""

    def __init__(self, outputs: int, weights: Tensor | None, mean: Tensor, std: Tensor) -> None:
        self.outputs, self.weights, self.mean, self.std = outputs, weights, mean, std

    @classmethod
    def of(cls, answers: Tensor, task: LabelTask) -> "_Reading":
        nothing = torch.empty(0)
        if isinstance(task, Classes):
            return cls(task.count, task.weights(answers), nothing, nothing)
        std, mean = torch.std_mean(answers, 0, correction=0)
        return cls(answers.shape[1], None, mean, torch.where(std > 0, std, 1.0))

    def loss(self, outputs: Tensor, answers: Tensor) -> Tensor:
        if not len(self.mean):
            weights = None if self.weights is None else self.weights.to(outputs)
            return cross_entropy(outputs, answers, weights)
        wanted = (answers - self.mean.to(answers)) / self.std.to(answers)
        return mse_loss(outputs, wanted.to(outputs))

    def answer(self, outputs: Tensor) -> Tensor:
        """Of `[cuts, B, K]`."""
        if not len(self.mean):
            return (outputs if len(outputs) == 1 else outputs.softmax(-1)).mean(0).argmax(1)
        return outputs.mean(0).double() * self.std + self.mean


def padded(parts: Sequence[Seen]) -> Seen:
    """Batches one below the other, with as many tokens as the longest has."""
    longest = max(tokens.shape[1] for tokens, _ in parts)
    if all(valid is None and tokens.shape[1] == longest for tokens, valid in parts):
        return torch.cat([tokens for tokens, _ in parts]), None
    there = [
        torch.ones(tokens.shape[:2], dtype=torch.bool) if valid is None else valid for tokens, valid in parts
    ]
    return (
        torch.cat([pad(tokens, (0, 0, 0, longest - tokens.shape[1])) for tokens, _ in parts]),
        torch.cat([pad(valid, (0, longest - valid.shape[1])) for valid in there]),
    )


def _on(device: torch.device | None, seen: Seen) -> Seen:
    tokens, valid = seen
    return tokens.to(device), None if valid is None else valid.to(device)
