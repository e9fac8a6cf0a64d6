"""The whole evaluation on digits: fair rows, no leak, explicit seeds, every mistake named."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from openjepa.errors import UserError
from openjepa.evals import attentive, protocol
from openjepa.evals import plan as planning
from openjepa.evals import probe as full_probe
from openjepa.evals import rows as making
from openjepa.evals.methods import LinearProbe, NeighbourProbe
from openjepa.evals.plan import make_plan
from openjepa.evals.protocol import JOINED
from openjepa.signals.images.classical import ImagePixels
from openjepa.signals.images.dictionary import PatchDictionary, Size

probe = partial(full_probe, classical=[ImagePixels()])


def test_every_row_and_probe_is_there_and_beats_chance(digit_sets, encoder, new_encoder):
    train, test = digit_sets
    table = probe(encoder, train, test, random_init=new_encoder, seeds=(1, 2), few_label=(0.1,), draws=2)
    assert list(dict.fromkeys(s.row for s in table.scores)) == ["raw pixels", "random init", "model", JOINED]
    columns = [("linear", 1.0), ("knn", 1.0), ("linear", 0.1), ("knn", 0.1)]
    assert [(s.kind, s.labels) for s in table.scores if s.row == "model"] == columns
    assert all(score.mean > 0.4 for score in table.scores)
    assert table.score("raw pixels", "linear").mean > 0.88
    assert table.score("raw pixels", "knn", 0.1).over == "draws of the labels"
    assert len(table.score("raw pixels", "knn", 0.1).values) == 2
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
        full_probe(
            encoder, *digit_sets, few_label=(0.05,), draws=2, seed=seed, kinds=("knn",), classical="none"
        )
        for seed in (0, 0, 1)
    )
    assert first == again
    assert first.score("model", "knn", 0.05).values != other.score("model", "knn", 0.05).values


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
    plan = make_plan(*digit_sets, None, (0.1,), 1, 0)
    drawn = np.unique(np.concatenate([plan.near[draw.rows] for draw in plan.draws]))
    free = np.setdiff1d(np.arange(1200), drawn)
    scrambled = plan.y_train.clone()
    scrambled[free] = scrambled[free].roll(1)
    tables = []
    for labels in (plan.y_train, scrambled):
        monkeypatch.setattr(protocol, "make_plan", lambda *_, labels=labels: replace(plan, y_train=labels))
        tables.append(full_probe(encoder, *digit_sets, few_label=(0.1,), draws=1, classical="none"))
    for kind in ("linear", "knn"):
        assert tables[0].score("model", kind, 0.1) == tables[1].score("model", kind, 0.1)
        assert tables[0].score("model", kind).values != tables[1].score("model", kind).values


def test_draws_are_stratified_and_differ(digit_sets):
    train, test = digit_sets
    plan = make_plan(train, test, None, (0.1,), 4, 0)
    labels = train.labels.values[plan.near]
    for rows, splits in ((draw.rows, draw.splits) for draw in plan.draws):
        assert len(rows) == 120
        counts, share = np.bincount(labels[rows]), np.bincount(labels) / 10
        assert (np.abs(counts - share) < 1).all()
        assert all(set(np.concatenate(split)) == set(range(120)) for split in splits)
    assert len({tuple(draw.rows) for draw in plan.draws}) == 4


def test_large_sets_are_chosen_on_a_part_and_fitted_whole(digit_sets, encoder, monkeypatch):
    """Every pooling on 200 samples, the best on 300, and the choice on all, each in its place."""
    monkeypatch.setattr(planning, "COARSE_FIT", 200)
    monkeypatch.setattr(planning, "FINE_FIT", 300)
    monkeypatch.setattr(planning, "FEW", 100)
    train, test = digit_sets
    plan = make_plan(train, test, None, (), 1, 0)
    assert len(plan.whole.splits[0][0]) == 200 and len(plan.near) == 200 + 400
    assert len(plan.fine_splits[0][0]) == 300 and np.isin(plan.near, plan.fine).all()
    fitted, spaces = [], LinearProbe.spaces
    monkeypatch.setattr(
        LinearProbe, "spaces", lambda self, x, *rest: fitted.append(x.clone()) or spaces(self, x, *rest)
    )
    full_probe(None, train, test, kinds=("linear",), classical=[ImagePixels()])
    pixels = train.read(range(len(train))).flatten(1).float() / 255
    for rows, features in zip((plan.near, plan.fine, np.arange(len(train))), fitted, strict=True):
        assert torch.allclose(features, pixels[torch.from_numpy(rows)])


def test_what_wins_with_more_samples_is_chosen(digit_sets, encoder, monkeypatch):
    """The widest pooling is tried again on more samples even where it came last on few."""
    best_setting, tried = making.best_setting, []
    monkeypatch.setattr(planning, "COARSE_FIT", 200)
    monkeypatch.setattr(planning, "FEW", 100)

    def judged(method, name, samples, labels, splits, classes, first=None):
        found = best_setting(method, name, samples, labels, splits, classes, first)
        tried.append((name, first is not None, len(labels)))
        wide = name == "grid4"
        return replace(found, score=(2.0 if first else -1.0) if wide else found.score)

    monkeypatch.setattr(making, "best_setting", judged)
    table = full_probe(encoder, *digit_sets, kinds=("knn",), classical="none")
    again = [name for name, second, _ in tried if second]
    assert len(again) == making.FINALISTS + 1 < len(tried) - len(again)
    assert again[-1] == "grid4"
    few, more = ({count for _, second, count in tried if second is which} for which in (False, True))
    assert max(few) < min(more)
    assert table.score("model", "knn").choices[0].startswith("grid4,")


def test_examples_per_class_are_drawn_and_scored(digit_sets, encoder):
    table = probe(encoder, *digit_sets, per_class=(10, 1), draws=3)
    plan = make_plan(*digit_sets, None, (), 3, 0, (10, 1))
    for draw in plan.draws:
        counts = np.bincount(plan.y_train[plan.near][draw.rows])
        assert (counts == draw.labels.per_class).all()
        assert bool(draw.splits) == (draw.labels.per_class > 1)
    for row in ("raw pixels", "model", protocol.JOINED):
        ten, one = (table.score(row, "linear", per_class=count) for count in (10, 1))
        assert len(ten.values) == len(one.values) == 3
        assert ten.mean > one.mean > 0.15
    assert table.score("model", "knn", per_class=1).choices[0] == (
        "mean, standardised, 10 neighbours, weighted vote"
    )
    assert any("nothing is left to validate" in note for note in table.notes)


def test_a_class_with_too_few_examples_is_told_in_a_sentence(digit_sets, encoder):
    table = probe(encoder, *digit_sets, kinds=("knn",), per_class=(500,))
    assert table.notes == ["No score with 500 examples per class: the smallest class has 117 to draw from."]
    assert {score.per_class for score in table.scores} == {0}


def test_the_model_is_joined_with_the_classical_row_that_validates_best(digit_sets, encoder):
    """Blank features lose to pixels; a model of noise beside pixels does not drown them."""

    class Blank(ImagePixels):
        name = "blank"

        def fit(self, images, **options):
            source = super().fit(images, **options)
            return replace(source, name="blank", functions={"pixels": lambda x: 0 * x.flatten(1)})

    def noise(batch, count):
        seeds = batch.flatten(1).sum(1).float()
        return [torch.sin(seeds[:, None, None] * torch.arange(1.0, 301.0))]

    encoder.layers = noise
    table = full_probe(encoder, *digit_sets, classical=[ImagePixels(), Blank()])
    for kind in ("linear", "knn"):
        joined = table.score(protocol.JOINED, kind)
        assert "+ raw pixels, pixels" in joined.choices[0]
        assert joined.mean > table.score("model", kind).mean + 0.3


def test_rows_are_tried_with_the_same_settings(digit_sets, encoder, monkeypatch):
    tried: dict[int, set] = {}
    for method in (LinearProbe, NeighbourProbe):
        trials = method.trials

        def spy(self, *rest, trials=trials):
            found = trials(self, *rest)
            tried.setdefault(len(rest) > 5 and rest[5] is not None, set()).add((type(self), len(found)))
            return found

        monkeypatch.setattr(method, "trials", spy)
    hog = PatchDictionary([Size(20, 1)])
    full_probe(encoder, *digit_sets, classical=[ImagePixels(), hog])
    assert {count for kind, count in tried[False] if kind is NeighbourProbe} == {4}
    assert {count for kind, count in tried[False] if kind is LinearProbe} <= {3, 4}  # the path ends early


def test_the_classical_rows_stand_alone_and_say_what_they_cost(digit_sets):
    table = full_probe(None, *digit_sets, classical=[ImagePixels(), PatchDictionary([Size(30, 1)])])
    assert list(table.costs) == ["raw pixels", "k-means patches"]
    assert table.costs["k-means patches"].minutes > 0 and table.costs["raw pixels"].per_second > 0
    assert table.score("k-means patches", "linear").mean > 0.9


def test_given_validation_rows_are_used(digit_sets):
    train, test = digit_sets
    rows = np.arange(100, 300)
    plan = make_plan(train, test, rows, (), 1, 0)
    ((fit, held),) = plan.whole.splits
    assert (plan.near[held] == rows).all()
    assert len(fit) == 1000


def test_attentive_learns_digits(digit_sets, encoder):
    table = probe(encoder, *digit_sets, kinds=("attentive",))
    assert [score.row for score in table.scores] == ["model"]  # classical features have no tokens
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
        ({"few_label": (1.0,)}, "few_label=1 is neither a share"),
        (
            {"few_label": (0.01,)},
            r"1,200 training labels is 12, fewer than two .* 10 classes; .* at least 0.017",
        ),
        ({"seeds": ()}, "give at least one random initialisation"),
        ({"draws": 0}, "draws=0: give at least one"),
        ({"per_class": (0,)}, "few_label=0: draw at least one example of each class"),
        ({"classical": "some"}, "unknown classical features 'some'; choose from none, quick, all"),
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
