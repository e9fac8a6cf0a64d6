"""The two probes on pooled features, as something to choose settings for and then to fit."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from openjepa.evals import regression
from openjepa.evals.probes import (
    STRENGTHS,
    Linear,
    Logistic,
    mean_of,
    neighbours,
    span,
    strength_path,
    vote,
)
from openjepa.evals.regression import Ridge
from openjepa.evals.spaces import COMPONENTS, NEIGHBOUR_DIMS, WHITENED, Components, Standard
from openjepa.evals.splits import Rows
from openjepa.evals.tasks import Classes, LabelTask, merit

Spaces = Mapping[str, Tensor]
"""The same samples `[n, ...]` in each space that a probe works in."""

Setting = float | tuple[str, str]
"""A linear probe's strength; the space and the vote of nearest neighbours."""

Trials = Mapping[Setting, tuple[float, Linear | None]]
"""Merit on validation data by setting (see `openjepa.evals.tasks.merit`), and where the next fit may start."""


@dataclass(frozen=True)
class Chosen:
    """What won on validation data."""

    pooling: str
    setting: Setting
    score: float
    """Merit on validation data; NaN where there was nothing to validate on."""
    start: Linear | None = None
    """A solution to start the next fit from."""


class Method(Protocol):
    """A probe with one setting; the same settings are tried for every kind of features."""

    def default(self, task: LabelTask) -> Setting:
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
        answers: Tensor,
        queries: Spaces,
        truth: Tensor,
        task: LabelTask,
        near: Chosen | None = None,
    ) -> Trials:
        """A coarse grid of settings; with `near`, an earlier choice, all settings about that one."""
        ...

    def predict(
        self, fit: Spaces, answers: Tensor, queries: Spaces, task: LabelTask, chosen: Chosen
    ) -> Tensor: ...

    def describe(self, chosen: Chosen, task: LabelTask) -> str: ...


class LinearProbe:
    """Logistic regression, whose setting is its strength C, or for numbers ridge regression and its penalty."""

    def default(self, task: LabelTask) -> Setting:
        return 1.0 if isinstance(task, Classes) else 1e-2

    def spaces(self, features: Tensor, blocks: Sequence[int], seed: int) -> Callable[[Tensor], Spaces]:
        standard = Standard.of(features, blocks)
        return lambda values: {"standardised": standard(values)}

    def compact(self, samples: Spaces) -> Spaces:
        x = samples["standardised"]
        return {"standardised": x @ span(x)} if 2 * len(x) < x.shape[1] else samples

    def trials(
        self,
        fit: Spaces,
        answers: Tensor,
        queries: Spaces,
        truth: Tensor,
        task: LabelTask,
        near: Chosen | None = None,
    ) -> Trials:
        x, v = (s["standardised"] for s in (fit, queries))
        if not isinstance(task, Classes):
            ridge, strengths = Ridge(x, answers), regression.STRENGTHS
            return {s: (merit(task, ridge.predict(v, s), truth), None) for s in strengths}
        strengths, start = STRENGTHS[1::2], None
        if near is not None:
            place, start = STRENGTHS.index(self._strength(near)), near.start
            strengths = STRENGTHS[max(0, place - 1) : place + 2]
        problem = Logistic(x, answers, task.count, task.weights(answers))
        return {**strength_path(problem, lambda s: merit(task, s.predict(v), truth), strengths, start=start)}

    def predict(
        self, fit: Spaces, answers: Tensor, queries: Spaces, task: LabelTask, chosen: Chosen
    ) -> Tensor:
        x, q, strength = fit["standardised"], queries["standardised"], self._strength(chosen)
        if not isinstance(task, Classes):
            return Ridge(x, answers).predict(q, strength)
        start = chosen.start if chosen.start and chosen.start.weight.shape[1] == x.shape[1] else None
        problem = Logistic(x, answers, task.count, task.weights(answers))
        return problem.solve(strength, start=start).predict(q)

    def describe(self, chosen: Chosen, task: LabelTask) -> str:
        called = "C" if isinstance(task, Classes) else "penalty"
        return f"{chosen.pooling}, {called}={self._strength(chosen):g}"

    def _strength(self, chosen: Chosen) -> float:
        assert isinstance(chosen.setting, float)
        return chosen.setting


@dataclass(frozen=True)
class NeighbourProbe:
    """k nearest neighbours by cosine, among the features or in their whitened space, by plain or weighted vote or mean.

    Features of more than 1,536 dimensions are seen through their 768 principal components.
    """

    k: int

    def default(self, task: LabelTask) -> Setting:
        return "standardised", "weighted"  # of one sample a class, the nearest decides

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
        answers: Tensor,
        queries: Spaces,
        truth: Tensor,
        task: LabelTask,
        near: Chosen | None = None,
    ) -> Trials:
        found: dict[Setting, tuple[float, Linear | None]] = {}
        for space, keys in fit.items():
            similarity, rows = neighbours(keys, queries[space], self.k)
            for kind in ("plain", "weighted"):
                found[space, kind] = (
                    merit(task, self._answer(similarity, rows, answers, task, kind), truth),
                    None,
                )
        return found

    def predict(
        self, fit: Spaces, answers: Tensor, queries: Spaces, task: LabelTask, chosen: Chosen
    ) -> Tensor:
        space, kind = self._choice(chosen)
        similarity, rows = neighbours(fit[space], queries[space], self.k)
        return self._answer(similarity, rows, answers, task, kind)

    def _answer(
        self, similarity: Tensor, rows: Tensor, answers: Tensor, task: LabelTask, kind: str
    ) -> Tensor:
        weighted = kind == "weighted"
        if not isinstance(task, Classes):
            return mean_of(similarity, answers[rows], weighted=weighted)
        weights = task.weights(answers)
        return vote(similarity, answers[rows], task.count, weighted=weighted, weights=weights)

    def describe(self, chosen: Chosen, task: LabelTask) -> str:
        space, kind = self._choice(chosen)
        how = "vote" if isinstance(task, Classes) else "mean"
        return f"{chosen.pooling}, {space}, {self.k} neighbours, {kind} {how}"

    def _choice(self, chosen: Chosen) -> tuple[str, str]:
        assert isinstance(chosen.setting, tuple)
        return chosen.setting


def best_setting(
    method: Method,
    pooling: str,
    samples: Spaces,
    answers: Tensor,
    splits: Sequence[tuple[Rows, Rows]],
    task: LabelTask,
    near: Chosen | None = None,
) -> Chosen:
    """The setting with the best mean merit over the splits' validation parts; ties go to the first.

    Args:
        samples: what `method.spaces` gives.
        splits: (fit, validation) positions in `samples` and `answers`.
    """
    trials = []
    for fit, held in splits:
        x, v = ({name: s[rows] for name, s in samples.items()} for rows in (fit, held))
        trials.append(method.trials(x, answers[fit], v, answers[held], task, near))
    shared = [setting for setting in trials[0] if all(setting in trial for trial in trials)]
    scores = {s: sum(trial[s][0] for trial in trials) / len(trials) for s in shared}
    best = max(shared, key=scores.__getitem__)
    return Chosen(pooling, best, scores[best], trials[0][best][1])
