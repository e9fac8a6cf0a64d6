"""What iCEM adds to CEM."""

import pytest
import torch
from torch import Tensor

from openjepa.agent.planners import ICEM, Bounds, streams
from openjepa.agent.planners.icem import coloured

from ..objectives import box, opposite, quadratic


def white(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("steps", [1, 2, 7, 30])
@pytest.mark.parametrize("colour", [0.0, 1.0, 3.0])
def test_coloured_noise_has_unit_variance_at_every_step(steps: int, colour: float) -> None:
    noise = coloured(white(1, 20_000, steps, 2), colour)
    torch.testing.assert_close(noise.var((0, 1)), torch.ones(steps, 2), atol=0.07, rtol=0)


@pytest.mark.parametrize("colour", [0.5, 2.0])
def test_coloured_noise_has_the_spectrum_that_it_is_named_for(colour: float) -> None:
    power = torch.fft.rfft(coloured(white(1, 20_000, 64, 1), colour), dim=2).abs().square().mean((0, 1, 3))
    frequency = torch.arange(1, 32).log()
    slope = torch.linalg.lstsq(
        torch.stack([frequency, torch.ones(31)], 1), power[1:32].log()[:, None]
    ).solution[0]
    assert float(slope) == pytest.approx(-colour, abs=0.05)


def test_without_colour_the_noise_is_white() -> None:
    noise = white(2, 5, 9, 3)
    torch.testing.assert_close(coloured(noise, 0.0), noise)


def test_time_runs_through_the_environment_steps_of_a_block() -> None:
    seen = []

    def objective(actions: Tensor) -> Tensor:
        seen.append(actions)
        return actions.sum((2, 3))

    space = Bounds(torch.full((10,), -9.0), torch.full((10,), 9.0), block=5)
    planner = ICEM(horizon=4, samples=2000, iterations=1, colour=2.0, sigma=0.1)
    planner.plan(objective, space, streams(0, 1))
    steps = space.unfold(seen[0])[0, 1:]  # [S, 20, 2]
    neighbours = (steps[:, 1:] * steps[:, :-1]).mean((0, 2)) / steps.square().mean()
    dimensions = (steps[..., 0] * steps[..., 1]).mean() / steps.square().mean()
    assert neighbours.min() > 0.6
    assert abs(float(dimensions)) < 0.1


def test_samples_decay_to_twice_the_elites() -> None:
    counts = []

    def objective(actions: Tensor) -> Tensor:
        counts.append(actions.shape[1])
        return actions.sum((2, 3))

    ICEM(horizon=2, samples=100, elites=10, iterations=8, decay=1.5).plan(objective, box(), streams(0, 1))
    assert counts[:8] == [100, 67, 44, 30, 20, 20, 20, 20]


def test_elites_are_candidates_of_the_next_iteration_so_the_best_is_never_lost() -> None:
    planner = ICEM(horizon=4, samples=30, elites=5, iterations=10, reuse=0.4)
    best = planner.plan(quadratic(opposite()), box(), streams(0, 2)).trace.best
    assert (best[1:] <= best[:-1]).all()
    forgetful = planner.model_copy(update={"reuse": 0.0})
    best = forgetful.plan(quadratic(opposite()), box(), streams(0, 2)).trace.best
    assert not (best[1:] <= best[:-1]).all()


def test_elites_survive_shifted_into_the_next_plan() -> None:
    target = opposite()
    planner = ICEM(horizon=4, iterations=4, sigma=0.3)
    first = planner.plan(quadratic(target), box(), streams(0, 2))
    assert first.elites.shape == (2, 3, 4, 2)
    seen = []

    def objective(actions: Tensor) -> Tensor:
        seen.append(actions)
        return quadratic(target)(actions)

    start = first.shifted(1, box())
    planner.plan(objective, box(), streams(1, 2), start=start)
    assert torch.equal(seen[0][:, :4], start)
