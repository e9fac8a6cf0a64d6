"""Which samples choose, which are drawn for few-label scores: fixed before any feature is read.

Where samples have groups (speaker, subject, recording), none is on both sides of a split that chooses something, and a
share of the labels is drawn as whole groups. Where the data come with folds, each of them validates in turn.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from openjepa.errors import UserError, warn
from openjepa.evals.splits import (
    Rows,
    drawn_groups,
    hold_out,
    per_class,
    some,
    strata,
    stratified,
    validation_size,
)
from openjepa.evals.tasks import Classes, LabelTask, task_of
from openjepa.signals.base import Samples

COARSE_FIT = 10_000  # samples to fit on while every pooling is tried
FINE_FIT = 25_000  # and while the best of them are: what wins with few samples need not win with many
FEW = 2_000  # below, one validation split is too noisy: the mean over several chooses

Splits = list[tuple[Rows, Rows]]
"""(fit, validation) positions."""


FEW_GROUPS = 100  # and so it is below, whatever the number of samples


@dataclass(frozen=True, order=True)
class Amount:
    """How many training labels a score uses."""

    share: float = 1.0
    """0..1"""
    per_class: int = 0
    """Examples of each class; 0: drawn by share."""


@dataclass(frozen=True)
class Draw:
    """Samples whose labels a score uses."""

    labels: Amount
    rows: Rows
    """Positions in `ProbePlan.near`, rising."""
    splits: Splits
    """Positions in `rows`; empty where nothing can be validated."""


@dataclass(frozen=True)
class ProbePlan:
    """Which samples fit, validate and test; rows are those of the training set."""

    task: LabelTask
    y_train: Tensor
    y_test: Tensor
    test_groups: Rows | None
    near: Rows
    """What choices and draws are made from, rising."""
    whole: Draw
    """How the score with all labels chooses first; its rows are all of `near`."""
    fine: Rows
    """What it chooses on at last, rising, `near`'s first choice among them; empty for a small set."""
    fine_splits: Splits
    """Positions in `fine`."""
    draws: list[Draw]
    seed: int
    notes: list[str] = field(default_factory=list)

    @property
    def is_proportion(self) -> bool:
        """Whether a score is a share of independent test samples."""
        return isinstance(self.task, Classes) and not self.task.balanced and self.test_groups is None


def make_plan(
    train: Samples,
    test: Samples,
    validation: Rows | None,
    few_label: Sequence[int | float],
    draws: int,
    seed: int,
    per_class_counts: Sequence[int] = (),
    task: LabelTask | None = None,
) -> ProbePlan:
    """Draws and splits from the labels and the seed alone.

    Args:
        few_label: whole numbers are examples per class, as `per_class_counts` are; others shares.

    Raises:
        UserError: see `openjepa.evals.probe`.
    """
    task, y_train, y_test = (task or task_of(train)).answers(train, test)
    of, notes = _Of.the(train, y_train), _shared_groups(train, test)
    labels, classes = of.labels, of.classes
    n, rng = len(labels), np.random.default_rng([seed, 0])
    wanted = [x for x in few_label if isinstance(x, int)]
    sizes = {share: _draw_size(share, n, classes) for share in few_label if not isinstance(share, int)}
    if validation is None:
        fit, held = of.hold_out(validation_size(n), rng)
    else:
        held = np.unique(validation)
        fit = np.setdiff1d(np.arange(n), held)
        of.check_apart(fit, held)
    if len(held) == 0 or len(np.unique(labels[fit])) < classes:
        raise UserError(
            f"{n:,} training samples of {classes} classes {of.grouped}leave nothing to validate on: give at least two "
            f"{of.noun} of a class, and keep every class outside the validation rows"
        )
    limit = max(COARSE_FIT, *sizes.values(), 0)
    fine = fit
    if len(fit) > limit:
        fit = fit[stratified(labels[fit], limit, rng)]
    near = np.union1d(fit, held)
    splits = [_positions(near, fit, held)]
    if validation is None:
        splits = of.part(near).splits(rng) if of.few else splits
    near_of = of.part(near)
    drawn = []
    for share, size in sizes.items():
        for i in range(draws):
            random = np.random.default_rng([seed, 1, size, i])
            rows = near_of.draw(size, random)
            drawn.append(Draw(Amount(share), rows, near_of.part(rows).quarters(random)))
    counts, more = _fitting(list(dict.fromkeys([*wanted, *per_class_counts])), labels[near], classes, task)
    for count in counts:
        for i in range(draws):
            random = np.random.default_rng([seed, 2, count, i])
            rows = per_class(labels[near], count, random)
            parts = near_of.part(rows).quarters(random) if count > 1 else []
            drawn.append(Draw(Amount(count * classes / n, count), rows, parts))
    if len(fine) > len(fit):
        rest = np.setdiff1d(fine, fit)
        most = min(len(rest), max(0, FINE_FIT - len(fit)))
        added = rest if most == len(rest) else np.sort(rng.choice(rest, most, replace=False))
        fine = np.union1d(fit, added)
    fine_rows = np.union1d(fine, held) if len(fine) > len(fit) else np.empty(0, np.int64)
    fine_splits = [_positions(fine_rows, fine, held)] if len(fine_rows) else []
    whole = Draw(Amount(), np.arange(len(near)), splits)
    tested = None if test.labels is None else test.labels.groups
    return ProbePlan(
        task, y_train, y_test, tested, near, whole, fine_rows, fine_splits, drawn, seed, [*notes, *more]
    )


@dataclass(frozen=True)
class _Of:
    """What splits and draws of some samples must respect: classes, groups, folds."""

    labels: Rows
    """Strata: classes, or zeros."""
    groups: Rows | None
    folds: Rows | None

    @classmethod
    def the(cls, train: Samples, y_train: Tensor) -> "_Of":
        """Of a whole set."""
        given = train.labels
        groups, folds = (None, None) if given is None else (given.groups, given.folds)
        of = cls(strata(y_train.numpy()), groups, folds)
        for fold in () if folds is None else np.unique(folds):
            of.check_apart(np.flatnonzero(folds != fold), np.flatnonzero(folds == fold))
        return of

    @property
    def classes(self) -> int:
        return len(np.unique(self.labels))

    @property
    def few(self) -> bool:
        """Whether one split is too noisy to choose by."""
        if self.folds is not None or len(self.labels) < FEW:
            return True
        return self.groups is not None and len(np.unique(self.groups)) < FEW_GROUPS

    @property
    def noun(self) -> str:
        return "samples" if self.groups is None else "groups"

    @property
    def grouped(self) -> str:
        return "" if self.groups is None else f"in {len(np.unique(self.groups)):,} groups "

    def part(self, rows: Rows) -> "_Of":
        """The same, of some of the samples."""
        groups, folds = (None if part is None else part[rows] for part in (self.groups, self.folds))
        return _Of(self.labels[rows], groups, folds)

    def hold_out(self, size: int, rng: np.random.Generator) -> tuple[Rows, Rows]:
        """(fit, validation) positions: the first fold that leaves every class, or a draw of about `size`."""
        by_fold = self._by_fold()
        return by_fold[0] if by_fold else hold_out(self.labels, size, rng, self.groups)

    def draw(self, size: int, rng: np.random.Generator) -> Rows:
        """Positions of about `size` samples."""
        if self.groups is None:
            return stratified(self.labels, size, rng)
        return drawn_groups(self.labels, size, rng, self.groups)

    def splits(self, rng: np.random.Generator) -> Splits:
        """Each fold in turn, or several draws of a quarter."""
        return self._by_fold() or self.quarters(rng)

    def quarters(self, rng: np.random.Generator) -> Splits:
        """One split with a quarter for validation, four of them for a small set; none where none is possible.

        A sample of each class where it can be.
        """
        n = len(self.labels)
        size = max(n // 4, min(self.classes, n // 2))
        found = [hold_out(self.labels, size, rng, self.groups) for _ in range(4 if self.few else 1)]
        return [(fit, held) for fit, held in found if len(held)]

    def check_apart(self, fit: Rows, held: Rows) -> None:
        """Raises UserError where a group is on both sides."""
        shared = [] if self.groups is None else np.intersect1d(self.groups[fit], self.groups[held])
        if len(shared):
            raise UserError(
                f"the validation rows or folds cut {len(shared):,} groups ({some(shared)}): keep all samples of a "
                "group on one side"
            )

    def _by_fold(self) -> Splits:
        if self.folds is None:
            return []
        parts = [
            (np.flatnonzero(self.folds != f), np.flatnonzero(self.folds == f)) for f in np.unique(self.folds)
        ]
        return [(fit, held) for fit, held in parts if len(np.unique(self.labels[fit])) == self.classes]


def _shared_groups(train: Samples, test: Samples) -> list[str]:
    """A warning, and a note for the table, where test samples are of groups that were trained on."""
    ours, theirs = (None if s.labels is None else s.labels.groups for s in (train, test))
    if ours is None or theirs is None or not len(shared := np.intersect1d(ours, theirs)):
        return []
    names = (None if train.labels is None else train.labels.group_names) or {}
    called = [names.get(group, group) for group in shared.tolist()]
    told = (
        f"{len(shared):,} of the test set's {len(np.unique(theirs)):,} groups are in the training set too "
        f"({some(called)}): scores tell little of new groups; split the data by group."
    )
    warn(told)
    return [told[0].upper() + told[1:]]


def _positions(among: Rows, fit: Rows, held: Rows) -> tuple[Rows, Rows]:
    return np.searchsorted(among, fit), np.searchsorted(among, held)


def _fitting(
    counts: Sequence[int], labels: Rows, classes: int, task: LabelTask
) -> tuple[list[int], list[str]]:
    """The numbers of examples per class that every class has, and a sentence about the others."""
    if counts and not isinstance(task, Classes):
        raise UserError(
            f"{counts[0]} few labels are so many of each class, and {task.name} have none: give a share, such as 0.1"
        )
    if wrong := [count for count in counts if count < 1]:
        raise UserError(f"few_label={wrong[0]}: draw at least one example of each class, e.g. 10")
    least = int(np.bincount(labels, minlength=classes).min())
    good, bad = ([c for c in counts if (c <= least) == fits] for fits in (True, False))
    notes = [
        f"No score with {count} examples per class: the smallest class has {least} to draw from."
        for count in bad
    ]
    if 1 in good:
        notes.append(
            "With 1 example per class nothing is left to validate on: the default pooling, C=1, nearest neighbour."
        )
    return good, notes


def _draw_size(share: float, samples: int, classes: int) -> int:
    if not 0 < share < 1:
        raise UserError(
            f"few_label={share:g} is neither a share of the labels between 0 and 1, such as 0.01 for 1 %, nor a whole "
            "number of examples per class"
        )
    size = round(share * samples)
    if size < 2 * classes:
        raise UserError(
            f"{share:.3g} of {samples:,} training labels is {size}, fewer than two for each of {classes} classes; "
            f"use a share of at least {math.ceil(2000 * classes / samples) / 1000:g}"
        )
    return size
