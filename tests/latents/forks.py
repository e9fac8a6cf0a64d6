"""A world that forks: a point moves by a quarter turn of itself to the left or to the right, and nothing says which."""

import torch
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.latents import Latent, Predict, one_step
from openjepa.latents.base import distance
from openjepa.nets.dynamics.base import Dynamics

SHAPE = (2,)
MIDDLE = 1.0
"""Mean square error of the middle of the fork, the best that a prediction without z can be."""


def fork(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Normal states `[N, 2]`, next states, and both states that could follow, `[N, 2, 2]`."""
    generator = torch.Generator().manual_seed(seed)
    s = torch.randn(count, 2, generator=generator)
    successors = torch.stack([s - quarter(s), s + quarter(s)], 1)
    choice = torch.randint(2, (count, 1, 1), generator=generator).expand(-1, -1, 2)
    return s, successors.gather(1, choice).squeeze(1), successors


def quarter(s: Tensor) -> Tensor:
    """`[..., 2]`, turned by 90 degrees."""
    return torch.stack([-s[..., 1], s[..., 0]], -1)


def train(latent: Latent, dynamics: Dynamics, steps: int = 200, rate: float = 1e-2) -> Predict:
    """Told what was inferred, mean squares, on fresh forks."""
    predict = one_step(dynamics)
    optimiser = torch.optim.Adam([*latent.parameters(), *dynamics.parameters()], lr=rate)
    latent.train()
    for step in range(steps):
        s, s_next, _ = fork(128, step)
        inferred = latent.infer(s, s_next, predict, Rng(0, step))
        prediction = predict(s, inferred.z.unsqueeze(1)).squeeze(1)
        loss = distance(prediction, s_next, 1).mean() + inferred.loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    latent.eval()
    return predict
