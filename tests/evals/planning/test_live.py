"""Playing in somebody else's environments, which run and cannot be put into a state."""

import json

import numpy as np
import pytest

pytest.importorskip("gymnasium")

from openjepa.errors import UserError
from openjepa.evals.planning.players import Chance
from openjepa.evals.planning.playing import play, problems
from openjepa.evals.planning.protocol import PlanningProtocol, Trained, check_fit
from openjepa.evals.planning.surprise import surprise
from openjepa.recipes import build, configure
from openjepa.worlds import State, open_world

from ...worlds import boxes  # noqa: F401 (registers the environments)

ENV = "gym:test-boxes/Point-v0"


class Homing:
    """Knows the observation, and goes to the goal."""

    sees = True
    predictions = 0

    def begin(self, given) -> None:
        self.given = given
        assert given.world.render(given.goal).shape == (len(given), 3, 16, 16)

    def act(self, state: State, frames: np.ndarray, active: np.ndarray) -> np.ndarray:
        assert frames.shape == (len(state), 3, 16, 16)
        np.testing.assert_array_equal(frames, self.given.world.render(state))
        return np.clip(20 * (self.given.goal.values - state.values), -2, 2)


def world(measured: tuple[int, ...] = (0, 1), **kwargs: object):
    return open_world(ENV, size=16, kwargs=kwargs, measured=measured, tolerance=0.05 if measured else 0.0)


def given(numbers: list[int], **kwargs: object):
    return problems(world(**kwargs), 0, numbers, {}, {"steps": 20})


def test_a_goal_that_was_reached_can_be_reached() -> None:
    outcomes, seconds = play(Homing(), given([0, 1, 2, 3]), 30, seed=0)
    assert all(outcome.success is not outcome.at_goal and not outcome.error for outcome in outcomes)
    assert any(outcome.success for outcome in outcomes)
    assert all(outcome.final <= 0.05 < outcome.distance for outcome in outcomes if outcome.steps)
    assert len(seconds) == max(outcome.steps for outcome in outcomes)
    json.dumps([outcome.to_dict() for outcome in outcomes], allow_nan=False)


def test_an_episode_is_a_function_of_its_number() -> None:
    together, _ = play(Homing(), given([0, 1, 2]), 30, seed=0)
    alone, _ = play(Homing(), given([2]), 30, seed=0)
    assert alone == together[2:]


def test_environments_that_raise_have_failed_and_the_others_go_on() -> None:
    outcomes, _ = play(Chance(0), given(list(range(8)), measured=(), breaks=3), 10, seed=0)
    broken = [outcome for outcome in outcomes if outcome.error]
    assert 0 < len(broken) < len(outcomes) == 8
    for outcome in outcomes:
        assert not outcome.success and outcome.steps == (10 if not outcome.error else outcome.steps)
        assert not outcome.error or "motor is hot" in outcome.error


def test_an_episode_that_ends_by_itself_is_over() -> None:
    outcomes, _ = play(Chance(0), given([0, 1], measured=(), ends=-0.95), 10, seed=0)
    assert all(outcome.success and outcome.steps == 1 and outcome.final == 0 for outcome in outcomes)
    late, _ = play(Chance(0), given([0]), 100, seed=0)
    assert late[0].steps <= 30  # its own limit


def test_what_cannot_be_is_refused() -> None:
    model = build(
        configure("pldm", "tiny", {"signal.size": "16", "condition.count": "3", "signal.action_dim": "3"})
    )
    with pytest.raises(UserError, match=r"3 discrete actions.*takes 2 numbers"):
        check_fit(world(), model, "the run")
    with pytest.raises(UserError, match=r"3 discrete actions.*takes 4 discrete actions"):
        check_fit(world(discrete=True), model, "the run")
    with pytest.raises(UserError, match="surprise"):
        surprise(model, world())
    with pytest.raises(UserError, match="named factors"):
        problems(world(), 0, [0], {"agent": 1}, {})
    with pytest.raises(UserError, match="steps"):
        problems(world(), 0, [0], {}, {"step": 3})
    protocol = PlanningProtocol(models=(Trained(run="nowhere"),), env=ENV, baselines=("random", "oracle"))
    with pytest.raises(UserError, match="no oracle"):
        protocol.world()
