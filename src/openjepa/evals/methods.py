"""The two probes on pooled features, as something to choose settings for and then to fit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from openjepa.evals.probes import (
    Linear,
    Logistic,
    accuracy,
    neighbours,
    standardise_,
    strength_path,
    vote,
)
from openjepa.evals.splits import Rows

Labelled = tuple[Tensor, Tensor]
"""Standardised features `[n, d]` and labels `[n]`."""


@dataclass(frozen=True)
class Chosen:
    """What won on validation data."""

    pooling: str
    setting: float
    score: float
    start: Linear | None
    """A solution to start the final fit from."""


class Method(Protocol):
    """A probe with one setting."""

    @property
    def max_dims(self) -> int: ...

    def trials(
        self, fit: Labelled, validation: Labelled, classes: int
    ) -> Mapping[float, tuple[float, Linear | None]]:
        """Validation accuracy by setting, and where the final fit may start."""
        ...

    def predict(self, fit: Labelled, queries: Tensor, classes: int, chosen: Chosen) -> Tensor: ...
    def describe(self, chosen: Chosen) -> str: ...


class LinearProbe:
    """Logistic regression; the setting is its strength C."""

    max_dims: ClassVar[int] = 2**31

    def trials(
        self, fit: Labelled, validation: Labelled, classes: int
    ) -> Mapping[float, tuple[float, Linear | None]]:
        return strength_path(fit, validation, classes)

    def predict(self, fit: Labelled, queries: Tensor, classes: int, chosen: Chosen) -> Tensor:
        return Logistic(*fit, classes).solve(chosen.setting, start=chosen.start).predict(queries)

    def describe(self, chosen: Chosen) -> str:
        return f"{chosen.pooling}, C={chosen.setting:g}"


@dataclass(frozen=True)
class NeighbourProbe:
    """k nearest neighbours; the setting is 1 for weighted votes, 0 for plain majority."""

    k: int
    max_dims: ClassVar[int] = 1536  # the cost is samples x queries x dimensions

    def trials(
        self, fit: Labelled, validation: Labelled, classes: int
    ) -> Mapping[float, tuple[float, Linear | None]]:
        similarity, rows = neighbours(fit[0], validation[0], self.k)
        return {
            float(weighted): (
                accuracy(vote(similarity, fit[1][rows], classes, weighted=weighted), validation[1]),
                None,
            )
            for weighted in (False, True)
        }

    def predict(self, fit: Labelled, queries: Tensor, classes: int, chosen: Chosen) -> Tensor:
        similarity, rows = neighbours(fit[0], queries, self.k)
        return vote(similarity, fit[1][rows], classes, weighted=bool(chosen.setting))

    def describe(self, chosen: Chosen) -> str:
        return f"{chosen.pooling}, {self.k} neighbours, {'weighted' if chosen.setting else 'plain'} vote"


def choose(
    method: Method,
    features: Mapping[str, Tensor],
    labels: Tensor,
    splits: list[tuple[Rows, Rows]],
    classes: int,
    device: torch.device,
) -> Chosen:
    """The pooling and setting with the best mean accuracy over the splits' validation parts; ties go to the first.

    Args:
        features: `[n, d]` by pooling, cheapest first; the first is always tried, others up to `method.max_dims`.
        labels: `[n]`.
        splits: (fit, validation) positions.
    """
    best: Chosen | None = None
    for pooling, values in features.items():
        if best is not None and values.shape[1] > method.max_dims:
            continue
        trials = []
        for fit, held in splits:
            x, v = values[fit].to(device), values[held].to(device)
            standardise_(x, v)
            y_fit, y_held = labels[fit].to(device), labels[held].to(device)
            trials.append(method.trials((x, y_fit), (v, y_held), classes))
        for setting, (_, start) in trials[0].items():
            if not all(setting in trial for trial in trials):
                continue
            score = sum(trial[setting][0] for trial in trials) / len(trials)
            if best is None or score > best.score:
                best = Chosen(pooling, setting, score, start)
    assert best is not None, "no features to choose from"
    return best
