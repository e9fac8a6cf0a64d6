"""Tasks without labels, on features whose scores can be worked out."""

import math

import pytest
import torch
from torch import Tensor

from openjepa.health import Monitor, tasks
from openjepa.health.tasks import classification, decoding, measure, retrieval, task_steps
from openjepa.recipes import configure
from openjepa.signals.images.tasks import image_tasks
from openjepa.signals.tasks import Tasks

from . import tiny

N = 128


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_view_with_the_same_features_is_always_found():
    features = drawn(N, 16)
    assert retrieval(features, features)[0] == 1
    assert retrieval(features + 5, features + 5)[0] == 1  # what is common to all is not looked at


def test_other_features_are_found_by_chance():
    chance = sum(1 / rank for rank in range(1, N + 1)) / N
    score, error = retrieval(drawn(N, 16), drawn(N, 16, seed=1))
    assert abs(score - chance) < 4 * error


def test_features_that_are_all_the_same_find_nothing():
    """Equal ones share their places: nobody wins by coming first in the batch."""
    same = torch.ones(N, 16)
    assert retrieval(same, same)[0] == pytest.approx(2 / (N + 1))
    assert classification([same, same])[0] == 0.5
    assert decoding(same, drawn(N, 3))[0] < 0.01


def test_transformations_are_told_apart_where_the_features_show_them():
    features = drawn(N, 16)
    assert classification([features + shift for shift in (0, 9 * drawn(16), 9 * drawn(16, seed=3))])[0] == 1
    score, error = classification([features, drawn(N, 16, seed=1)])
    assert abs(score - 0.5) < 4 * error


@pytest.mark.parametrize("width", [16, 300])  # the second has more dimensions than samples to fit on
def test_what_lies_in_the_features_is_decoded(width):
    features = drawn(N, width)
    wanted = features[:, :2] @ drawn(2, 5)
    other = drawn(N, 5, seed=5)
    assert decoding(features[:, :16], wanted)[0] > 0.95
    assert decoding(features, other)[0] < 0.05


def test_the_error_is_that_of_other_samples():
    """Over draws of the samples, scores spread as each says that they do."""
    found = []
    for seed in range(40):
        features = drawn(N, 8, seed=seed)
        found.append(retrieval(features + 1.5 * drawn(N, 8, seed=100 + seed), features))
    scores, errors = torch.tensor(found).T
    assert 0.6 < float(errors.mean() / scores.std()) < 1.6


def test_what_is_not_finite_scores_nothing_and_raises_nothing():
    broken = drawn(N, 8)
    broken[3, 2] = math.nan
    for score, _ in (
        retrieval(broken, broken),
        classification([broken, broken]),
        decoding(broken, drawn(N, 2)),
    ):
        assert math.isnan(score)


def test_a_few_samples_are_asked_nothing():
    assert measure(Tasks(drawn(31, 4), view=drawn(31, 4)), lambda batch: batch) == {}
    found = measure(Tasks(drawn(32, 4), view=drawn(32, 4)), lambda batch: batch)
    assert found.keys() == {"task/view", "task/view_error"}


def test_image_tasks_are_the_same_at_every_call_and_of_any_channels():
    for channels in (1, 3, 5):
        images = torch.rand(40, channels, 16, 16)
        one, two = image_tasks(images), image_tasks(images)
        assert torch.equal(one.view, two.view) and not torch.equal(one.view, images)
        assert [turned.shape for turned in one.turned] == [images.shape] * 3
        assert one.coarse is not None and one.coarse.shape == (40, 16)
        assert one.encoded == 200


@pytest.mark.parametrize("preset", ["tiny", "tiny-cifar10"])
@pytest.mark.parametrize("recipe", ["i-jepa", "lejepa"])
def test_tasks_cost_less_than_three_per_cent_of_a_run(recipe, preset):
    """Counted in samples that are encoded; a step encodes each of its samples at least once, and goes back twice."""
    train = configure(recipe, preset, {}).train
    every = round(train.health_every * train.steps)
    due = task_steps(train.steps, every, train.batch_size, encoded := 5 * 512)
    assert {0, train.steps} <= due and len(due) >= 6
    assert all(step % every == 0 for step in due)
    assert len(due) * encoded <= 0.03 * 3 * train.steps * train.batch_size
    assert min(step for step in due if step) <= 0.12 * train.steps


def test_a_short_run_is_asked_at_its_ends():
    assert {0, 4} <= task_steps(4, 1, 16, 2560)
    assert task_steps(1, 1, 16, 2560) == {0, 1}


def test_the_monitor_asks_when_it_is_due_or_suspects_something():
    samples = drawn(N, 8, *tiny.GRID)
    monitor = Monitor(samples, tasks=image_tasks(samples), task_steps={0, 100})
    model = tiny.tiny_jepa()
    first = monitor.measure(model, 0)
    assert {"task/view", "task/turn_error", "task/coarse"} <= first.keys()
    assert not any(key.startswith("task/") for key in monitor.measure(model, 10, [first]))
    assert monitor.measure(model, 100, [first])["task/view"] == first["task/view"]
    with torch.no_grad():
        model.encoder.project.weight[1:] = 0
    assert "task/view" in monitor.measure(model, 10, [first])


def test_only_tasks_look_at_more_than_256_samples(monkeypatch):
    samples = drawn(300, 8, *tiny.GRID)
    asked: list[int] = []
    monkeypatch.setattr(
        tasks, "measure", lambda questions, features: asked.append(len(questions.samples)) or {}
    )
    reading = Monitor(samples, tasks=image_tasks(samples)).measure(tiny.tiny_jepa(), 0)
    assert asked == [300] and reading["lidar/n"] == 256
