"""The evaluation: a model, the same encoder at random initialisation, and raw pixels, under the same probes.

What is chosen (pooling, strength, vote) is chosen on a validation part of the training labels, for each row of the
table by itself; the final fit uses all training samples, the validation part included; test labels only score.
Choosing needs few samples: at most 10,000 to fit and 5,000 to validate. Few-label scores choose inside their own
draw and never look at another label. Every image is encoded once.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from openjepa.errors import UserError
from openjepa.evals.attentive import AttentiveClassifier, fit_attentive
from openjepa.evals.features import Encoded, Encoder, Pixels, Progress, Source, device_of, read
from openjepa.evals.methods import Chosen, LinearProbe, Method, NeighbourProbe, choose
from openjepa.evals.plan import Plan, make_plan
from openjepa.evals.probes import NEIGHBOURS, accuracy, standardise_
from openjepa.evals.splits import Images, Rows
from openjepa.evals.table import INITIALISATIONS, ProbeTable, Score

Kind = Literal["linear", "knn", "attentive"]

TOKENS_IN_MEMORY = 2**30  # bytes; above, the attentive probe encodes every epoch anew

Cell = tuple[str, float]
"""Kind of probe, and share of the labels."""
Result = list[tuple[float, str]]
"""Accuracy and what was chosen: one, or one per draw."""


def probe(
    model: Encoder,
    train: Images,
    test: Images,
    *,
    kinds: Sequence[Kind] = ("linear", "knn"),
    random_init: Callable[[int], Encoder] | None = None,
    seeds: Sequence[int] = (0,),
    few_label: Sequence[float] = (),
    draws: int = 5,
    validation: Rows | None = None,
    seed: int = 0,
    k: int = NEIGHBOURS,
    batch_size: int = 256,
    name: str = "the model",
    progress: Progress | None = None,
) -> ProbeTable:
    """Score frozen features of `model` on labelled images, beside random initialisation and raw pixels.

    Args:
        model: a trained encoder.
        train: labelled images to fit on.
        test: labelled images of the same classes.
        kinds: the probes: `linear`, `knn`, `attentive` (the last on tokens only, minutes on a CPU).
        random_init: builds the same encoder, untrained, from a seed; without it that row is left out.
        seeds: of the random initialisations; several give the mean over them.
        few_label: shares of the training labels, e.g. `(0.01, 0.1)`, scored besides all of them.
        draws: stratified draws per share.
        validation: rows of `train` to choose by; by default a stratified tenth (at least 500, at most 5,000).
        seed: of every split and draw and of the attentive probe.
        k: neighbours that vote.
        name: what errors call the model.
        progress: called as (what, done, total).

    Raises:
        UserError: labels missing, one class only, classes of `test` unknown to `train`, a share that draws fewer
            than two samples per class, NaN features, or an unknown probe.
    """
    if unknown := [kind for kind in kinds if kind not in get_args(Kind)]:
        raise UserError(f"unknown probe {unknown[0]!r}; choose from {', '.join(get_args(Kind))}")
    if not seeds or draws < 1:
        raise UserError(f"seeds={list(seeds)} and draws={draws}: give at least one of each")
    plan = make_plan(train, test, validation, few_label, draws, seed)

    def encoded(encoder: Encoder, called: str) -> Encoded:
        return Encoded(encoder, train, name=called, batch_size=batch_size, progress=progress)

    rows: dict[str, Iterable[Source]] = {"model": [encoded(model, name)]}
    if random_init is not None:  # built one at a time, when its turn comes
        rows["random init"] = (encoded(random_init(s), f"random init {s}") for s in seeds)
    rows["raw pixels"] = [Pixels(train)]
    scores = []
    for row, sources in rows.items():
        found = [_Evaluation(source, train, test, plan).run(kinds, k, progress) for source in sources]
        scores += [_score(row, cell, [f[cell] for f in found], len(test)) for cell in found[0]]
    return ProbeTable(scores)


class _Evaluation:
    """All cells of one row of the table, for one source of features."""

    def __init__(self, source: Source, train: Images, test: Images, plan: Plan) -> None:
        self.source, self.train, self.test, self.plan = source, train, test, plan
        self.device = device_of(source.model) if isinstance(source, Encoded) else torch.device("cpu")

    def run(self, kinds: Sequence[str], k: int, progress: Progress | None) -> dict[Cell, Result]:
        available: dict[str, Method] = {"linear": LinearProbe(), "knn": NeighbourProbe(k)}
        methods = {kind: available[kind] for kind in kinds if kind in available}
        results = self._pooled(methods) if methods else {}
        if "attentive" in kinds and isinstance(self.source, Encoded):
            results["attentive", 1.0] = [(self._attentive(self.source, progress), "")]
        shares = (1.0, *sorted(self.plan.draws, reverse=True))
        order = [(kind, share) for share in shares for kind in kinds]
        return {cell: results[cell] for cell in order if cell in results}

    def _pooled(self, methods: dict[str, Method]) -> dict[Cell, Result]:
        plan = self.plan
        near, y = read(self.source, self.train, plan.near, self.source.poolings), plan.y_train[plan.near]
        whole = {
            kind: choose(m, near, y, plan.splits, plan.classes, self.device) for kind, m in methods.items()
        }
        few: dict[Cell, list[Chosen]] = {}
        for share, draws in plan.draws.items():
            for rows, splits in draws:
                drawn = {pooling: features[rows] for pooling, features in near.items()}
                for kind, method in methods.items():
                    chosen = choose(method, drawn, y[rows], splits, plan.classes, self.device)
                    few.setdefault((kind, share), []).append(chosen)
        used = {c.pooling for c in (*whole.values(), *(c for chosen in few.values() for c in chosen))}
        tested = read(self.source, self.test, np.arange(len(self.test)), used)
        results: dict[Cell, Result] = {}
        for (kind, share), chosen in few.items():
            results[kind, share] = [
                self._fit(methods[kind], c, near[c.pooling][rows], y[rows], tested[c.pooling].clone())
                for c, (rows, _) in zip(chosen, plan.draws[share], strict=True)
            ]
        return results | self._on_all(methods, whole, near, tested)

    def _on_all(
        self,
        methods: dict[str, Method],
        whole: dict[str, Chosen],
        near: dict[str, Tensor],
        tested: dict[str, Tensor],
    ) -> dict[Cell, Result]:
        """Fit on all training labels. Empties `near` and standardises in place: these are the largest tensors here."""
        plan, names = self.plan, list(dict.fromkeys(chosen.pooling for chosen in whole.values()))
        full = {name: torch.empty(len(self.train), self.source.poolings[name]) for name in names}
        for name in names:
            full[name][plan.near] = near[name]
        near.clear()
        rest = np.setdiff1d(np.arange(len(self.train)), plan.near)
        for rows, features in self.source.stream(self.train, rest, names):
            for name, values in features.items():
                full[name][rows] = values
        results: dict[Cell, Result] = {}
        for kind, chosen in whole.items():
            x, t = full[chosen.pooling], tested[chosen.pooling]  # standardising a second time changes nothing
            results[kind, 1.0] = [self._fit(methods[kind], chosen, x, plan.y_train, t)]
        return results

    def _fit(
        self, method: Method, chosen: Chosen, x: Tensor, y: Tensor, queries: Tensor
    ) -> tuple[float, str]:
        """Standardises `x` and `queries` in place."""
        x, queries = x.to(self.device), queries.to(self.device)
        standardise_(x, queries)
        predicted = method.predict((x, y.to(self.device)), queries, self.plan.classes, chosen)
        return accuracy(predicted.cpu(), self.plan.y_test), method.describe(chosen)

    def _attentive(self, source: Encoded, progress: Progress | None) -> float:
        plan, everything = self.plan, np.arange(len(self.train))
        held: Tensor | None = None
        if len(self.train) * source.tokens * source.dim * 2 <= TOKENS_IN_MEMORY:
            held = torch.cat([source.read_tokens(self.train, r).half() for r in _batches(everything, source)])

        def tokens(rows: Rows) -> Tensor:
            return source.read_tokens(self.train, rows) if held is None else held[rows].float()

        classifier: AttentiveClassifier = fit_attentive(
            tokens,
            plan.y_train,
            source.dim,
            plan.classes,
            seed=plan.seed,
            device=self.device,
            progress=progress,
        )
        predicted = []
        with torch.no_grad():
            for rows in _batches(np.arange(len(self.test)), source):
                predicted.append(
                    classifier(source.read_tokens(self.test, rows).to(self.device)).argmax(1).cpu()
                )
        return accuracy(torch.cat(predicted), plan.y_test)


def _batches(rows: Rows, source: Encoded) -> list[Rows]:
    return np.array_split(rows, math.ceil(len(rows) / source.batch_size))


def _score(row: str, cell: Cell, results: list[Result], tested: int) -> Score:
    """One cell from one encoder (its draws are the repetitions) or from several random initialisations."""
    (kind, share), choices = cell, tuple(choice for result in results for _, choice in result if choice)
    values = [[value for value, _ in result] for result in results]
    if len(values) == 1:
        over = "draws of the labels" if len(values[0]) > 1 else ""
        return Score(row, kind, share, tuple(values[0]), tested, over, choices)
    means = tuple(math.fsum(v) / len(v) for v in values)
    return Score(row, kind, share, means, tested, INITIALISATIONS, choices)
