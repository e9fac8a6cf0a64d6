"""Exploration measured: shares of what is free, for who stays, who wanders and who sees more."""

from functools import partial

import numpy as np
import pytest

from openjepa.errors import UserError
from openjepa.evals.planning import Explored, explore
from openjepa.evals.planning.exploring import CELLS, free_cells
from openjepa.evals.planning.players import Chance, Expert
from openjepa.evals.planning.playing import problems
from openjepa.worlds import BehaviourPolicy, CartPole, RandomWalk, State, TwoRooms

WORLD = TwoRooms(size=16)


class Still(BehaviourPolicy):
    def act(self, state: State, rng: np.random.Generator) -> np.ndarray:
        return np.zeros((len(state), 2), np.float32)


def test_who_stays_has_seen_one_cell() -> None:
    given = problems(WORLD, 0, [0, 1], {}, {})
    seen = explore(Chance(0, Still), given, 5, seed=0)
    free = free_cells(WORLD, given.start)
    np.testing.assert_allclose(seen, 1 / free.sum((1, 2)))
    assert free.shape == (2, CELLS, CELLS) and not free[:, 0].any() and not free[:, :, -1].any()
    assert 0.5 < free.mean() < 0.8


def test_the_longer_the_more_and_always_the_same() -> None:
    given = problems(WORLD, 0, range(4), {}, {})
    walk = partial(Chance, policy=partial(RandomWalk, goal_legs=0))
    short, long = explore(walk(0), given, 10, seed=0), explore(walk(0), given, 200, seed=0)
    assert (long >= short).all() and long.mean() > 2 * short.mean()
    np.testing.assert_array_equal(explore(walk(0), given, 10, seed=0), short)
    assert not np.array_equal(explore(walk(1), given, 10, seed=0), short)


def test_the_way_to_a_goal_is_seen_and_no_episode_ends_there() -> None:
    given = problems(WORLD, 0, range(4), {}, {})
    seen = explore(Expert(), given, 80, seed=0) * free_cells(WORLD, given.start).sum((1, 2))
    side = WORLD.arena / CELLS
    away = WORLD.distance(given.start, given.goal)
    assert (seen >= 0.5 * away / side).all() and (seen <= 3 + 2 * away / side).all()


def test_means_have_intervals_and_methods_are_compared_episode_by_episode() -> None:
    more, less = Explored("more", (0.5, 0.6, 0.7, 0.4)), Explored("less", (0.1, 0.2, 0.3, 0.45))
    low, high = more.interval
    assert low < more.mean < high and more.mean == pytest.approx(0.55)
    share, (worst, best) = more.beats(less)
    assert share == 0.75 and worst < 0.75 < best
    assert more.to_dict()["interval"] == [low, high]


def test_a_world_that_is_no_plane_is_refused() -> None:
    world = CartPole(size=16)
    with pytest.raises(UserError, match="cart-pole is no plane"):
        explore(Chance(0), problems(world, 0, [0], {}, {}), 3, seed=0)
