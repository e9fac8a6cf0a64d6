"""Stratified draws and splits, and one numbering for two label sets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openjepa.errors import UserError
from openjepa.evals.splits import hold_out, paired_labels, stratified, validation_size

label_sets = st.lists(st.integers(0, 4), min_size=5, max_size=200).map(np.array)


@given(label_sets, st.floats(0, 1), st.integers(0, 10))
def test_draws_have_their_size_every_class_and_its_proportion(labels, share, seed):
    classes, counts = np.unique(labels, return_counts=True)
    size = max(len(classes), round(share * len(labels)))
    rows = stratified(labels, size, np.random.default_rng(seed))
    assert len(set(rows.tolist())) == size
    drawn = np.array([(labels[rows] == c).sum() for c in classes])
    assert (drawn >= 1).all()
    exact = counts * size / len(labels)
    assert (np.abs(drawn - exact) <= len(classes)).all()
    if (exact >= 1).all():
        assert (np.abs(drawn - exact) < 1).all()


def test_draws_are_random_and_a_function_of_their_seed():
    labels = np.arange(1000) % 10
    first, again, other = (stratified(labels, 100, np.random.default_rng(s)) for s in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


@given(label_sets, st.integers(1, 100), st.integers(0, 10))
def test_held_out_and_fitted_are_disjoint_complete_and_every_class_is_fitted(labels, size, seed):
    fit, held = hold_out(labels, min(size, len(labels)), np.random.default_rng(seed))
    assert sorted([*fit, *held]) == list(range(len(labels)))
    assert set(labels[fit]) == set(labels)


def test_validation_takes_a_tenth_within_bounds():
    assert [validation_size(n) for n in (3, 90, 3_000, 30_000, 1_000_000)] == [1, 30, 500, 3_000, 5_000]


def test_a_draw_smaller_than_the_classes_is_refused():
    with pytest.raises(UserError, match="cannot draw 3 of 20 labelled samples with 5 classes"):
        stratified(np.arange(20) % 5, 3, np.random.default_rng(0))


class Set:
    def __init__(self, labels, classes=None):
        self.labels = None if labels is None else np.asarray(labels)
        self.classes, self.shape = classes, (1, 2, 2)

    def __len__(self):
        return 4 if self.labels is None else len(self.labels)


def test_classes_are_matched_by_name():
    train, test = Set([0, 1, 1], ["ant", "bee"]), Set([0, 0, 1], ["bee", "ant"])
    ours, theirs, classes = paired_labels(train, test)
    assert (ours.tolist(), theirs.tolist(), classes) == ([0, 1, 1], [1, 1, 0], 2)


def test_numbers_with_gaps_become_contiguous():
    ours, theirs, classes = paired_labels(Set([3, 7, 9]), Set([9, 3]))
    assert (ours.tolist(), theirs.tolist(), classes) == ([0, 1, 2], [2, 0], 3)


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (Set(None), Set([0, 1]), "training set has no labels"),
        (Set([0, 1]), Set(None), "test set has no labels"),
        (Set([0, 1]), Set([]), "test set is empty"),
        (Set([4, 4]), Set([4]), "all 2 training samples have one label, 4"),
        (Set([0, 1]), Set([0, 5]), r"labels that the training set lacks \(5\)"),
        (Set([0, 1], ["a", "b"]), Set([0, 1], ["a", "c"]), r"lacks \(c\)"),
    ],
)
def test_mistakes_are_named(train, test, message):
    with pytest.raises(UserError, match=message):
        paired_labels(train, test)
