"""Which samples choose, which are drawn for few-label scores: fixed before any feature is read."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from openjepa.errors import UserError
from openjepa.evals.splits import Images, Rows, hold_out, paired_labels, stratified, validation_size

CHOOSE_FIT = 10_000  # samples to fit on while choosing
FEW = 2_000  # below, one validation split is too noisy: the mean over several chooses


@dataclass(frozen=True)
class Plan:
    """Who is used for what; rows are those of the training set."""

    y_train: Tensor
    y_test: Tensor
    classes: int
    near: Rows
    """What choices and draws are made from, rising."""
    splits: list[tuple[Rows, Rows]]
    """(fit, validation) as positions in `near`."""
    draws: dict[float, list[tuple[Rows, list[tuple[Rows, Rows]]]]]
    """By share: the draw as positions in `near`, and (fit, validation) splits as positions in the draw."""
    seed: int


def make_plan(
    train: Images, test: Images, validation: Rows | None, few_label: Sequence[float], draws: int, seed: int
) -> Plan:
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
    limit = max(CHOOSE_FIT, *sizes.values(), 0)
    if len(fit) > limit:
        fit = fit[stratified(y_train[fit], limit, rng)]
    near = np.union1d(fit, held)
    splits = [(np.searchsorted(near, fit), np.searchsorted(near, held))]
    if validation is None and n < FEW:
        splits = _splits(y_train[near], rng)
    drawn = {
        share: [_draw(y_train[near], size, np.random.default_rng([seed, 1, size, i])) for i in range(draws)]
        for share, size in sizes.items()
    }
    return Plan(torch.from_numpy(y_train), torch.from_numpy(y_test), classes, near, splits, drawn, seed)


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


def _draw(labels: Rows, size: int, rng: np.random.Generator) -> tuple[Rows, list[tuple[Rows, Rows]]]:
    rows = stratified(labels, size, rng)
    return rows, _splits(labels[rows], rng)


def _splits(labels: Rows, rng: np.random.Generator) -> list[tuple[Rows, Rows]]:
    """One split with a quarter for validation, four of them for a small set."""
    return [hold_out(labels, len(labels) // 4, rng) for _ in range(4 if len(labels) < FEW else 1)]
