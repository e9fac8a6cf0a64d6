"""False alarms come at the stated rate, also for new groups, and what is unlike the training samples is told."""

import numpy as np
import pytest
import torch

from openjepa.evals.novelty import NoveltyDetector, alarm_rate

STATED = 0.05


def rate(detector: NoveltyDetector, features: torch.Tensor) -> float:
    return alarm_rate(detector.rarity(detector.distances(features)), STATED)


@pytest.mark.parametrize(("count", "within"), [(100, 0.03), (900, 0.02)])
def test_the_rate_of_false_alarms_is_the_stated_one(digits, count, within):
    """Over ten draws of real images, of which the others are new."""
    x, found = torch.from_numpy(digits[0]).flatten(1).float(), []
    for seed in range(10):
        order = torch.from_numpy(np.random.default_rng(seed).permutation(len(x)))
        found.append(rate(NoveltyDetector.of(x[order[:count]], seed=seed), x[order[900:]]))
    assert abs(np.mean(found) - STATED) < within


def test_it_is_the_rate_of_new_groups_where_samples_have_groups():
    random = torch.Generator().manual_seed(0)
    group = np.repeat(np.arange(60), 20)

    def people() -> torch.Tensor:
        middles = torch.randn(60, 32, generator=random)
        return middles[group] + torch.randn(len(group), 32, generator=random)

    x, new = people(), people()
    assert rate(NoveltyDetector.of(x, group), new) < 0.08
    assert rate(NoveltyDetector.of(x), new) > 0.15  # as if they were independent


def test_what_is_unlike_is_told(digits):
    x = torch.from_numpy(digits[0]).flatten(1).float()
    detector = NoveltyDetector.of(x[:900])
    noise = torch.rand(100, 64, generator=torch.Generator().manual_seed(0)) * 255
    assert rate(detector, noise) > 0.95
    assert rate(detector, x[:100].flip(1)) > 0.25  # upside down and mirrored
    assert rate(detector, x[900:] + 1e4) == 1


def test_features_that_leave_the_plane_of_the_training_data_are_far():
    random = torch.Generator().manual_seed(0)
    plane = torch.randn(4, 300, generator=random)
    x = torch.randn(400, 4, generator=random) @ plane + 0.01 * torch.randn(400, 300, generator=random)
    inside = torch.randn(200, 4, generator=random) @ plane + 0.01 * torch.randn(200, 300, generator=random)
    detector = NoveltyDetector.of(x)
    assert rate(detector, inside) < 0.1
    assert rate(detector, inside + torch.randn(200, 300, generator=random)) > 0.9


def test_it_is_restored_from_its_tensors_and_its_least_rate_is_known():
    x = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    detector = NoveltyDetector.of(x)
    again = NoveltyDetector.restored(detector.tensors())
    assert torch.equal(again.rarity(again.distances(x * 3)), detector.rarity(detector.distances(x * 3)))
    assert detector.least_rate == 1 / 51
    assert float(detector.rarity(torch.tensor([1e9]))) == pytest.approx(1 / 51)
    alone = NoveltyDetector.of(x, np.zeros(50, np.int64))
    assert len(alone.held_out) == 0  # of one group nothing tells how far others are
