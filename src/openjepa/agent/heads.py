"""A small network on states of any shape: what critic, policy and danger detector are made of."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn


class MLPHead(nn.Module):
    """`[..., *L] -> [..., out]`: flatten, standardise, MLP (GELU, layer norm).

    Args:
        shape: `L`, of one state.
        out: numbers given.
        hidden: width of the hidden layers.
        layers: hidden layers; 0 is a linear map.
        beside: `[..., beside, *L]`: states that are seen together (a state and its goal: 2).
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, shape: tuple[int, ...], out: int, hidden: int = 256, layers: int = 2, beside: int = 1
    ) -> None:
        super().__init__()
        self.shape, self.beside = tuple(shape), beside
        size = torch.Size(self.shape).numel()
        sizes = [beside * size] + [hidden] * layers
        body = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.LayerNorm(b), nn.GELU())]
        self.mlp = nn.Sequential(*body, nn.Linear(sizes[-1], out))
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))

    def forward(self, *states: Tensor) -> Tensor:
        """Each `[..., *L]`; their leading dimensions are broadcast."""
        flat = [(x.flatten(-len(self.shape)) if self.shape else x[..., None]) for x in states]
        lead = torch.broadcast_shapes(*(x.shape[:-1] for x in flat))
        seen = [((x - self.mean) / self.std).expand(*lead, -1) for x in flat]
        return self.mlp(torch.cat(seen, -1))

    def standardise(self, states: Tensor) -> None:
        """Take mean and standard deviation of inputs from `[N, *L]`."""
        flat = states.reshape(len(states), -1).float()
        self.mean.copy_(flat.mean(0))
        self.std.copy_(flat.std(0, correction=0) + 1e-3 * flat.std(correction=0) + 1e-6)


def draw(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Indices of so many of these rows, at random, the same one more than once: `[count]`."""
    return torch.randint(len(rows), (count,), generator=generator).to(rows.device)


def some(states: Tensor, goals: Tensor | None, index: Tensor) -> tuple[Tensor, Tensor | None]:
    """States, and goals where there are any, of these rows."""
    return states[index], None if goals is None else goals[index]


def descend(
    module: nn.Module, loss: Callable[[], Tensor], *, updates: int, lr: float, clip: float = 1.0
) -> list[float]:
    """AdamW with a cosine to 0 on `loss()`, a fresh batch at each call; the losses. Of other networks that the loss
    runs through nothing changes, nor do they gather gradients."""
    parameters = list(module.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=lr, weight_decay=1e-4, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, updates)
    losses = []
    module.train()
    with torch.enable_grad():
        for _ in range(updates):
            value = loss()
            optimiser.zero_grad()
            value.backward(inputs=parameters)
            nn.utils.clip_grad_norm_(parameters, clip)
            optimiser.step()
            schedule.step()
            losses.append(value.detach())
    module.eval()
    return torch.stack(losses).tolist() if losses else []
