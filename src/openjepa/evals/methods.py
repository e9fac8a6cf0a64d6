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
    whiten,
)
from openjepa.evals.splits import Rows

Labelled = tuple[Tensor, Tensor]
"""Standardised features `[n, d]` and labels `[n]`."""


Setting = float | tuple[str, str]
"""A linear probe's strength; the space and the vote of nearest neighbours."""


@dataclass(frozen=True)
class Chosen:
    """What won on validation data."""

    pooling: str
    setting: Setting
    score: float
    start: Linear | None
    """A solution to start the final fit from."""


class Method(Protocol):
    """A probe with one setting."""

    @property
    def max_dims(self) -> int: ...

    def trials(
        self, fit: Labelled, validation: Labelled, classes: int
    ) -> Mapping[Setting, tuple[float, Linear | None]]:
        """Validation accuracy by setting, and where the final fit may start."""
        ...

    def predict(self, fit: Labelled, queries: Tensor, classes: int, chosen: Chosen) -> Tensor: ...
    def describe(self, chosen: Chosen) -> str: ...


class LinearProbe:
    """Logistic regression; the setting is its strength C."""

    max_dims: ClassVar[int] = 2**31

    def trials(
        self, fit: Labelled, validation: Labelled, classes: int
    ) -> Mapping[Setting, tuple[float, Linear | None]]:
        return {**strength_path(fit, validation, classes)}

    def predict(self, fit: Labelled, queries: Tensor, classes: int, chosen: Chosen) -> Tensor:
        return Logistic(*fit, classes).solve(self._strength(chosen), start=chosen.start).predict(queries)

    def describe(self, chosen: Chosen) -> str:
        return f"{chosen.pooling}, C={self._strength(chosen):g}"

    def _strength(self, chosen: Chosen) -> float:
        assert isinstance(chosen.setting, float)
        return chosen.setting


@dataclass(frozen=True)
class NeighbourProbe:
    """k nearest neighbours by cosine, among the features or in their whitened space, by plain or weighted vote."""

    k: int
    max_dims: ClassVar[int] = 1536  # the cost is samples x queries x dimensions

    def trials(
        self, fit: Labelled, validation: Labelled, classes: int
    ) -> Mapping[Setting, tuple[float, Linear | None]]:
        found: dict[Setting, tuple[float, Linear | None]] = {}
        for space, (keys, queries) in {
            "standardised": (fit[0], validation[0]),
            "whitened": whiten(fit[0], validation[0]),
        }.items():
            similarity, rows = neighbours(keys, queries, self.k)
            for kind in ("plain", "weighted"):
                guess = vote(similarity, fit[1][rows], classes, weighted=kind == "weighted")
                found[space, kind] = accuracy(guess, validation[1]), None
        return found

    def predict(self, fit: Labelled, queries: Tensor, classes: int, chosen: Chosen) -> Tensor:
        space, kind = self._choice(chosen)
        keys = fit[0]
        if space == "whitened":
            keys, queries = whiten(keys, queries)
        similarity, rows = neighbours(keys, queries, self.k)
        return vote(similarity, fit[1][rows], classes, weighted=kind == "weighted")

    def describe(self, chosen: Chosen) -> str:
        space, kind = self._choice(chosen)
        return f"{chosen.pooling}, {space}, {self.k} neighbours, {kind} vote"

    def _choice(self, chosen: Chosen) -> tuple[str, str]:
        assert isinstance(chosen.setting, tuple)
        return chosen.setting


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
