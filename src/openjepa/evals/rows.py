"""One row of the probe's table: one source of features under every probe and every number of labels."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from openjepa.evals.features import FeatureSource, Joined, LoadedFeatures, Progress, Reader
from openjepa.evals.methods import Chosen, Method, Spaces, best_setting
from openjepa.evals.plan import Amount, Draw, ProbePlan
from openjepa.evals.splits import Rows
from openjepa.evals.table import UNKNOWN, ComputeCost
from openjepa.evals.tasks import Variables, interval, score
from openjepa.signals.base import Samples

FINALISTS = 3
"""Poolings that are tried again on more samples, the widest one besides: what is wide gains most from more."""

Key = tuple[str, Amount, int]
"""Kind of probe, labels, and which draw of them."""


@dataclass(frozen=True)
class Outcome:
    """What one draw gave under one probe."""

    score: float
    chosen: Chosen
    said: str = ""
    """What was chosen, for people."""
    bounds: tuple[float, float] | None = None
    """The 95 % interval's ends, where it is no proportion's of independent samples."""
    each: Mapping[str, float] = field(default_factory=dict)
    """The score of each variable by itself, where it is of several."""


@dataclass
class Row:
    """What one source gave, and its chosen features, for another row to join."""

    source: FeatureSource
    outcomes: dict[Key, Outcome]
    cost: ComputeCost
    fitted: dict[str, LoadedFeatures] = field(default_factory=dict)
    tested: dict[str, LoadedFeatures] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """Chooses, fits and scores for one source of features after another, all alike."""

    train: Samples
    test: Samples
    plan: ProbePlan
    methods: Mapping[str, Method]
    progress: Progress | None = None

    def row(
        self,
        source: FeatureSource,
        device: torch.device,
        *,
        only: Mapping[Key, str] | None = None,
        keep: bool = False,
        cost: ComputeCost = UNKNOWN,
    ) -> Row:
        """All outcomes of one source.

        Args:
            only: the pooling of each draw, instead of all on offer.
            keep: whether the row keeps its chosen features.
            cost: what the source has taken to be fitted, as far as it is known.
        """
        return _Making(self, source, device, only).make(keep, cost)

    def keys(self) -> list[Key]:
        """Every draw under every probe."""
        return [(kind, draw.labels, i) for kind in self.methods for draw, i in numbered(self.plan)]


def numbered(plan: ProbePlan) -> list[tuple[Draw, int]]:
    """All draws, that of all labels first, each with its number among those of as many labels."""
    counts: dict[Amount, int] = {}
    found = []
    for draw in (plan.whole, *plan.draws):
        found.append((draw, counts.setdefault(draw.labels, 0)))
        counts[draw.labels] += 1
    return found


def scored(plan: ProbePlan, guess: Tensor, chosen: Chosen, said: str = "") -> Outcome:
    """What answers for the test set are worth."""
    task, truth = plan.task, plan.y_test
    bounds = None if plan.is_proportion else interval(task, guess, truth, plan.test_groups)
    each = task.each(guess, truth) if isinstance(task, Variables) else {}
    return Outcome(score(task, guess, truth), chosen, said, bounds, each)


class _Making:
    """The stages of one row: choose on some samples, again on more, score the draws, score with all labels."""

    def __init__(
        self, about: Evaluation, source: FeatureSource, device: torch.device, only: Mapping[Key, str] | None
    ) -> None:
        self.about, self.plan, self.source, self.device, self.only = about, about.plan, source, device, only
        self.reader = Reader(source, about.progress)
        self.blocks: Mapping[str, Sequence[int]] = source.blocks if isinstance(source, Joined) else {}

    def make(self, keep: bool, cost: ComputeCost) -> Row:
        plan, train, test = self.plan, self.about.train, self.about.test
        names = self.source.poolings if self.only is None else dict.fromkeys(self.only.values())
        near = self.reader.read(train, plan.near, names)
        ranked = self._ranked(near)
        few = {key: self._first(found) for key, found in ranked.items() if key[1] != Amount()}
        whole, rows, features = self._finally(
            {key: found for key, found in ranked.items() if key[1] == Amount()}, near
        )
        used = dict.fromkeys(chosen.pooling for chosen in (*whole.values(), *few.values()))
        metered = Reader(self.source, self.about.progress)
        tested = metered.read(test, np.arange(len(test)), used)
        outcomes = self._few(few, near, tested)
        winners = dict.fromkeys(chosen.pooling for chosen in whole.values())
        everything = np.arange(len(train))
        fitted = (
            {n: LoadedFeatures(plan.near, _compact(near[n])) for n in used if n not in winners}
            if keep
            else {}
        )
        features = self._grown(features, rows, everything, winners)
        del near
        for key, chosen in whole.items():
            x, q = features[chosen.pooling], tested[chosen.pooling]
            spaces = self._spaces(key[0], chosen.pooling, x)
            outcomes[key] = self._outcome(key, chosen, spaces(x), plan.y_train, spaces(q))
        if keep:
            fitted |= {
                name: LoadedFeatures(everything, _compact(values)) for name, values in features.items()
            }
        held = (
            {n: LoadedFeatures(np.arange(len(test)), _compact(v)) for n, v in tested.items()} if keep else {}
        )
        speed = metered.samples / metered.seconds if metered.seconds > 0 else None
        return Row(self.source, outcomes, replace(cost, per_second=speed), fitted, held)

    def _ranked(self, near: Mapping[str, Tensor]) -> dict[Key, list[Chosen]]:
        """By draw: each pooling with its best setting, in the order of the poolings."""
        found: dict[Key, list[Chosen]] = {}
        work = [(kind, name) for kind in self.about.methods for name in near]
        for done, (kind, name) in enumerate(work):
            tasks = [(d, (kind, d.labels, i)) for d, i in numbered(self.plan)]
            tasks = [(d, key) for d, key in tasks if self.only is None or self.only[key] == name]
            samples = self._spaces(kind, name, near[name])(near[name])
            for draw, key in tasks:
                found.setdefault(key, []).append(self._choice(kind, name, samples, draw))
            if self.about.progress:
                self.about.progress(f"choosing for {self.source.name}", done + 1, len(work))
        return found

    def _choice(self, kind: str, name: str, samples: Spaces, draw: Draw) -> Chosen:
        method = self.about.methods[kind]
        if not draw.splits:
            return Chosen(name, method.default(self.plan.task), math.nan)
        if draw is not self.plan.whole:
            samples = method.compact({space: values[draw.rows] for space, values in samples.items()})
        labels = self.plan.y_train[self.plan.near][draw.rows].to(self.device)
        return best_setting(method, name, samples, labels, draw.splits, self.plan.task)

    def _first(self, found: list[Chosen]) -> Chosen:
        """The best pooling of a draw; the source's default where nothing could be validated."""
        if math.isnan(found[0].score):
            return next((c for c in found if c.pooling == self.source.default), found[0])
        return max(found, key=lambda chosen: chosen.score)

    def _finally(
        self, ranked: Mapping[Key, list[Chosen]], near: dict[str, Tensor]
    ) -> tuple[dict[Key, Chosen], Rows, dict[str, Tensor]]:
        """The best pooling by probe, after another look at the best few with more samples; these and their features."""
        plan = self.plan
        rows, splits = (plan.fine, plan.fine_splits) if len(plan.fine) else (plan.near, plan.whole.splits)
        again = {key: self._finalists(found) for key, found in ranked.items()}
        names = dict.fromkeys(chosen.pooling for found in again.values() for chosen in found)
        features = self._grown(near, plan.near, rows, names)
        labels, best = plan.y_train[rows].to(self.device), {}
        for key, finalists in again.items():
            judged = []
            for first in finalists:
                values, method = features[first.pooling], self.about.methods[key[0]]
                samples = self._spaces(key[0], first.pooling, values)(values)
                judged.append(best_setting(method, first.pooling, samples, labels, splits, plan.task, first))
            best[key] = self._first(judged)
        return best, rows, features

    def _finalists(self, found: list[Chosen]) -> list[Chosen]:
        """Where there are no more samples to judge by, the first alone."""
        best = sorted(found, key=lambda chosen: -chosen.score)
        if not len(self.plan.fine):
            return best[:1]
        widest = max(found, key=lambda chosen: self.source.poolings[chosen.pooling])
        return list(dict.fromkeys([*best[:FINALISTS], widest]))

    def _few(
        self, few: Mapping[Key, Chosen], near: Mapping[str, Tensor], tested: Mapping[str, Tensor]
    ) -> dict[Key, Outcome]:
        draws = {(draw.labels, i): draw for draw, i in numbered(self.plan)}
        y, task, outcomes = self.plan.y_train[self.plan.near], self.plan.task, {}
        for kind, name in dict.fromkeys((key[0], chosen.pooling) for key, chosen in few.items()):
            spaces = self._spaces(kind, name, near[name])
            samples, queries = spaces(near[name]), spaces(tested[name])
            for key, chosen in few.items():
                if (key[0], chosen.pooling) == (kind, name):
                    draw, method = draws[key[1:]], self.about.methods[kind]
                    drawn = {space: values[draw.rows] for space, values in samples.items()}
                    if draw.splits:
                        own, labels = method.compact(drawn), y[draw.rows].to(self.device)
                        chosen = best_setting(method, name, own, labels, draw.splits, task, chosen)
                    outcomes[key] = self._outcome(key, chosen, drawn, y[draw.rows], queries)
        return outcomes

    def _outcome(self, key: Key, chosen: Chosen, fit: Spaces, labels: Tensor, queries: Spaces) -> Outcome:
        method, plan = self.about.methods[key[0]], self.plan
        guess = method.predict(fit, labels.to(self.device), queries, plan.task, chosen)
        said = method.describe(chosen, plan.task)
        return scored(plan, guess.cpu(), replace(chosen, start=None), said)

    def _spaces(self, kind: str, name: str, features: Tensor) -> Callable[[Tensor], Spaces]:
        bring = self.about.methods[kind].spaces(
            features.to(self.device), self.blocks.get(name, ()), self.plan.seed
        )
        return lambda values: bring(values.to(self.device))

    def _grown(
        self, features: Mapping[str, Tensor], rows: Rows, wanted: Rows, names: Iterable[str]
    ) -> dict[str, Tensor]:
        """The named features of `wanted` rows, of which `features` holds those of `rows`."""
        if len(rows) == len(wanted):
            return {name: features[name] for name in names}
        grown = {name: torch.empty(len(wanted), self.source.poolings[name]) for name in names}
        where = torch.from_numpy(np.searchsorted(wanted, rows))
        for name, values in grown.items():
            values[where] = features[name]
        self.reader.fill(self.about.train, np.setdiff1d(wanted, rows), grown, wanted)
        return grown


def _compact(features: Tensor) -> Tensor:
    """At half the memory where the numbers allow it."""
    half = features.half()
    return half if bool(half.isfinite().all()) else features
