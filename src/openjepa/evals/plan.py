"""Which samples choose, which are drawn for few-label scores: fixed before any feature is read."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from openjepa.errors import UserError
from openjepa.evals.splits import (
    Images,
    Rows,
    hold_out,
    paired_labels,
    per_class,
    stratified,
    validation_size,
)

COARSE_FIT = 10_000  # samples to fit on while every pooling is tried
FINE_FIT = 25_000  # and while the best of them are: what wins with few samples need not win with many
FEW = 2_000  # below, one validation split is too noisy: the mean over several chooses

Splits = list[tuple[Rows, Rows]]
"""(fit, validation) positions."""


@dataclass(frozen=True, order=True)
class Labels:
    """How many training labels a score uses."""

    share: float = 1.0
    """0..1"""
    per_class: int = 0
    """Examples of each class; 0: drawn by share."""


@dataclass(frozen=True)
class Draw:
    """Samples whose labels a score uses."""

    labels: Labels
    rows: Rows
    """Positions in `Plan.near`, rising."""
    splits: Splits
    """Positions in `rows`; empty where nothing can be validated."""


@dataclass(frozen=True)
class Plan:
    """Who is used for what; rows are those of the training set."""

    y_train: Tensor
    y_test: Tensor
    classes: int
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


def make_plan(
    train: Images,
    test: Images,
    validation: Rows | None,
    few_label: Sequence[float],
    draws: int,
    seed: int,
    per_class_counts: Sequence[int] = (),
) -> Plan:
    """Draws and splits from the labels and the seed alone.

    Raises:
        UserError: see `openjepa.evals.probe`.
    """
    y_train, y_test, classes = paired_labels(train, test)
    n, rng = len(y_train), np.random.default_rng([seed, 0])
    sizes = {share: _draw_size(share, n, classes) for share in few_label}
    if validation is None:
        fit, held = hold_out(y_train, validation_size(n), rng)
    else:
        held = np.unique(validation)
        fit = np.setdiff1d(np.arange(n), held)
    if len(held) == 0 or len(np.unique(y_train[fit])) < classes:
        raise UserError(
            f"{n:,} training samples of {classes} classes leave nothing to validate on: give at least two samples of a "
            "class, and keep every class outside the validation rows"
        )
    limit = max(COARSE_FIT, *sizes.values(), 0)
    fine = fit
    if len(fit) > limit:
        fit = fit[stratified(y_train[fit], limit, rng)]
    near = np.union1d(fit, held)
    splits = [_positions(near, fit, held)]
    if validation is None and n < FEW:
        splits = _splits(y_train[near], rng)
    drawn = [
        Draw(Labels(share), *_draw(y_train[near], size, np.random.default_rng([seed, 1, size, i])))
        for share, size in sizes.items()
        for i in range(draws)
    ]
    counts, notes = _fitting(per_class_counts, y_train[near], classes)
    for count in counts:
        for i in range(draws):
            random = np.random.default_rng([seed, 2, count, i])
            rows = per_class(y_train[near], count, random)
            parts = _splits(y_train[near][rows], random) if count > 1 else []
            drawn.append(Draw(Labels(count * classes / n, count), rows, parts))
    if len(fine) > len(fit):
        rest = np.setdiff1d(fine, fit)
        more = min(len(rest), max(0, FINE_FIT - len(fit)))
        added = rest if more == len(rest) else np.sort(rng.choice(rest, more, replace=False))
        fine = np.union1d(fit, added)
    fine_rows = np.union1d(fine, held) if len(fine) > len(fit) else np.empty(0, np.int64)
    fine_splits = [_positions(fine_rows, fine, held)] if len(fine_rows) else []
    whole = Draw(Labels(), np.arange(len(near)), splits)
    return Plan(
        *(torch.from_numpy(y) for y in (y_train, y_test)),
        classes, near, whole, fine_rows, fine_splits, drawn, seed, notes,
    )  # fmt: skip


def _positions(among: Rows, fit: Rows, held: Rows) -> tuple[Rows, Rows]:
    return np.searchsorted(among, fit), np.searchsorted(among, held)


def _fitting(counts: Sequence[int], labels: Rows, classes: int) -> tuple[list[int], list[str]]:
    """The numbers of examples per class that every class has, and a sentence about the others."""
    if wrong := [count for count in counts if count < 1]:
        raise UserError(f"per_class={wrong[0]}: draw at least one example of each class, e.g. 10")
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
            f"few_label={share:g} is not a share of the labels between 0 and 1, such as 0.01 for 1 %"
        )
    size = round(share * samples)
    if size < 2 * classes:
        raise UserError(
            f"{share:.3g} of {samples:,} training labels is {size}, fewer than two for each of {classes} classes; "
            f"use a share of at least {math.ceil(2000 * classes / samples) / 1000:g}"
        )
    return size


def _draw(labels: Rows, size: int, rng: np.random.Generator) -> tuple[Rows, Splits]:
    rows = stratified(labels, size, rng)
    return rows, _splits(labels[rows], rng)


def _splits(labels: Rows, rng: np.random.Generator) -> Splits:
    """One split with a quarter for validation, four of them for a small set; a sample of each class where it can be."""
    size = max(len(labels) // 4, min(len(np.unique(labels)), len(labels) // 2))
    return [hold_out(labels, size, rng) for _ in range(4 if len(labels) < FEW else 1)]
