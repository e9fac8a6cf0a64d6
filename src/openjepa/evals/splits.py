"""Who is fitted, who is validated, who is drawn: stratified by class, whole groups at a time, from explicit seeds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openjepa.errors import UserError
from openjepa.signals.parts import part

Rows = NDArray[np.int64]


def stratified(labels: Rows, size: int, rng: np.random.Generator) -> Rows:
    """Positions of `size` samples, sorted, each class in proportion and, where `size` allows it, at least once.

    Raises:
        UserError: `size` is below the number of classes or above the number of samples.
    """
    classes, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if not len(classes) <= size <= len(labels):
        raise UserError(
            f"cannot draw {size:,} of {len(labels):,} labelled samples with {len(classes)} classes: a draw needs "
            "at least one sample of each class; use a larger share of the labels"
        )
    quota = _apportion(counts, size)
    order = rng.permutation(len(labels))
    order = order[np.argsort(inverse[order], kind="stable")]
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return np.sort(np.concatenate([order[s : s + q] for s, q in zip(starts, quota, strict=True)]))


def fewer(samples: Any, most: int, rng: np.random.Generator) -> Any:
    """At most so many labelled samples, each class in proportion; a set without labels as it is."""
    if samples.labels is None or most >= len(samples):
        return samples
    return part(samples, stratified(strata(samples.labels.values), most, rng))


def strata(values: NDArray) -> Rows:
    """What draws keep in proportion: classes; variables are all of one kind."""
    return np.zeros(len(values), np.int64) if values.dtype.kind == "f" else values


def per_class(labels: Rows, count: int, rng: np.random.Generator) -> Rows:
    """Positions of `count` samples of each class, sorted; every class must have as many."""
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    starts = np.searchsorted(labels[order], np.unique(labels))
    return np.sort(np.concatenate([order[s : s + count] for s in starts]))


def hold_out(
    labels: Rows, size: int, rng: np.random.Generator, groups: Rows | None = None
) -> tuple[Rows, Rows]:
    """(fit, validation) positions; validation has about `size` samples in proportion, fit keeps every class.

    With `groups` each group is on one side; where every group is needed to keep the classes, nothing is held out.
    """
    if groups is not None:
        held = whole_groups(labels, size, rng, groups)
        return np.setdiff1d(np.arange(len(labels)), held), held
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    order = rng.permutation(len(labels))
    order = order[np.argsort(inverse[order], kind="stable")]
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    share = size / len(labels)
    taken = np.minimum(np.round(counts * share).astype(int), counts - 1)
    if not taken.any():
        taken[np.argmax(counts)] = min(1, counts.max() - 1)
    held = np.concatenate([order[s : s + t] for s, t in zip(starts, taken, strict=True)])
    return np.setdiff1d(np.arange(len(labels)), held), np.sort(held)


def whole_groups(labels: Rows, size: int, rng: np.random.Generator, groups: Rows) -> Rows:
    """Positions of whole groups, sorted: about `size` samples, classes in proportion, all of which are left elsewhere.

    Groups come in random order; each is taken that brings the classes' numbers nearer to what is wanted. Where none
    does, the one that misses it least is taken.
    """
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    numbers, member = np.unique(groups, return_inverse=True)
    table = np.zeros((len(numbers), len(counts)))
    np.add.at(table, (member, inverse), 1)
    wanted = counts * size / len(labels)
    taken, have, best, least = [], np.zeros(len(counts)), None, np.inf
    for group in rng.permutation(len(numbers)).tolist():
        more = have + table[group]
        if (more >= counts).any():  # a class would be left without a sample
            continue
        miss = float(np.square(more - wanted).sum())
        if not taken and miss < least:
            best, least = group, miss
        if miss < np.square(have - wanted).sum():
            taken.append(group)
            have = more
    if not taken and best is not None:
        taken = [best]
    return np.flatnonzero(np.isin(member, taken))


def drawn_groups(labels: Rows, size: int, rng: np.random.Generator, groups: Rows) -> Rows:
    """Positions of whole groups, two at least, sorted: about `size` samples, every class among them.

    Raises:
        UserError: groups so large that they hold more than twice as many samples, or fewer than half.
    """
    classes, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    numbers, member = np.unique(groups, return_inverse=True)
    table = np.zeros((len(numbers), len(classes)))
    np.add.at(table, (member, inverse), 1)
    wanted, have, taken = counts * size / len(labels), np.zeros(len(classes)), []
    order = rng.permutation(len(numbers)).tolist()
    for group in order:
        nearer = np.square(have + table[group] - wanted).sum() < np.square(have - wanted).sum()
        if nearer:
            taken.append(group)
            have = have + table[group]
    for group in order:
        new = ((have == 0) & (table[group] > 0)).any()
        if group not in taken and (new or (len(taken) < 2 and have.all())):
            taken.append(group)
            have = have + table[group]
    if not size / 2 <= have.sum() <= 2 * size:
        raise UserError(
            f"{size:,} of {len(labels):,} training labels cannot be drawn without cutting one of {len(numbers):,} "
            f"groups (the nearest draw has {int(have.sum()):,}): use a larger share of the labels, or a number of "
            "examples per class"
        )
    return np.flatnonzero(np.isin(member, taken))


def validation_size(samples: int) -> int:
    """A tenth, but at least 500 (or a third of a small set) and at most 5,000: enough to choose by, cheap to score."""
    return max(1, min(5_000, max(samples // 10, min(500, samples // 3))))


def _apportion(counts: Rows, size: int) -> Rows:
    """Largest-remainder shares of `size`, at least one each, at most `counts`."""
    exact = counts * size / counts.sum()
    quota = np.maximum(1, np.floor(exact).astype(int))
    while quota.sum() > size:  # the guaranteed ones overshoot: take back where there is most above its due
        quota[np.argmax(np.where(quota > 1, quota - exact, -np.inf))] -= 1
    while quota.sum() < size:
        quota[np.argmax(np.where(quota < counts, exact - quota, -np.inf))] += 1
    return quota


def some(values: NDArray | Sequence[Any], most: int = 5) -> str:
    """The first few of them, for a message."""
    shown = ", ".join(str(v) for v in values[:most])
    return shown + (f" and {len(values) - most} more" if len(values) > most else "")
