"""A mixture of predictors: z says which of K heads is followed."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from openjepa.common.distributed import global_mean
from openjepa.common.rng import Rng
from openjepa.config import Choice
from openjepa.errors import UserError
from openjepa.latents.base import Inferred, Latent, LatentDistance, Predict, distance
from openjepa.nets.dynamics.base import Dynamics
from openjepa.nets.dynamics.branches import Branches
from openjepa.nets.dynamics.mlp import perceptron


class Mixture(Choice):
    """K predictors, of which only the best for a transition learns from it, and a router that learns which it was.

    MoP-JEPA, arXiv:2607.05238: a single predictor gives the mean of the futures that a context allows, heads that win
    by turns give each of them. The predictors are `openjepa.nets.dynamics.branches.Branches`; z is one-hot. In training
    `predict` may hand over what `Branches.every` gave, for which each head is computed once.
    """

    kind: Literal["mixture"] = "mixture"
    heads: int = Field(8, ge=2, le=1024)
    hidden: int = Field(256, ge=1, le=65_536)
    """Width of the router's one hidden layer; it sees the state alone, and does not shape it."""
    distance: LatentDistance = "cosine"
    """Distance by which the best head is chosen."""
    router: float = Field(1.0, ge=0)
    """Weight of the router's cross-entropy."""
    balance: float = Field(0.0, ge=0)
    """Weight of what keeps heads in use: the divergence from equal shares of the batch's mean soft assignment. The
    paper's counts hard assignments, which no gradient reaches; 0 is among the values it tries."""

    @property
    def of_batch(self) -> bool:
        return self.balance > 0

    def build(self, shape: tuple[int, ...]) -> "MixtureLatent":
        """The latent variable for states of this shape."""
        return MixtureLatent(self, shape)

    def predictor(self, build: Callable[[int], Dynamics]) -> Branches:
        """The heads; `build` makes a predictor for the given count of numbers beside the actions."""
        return Branches([build(0) for _ in range(self.heads)])


class MixtureLatent(Latent):
    """z is one-hot, of K numbers."""

    finite = True

    def __init__(self, config: Mixture, shape: tuple[int, ...]) -> None:
        super().__init__(shape, config.heads, chance=1)
        self.config = config
        self.router = perceptron([torch.Size(shape).numel(), config.hidden, config.heads])

    def infer(
        self, s: Tensor, s_next: Tensor, predict: Predict | None = None, rng: Rng | None = None
    ) -> Inferred:
        if predict is None:
            raise UserError(
                "which head of a mixture was right follows from their predictions: infer needs predict"
            )
        axes, config = len(self.shape), self.config
        with torch.set_grad_enabled(torch.is_grad_enabled() and config.balance > 0):
            options = predict(s, self.enumerate(s)[0])
        apart = distance(options, s_next.unsqueeze(-axes - 1), axes, config.distance)
        best = apart.argmin(-1)
        surprise = F.nll_loss(self._log_probability(s).flatten(0, -2), best.flatten())
        loss, terms = config.router * surprise, {"latent/router": surprise.detach()}
        if config.balance:
            unequal = _imbalance(apart)
            loss, terms["latent/balance"] = loss + config.balance * unequal, unequal.detach()
        share = global_mean(F.one_hot(best, self.width).float().flatten(0, -2).mean(0))
        terms["latent/nats"] = torch.special.entr(share).sum()
        return Inferred(F.one_hot(best, self.width).to(s.dtype), loss, terms)

    def sample(self, n: int, s: Tensor, generator: torch.Generator) -> Tensor:
        probability = self._log_probability(s).exp().flatten(0, -2).cpu()
        draws = torch.multinomial(probability, n, replacement=True, generator=generator)
        return F.one_hot(draws, self.width).to(s).view(*self.before(s), n, self.width)

    def noise(self, count: int, steps: int, generator: torch.Generator) -> Tensor:
        """Shares of the heads' probability, 0..1, spread evenly over the futures: of eight, four meet an even fork's
        either side."""
        order = torch.rand(count, steps, generator=generator).argsort(0)
        return ((order + torch.rand(count, steps, generator=generator)) / count).unsqueeze(-1)

    def settle(self, s: Tensor, noise: Tensor) -> Tensor:
        below = self._log_probability(s).exp().cumsum(-1)[..., :-1]
        return F.one_hot((noise >= below).sum(-1), self.width).to(s.dtype)

    def expected(self, s: Tensor) -> Tensor:
        return self._log_probability(s).exp()

    def penalty(self, s: Tensor, z: Tensor) -> Tensor:
        return -(z * self._log_probability(s).unsqueeze(-2)).sum(-1)

    def enumerate(self, s: Tensor) -> tuple[Tensor, Tensor]:
        every = torch.eye(self.width, dtype=s.dtype, device=s.device)
        return every.expand(*self.before(s), -1, -1), self._log_probability(s)

    def _log_probability(self, s: Tensor) -> Tensor:
        """`[..., K]`."""
        return self.router(s.detach().flatten(-len(self.shape))).log_softmax(-1)


def _imbalance(apart: Tensor) -> Tensor:
    """KL divergence of the mean assignment from equal shares, softened at the scale of the distances `[..., K]`."""
    soft = (-apart / apart.detach().mean()).softmax(-1)
    share = global_mean(soft.flatten(0, -2).mean(0))
    return (share * (share * share.shape[-1]).log()).sum()
