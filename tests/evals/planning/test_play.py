"""Episodes in many worlds at once: what is counted, and what an error of one world does to the others."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from openjepa.errors import UserError
from openjepa.evals.planning.play import EpisodeOutcome
from openjepa.evals.planning.players import Chance, Expert, Simulating, Still
from openjepa.evals.planning.playing import play, problems
from openjepa.evals.planning.protocol import PlanningProtocol, Trained
from openjepa.evals.planning.result import PlanningResult, PlayedRow
from openjepa.evals.table import wilson
from openjepa.worlds import Maze, State, TwoRooms

WORLD = TwoRooms(size=16)


def given(numbers: list[int], world: TwoRooms = WORLD):
    return problems(world, 0, numbers, {}, {})


def test_an_expert_arrives_by_the_shortest_way_and_is_counted() -> None:
    outcomes, seconds = play(Expert(), given([0, 1, 2, 3]), 100, seed=0)
    assert all(outcome.success and not outcome.error for outcome in outcomes)
    assert [outcome.number for outcome in outcomes] == [0, 1, 2, 3]
    assert len(seconds) == max(outcome.steps for outcome in outcomes)
    for outcome in outcomes:
        assert outcome.final < WORLD.near < outcome.distance
        assert outcome.steps >= (outcome.distance - WORLD.near) / (WORLD.stride * np.sqrt(2)) - 1
        assert outcome.p99 >= outcome.p50 > 0


def test_an_episode_is_a_function_of_its_number() -> None:
    together, _ = play(Expert(), given([0, 1, 2, 3]), 100, seed=0)
    alone, _ = play(Expert(), given([2]), 100, seed=0)
    assert alone == together[2:3]
    other = problems(WORLD, 1, [2], {}, {})
    assert not np.array_equal(other.start.values, given([2]).start.values)


def test_a_budget_ends_an_episode_where_it_is() -> None:
    outcomes, seconds = play(Expert(), given([0, 1]), 2, seed=0)
    assert len(seconds) == 2
    for outcome in outcomes:
        assert not outcome.success and outcome.steps == 2 and 0 < outcome.distance - outcome.final < 7


def test_chance_is_the_same_each_time() -> None:
    runs = [play(Chance(seed), given([0, 1]), 5, seed=0)[0] for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


def test_a_planner_on_the_simulator_solves_what_it_sees() -> None:
    planner = PlanningProtocol(models=(Trained(run="x"),), env="two-rooms").oracle
    player = Simulating(planner, seed=0)
    outcomes, _ = play(player, given([0, 1]), 100, seed=0)
    assert all(outcome.success for outcome in outcomes)
    plans = -(-outcomes[0].steps // planner.execute)
    assert outcomes[0].predictions == plans * planner.horizon * (planner.samples * planner.iterations + 1)
    assert play(Simulating(planner, seed=0), given([1]), 100, seed=0)[0] == outcomes[1:]


@dataclass(frozen=True)
class Breaking(TwoRooms):
    """Breaks wherever the agent is far to the right."""

    def advance(self, state: State, actions: NDArray, rng: np.random.Generator) -> NDArray:
        values = super().advance(state, actions, rng)
        if (values[:, 0] > 54).any():
            raise RuntimeError("the motor is stuck")
        return values


def test_an_error_fails_its_own_episode_alone() -> None:
    numbers = list(range(12))
    broken, _ = play(Expert(), given(numbers, Breaking(size=16)), 100, seed=0)
    whole, _ = play(Expert(), given(numbers), 100, seed=0)
    failed = [outcome for outcome in broken if outcome.error]
    assert 0 < len(failed) < 12
    for one, other in zip(broken, whole, strict=True):
        if one.error:
            assert one.error == "RuntimeError: the motor is stuck" and not one.success and one.steps >= 1
        else:
            assert one == other and one.success


def test_difficulty_and_factors_reach_the_world() -> None:
    near = problems(Maze(size=16), 0, [0, 1, 2], {"layout": 3}, {"distance": [2, 3]})
    assert (near.start.factors["layout"] == 3).all()
    assert (
        Maze(size=16).layouts.steps[3, near.world.room(near.start), near.world.room(near.goal)] <= 3
    ).all()  # ty: ignore


def outcome(number: int, success: bool, distance: float) -> EpisodeOutcome:
    return EpisodeOutcome(number, success, 10, distance, 1.0)


def test_a_row_counts_by_run_and_by_distance() -> None:
    row = PlayedRow("planning", tuple(outcome(i, i % 4 != 0, i) for i in range(8)), 2, 0.1, 0.2)
    assert row.successes == 6 and row.rate == 0.75 and row.rates == [0.75, 0.75]
    assert row.interval == wilson(6, 8)
    bins = row.by_distance(2)
    assert [(near.successes, near.episodes) for near in bins] == [(3, 4), (3, 4)]
    assert bins[0].low == 0 and bins[0].high == bins[1].low == 3.5 and bins[1].high == 7
    same = PlayedRow("planning", tuple(outcome(i, True, 5.0) for i in range(3)), 1, 0, 0)
    assert [(near.successes, near.episodes) for near in same.by_distance()] == [(3, 3)]


def test_an_episode_that_begins_at_its_goal_is_counted_apart() -> None:
    problem = given([0, 1, 2])
    goal = problem.goal.put([1], problem.start.take([1]))
    outcomes, _ = play(Still(), replace(problem, goal=goal), 5, seed=0)
    assert [(o.at_goal, o.success, o.steps) for o in outcomes] == [
        (False, False, 5),
        (True, False, 0),
        (False, False, 5),
    ]
    row = PlayedRow("planning", (*outcomes[:2], outcome(5, True, 9.0), outcome(6, True, 8.0)), 2, 0.1, 0.2)
    assert (row.successes, len(row.played), row.at_goal) == (2, 3, 1)
    assert row.rate == 2 / 3 and row.interval == wilson(2, 3) and row.rates == [0, 1]
    assert sum(near.episodes for near in row.by_distance()) == 3 and row.mean("steps") == 25 / 3
    data = row.to_dict()
    assert (data["episodes"], data["at_goal"], data["success"]) == (3, 1, 2 / 3)
    protocol = PlanningProtocol(models=(Trained(run="a"), Trained(run="b")), env="two-rooms", episodes=2)
    text = str(PlanningResult(protocol, (row,)))
    assert "3 episodes on two-rooms" in text and "1 more began at its goal" in text
    alone = PlayedRow("planning", outcomes[1:2], 1, 0.0, 0.0)
    assert (
        alone.rate == 0
        and alone.interval == (0, 1)
        and "0 episodes on" in str(PlanningResult(protocol, (alone,)))
    )


def test_results_of_before_are_read_by_today_s_rule() -> None:
    row = PlayedRow("planning", tuple(outcome(i, True, i) for i in range(3)), 1, 0.1, 0.2)
    data = row.to_dict()
    for one in data["outcomes"]:
        del one["at_goal"]
    assert PlayedRow.from_dict(data) == row
    data["outcomes"][1] |= {"steps": 0}
    assert [o.at_goal for o in PlayedRow.from_dict(data).outcomes] == [False, True, False]
    assert PlayedRow.from_dict(data).successes == 2


def test_doing_nothing_leaves_the_world_to_itself() -> None:
    problem = given([0, 1])
    outcomes, _ = play(Still(), problem, 5, seed=0)
    assert all(o.distance == o.final and not o.success for o in outcomes)
    with pytest.raises(UserError, match="leave nothing out of baselines"):
        PlanningProtocol(
            models=(Trained(run="a"),), env="maze", options={"headings": 4}, baselines=("nothing",)
        ).world()


def test_a_result_is_plain_data_and_text() -> None:
    failed = EpisodeOutcome(3, False, 7, 4.0, 2.0, error="RuntimeError: the motor is stuck")
    row = PlayedRow("planning", (*(outcome(i, True, i) for i in range(3)), failed), 2, 0.1, 0.2)
    protocol = PlanningProtocol(models=(Trained(run="a"), Trained(run="b")), env="two-rooms", episodes=2)
    result = PlanningResult(protocol, (row,))
    again = PlanningResult.from_dict(result.to_dict())
    assert again == result and again.same_outcomes(result)
    text = str(result)
    assert "75.0 [30.1, 95.4]" in text and "motor is stuck" in text and "By run: 100, 50 %" in text
    with pytest.raises(KeyError):
        result.row("expert")
