"""Stratified draws and splits, whole groups on one side, and one numbering for two label sets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openjepa.errors import OpenJEPAWarning, UserError
from openjepa.evals.plan import make_plan
from openjepa.evals.splits import (
    drawn_groups,
    hold_out,
    stratified,
    validation_size,
    whole_groups,
)
from openjepa.evals.tasks import paired_labels
from openjepa.signals.base import Labels
from openjepa.signals.parts import SplitPart, labelled

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
        self.labels = None if labels is None else Labels(np.asarray(labels), classes)

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


grouped = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=12, max_size=120)


@given(grouped, st.integers(1, 60), st.integers(0, 5))
def test_no_group_is_cut_and_every_class_is_fitted(samples, size, seed):
    labels, groups = np.array(samples).T
    fit, held = hold_out(labels, min(size, len(labels)), np.random.default_rng(seed), groups)
    assert sorted([*fit, *held]) == list(range(len(labels)))
    assert not set(groups[fit]) & set(groups[held])
    assert set(labels[fit]) == set(labels)


def test_whole_groups_are_held_out_in_about_the_size_and_proportion_asked_for():
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 20)
    labels = (random.random(1200) < np.repeat(random.uniform(0.05, 0.5, 60), 20)).astype(int)
    held = whole_groups(labels, 240, random, groups)
    assert 200 <= len(held) <= 280
    assert abs(labels[held].mean() - labels.mean()) < 0.05


def test_a_share_of_labels_is_drawn_as_whole_groups():
    groups, labels = np.repeat(np.arange(30), 10), np.arange(300) % 2
    rows = drawn_groups(labels, 60, np.random.default_rng(0), groups)
    assert len(rows) == 60 and len(set(groups[rows])) == 6
    assert (drawn_groups(labels, 60, np.random.default_rng(0), groups) == rows).all()
    with pytest.raises(
        UserError, match="6 of 300 training labels cannot be drawn without cutting one of 30 groups"
    ):
        drawn_groups(labels, 6, np.random.default_rng(0), groups)


class Grouped(Set):
    name, noun, in_memory = "people", "recordings", True

    def __init__(self, labels, groups, folds=None):
        self.labels = Labels(np.asarray(labels), None, groups, folds)

    def __len__(self):
        return len(self.labels)


@pytest.fixture
def people():
    """40 people with 20 recordings each, of two classes."""
    return Grouped(np.arange(800) % 2, np.repeat(np.arange(40), 20))


def apart(plan, groups, draw):
    """No split of the draw cuts a group."""
    names = groups[plan.near][draw.rows]
    assert draw.splits
    return all(not set(names[fit]) & set(names[held]) for fit, held in draw.splits)


def test_no_split_of_a_plan_cuts_a_group(people, monkeypatch):
    groups, test = people.labels.groups, Grouped([0, 1], np.array([98, 99]))
    plan = make_plan(people, test, None, (0.25,), 3, 0, (10,))
    assert len(plan.whole.splits) == 4 and len(plan.draws) == 6
    assert all(apart(plan, groups, draw) for draw in (plan.whole, *plan.draws))
    for draw in plan.draws[:3]:
        drawn = groups[plan.near][draw.rows]
        assert np.bincount(groups)[np.unique(drawn)].sum() == len(drawn)  # whole people
    monkeypatch.setattr("openjepa.evals.plan.COARSE_FIT", 100)
    monkeypatch.setattr("openjepa.evals.plan.FINE_FIT", 200)
    plan = make_plan(people, test, None, (), 1, 0)
    assert apart(plan, groups, plan.whole)
    fit, held = plan.fine_splits[0]
    assert not set(groups[plan.fine[fit]]) & set(groups[plan.fine[held]])


def test_each_fold_validates_in_turn(people):
    groups = people.labels.groups
    folds = groups % 5
    plan = make_plan(Grouped(people.labels.values, groups, folds), Grouped([0, 1], None), None, (), 1, 0)
    assert [set(folds[plan.near][held]) for _, held in plan.whole.splits] == [{f} for f in range(5)]
    cut = Grouped(people.labels.values, groups, np.arange(800) // 2 % 5)
    with pytest.raises(UserError, match=r"folds cut 40 groups \(0, 1, 2, 3, 4 and 35 more\)"):
        make_plan(cut, Grouped([0, 1], None), None, (), 1, 0)


def test_validation_rows_that_cut_a_group_are_refused(people):
    with pytest.raises(UserError, match="cut 1 groups"):
        make_plan(people, Grouped([0, 1], None), np.arange(50), (), 1, 0)


def test_a_test_set_of_groups_that_were_trained_on_is_told(people):
    test = Grouped([0, 1, 0], np.array([3, 3, 77]))
    with pytest.warns(
        OpenJEPAWarning, match=r"1 of the test set's 2 groups are in the training set too \(3\)"
    ):
        plan = make_plan(people, test, None, (), 1, 0)
    assert "scores tell little of new groups" in plan.notes[0]


def test_one_group_leaves_nothing_to_validate_on():
    one = Grouped(np.arange(100) % 2, np.zeros(100, int))
    with pytest.raises(UserError, match="in 1 groups leave nothing to validate on: give at least two groups"):
        make_plan(one, Grouped([0, 1], None), None, (), 1, 0)


def test_a_part_of_a_set_reads_its_own_rows():
    class Numbers(Grouped):
        splits = ("train",)

        def read(self, indices, rng=None):
            return np.asarray(indices) * 10

    some = SplitPart(Numbers([5, 6, 7, 8], np.array([0, 0, 1, 1])), np.array([3, 1]))
    assert len(some) == 2 and some.read([0, 1]).tolist() == [30, 10] and some.noun == "recordings"
    assert some.labels.values.tolist() == [8, 6] and some.labels.groups.tolist() == [1, 0]
    with pytest.warns(OpenJEPAWarning, match="1 of 3 recordings have no label"):
        assert labelled(Numbers([0, -1, 1], None)).labels.values.tolist() == [0, 1]
