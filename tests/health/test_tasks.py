"""Tasks without labels, on features whose scores can be worked out."""

import math

import pytest
import torch
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.health import Monitor, tasks
from openjepa.health.tasks import answers, decoding, neighbours, retrieval, scores, task_steps
from openjepa.recipes import configure
from openjepa.signals.images.tasks import edges, image_tasks
from openjepa.signals.tasks import Tasks

from . import tiny

N = 128


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def mean(values: Tensor) -> float:
    return float(values.mean())


def error(values: Tensor) -> float:
    return float(values.std()) / len(values) ** 0.5


def test_a_view_with_the_same_features_is_always_found():
    features = drawn(N, 16)
    assert mean(retrieval(features, features)) == 1
    assert mean(retrieval(features + 5, features + 5)) == 1  # what is common to all is not looked at


def test_other_features_are_found_by_chance():
    chance = sum(1 / rank for rank in range(1, N + 1)) / N
    found = retrieval(drawn(N, 16), drawn(N, 16, seed=1))
    assert abs(mean(found) - chance) < 4 * error(found)


def test_features_that_are_all_the_same_find_nothing():
    """Equal ones share their places: nobody wins by coming first in the batch."""
    same = torch.ones(N, 16)
    assert mean(retrieval(same, same)) == pytest.approx(2 / (N + 1))
    assert mean(decoding(same, drawn(N, 3))) < 0.01


def test_neighbours_look_alike_where_features_are_what_is_looked_at():
    look = drawn(N, 6)
    look = look - look.mean(0)
    assert mean(neighbours(look, look)) == pytest.approx(1)
    noisy, chance = neighbours(look + drawn(N, 6, seed=1), look), neighbours(drawn(N, 6, seed=2), look)
    assert abs(mean(chance)) < 4 * error(chance)
    assert mean(chance) + 0.2 < mean(noisy) < 0.9


def test_neighbours_of_samples_that_all_look_the_same_say_nothing():
    assert mean(neighbours(drawn(N, 6), torch.zeros(N, 4))) == 0


@pytest.mark.parametrize("width", [16, 300])  # the second has more dimensions than samples to fit on
def test_what_lies_in_the_features_is_decoded(width):
    features = drawn(N, width)
    wanted = features[:, :2] @ drawn(2, 5)
    other = drawn(N, 5, seed=5)
    assert mean(decoding(features[:, :16], wanted)) > 0.95
    assert mean(decoding(features, other)) < 0.05


def test_the_error_of_a_change_is_that_of_the_same_samples():
    """Features that improve a little do so for the same samples: the change is surer than either score."""
    features = drawn(N, 8)
    first, now = (
        {"view": retrieval(features + noise * drawn(N, 8, seed=1), features)} for noise in (1.5, 1.4)
    )
    found = scores(now, first)
    assert found["task/view_error"] == pytest.approx(error(now["view"]))
    assert 0 < found["task/view_change"] < 0.7 * found["task/view_error"]
    assert "task/view_change" not in scores(first, None)


def test_what_is_not_finite_scores_nothing_and_raises_nothing():
    broken = drawn(N, 8)
    broken[3, 2] = math.nan
    for found in (retrieval(broken, broken), neighbours(broken, drawn(N, 2)), decoding(broken, drawn(N, 2))):
        assert math.isnan(mean(found))


def test_a_few_samples_are_asked_nothing():
    def same(part: Tensor, _: Rng) -> Tensor:
        return part

    assert answers(Tasks(drawn(31, 4), view=same), lambda batch: batch) == {}
    assert answers(Tasks(drawn(32, 4), view=same), lambda batch: batch).keys() == {"view"}


def test_image_tasks_are_the_same_at_every_call_and_of_any_channels():
    for channels in (1, 3, 5):
        images = torch.rand(40, channels, 16, 16)
        asked = image_tasks(images)
        assert asked.view is not None and asked.coarse is not None
        view = asked.view(images, Rng(0, 0))
        assert torch.equal(view, asked.view(images, Rng(0, 0))) and not torch.equal(view, images)
        assert asked.look is not None and asked.look.shape == (40, 96)
        assert asked.coarse.shape == (40, 16) and asked.encoded == 80


def test_edges_are_counted_by_their_direction_and_place():
    upright = torch.zeros(1, 1, 16, 16)
    upright[..., :2] = 1  # an edge in the first column of cells
    across = edges(upright).view(6, 4, 4)
    down = edges(upright.transpose(2, 3)).view(6, 4, 4)
    assert across.sum((1, 2)).argmax() != down.sum((1, 2)).argmax()
    assert across.sum(0)[:, 0].min() > 0 and across.sum(0)[:, 1:].max() == 0
    assert torch.equal(edges(2 * upright), 2 * edges(upright))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
def test_views_stay_in_the_units_of_the_images(dtype):
    pixels = torch.randint(0, 250, (40, 1, 16, 16), generator=torch.Generator().manual_seed(0)).to(dtype)
    asked = image_tasks(pixels)
    assert asked.view is not None
    view = asked.view(asked.samples, Rng(0, 0))
    assert view.dtype == asked.samples.dtype
    assert view.float().mean() == pytest.approx(float(pixels.float().mean()), rel=0.05)


@pytest.mark.parametrize("preset", ["tiny", "tiny-cifar10"])
@pytest.mark.parametrize("recipe", ["i-jepa", "lejepa"])
def test_tasks_cost_less_than_three_per_cent_of_a_run(recipe, preset):
    """Counted in samples that are encoded, by what one of training costs as it was measured."""
    measured = {
        "i-jepa tiny": 1.6,
        "i-jepa tiny-cifar10": 1.6,
        "lejepa tiny": 1.6,
        "lejepa tiny-cifar10": 1.1,
    }
    of_training = measured[f"{recipe} {preset}"]
    train = configure(recipe, preset, {}).train
    every = round(train.health_every * train.steps)
    due = task_steps(train.steps, every, train.batch_size, encoded := 2 * 512)
    assert {0, train.steps} <= due and len(due) >= 5
    assert all(step % every == 0 for step in due)
    assert len(due) * encoded <= 0.03 * of_training * train.steps * train.batch_size
    assert min(step for step in due if step) <= 0.15 * train.steps


def test_a_short_run_is_asked_at_its_ends():
    assert {0, 4} <= task_steps(4, 1, 16, 2560)
    assert task_steps(1, 1, 16, 2560) == {0, 1}


def test_the_monitor_asks_when_it_is_due_or_suspects_something():
    samples = drawn(N, 8, *tiny.GRID)
    monitor = Monitor(samples, tasks=image_tasks(samples), task_steps={0, 100})
    model = tiny.tiny_jepa()
    first = monitor.measure(model, 0)
    assert {"task/look", "task/view_error", "task/coarse"} <= first.keys()
    assert not any(key.startswith("task/") for key in monitor.measure(model, 10, [first]))
    assert monitor.measure(model, 100, [first])["task/view"] == first["task/view"]
    with torch.no_grad():
        model.encoder.project.weight[1:] = 0
    assert "task/view" in monitor.measure(model, 10, [first])


def test_a_monitor_that_continues_compares_with_the_same_first_answers():
    samples = drawn(N, 8, *tiny.GRID)
    whole, again = (Monitor(samples, tasks=image_tasks(samples)) for _ in range(2))
    model, changed = tiny.tiny_jepa(), tiny.tiny_jepa()
    with torch.no_grad():
        changed.encoder.project.weight += 0.1 * drawn(8, 8)
    whole.measure(model, 0)
    again.begin(model)
    assert again.measure(changed, 10) == whole.measure(changed, 10)
    assert whole.measure(changed, 10)["task/look_change"] > 0


def test_only_tasks_look_at_more_than_256_samples(monkeypatch):
    samples = drawn(300, 8, *tiny.GRID)
    asked: list[int] = []
    monkeypatch.setattr(
        tasks, "answers", lambda questions, features: asked.append(len(questions.samples)) or {}
    )
    reading = Monitor(samples, tasks=image_tasks(samples)).measure(tiny.tiny_jepa(), 0)
    assert asked == [300] and reading["lidar/n"] == 256
