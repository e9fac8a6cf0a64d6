"""How MPPI weighs its candidates."""

import pytest
import torch

from openjepa.agent.planners import MPPI, streams
from openjepa.agent.planners.problem import REJECTED

from ..objectives import box, opposite, quadratic

costs = torch.tensor([[1.0, 2.0, 4.0], [10.0, 20.0, 40.0]]).double()


def test_the_temperature_divides_the_cost() -> None:
    weights = MPPI(unit="cost", temperature=2.0).weights(costs)
    expected = torch.exp(-costs / 2)
    torch.testing.assert_close(weights, expected / expected.sum(1, keepdim=True))


def test_low_temperatures_are_greedy_and_high_ones_take_the_mean() -> None:
    cold = MPPI(unit="cost", temperature=0.005).weights(costs)  # multiplied, 0.005 would give the mean
    hot = MPPI(unit="cost", temperature=1e6).weights(costs)
    torch.testing.assert_close(cold, torch.eye(3)[[0, 0]].double())
    torch.testing.assert_close(hot, torch.full((2, 3), 1 / 3).double(), atol=1e-4, rtol=0)


def test_in_units_of_the_spread_the_scale_of_the_costs_does_not_matter() -> None:
    weights = MPPI(unit="spread", temperature=0.7).weights(costs)
    torch.testing.assert_close(weights[0], weights[1])
    assert 0.4 < float(weights[0, 0]) < 0.95


@pytest.mark.parametrize("unit", ["spread", "cost"])
def test_a_rejected_candidate_weighs_nothing_beside_others(unit: str) -> None:
    planner = MPPI.parse({"unit": unit})
    rejected = torch.tensor([[REJECTED + 1, 2.0, 4.0]], dtype=torch.double)
    torch.testing.assert_close(planner.weights(rejected)[:, 1:], planner.weights(rejected[:, 1:]))


def test_equal_costs_weigh_the_same() -> None:
    torch.testing.assert_close(MPPI().weights(torch.ones(1, 4).double()), torch.full((1, 4), 0.25).double())


def test_one_iteration_is_the_weighted_mean_of_its_candidates() -> None:
    planner = MPPI(
        horizon=4, samples=64, iterations=1, elites=None, refit=False, unit="cost", temperature=0.8
    )
    seen = []

    def objective(actions: torch.Tensor) -> torch.Tensor:
        seen.append(actions)
        return quadratic(opposite())(actions)

    plan = planner.plan(objective, box(), streams(0, 2))
    energy = quadratic(opposite())(seen[0]).double()
    weights = torch.exp(-energy / 0.8)
    expected = (weights[..., None, None] * seen[0]).sum(1) / weights.sum(1)[..., None, None]
    torch.testing.assert_close(plan.actions.double(), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("refit", [True, False])
def test_the_standard_deviation_follows_the_elites_only_with_refit(refit: bool) -> None:
    widths = []

    def objective(actions: torch.Tensor) -> torch.Tensor:
        if actions.shape[1] > 1:
            widths.append(float(actions[:, 1:].std(1).mean()))
        return quadratic(opposite())(actions)

    MPPI(horizon=4, iterations=12, sigma=0.3, floor=0.01, refit=refit).plan(objective, box(), streams(0, 2))
    assert (widths[-1] < 0.3 * widths[0]) == refit
