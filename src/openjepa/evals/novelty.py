"""Which samples are unlike all that was trained on: distances in feature space, with a stated rate of false alarms.

A sample's distance is that to its tenth nearest training sample (Sun et al. 2022, arXiv:2204.06507), here in a whitened
space of principal components beside which what they leave out is one coordinate more: features that leave the
training data's plane are far, too. Its rarity is the share of held-out training samples that are at least as far
(conformal p-values: Bates et al. 2023, Annals of Statistics 51): of new samples like these, a share a has a rarity of
at most a. These are held out in whole groups, so that the rate is that of new people where samples have groups.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from openjepa.evals.spaces import Components, Standard
from openjepa.evals.splits import Rows

FALSE_ALARMS = 0.05
"""Share of samples like the training samples that is called unlike them."""
NEAREST = 10
FOLDS = 5
REFERENCES = 10_000
"""Training samples that distances are measured to, at most."""
WIDEST = 128
"""Principal components, at most; and a fourth of the samples at most."""
FLOOR = 0.01
"""Of the mean variance, which is added to each: what hardly varies in few samples does not count for all."""


@dataclass(frozen=True, eq=False)
class NoveltyDetector:
    """Distances to training samples, and those of held-out ones to compare with.

    Attributes:
        space: of the features.
        reference: `[m, k]`, training samples in it.
        held_out: `[c]`, rising, the distances of training samples from the others.
    """

    space: "WhitenedSpace"
    reference: Tensor
    held_out: Tensor

    @classmethod
    def of(cls, features: Tensor, groups: Rows | None = None, seed: int = 0) -> "NoveltyDetector":
        """Of training features `[n, d]`: five times a fifth of them (whole groups) is held out from the others."""
        rng = np.random.default_rng([seed, 11])
        rows = np.sort(rng.permutation(len(features))[:REFERENCES])
        x = features[torch.from_numpy(rows)]
        kept = np.arange(len(rows)) if groups is None else np.unique(groups[rows], return_inverse=True)[1]
        numbers = rng.permutation(int(kept.max()) + 1)
        fold = numbers[kept] % min(FOLDS, len(numbers))
        if len(numbers) < 2:  # one group alone
            return cls._with(x, x.new_empty(0))
        parts = [torch.from_numpy(fold == number) for number in np.unique(fold)]
        dims = _dims(len(x) - max(int(held.sum()) for held in parts))
        found = [cls._between(x[~held], x[held], dims) for held in parts]
        return cls._with(x, torch.cat(found), dims)

    @classmethod
    def held_apart(cls, features: Tensor, held_out: Tensor, seed: int = 0) -> "NoveltyDetector":
        """Of features `[n, d]` of what the model has learned, and `[c, d]` of samples that were held out from it."""
        rows = np.random.default_rng([seed, 11]).permutation(len(features))[:REFERENCES]
        x = features[torch.from_numpy(np.sort(rows))]
        return cls._with(x, cls._between(x, held_out))

    @classmethod
    def _between(cls, x: Tensor, held: Tensor, dims: int | None = None) -> Tensor:
        space = WhitenedSpace.of(x, dims or _dims(len(x)))
        return _distance(space(x), space(held))

    @classmethod
    def _with(cls, x: Tensor, held_out: Tensor, dims: int | None = None) -> "NoveltyDetector":
        """Of as many dimensions as the held-out distances are of: distances grow with them."""
        space = WhitenedSpace.of(x, dims or _dims(len(x)))
        return cls(space, space(x), held_out.sort().values)

    def distances(self, features: Tensor) -> Tensor:
        """`[n]` of `[n, d]`."""
        return _distance(self.reference, self.space(features))

    def rarity(self, distances: Tensor) -> Tensor:
        """`[n]` in (0, 1]: the share of held-out training samples that are at least as far, the sample counted in."""
        nearer = torch.searchsorted(self.held_out, distances.contiguous())
        count = len(self.held_out)
        return (count - nearer + 1).double() / (count + 1)

    @property
    def least_rate(self) -> float:
        """The smallest rate of false alarms that so many held-out samples can tell."""
        return 1 / (len(self.held_out) + 1)

    def tensors(self) -> dict[str, Tensor]:
        """All of it, by name."""
        return {"reference": self.reference, "held_out": self.held_out, **self.space.tensors()}

    @classmethod
    def restored(cls, tensors: Mapping[str, Tensor]) -> "NoveltyDetector":
        """What `tensors` were of."""
        return cls(WhitenedSpace.restored(tensors), tensors["reference"], tensors["held_out"])


@dataclass(frozen=True, eq=False)
class WhitenedSpace:
    """Principal components of standardised features, each of variance 1 or less, and what they leave out."""

    standard: Standard
    components: Components
    rest: Tensor
    """A scalar: the mean square that is left out."""

    @classmethod
    def of(cls, features: Tensor, dims: int) -> "WhitenedSpace":
        """Learned from `[n, d]`; at most so many components."""
        standard = Standard.of(features.float())
        x = standard(features.float())
        components = Components.of(x, dims)
        left = (x - components.mean).square().sum(1) - components.project(x).square().sum(1)
        floor = FLOOR * x.var(0, correction=0).mean()
        return cls(standard, components, left.clamp_min(0).mean() + floor)

    def __call__(self, features: Tensor) -> Tensor:
        """`[n, k + 1]`."""
        x = self.standard(features.float())
        coordinates = self.components.project(x)
        left = (x - self.components.mean).square().sum(1) - coordinates.square().sum(1)
        scale = (self.components.power + FLOOR * self.components.power.mean()).rsqrt()
        return torch.cat([coordinates * scale, (left.clamp_min(0) / self.rest).sqrt()[:, None]], 1)

    def tensors(self) -> dict[str, Tensor]:
        """All of it, by name."""
        return {
            "mean": self.standard.mean,
            "factor": self.standard.factor,
            "centre": self.components.mean,
            "directions": self.components.directions,
            "power": self.components.power,
            "rest": self.rest,
        }

    @classmethod
    def restored(cls, tensors: Mapping[str, Tensor]) -> "WhitenedSpace":
        """What `tensors` were of."""
        components = Components(tensors["centre"], tensors["directions"], tensors["power"])
        return cls(Standard(tensors["mean"], tensors["factor"]), components, tensors["rest"])


def _dims(samples: int) -> int:
    """Principal components that so many samples can tell."""
    return max(1, min(WIDEST, samples // 4))


def _distance(reference: Tensor, queries: Tensor, chunk: int = 1024) -> Tensor:
    """`[q]` to the tenth nearest of `[m, k]`, or the farthest where there are fewer."""
    count = min(NEAREST, len(reference))
    parts = [torch.cdist(part, reference).kthvalue(count, 1).values for part in queries.split(chunk)]
    return torch.cat(parts) if parts else reference.new_empty(0)


def alarm_rate(rarity: Tensor, stated: float) -> float:
    """The share of samples that are called unlike the training samples; NaN of none."""
    return float((rarity <= stated).double().mean()) if len(rarity) else math.nan
