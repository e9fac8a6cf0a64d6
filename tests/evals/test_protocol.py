"""The whole evaluation on digits: fair rows, no leak, explicit seeds, every mistake named."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from openjepa.errors import UserError
from openjepa.evals import attentive, probe, protocol
from openjepa.evals import plan as planning
from openjepa.evals.plan import make_plan


def test_every_row_and_probe_is_there_and_beats_chance(digit_sets, encoder, new_encoder):
    train, test = digit_sets
    table = probe(encoder, train, test, random_init=new_encoder, seeds=(1, 2), few_label=(0.1,), draws=3)
    assert list(dict.fromkeys(s.row for s in table.scores)) == ["model", "random init", "raw pixels"]
    columns = [("linear", 1.0), ("knn", 1.0), ("linear", 0.1), ("knn", 0.1)]
    assert [(s.kind, s.labels) for s in table.scores if s.row == "model"] == columns
    assert all(score.mean > 0.4 for score in table.scores)
    assert table.score("raw pixels", "linear").mean > 0.88
    assert table.score("raw pixels", "knn", 0.1).over == "draws of the labels"
    assert len(table.score("raw pixels", "knn", 0.1).values) == 3
    assert table.score("random init", "linear").over == "random initialisations"
    assert table.score("model", "linear").mean > table.score("model", "linear", 0.1).mean


def test_the_random_row_of_the_same_weights_equals_the_model(digit_sets, encoder, new_encoder):
    table = probe(encoder, *digit_sets, random_init=new_encoder, seeds=(0,))
    for kind in ("linear", "knn"):
        ours, random = table.score("model", kind), table.score("random init", kind)
        assert (ours.values, ours.choices) == (random.values, random.choices)


def test_pooling_is_chosen_for_each_row_by_itself(digits, make_images, encoder):
    """Positions matter to digits, so a grid wins; where only the mean carries the class, the mean wins."""
    pixels, labels = digits
    sets = make_images(pixels[:1200], labels[:1200]), make_images(pixels[1200:], labels[1200:])
    chosen = probe(encoder, *sets, kinds=("linear",)).score("model", "linear").choices
    assert chosen[0].startswith(("grid", "blend4"))

    random = np.random.default_rng(0)
    y = random.integers(0, 2, 1500)
    noisy = np.clip(random.normal(120 + 8 * y[:, None, None], 60, (1500, 8, 8)), 0, 255).astype(np.uint8)
    sets = make_images(noisy[:1000], y[:1000]), make_images(noisy[1000:], y[1000:])
    chosen = probe(encoder, *sets, kinds=("knn",)).score("model", "knn").choices
    assert chosen[0].startswith(("mean", "last4"))


def test_the_result_is_a_function_of_the_seed(digit_sets, encoder):
    first, again, other = (
        probe(encoder, *digit_sets, few_label=(0.05,), draws=2, seed=seed, kinds=("linear",))
        for seed in (0, 0, 1)
    )
    assert first == again
    assert first.score("model", "linear", 0.05).values != other.score("model", "linear", 0.05).values


def test_global_random_state_is_neither_read_nor_changed(digit_sets, encoder, monkeypatch):
    monkeypatch.setattr(attentive, "LEAST_STEPS", 50)
    torch.manual_seed(0)
    before, few = torch.get_rng_state(), [images.subset(range(100)) for images in digit_sets]
    first = probe(encoder, *few, kinds=("linear", "attentive"))
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(1)
    assert probe(encoder, *few, kinds=("linear", "attentive")) == first


def test_test_labels_only_score(digits, make_images, encoder):
    """With other test labels, everything chosen stays, and the score is that of the same predictions."""
    pixels, labels = digits
    train, wrong = make_images(pixels[:1200], labels[:1200]), (labels[1200:] + 1) % 10
    right_table = probe(encoder, train, make_images(pixels[1200:], labels[1200:]))
    wrong_table = probe(encoder, train, make_images(pixels[1200:], wrong))
    assert [s.choices for s in right_table.scores] == [s.choices for s in wrong_table.scores]
    assert all(r.mean + w.mean <= 1 for r, w in zip(right_table.scores, wrong_table.scores, strict=True))


def test_few_label_scores_look_at_no_other_label(digit_sets, encoder, monkeypatch):
    """Labels outside the draws are scrambled: the few-label scores stay to the last digit."""
    plan = make_plan(*digit_sets, None, (0.1,), 2, 0)
    drawn = np.unique(np.concatenate([plan.near[rows] for rows, _ in plan.draws[0.1]]))
    free = np.setdiff1d(np.arange(1200), drawn)
    scrambled = plan.y_train.clone()
    scrambled[free] = scrambled[free].roll(1)
    tables = []
    for labels in (plan.y_train, scrambled):
        monkeypatch.setattr(protocol, "make_plan", lambda *_, labels=labels: replace(plan, y_train=labels))
        tables.append(probe(encoder, *digit_sets, few_label=(0.1,), draws=2))
    for kind in ("linear", "knn"):
        assert tables[0].score("model", kind, 0.1) == tables[1].score("model", kind, 0.1)
        assert tables[0].score("model", kind).values != tables[1].score("model", kind).values


def test_draws_are_stratified_and_differ(digit_sets):
    train, test = digit_sets
    plan = make_plan(train, test, None, (0.1,), 4, 0)
    labels = train.labels[plan.near]
    for rows, splits in plan.draws[0.1]:
        assert len(rows) == 120
        counts, share = np.bincount(labels[rows]), np.bincount(labels) / 10
        assert (np.abs(counts - share) < 1).all()
        assert all(set(np.concatenate(split)) == set(range(120)) for split in splits)
    assert len({tuple(rows) for rows, _ in plan.draws[0.1]}) == 4


def test_large_sets_are_chosen_on_a_part_and_fitted_whole(digit_sets, encoder, monkeypatch):
    monkeypatch.setattr(planning, "CHOOSE_FIT", 200)
    monkeypatch.setattr(planning, "FEW", 100)
    fitted, fit = [], protocol._Evaluation._fit
    monkeypatch.setattr(
        protocol._Evaluation,
        "_fit",
        lambda self, m, c, x, y, q: fitted.append(x.clone()) or fit(self, m, c, x, y, q),
    )
    train, test = digit_sets
    plan = make_plan(train, test, None, (), 1, 0)
    assert len(plan.splits[0][0]) == 200
    assert len(plan.near) == 200 + 400
    probe(encoder, train, test, kinds=("linear",))
    pixels = train.read(range(len(train))).flatten(1).float() / 255
    assert torch.allclose(fitted[1], pixels)  # every row once, in its place


def test_given_validation_rows_are_used(digit_sets):
    train, test = digit_sets
    rows = np.arange(100, 300)
    plan = make_plan(train, test, rows, (), 1, 0)
    ((fit, held),) = plan.splits
    assert (plan.near[held] == rows).all()
    assert len(fit) == 1000


def test_attentive_learns_digits(digit_sets, encoder):
    table = probe(encoder, *digit_sets, kinds=("attentive",))
    assert [score.row for score in table.scores] == ["model"]  # pixels have no tokens
    assert table.score("model", "attentive").mean > 0.5


def test_attentive_encodes_anew_where_tokens_do_not_fit(digit_sets, encoder, monkeypatch):
    monkeypatch.setattr(attentive, "LEAST_STEPS", 50)
    few = [images.subset(range(200)) for images in digit_sets]
    held = probe(encoder, *few, kinds=("attentive",)).score("model", "attentive").mean
    monkeypatch.setattr(protocol, "TOKENS_IN_MEMORY", 0)
    anew = probe(encoder, *few, kinds=("attentive",)).score("model", "attentive").mean
    assert anew == pytest.approx(held, abs=0.02)  # float16 in memory


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": ("linear", "svm")}, "unknown probe 'svm'; choose from linear, knn, attentive"),
        ({"few_label": (1.0,)}, "few_label=1 is not a share"),
        (
            {"few_label": (0.01,)},
            r"1,200 training labels is 12, fewer than two .* 10 classes; .* at least 0.017",
        ),
        ({"seeds": ()}, "give at least one of each"),
        ({"draws": 0}, "give at least one of each"),
        ({"validation": np.arange(1200)}, "leave nothing to validate on"),
    ],
)
def test_mistakes_are_named(digit_sets, encoder, options, message):
    with pytest.raises(UserError, match=message):
        probe(encoder, *digit_sets, **options)


def test_one_sample_of_each_class_is_too_few(digits, make_images, encoder):
    pixels, labels = digits
    first = np.array([np.flatnonzero(labels == c)[0] for c in range(10)])
    few = make_images(pixels[first], labels[first])
    with pytest.raises(UserError, match="10 training samples of 10 classes leave nothing to validate on"):
        probe(encoder, few, make_images(pixels[-50:], labels[-50:]))


def test_one_class_and_nan_are_named(digits, make_images, encoder):
    pixels, labels = digits
    zeros = make_images(pixels[labels == 0], labels[labels == 0])
    with pytest.raises(UserError, match="have one label, 0; a probe needs two classes"):
        probe(encoder, zeros, zeros)
    encoder.weights[0].data[:] = math.nan
    both = make_images(pixels[labels < 2], labels[labels < 2])
    with pytest.raises(UserError, match="run 7 gives NaN or infinite features for sample 0"):
        probe(encoder, both, both, name="run 7")
