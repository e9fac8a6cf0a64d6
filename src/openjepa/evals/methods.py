"""The two probes on pooled features, as something to choose settings for and then to fit."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from openjepa.evals.probes import (
    STRENGTHS,
    Linear,
    Logistic,
    accuracy,
    neighbours,
    span,
    strength_path,
    vote,
)
from openjepa.evals.spaces import COMPONENTS, NEIGHBOUR_DIMS, WHITENED, Components, Standard
from openjepa.evals.splits import Rows

Spaces = Mapping[str, Tensor]
"""The same samples `[n, ...]` in each space that a probe works in."""

Setting = float | tuple[str, str]
"""A linear probe's strength; the space and the vote of nearest neighbours."""

Trials = Mapping[Setting, tuple[float, Linear | None]]
"""Validation accuracy by setting, and where the next fit may start."""


@dataclass(frozen=True)
class Chosen:
    """What won on validation data."""

    pooling: str
    setting: Setting
    score: float
    """Validation accuracy; NaN where there was nothing to validate on."""
    start: Linear | None = None
    """A solution to start the next fit from."""


class Method(Protocol):
    """A probe with one setting; the same settings are tried for every kind of features."""

    @property
    def default(self) -> Setting:
        """The setting where nothing can be validated."""
        ...

    def spaces(self, features: Tensor, blocks: Sequence[int], seed: int) -> Callable[[Tensor], Spaces]:
        """Learned from unlabelled features `[n, d]`: what brings such features into the probe's spaces."""
        ...

    def compact(self, samples: Spaces) -> Spaces:
        """An equivalent of few samples, for trials among themselves."""
        ...

    def trials(
        self,
        fit: Spaces,
        labels: Tensor,
        queries: Spaces,
        truth: Tensor,
        classes: int,
        near: Chosen | None = None,
    ) -> Trials:
        """A coarse grid of settings; with `near`, an earlier choice, all settings about that one."""
        ...

    def predict(
        self, fit: Spaces, labels: Tensor, queries: Spaces, classes: int, chosen: Chosen
    ) -> Tensor: ...

    def describe(self, chosen: Chosen) -> str: ...


class LinearProbe:
    """Logistic regression; the setting is its strength C."""

    default: Setting = 1.0

    def spaces(self, features: Tensor, blocks: Sequence[int], seed: int) -> Callable[[Tensor], Spaces]:
        standard = Standard.of(features, blocks)
        return lambda values: {"standardised": standard(values)}

    def compact(self, samples: Spaces) -> Spaces:
        x = samples["standardised"]
        return {"standardised": x @ span(x)} if 2 * len(x) < x.shape[1] else samples

    def trials(
        self,
        fit: Spaces,
        labels: Tensor,
        queries: Spaces,
        truth: Tensor,
        classes: int,
        near: Chosen | None = None,
    ) -> Trials:
        strengths, start = STRENGTHS[1::2], None
        if near is not None:
            place, start = STRENGTHS.index(self._strength(near)), near.start
            strengths = STRENGTHS[max(0, place - 1) : place + 2]
        x, v = (s["standardised"] for s in (fit, queries))
        return {**strength_path((x, labels), (v, truth), classes, strengths, start=start)}

    def predict(self, fit: Spaces, labels: Tensor, queries: Spaces, classes: int, chosen: Chosen) -> Tensor:
        x = fit["standardised"]
        start = chosen.start if chosen.start and chosen.start.weight.shape[1] == x.shape[1] else None
        return (
            Logistic(x, labels, classes)
            .solve(self._strength(chosen), start=start)
            .predict(queries["standardised"])
        )

    def describe(self, chosen: Chosen) -> str:
        return f"{chosen.pooling}, C={self._strength(chosen):g}"

    def _strength(self, chosen: Chosen) -> float:
        assert isinstance(chosen.setting, float)
        return chosen.setting


@dataclass(frozen=True)
class NeighbourProbe:
    """k nearest neighbours by cosine, among the features or in their whitened space, by plain or weighted vote.

    Features of more than 1,536 dimensions are seen through their 768 principal components.
    """

    k: int
    default: Setting = ("standardised", "weighted")  # of one sample a class, the nearest decides

    def spaces(self, features: Tensor, blocks: Sequence[int], seed: int) -> Callable[[Tensor], Spaces]:
        standard = Standard.of(features, blocks)
        wide = features.shape[1] > NEIGHBOUR_DIMS
        components = Components.of(standard(features), COMPONENTS if wide else WHITENED, seed)

        def bring(values: Tensor) -> Spaces:
            x = standard(values)
            coordinates = components.project(x)
            return {
                "standardised": coordinates if wide else x,
                "whitened": components.whiten(coordinates),
            }

        return bring

    def compact(self, samples: Spaces) -> Spaces:
        return samples

    def trials(
        self,
        fit: Spaces,
        labels: Tensor,
        queries: Spaces,
        truth: Tensor,
        classes: int,
        near: Chosen | None = None,
    ) -> Trials:
        found: dict[Setting, tuple[float, Linear | None]] = {}
        for space, keys in fit.items():
            similarity, rows = neighbours(keys, queries[space], self.k)
            for kind in ("plain", "weighted"):
                guess = vote(similarity, labels[rows], classes, weighted=kind == "weighted")
                found[space, kind] = accuracy(guess, truth), None
        return found

    def predict(self, fit: Spaces, labels: Tensor, queries: Spaces, classes: int, chosen: Chosen) -> Tensor:
        space, kind = self._choice(chosen)
        similarity, rows = neighbours(fit[space], queries[space], self.k)
        return vote(similarity, labels[rows], classes, weighted=kind == "weighted")

    def describe(self, chosen: Chosen) -> str:
        space, kind = self._choice(chosen)
        return f"{chosen.pooling}, {space}, {self.k} neighbours, {kind} vote"

    def _choice(self, chosen: Chosen) -> tuple[str, str]:
        assert isinstance(chosen.setting, tuple)
        return chosen.setting


def best_setting(
    method: Method,
    pooling: str,
    samples: Spaces,
    labels: Tensor,
    splits: Sequence[tuple[Rows, Rows]],
    classes: int,
    near: Chosen | None = None,
) -> Chosen:
    """The setting with the best mean accuracy over the splits' validation parts; ties go to the first.

    Args:
        samples: what `method.spaces` gives.
        splits: (fit, validation) positions in `samples` and `labels`.
    """
    trials = []
    for fit, held in splits:
        x, v = ({name: s[rows] for name, s in samples.items()} for rows in (fit, held))
        trials.append(method.trials(x, labels[fit], v, labels[held], classes, near))
    shared = [setting for setting in trials[0] if all(setting in trial for trial in trials)]
    scores = {s: sum(trial[s][0] for trial in trials) / len(trials) for s in shared}
    best = max(shared, key=scores.__getitem__)
    return Chosen(pooling, best, scores[best], trials[0][best][1])
