"""Who is fitted, who is validated, who is drawn: stratified by class, from explicit seeds."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from openjepa.errors import UserError
from openjepa.signals.images import ImageSet

Rows = NDArray[np.int64]


class Images(Protocol):
    """What the evaluations need of a data set (`openjepa.signals.images.ImageSet` has it)."""

    shape: tuple[int, int, int]
    labels: Rows | None
    classes: list[str] | None

    def __len__(self) -> int: ...
    def read(self, indices: Sequence[int] | Rows) -> Tensor: ...


def paired_labels(train: Images, test: Images) -> tuple[Rows, Rows, int]:
    """Labels of both sets as 0..K-1 in one numbering, and K.

    Classes are matched by name when both sets name theirs, else by number.

    Raises:
        UserError: labels missing, fewer than two classes or samples, or a test class that train lacks.
    """
    for part, images in (("training", train), ("test", test)):
        if len(images) == 0:
            raise UserError(f"the {part} set is empty; probing needs labelled samples to fit and to test")
        if images.labels is None:
            raise UserError(f"the {part} set has no labels; give one sub-folder per class, or a label array")
    named = bool(train.classes and test.classes)
    ours, theirs = _names(train, named), _names(test, named)
    known, y_train = np.unique(ours, return_inverse=True)
    if len(known) < 2:
        raise UserError(
            f"all {len(train):,} training samples have one label, {known[0]}; a probe needs two classes"
        )
    unknown = np.setdiff1d(theirs, known)
    if len(unknown):
        raise UserError(
            f"the test set has labels that the training set lacks ({_some(unknown)}); it knows {_some(known)}: "
            "use splits of the same classes"
        )
    return y_train.astype(np.int64), np.searchsorted(known, theirs).astype(np.int64), len(known)


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


def fewer(images: ImageSet, most: int, rng: np.random.Generator) -> ImageSet:
    """At most so many labelled images, each class in proportion; a set without labels as it is."""
    if images.labels is None or most >= len(images):
        return images
    return images.subset(stratified(images.labels, most, rng))


def per_class(labels: Rows, count: int, rng: np.random.Generator) -> Rows:
    """Positions of `count` samples of each class, sorted; every class must have as many."""
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    starts = np.searchsorted(labels[order], np.unique(labels))
    return np.sort(np.concatenate([order[s : s + count] for s in starts]))


def hold_out(labels: Rows, size: int, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """(fit, validation) positions; validation has about `size` samples in proportion, fit keeps every class."""
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


def _names(images: Images, named: bool) -> NDArray:
    labels = np.asarray(images.labels)
    if labels.shape != (len(images),):
        raise UserError(
            f"labels have the shape {labels.shape} for {len(images):,} samples; give one number each"
        )
    return np.asarray(images.classes)[labels] if named else labels


def _some(values: NDArray, most: int = 5) -> str:
    shown = ", ".join(str(v) for v in values[:most])
    return shown + (f" and {len(values) - most} more" if len(values) > most else "")
