"""Spaces learned without labels: few samples in many dimensions give what the usual order gives."""

import pytest
import torch

from openjepa.evals import spaces
from openjepa.evals.methods import LinearProbe, NeighbourProbe
from openjepa.evals.probes import Logistic, accuracy, span
from openjepa.evals.spaces import Components, Standard
from openjepa.evals.tasks import Classes


def whiten(features, queries=None, components=6):
    found = Components.of(features, components)
    parts = (features,) if queries is None else (features, queries)
    return tuple(found.whiten(found.project(part)) for part in parts)


def test_whitened_features_are_uncorrelated_with_unit_variance_and_queries_follow():
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(6, 6, generator=generator)
    keys, queries = (torch.randn(n, 6, generator=generator) @ mix + 5 for n in (400, 30))
    white, moved = whiten(keys, queries)
    assert torch.allclose(white.T @ white / 400, torch.eye(6), atol=1e-3)
    between = torch.linalg.solve(torch.cov(keys.T, correction=0), (queries[0] - keys[0]))
    assert torch.isclose((moved[0] - white[0]).square().sum(), (queries[0] - keys[0]) @ between, rtol=1e-3)


@pytest.mark.parametrize(("n", "d", "directions"), [(5, 8, 4), (50, 3, 3), (50, 8, 6)])
def test_whitening_keeps_no_direction_that_is_not_there(n: int, d: int, directions: int):
    features = torch.randn(n, d, generator=torch.Generator().manual_seed(0))
    (white,) = whiten(features)
    assert white.shape == (n, directions)
    assert torch.allclose(white.square().mean(0), torch.ones(directions), atol=1e-3)


def test_fewer_samples_than_dimensions_give_the_components_of_the_usual_problem():
    features = torch.randn(30, 80, generator=torch.Generator().manual_seed(0)) + 2
    found = Components.of(features, 10)
    power, directions = torch.linalg.eigh(torch.cov(features.T, correction=0))
    assert torch.allclose(found.power, power.flip(0)[:10], rtol=1e-3)
    assert torch.allclose(
        (found.directions * directions.flip(1)[:, :10]).sum(0).abs(), torch.ones(10), atol=1e-3
    )


def test_components_of_wide_features_are_found_by_iteration(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(300, 12, generator=generator) @ torch.randn(12, 200, generator=generator)
    features += 0.05 * torch.randn(300, 200, generator=generator)
    exact = Components.of(features, 12)
    monkeypatch.setattr(spaces, "NEIGHBOUR_DIMS", 100)
    near = Components.of(features, 12)
    assert torch.allclose(near.power, exact.power, rtol=1e-2)
    assert torch.allclose(near.directions.T @ near.directions, torch.eye(12), atol=1e-4)


def test_blocks_of_unequal_width_weigh_the_same():
    features = torch.randn(500, 110, generator=torch.Generator().manual_seed(0)) * 7 + 3
    x = Standard.of(features, (100, 10))(features)
    wide, narrow = x[:, :100].square().sum(1).mean(), x[:, 100:].square().sum(1).mean()
    assert torch.isclose(wide, narrow, rtol=1e-3)
    assert torch.isclose(x.square().sum(1).mean(), torch.tensor(110.0), rtol=1e-3)


def test_few_samples_are_compacted_without_a_change():
    """The span of 40 samples in 500 dimensions: the same distances, the same classifier."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 500, generator=generator), torch.arange(40) % 4
    x[:, :4] += 3 * torch.nn.functional.one_hot(y, 4)
    small = LinearProbe().compact({"standardised": x})["standardised"]
    assert small.shape == (40, 40)
    assert torch.allclose(small @ small.T, x @ x.T, atol=1e-2)
    weight = Logistic(small, y, 4).solve(0.1, tolerance=1e-9)
    direct = Logistic(torch.cat([x, x.new_zeros(0, 500)]), y, 4)
    assert direct.span is not None and direct.features.shape[1] <= 40
    wide = direct.solve(0.1, tolerance=1e-9)
    assert torch.allclose(small @ weight.weight.T, x @ wide.weight.T, atol=1e-2)
    assert torch.allclose(span(x).T @ span(x), torch.eye(40), atol=1e-4)


def test_the_span_gives_the_primal_solution():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(60, 150, generator=generator), torch.arange(60) % 3
    fast = Logistic(x, y, 3)
    primal = Logistic.__new__(Logistic)
    primal.span, primal.features, primal.one_hot_KN = None, x, fast.one_hot_KN
    primal.counts = None
    primal.hessian = x.T @ x * (2 / 9 / 60)
    ours, theirs = (problem.solve(0.5, tolerance=1e-9) for problem in (fast, primal))
    assert fast.span is not None
    assert torch.allclose(ours.weight, theirs.weight, atol=2e-3)


def test_wide_features_reach_the_neighbours(monkeypatch):
    """What is wider than the limit is seen through its principal components, and no row is left out."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(400) % 4
    x = torch.randn(400, 1700, generator=generator) + torch.randn(4, 1700, generator=generator)[y]
    bring = NeighbourProbe(5).spaces(x[:300], (), 0)
    fit, held = bring(x[:300]), bring(x[300:])
    assert fit["standardised"].shape[1] <= 768 and fit["whitened"].shape[1] <= 384
    trials = NeighbourProbe(5).trials(fit, y[:300], held, y[300:], Classes(count=4))
    assert max(score for score, _ in trials.values()) > 0.95
    assert accuracy(y, y) == 1
