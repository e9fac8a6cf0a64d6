"""The evaluation: a model beside classical features and random initialisation, and what it adds to the best of these.

Every row is treated alike: the same settings are tried for all. What is chosen (pooling, strength, vote) is chosen on
a validation part of the training labels, for each row by itself: first among all poolings with at most 10,000 samples
to fit and 5,000 to validate, then among the best few with 25,000. The final fit uses all training samples, the
validation part included; test labels only score. Few-label scores choose inside their own draw and never look at
another label; means, deviations and principal components are those of the unlabelled training samples.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from openjepa.errors import UserError
from openjepa.evals.attentive import fit_attentive, padded
from openjepa.evals.features import (
    Classical,
    EncodedFeatures,
    FrozenEncoder,
    Joined,
    LoadedFeatures,
    Progress,
    device_of,
)
from openjepa.evals.methods import Chosen, LinearProbe, Method, NeighbourProbe
from openjepa.evals.plan import Amount, make_plan
from openjepa.evals.probes import NEIGHBOURS
from openjepa.evals.rows import Evaluation, Key, Outcome, Row, scored
from openjepa.evals.splits import Rows
from openjepa.evals.table import (
    DRAWS,
    INITIALISATIONS,
    JOINED,
    RANDOM,
    UNKNOWN,
    ComputeCost,
    ProbeTable,
    Score,
    mean_each,
)
from openjepa.evals.tasks import Coming, LabelTask
from openjepa.signals.base import Samples
from openjepa.signals.classical import FixedFeatures

Kind = Literal["linear", "knn", "attentive"]

TOKENS_IN_MEMORY = 2**30  # bytes; above, the attentive probe encodes every epoch anew

Cell = tuple[str, Amount]
"""Kind of probe, and how many labels."""


def probe(
    model: FrozenEncoder | None,
    train: Samples,
    test: Samples,
    *,
    kinds: Sequence[Kind] = ("linear", "knn"),
    classical: str | Sequence[Classical] = "all",
    task: LabelTask | None = None,
    cuts: bool = False,
    random_init: Callable[[int], FrozenEncoder] | None = None,
    seeds: Sequence[int] = (0,),
    few_label: Sequence[int | float] = (),
    per_class: Sequence[int] = (),
    draws: int = 5,
    validation: Rows | None = None,
    seed: int = 0,
    k: int = NEIGHBOURS,
    batch_size: int = 256,
    cost: ComputeCost = UNKNOWN,
    name: str = "the model",
    progress: Progress | None = None,
) -> ProbeTable:
    """Score frozen features of `model` on labelled samples, beside classical features and random initialisation.

    Rows, in this order: each kind of classical features; `random init`; `model`; `model + best classical`, the model's
    chosen features beside those of the classical row that validates best, each standardised and of equal weight.

    Args:
        model: a trained encoder; `None`: the classical rows alone.
        train: labelled samples to fit on; those of one group (see `openjepa.signals.base.Labels`) stay together
            wherever something is chosen.
        test: labelled samples of the same classes, of groups that `train` lacks.
        kinds: the probes: `linear`, `knn`, `attentive` (the last on tokens only, minutes on a CPU).
        classical: features beside the model's, such as the signal names (`Signal.classical`) or of your own; of images
            also by level, `all` (raw pixels, HOG and a k-means dictionary of patches; minutes on a CPU), `quick`
            (without the dictionary) or `none`.
        task: what is asked; by default the classes that the labels are, or where they are floating numbers the
            variables. See `openjepa.evals.tasks`.
        cuts: whether the models' features are means over several cuts of each sample, which `samples.cuts` gives.
        random_init: builds the same encoder, untrained, from a seed; without it that row is left out.
        seeds: of the random initialisations; several give the mean over them.
        few_label: what is scored besides all training labels: shares of them, e.g. `(0.01, 0.1)`, and whole numbers of
            examples of each class, e.g. `(10, 1)`; a note says where a class has fewer.
        per_class: more of the latter.
        draws: stratified draws per share and per number of examples.
        validation: rows of `train` to choose by; by default the folds that `train` comes with, else a stratified tenth
            (at least 500, at most 5,000), of few samples or groups several times a quarter.
        seed: of every split, draw, projection and dictionary, and of the attentive probe.
        k: neighbours that vote.
        cost: what the model has taken to be trained, for the table.
        name: what errors call the model.
        progress: called as (what, done, total).

    Raises:
        UserError: labels missing, one class only, classes of `test` unknown to `train`, a share that draws fewer
            than two samples per class or cannot be drawn without cutting a group, validation rows that cut one, NaN
            features, or an unknown probe or level.
    """
    if not seeds:
        raise UserError("seeds=[]: give at least one random initialisation")
    beside = Comparison(
        train,
        test,
        kinds=kinds,
        classical=classical,
        task=task,
        cuts=cuts,
        few_label=few_label,
        per_class=per_class,
        draws=draws,
        validation=validation,
        seed=seed,
        k=k,
        batch_size=batch_size,
        progress=progress,
    )
    if model is None:
        return beside.alone()
    return beside.table(model, random_init=random_init, seeds=seeds, cost=cost, name=name)


class Comparison:
    """What models are compared with on one pair of sets: made once, however many models follow. See `probe`."""

    def __init__(
        self,
        train: Samples,
        test: Samples,
        *,
        kinds: Sequence[Kind] = ("linear", "knn"),
        classical: str | Sequence[Classical] = "all",
        task: LabelTask | None = None,
        cuts: bool = False,
        few_label: Sequence[int | float] = (),
        per_class: Sequence[int] = (),
        draws: int = 5,
        validation: Rows | None = None,
        seed: int = 0,
        k: int = NEIGHBOURS,
        batch_size: int = 256,
        progress: Progress | None = None,
    ) -> None:
        if unknown := [kind for kind in kinds if kind not in get_args(Kind)]:
            raise UserError(f"unknown probe {unknown[0]!r}; choose from {', '.join(get_args(Kind))}")
        if draws < 1:
            raise UserError(f"draws={draws}: give at least one")
        self.kinds, self.seed, self.batch_size = kinds, seed, batch_size
        self.cuts = cuts
        self.classical = _of_images(classical) if isinstance(classical, str) else classical
        plan = make_plan(train, test, validation, few_label, draws, seed, per_class, task)
        available: dict[str, Method] = {"linear": LinearProbe(), "knn": NeighbourProbe(k)}
        methods = {str(kind): available[kind] for kind in kinds if kind in available}
        self.about = Evaluation(train, test, plan, methods, progress)
        self._rows: list[tuple[str, Row]] | None = None

    def alone(self) -> ProbeTable:
        """The classical rows."""
        table = _Table(self.kinds, self.about)
        for name, row in (*self._plain(), *self.rows()):
            table.add(name, [row])
        return table.done()

    def table(
        self,
        model: FrozenEncoder,
        *,
        random_init: Callable[[int], FrozenEncoder] | None = None,
        seeds: Sequence[int] = (0,),
        cost: ComputeCost = UNKNOWN,
        name: str = "the model",
        keep: Callable[[EncodedFeatures, Outcome], None] | None = None,
    ) -> ProbeTable:
        """All rows for one model; `keep` is given its features and what the linear probe came to with all labels."""
        ours = self._encoded(model, name)  # a broken model is named before minutes are spent on the others
        table, best = _Table(self.kinds, self.about), _Best()
        for called, row in self._plain():
            table.add(called, [row])
        for called, row in self.rows():
            table.add(called, [row])
            best.see(row)
        if random_init is not None:  # built one at a time, when its turn comes
            untrained = (self._encoded(random_init(s), f"random init {s}") for s in seeds)
            table.add(RANDOM, [self._row(source, keep=False, cost=ComputeCost(0.0)) for source in untrained])
        row = self._row(ours, keep=bool(best.outcomes), cost=cost)
        table.add("model", [row])
        if keep is not None:
            keep(ours, row.outcomes["linear", Amount(), 0])
        if best.outcomes:
            table.add(JOINED, [_joined(self.about, row, best, device_of(model))])
        return table.done()

    def rows(self) -> list[tuple[str, Row]]:
        """The classical rows by name, made when they are first asked for."""
        if self._rows is None:
            self._rows = [self._classical(kind) for kind in self.classical] if self.about.methods else []
        return self._rows

    def _plain(self) -> list[tuple[str, Row]]:
        """Answers that the task knows without a fit (`Coming.plain`): one score, with all labels."""
        plan, kinds = self.about.plan, [kind for kind in self.kinds if kind in self.about.methods]
        if not isinstance(plan.task, Coming) or not kinds:
            return []
        rows = []
        for name, guess in plan.task.plain(self.about.test).items():
            outcome = scored(plan, guess, Chosen(name, 0.0, math.nan))
            source = FixedFeatures(name, {}, {})
            rows.append((name, Row(source, {(kinds[0], Amount(), 0): outcome}, ComputeCost(0.0))))
        return rows

    def _classical(self, kind: Classical) -> tuple[str, Row]:
        train, begun = self.about.train, time.process_time()
        total = len(train) + len(self.about.test)
        source = kind.fit(train, total=total, seed=self.seed, progress=self.about.progress)
        spent = (time.process_time() - begun) / 60
        return kind.name, self.about.row(source, torch.device("cpu"), keep=True, cost=ComputeCost(spent))

    def _encoded(self, encoder: FrozenEncoder, called: str) -> EncodedFeatures:
        about = self.about
        return EncodedFeatures(
            encoder, about.train, name=called, batch_size=self.batch_size, seed=self.seed, cuts=self.cuts
        )

    def _row(self, source: EncodedFeatures, *, keep: bool, cost: ComputeCost) -> Row:
        about, device = self.about, device_of(source.model)
        row = Row(source, {}, cost)
        if about.methods:
            row = about.row(source, device, keep=keep, cost=cost)
        if "attentive" in self.kinds:
            nothing = Chosen("tokens", 0.0, math.nan)
            row.outcomes["attentive", Amount(), 0] = scored(
                about.plan, _attentive(about, source, device), nothing
            )
        return row


def _of_images(level: str) -> Sequence[Classical]:
    from openjepa.signals.images.classical import classical  # only for sets of images, whose levels are named

    return classical(level)


class _Best:
    """The classical row with the best validation score, draw by draw."""

    def __init__(self) -> None:
        self.outcomes: dict[Key, tuple[Outcome, Row]] = {}

    def see(self, row: Row) -> None:
        """Without validation the last row counts: they come cheapest first."""
        for key, outcome in row.outcomes.items():
            before = self.outcomes.get(key)
            if before is None or not before[0].chosen.score >= outcome.chosen.score:
                self.outcomes[key] = outcome, row


def _joined(about: Evaluation, model: Row, best: _Best, device: torch.device) -> Row:
    """The model's choice beside the best classical row's, for each draw of each probe."""
    only: dict[Key, str] = {}
    fitted: dict[str, tuple[LoadedFeatures, LoadedFeatures]] = {}
    tested: dict[str, tuple[LoadedFeatures, LoadedFeatures]] = {}
    for key, (theirs, row) in best.outcomes.items():
        ours = model.outcomes[key].chosen.pooling
        called = f"{ours} + {row.source.name}, {theirs.chosen.pooling}"
        only[key] = called
        fitted[called] = model.fitted[ours], row.fitted[theirs.chosen.pooling]
        tested[called] = model.tested[ours], row.tested[theirs.chosen.pooling]
    parts = {id(row): row.cost.minutes for row in (model, *(row for _, row in best.outcomes.values()))}
    known = [minutes for minutes in parts.values() if minutes is not None]
    cost = ComputeCost(sum(known) if len(known) == len(parts) else None)
    return about.row(Joined(JOINED, about.train, fitted, tested), device, only=only, cost=cost)


class _Table:
    """Scores and costs, row by row."""

    def __init__(self, kinds: Sequence[str], about: Evaluation) -> None:
        plan, self.about = about.plan, about
        amounts = dict.fromkeys(draw.labels for draw in plan.draws)
        shares = sorted((x for x in amounts if not x.per_class), reverse=True)
        counts = sorted((x for x in amounts if x.per_class), reverse=True)
        self.cells: list[Cell] = [(kind, x) for x in (Amount(), *shares, *counts) for kind in kinds]
        self.scores: list[Score] = []
        self.costs: dict[str, ComputeCost] = {}
        self.notes = list(plan.notes)

    def add(self, name: str, rows: Sequence[Row]) -> None:
        """A row from one source, or from several random initialisations."""
        for cell in self.cells:
            results = [[o for key, o in row.outcomes.items() if key[:2] == cell] for row in rows]
            if all(results):
                self.scores.append(_score(name, cell, results, self.about))
        self.costs[name] = rows[0].cost
        self.notes += rows[0].source.notes

    def done(self) -> ProbeTable:
        return ProbeTable(self.scores, self.notes, self.costs, self.about.train.noun)


def _attentive(about: Evaluation, source: EncodedFeatures, device: torch.device) -> Tensor:
    """Answers for the test set; of several cuts of a sample the mean."""
    plan, train, test = about.plan, about.train, about.test
    held: tuple[Tensor, Tensor | None] | None = None
    if len(train) * source.tokens * source.dim * 2 <= TOKENS_IN_MEMORY:
        parts = [source.read_tokens(train, r) for r in _batches(np.arange(len(train)), source)]
        held = padded([(tokens.half(), valid) for tokens, valid in parts])

    def tokens(rows: Rows) -> tuple[Tensor, Tensor | None]:
        if held is None:
            return source.read_tokens(train, rows)
        return held[0][rows].float(), None if held[1] is None else held[1][rows]

    answer = fit_attentive(
        tokens, plan.y_train, source.dim, plan.task, seed=plan.seed, device=device, progress=about.progress
    )
    found = []
    for rows in _batches(np.arange(len(test)), source):
        found.append(answer(list(source.tokens_of_cuts(test, rows))))
    return torch.cat(found)


def _batches(rows: Rows, source: EncodedFeatures) -> list[Rows]:
    return np.array_split(rows, math.ceil(len(rows) / source.batch_size))


def _score(row: str, cell: Cell, results: list[list[Outcome]], about: Evaluation) -> Score:
    """One cell from one source (its draws are the repetitions) or from several random initialisations."""
    (kind, amount), choices = cell, tuple(o.said for result in results for o in result if o.said)
    plan, tested = about.plan, len(about.test)
    task, groups = plan.task, plan.test_groups
    values = [[o.score for o in result] for result in results]
    bounds = None
    if len(values) == 1:
        means, over = tuple(values[0]), DRAWS if len(values[0]) > 1 else ""
        bounds = results[0][0].bounds if len(values[0]) == 1 else None
    else:
        means, over = tuple(math.fsum(v) / len(v) for v in values), INITIALISATIONS
    return Score(
        row,
        kind,
        amount.share,
        means,
        tested,
        over,
        choices,
        amount.per_class,
        task.name,
        task.metric,
        task.higher,
        bounds,
        0 if groups is None else len(np.unique(groups)),
        mean_each([o.each for result in results for o in result]),
    )
