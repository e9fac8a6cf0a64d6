"""How far a prediction is from its target. Each maps two `[..., D]` tensors to their mean distance, a scalar."""

from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from openjepa.config import Choice


class L1(Choice):
    """Mean absolute difference (V-JEPA)."""

    kind: Literal["l1"] = "l1"

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        return F.l1_loss(prediction, target)


class L2(Choice):
    """Mean squared difference (the I-JEPA paper, LeJEPA)."""

    kind: Literal["l2"] = "l2"

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(prediction, target)


class SmoothL1(Choice):
    """Quadratic below `beta`, linear above (I-JEPA's released code, beta 1)."""

    kind: Literal["smooth-l1"] = "smooth-l1"
    beta: float = Field(1.0, gt=0)

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        return F.smooth_l1_loss(prediction, target, beta=self.beta)


class Cosine(Choice):
    """One minus the cosine of the angle, in 0..2."""

    kind: Literal["cosine"] = "cosine"

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        return 1 - F.cosine_similarity(prediction, target, dim=-1).mean()


Energy = Annotated[L1 | L2 | SmoothL1 | Cosine, Field(discriminator="kind")]
