"""Tasks: their scores against plain formulas, their intervals over groups, and one table that holds them all."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from openjepa.errors import UserError
from openjepa.evals import probe
from openjepa.evals.regression import Ridge, best_strengths
from openjepa.evals.table import ProbeTable, together
from openjepa.evals.tasks import Classes, Coming, Variables, interval, merit, r_squared, resampled, score
from openjepa.signals.base import Labels
from openjepa.signals.classical import FixedFeatures


def test_accuracy_and_balanced_accuracy():
    truth, guess = torch.tensor([0, 0, 0, 0, 1, 1]), torch.tensor([0, 0, 0, 0, 1, 0])
    assert score(Classes(count=2), guess, truth) == pytest.approx(5 / 6)
    assert score(Classes(balanced=True, count=2), guess, truth) == pytest.approx(0.75)
    assert Classes(balanced=True, count=2).weights(truth).tolist() == pytest.approx([0.75, 1.5])
    assert Classes(count=2).weights(truth) is None


def test_r2_is_the_mean_over_variables_that_change_and_mse_is_standardised():
    random = torch.Generator().manual_seed(0)
    truth = torch.randn(50, 3, generator=random).double() + 1e4
    truth[:, 2] = 7.0
    guess = truth + 0.5 * torch.randn(50, 3, generator=random)
    expected = 1 - (guess - truth).square().sum(0) / (truth - truth.mean(0)).square().sum(0)
    assert score(Variables(), guess, truth) == pytest.approx(float(expected[:2].mean()), rel=1e-9)
    assert score(Coming(3), guess, truth) == pytest.approx(float((guess - truth).square().mean()))
    assert merit(Coming(3), guess, truth) == -score(Coming(3), guess, truth)


def test_the_interval_is_over_groups():
    """Samples of a group that are all right or all wrong tell no more than one of them."""
    right = torch.arange(400) // 20 % 2  # 20 groups of 20
    truth, groups = torch.ones(400, dtype=torch.long), np.arange(400) // 20
    task = Classes(count=2)
    narrow, wide = interval(task, right, truth), interval(task, right, truth, groups)
    once = interval(task, right[::20], truth[::20])
    assert wide == once
    assert wide[1] - wide[0] > 3 * (narrow[1] - narrow[0])
    assert narrow[0] < 0.5 < narrow[1] and interval(task, right, truth, groups) == wide


def test_what_never_changes_has_no_r2_and_no_interval():
    random = np.random.default_rng(0)
    truth = np.stack([random.normal(size=200), np.ones(200)], 1)
    guess = truth + 0.5 * random.normal(size=(200, 2))
    parts = Variables().parts(torch.from_numpy(guess), torch.from_numpy(truth))
    values = r_squared(parts.sum(0))
    low, high = resampled(
        parts.numpy(), np.repeat(np.arange(20), 10), lambda s: r_squared(torch.from_numpy(s)).numpy()
    )
    missed = ((guess - truth) ** 2).sum(0) / ((truth - truth.mean(0)) ** 2).sum(0).clip(1e-9)
    assert (
        float(values[0]) == pytest.approx(1 - missed[0])
        and low[0] < float(values[0]) < high[0] < low[0] + 0.4
    )
    assert torch.isnan(values[1]) and np.isnan(low[1]) and np.isnan(high[1])


@pytest.mark.parametrize("wide", [False, True])
def test_the_ridge_is_that_of_its_normal_equations(wide):
    """Also where features outnumber samples; each variable may have its own strength."""
    generator = torch.Generator().manual_seed(0)
    n, d = (20, 60) if wide else (60, 20)
    x, y = (torch.randn(n, width, generator=generator, dtype=torch.double) for width in (d, 2))
    centred = x - x.mean(0)

    def expected(strength):
        gram = centred.T @ centred / n + strength * torch.eye(d, dtype=torch.double)
        return centred @ torch.linalg.solve(gram, centred.T @ (y - y.mean(0)) / n) + y.mean(0)

    assert Ridge(x, y).predict(x, 0.3).allclose(expected(0.3))
    own = Ridge(x, y).predict(x, [0.3, 2.0])
    assert own[:, 0].allclose(expected(0.3)[:, 0]) and own[:, 1].allclose(expected(2.0)[:, 1])


def test_the_strength_that_misses_least_is_chosen_for_each_variable():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 30, generator=generator)
    y = torch.stack([x[:, 0], torch.randn(60, generator=generator)], 1)  # told exactly, and not at all
    held = torch.arange(60) % 3 == 0
    exact, blind = best_strengths(x, y, held)
    assert exact <= 1e-2 < 1.0 <= blind
    assert best_strengths(x, y, held & False) == [1e-2, 1e-2]


@dataclass
class Series:
    """Damped sines of two frequencies (the class), of a speed and an offset (variables), with their next values."""

    values: np.ndarray
    labels: Labels
    after: np.ndarray | None = None
    name: str = "sines"
    noun: str = "series"
    in_memory: bool = True

    def __len__(self):
        return len(self.values)

    def read(self, indices, rng=None):
        return torch.from_numpy(self.values[np.asarray(indices)]).float()

    def coming(self, horizon):
        return self.after[:, :horizon, None]


def series(count, seed, asked, groups=None):
    random = np.random.default_rng(seed)
    kind, offset = random.integers(0, 2, count), random.normal(size=count)
    phase = random.uniform(0, 6, count)
    time = np.arange(40)
    waves = np.sin(phase[:, None] + (0.2 + 0.25 * kind[:, None]) * time) + offset[:, None]
    waves = waves + 0.1 * random.normal(size=waves.shape)
    values = {"classes": kind, "variables": np.stack([offset, np.cos(phase)], 1)}[asked]
    return Series(waves[:, :32], Labels(values, None, groups), waves[:, 32:])


class Raw:
    name = "raw values"

    def fit(self, samples, **options):
        return FixedFeatures(
            self.name,
            {"all": lambda batch: batch, "mean": lambda b: b.mean(1, keepdim=True)},
            {"mean": 1, "all": 32},
        )


class Encoder:
    """Every fourth value, a token each."""

    layout = (8,)

    def layers(self, batch, count):
        return [batch[:, 3::4, None]]


def table(asked, task=None, **options):
    train, test = (series(n, s, asked, options.pop(g, None)) for n, s, g in ((300, 0, "of"), (120, 1, "at")))
    return probe(Encoder(), train, test, classical=[Raw()], task=task, **options)


def test_one_table_holds_classes_variables_and_forecasts():
    """Each with its metric, its direction and its interval; nothing is said of images."""
    groups = {"of": np.arange(300) // 10, "at": 100 + np.arange(120) // 10}
    found = together(
        [
            table("classes", few_label=(0.2,), draws=2),
            table("variables", **groups),
            table("classes", Coming(4)),
        ]
    )
    assert {s.task: (s.metric, s.higher) for s in found.scores} == {
        "classes": ("accuracy", True),
        "variables": ("R²", True),
        "next 4": ("MSE", False),
    }
    assert found.score("raw values", "knn").mean > 0.8
    assert found.score("raw values", "linear", task="variables").mean > 0.8
    forecast = found.score("raw values", "linear", task="next 4")
    assert forecast.mean < 0.2 and forecast.interval[0] < forecast.mean < forecast.interval[1]
    assert found.score("raw values", "knn", task="next 4").mean < 0.5
    methods = {s.task: s.method for s in found.scores if s.labels == 1}
    assert methods == {
        "classes": "Wilson over 120 test samples",
        "variables": "bootstrap over 12 groups",
        "next 4": "bootstrap over 120 test samples",
    }
    text = str(found)
    assert "next 4: MSE, lower is better." in text and "classes: accuracy in %, higher is better." in text
    assert "images" not in text and "series/s" in text
    assert "next 4 (MSE): linear" in found.cells()[0] and found.cells()[0][0] == "score"
    assert ProbeTable.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_the_forecast_chooses_by_least_error():
    """The mean alone forecasts worse than all values, in validation as in test."""
    found = table("classes", Coming(4), kinds=("linear",))
    assert found.score("raw values", "linear").choices[0].startswith("all, penalty=")


def test_a_probe_of_balanced_accuracy_is_fitted_with_balanced_classes():
    random = np.random.default_rng(0)

    def rare(count):
        kind = (random.random(count) < 0.1).astype(int)
        return Series((random.normal(size=(count, 4)) + kind[:, None]).astype(np.float32), Labels(kind))

    class Few(Raw):
        def fit(self, samples, **options):
            return FixedFeatures("few", {"all": lambda batch: batch}, {"all": 4})

    train, test = rare(600), rare(600)
    plain, balanced = (
        probe(None, train, test, classical=[Few()], kinds=("linear", "knn"), task=Classes(balanced=b))
        for b in (False, True)
    )
    assert balanced.scores[0].metric == "balanced accuracy"
    assert all(score.mean > 0.7 for score in balanced.scores)
    assert "bootstrap over 600 test samples" in str(balanced) and "Wilson" in str(plain)


def test_mistakes_are_named():
    with pytest.raises(UserError, match="so many of each class, and variables have none"):
        table("variables", per_class=(10,))
    with pytest.raises(UserError, match="the training set has variables, not classes"):
        table("variables", Classes())
    blind = series(40, 0, "classes")
    type(blind).coming, coming = None, type(blind).coming
    try:
        del type(blind).coming
        with pytest.raises(UserError, match="the training set's series have no future to forecast"):
            probe(None, blind, blind, classical=[Raw()], task=Coming(4))
    finally:
        type(blind).coming = coming
