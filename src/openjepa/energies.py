"""How far a prediction is from its target."""

from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from openjepa.config import Choice, OneOf


class EnergyChoice(Choice):
    """What all energies are: a distance of two tensors `[..., D]`, of each token, `[...]`, or its mean."""

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The energy of each token, `[...]`."""
        raise NotImplementedError

    def mean(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The mean energy over all tokens, a scalar."""
        return self(prediction, target).mean()


class L1(EnergyChoice):
    """Mean absolute difference (V-JEPA)."""

    kind: Literal["l1"] = "l1"

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        return (prediction - target).abs().mean(-1)

    def mean(self, prediction: Tensor, target: Tensor) -> Tensor:
        return F.l1_loss(prediction, target)


class L2(EnergyChoice):
    """Mean squared difference (the I-JEPA paper, LeJEPA)."""

    kind: Literal["l2"] = "l2"

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        return (prediction - target).square().mean(-1)

    def mean(self, prediction: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(prediction, target)


class SmoothL1(EnergyChoice):
    """Quadratic below `beta`, linear above (I-JEPA's released code, beta 1)."""

    kind: Literal["smooth-l1"] = "smooth-l1"
    beta: float = Field(1.0, gt=0)

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        return F.smooth_l1_loss(prediction, target, beta=self.beta, reduction="none").mean(-1)

    def mean(self, prediction: Tensor, target: Tensor) -> Tensor:
        return F.smooth_l1_loss(prediction, target, beta=self.beta)


class Cosine(EnergyChoice):
    """One minus the cosine of the angle, in 0..2.

    Examples:
        >>> import torch
        >>> Cosine()(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])).tolist()
        [1.0]
    """

    kind: Literal["cosine"] = "cosine"

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        return 1 - F.cosine_similarity(prediction, target, dim=-1)

    def mean(self, prediction: Tensor, target: Tensor) -> Tensor:
        return 1 - F.cosine_similarity(prediction, target, dim=-1).mean()


Energy = Annotated[L1 | L2 | SmoothL1 | Cosine, OneOf("energy")]
