"""Two rooms: the published protocol, walls that hold, the way through the door."""

import numpy as np
import pytest

from openjepa.errors import UserError
from openjepa.worlds import Oracle, RandomWalk, State, TwoRooms
from openjepa.worlds.oracle import attempt
from openjepa.worlds.two_rooms import MARGIN


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def crossing(before: State, after: State) -> tuple[np.ndarray, np.ndarray]:
    """Whether a step went from one side of the wall's middle to the other, and at which y."""
    wall = before.factors["wall"]
    (x0, y0), (x1, y1) = before.values.T, after.values.T
    crossed = (x0 - wall) * (x1 - wall) < 0
    share = np.where(crossed, (wall - x0) / np.where(crossed, x1 - x0, 1), 0)
    return crossed, y0 + share * (y1 - y0)


@pytest.mark.parametrize("held_out", [(), ("wall", "door", "thickness", "opening")])
def test_the_wall_is_crossed_through_the_door_alone(held_out: tuple[str, ...]) -> None:
    """Actions of full size, so that a step is longer than the wall is thick."""
    world, generator = TwoRooms(held_out=held_out), rng()
    state = world.reset(200, generator)
    door = state.factors["door"] + np.array([[-1], [1]]) * state.factors["opening"]
    middles = np.stack([state.factors["wall"], state.factors["door"]], 1)
    seen = 0
    for _ in range(120):
        drawn = np.where(generator.random((200, 2)) < 0.5, 1, -1) * generator.uniform(0.8, 1, (200, 2))
        homing = np.sign(middles - state.values) * generator.uniform(0.3, 1, (200, 2))
        actions = 2.45 * np.where(generator.random((200, 1)) < 0.5, drawn, homing)
        after = world.step(state, actions, generator)
        crossed, y = crossing(state, after)
        assert np.all((y >= door[0]) & (y <= door[1]) | ~crossed)
        wall, half = state.factors["wall"], state.factors["thickness"] / 2
        within = np.abs(after.values[:, 0] - wall) < half
        assert np.all((after.values[:, 1] >= door[0]) & (after.values[:, 1] <= door[1]) | ~within)
        assert after.values.min() > 4 and after.values.max() < 60
        state, seen = after, seen + crossed.sum()
    assert seen > 100


def test_a_step_ends_where_it_meets_the_wall() -> None:
    world = TwoRooms(vary=())
    state = world.place(world.reset(3, rng()), [(29.0, 40), (35, 40), (6, 50)])
    after = world.step(state, [(2.45, 1.225), (-2.45, 0), (-2.45, -1.0)], rng())
    assert after.values == pytest.approx(np.array([(31, 41), (33, 40), (4, 50 - 2 / 2.45)]), abs=1e-3)
    assert world.step(state, [(1.0, 1), (0, 0.5), (0, 0)], rng()).values.tolist() == [
        [30, 41],
        [35, 40.5],
        [6, 50],
    ]


def test_starts_and_goals_follow_the_published_protocol() -> None:
    world = TwoRooms()
    state, goal = world.task(4000, rng())
    wall, door = state.factors["wall"], state.factors["door"]
    assert set(wall) == set(range(20, 45)) and set(door) == set(range(10, 55))
    left = state.values[:, 0] < wall
    assert 0.45 < left.mean() < 0.55
    assert np.all(left == (goal.values[:, 0] > wall))
    for place in (state, goal):
        assert place.values.min() >= 6.6 and place.values[:, 1].max() <= 57.4
        assert np.abs(place.values[:, 0] - wall).min() >= 1 + MARGIN
        assert place.values[:, 1].min() < 6.8 and place.values[:, 1].max() > 57.2


@pytest.mark.parametrize(("room", "share"), [("same", 0.0), ("any", 0.5), ("other", 1.0)])
def test_goals_in_the_room_asked_for(room: str, share: float) -> None:
    state, goal = TwoRooms().task(1000, rng(), room=room)
    apart = (state.values[:, 0] < state.factors["wall"]) != (goal.values[:, 0] < state.factors["wall"])
    assert abs(apart.mean() - share) < 0.06


def test_an_unknown_room_is_named() -> None:
    with pytest.raises(UserError, match="did you mean 'other'"):
        TwoRooms().task(1, rng(), room="othr")


def test_success_is_to_be_within_4_5_units() -> None:
    world = TwoRooms(vary=())
    state = world.place(world.reset(2, rng()), [(10.0, 40), (10, 40)])
    goal = world.place(state, [(14.49, 40), (14.51, 40)])
    assert world.solved(state, goal).tolist() == [True, False]


def test_distances() -> None:
    world = TwoRooms(vary=())
    places = world.reset(3, rng())
    start = world.place(places, [(10.0, 40), (10, 18), (28, 50)])
    goal = world.place(places, [(20.0, 50), (50, 18), (36, 50)])
    around = (
        np.hypot(2.5, 28.5) + 3 + np.hypot(2.5, 28.5)
    )  # by the door's lower corners at y 21.5, x 30.5 and 33.5
    assert world.distance(start, goal) == pytest.approx([np.hypot(10, 10), 40, around])
    state, goal = TwoRooms().task(500, rng(), room="any")
    length = TwoRooms().distance(state, goal)
    assert length == pytest.approx(TwoRooms().distance(goal, state))
    assert np.all(length >= np.linalg.norm(state.values - goal.values, axis=1) - 1e-9)


def test_goals_at_a_distance() -> None:
    state, goal = TwoRooms().task(200, rng(), distance=(50, 60))
    length = TwoRooms().distance(state, goal)
    assert length.min() >= 50 and length.max() <= 60


def test_nothing_can_be_placed_in_the_wall() -> None:
    world = TwoRooms(vary=())
    state = world.reset(1, rng())
    for x, y in ((32, 40), (2, 30), (30, 63)):
        with pytest.raises(UserError, match=rf"nothing can be at \({x}, {y}\), inside a wall"):
            world.place(state, (x, y))
    world.place(state, (32, 18))  # the door


def test_the_dot_is_drawn_where_it_is() -> None:
    world = TwoRooms(size=65, vary=())
    state = world.reset(
        50, rng(), ground_colour=(255, 255, 255), agent_colour=(255, 0, 0), wall_colour=(0, 255, 0)
    )
    frames = world.render(state)[:, 1] < 128  # red alone has no green
    pixels = np.arange(65)
    where = np.stack([(frames.sum(axis) * pixels).sum(1) / frames.sum((1, 2)) for axis in (1, 2)], 1)
    assert np.abs(where - state.values).max() < 0.5
    walls = world.render(state)[0, 0] < 64
    assert walls[30, 32] and not walls[18, 32] and walls[:4].all() and walls[61:].all() and not walls[30, 20]


def test_a_cautious_way_keeps_out_of_the_hazard() -> None:
    world = TwoRooms(vary=("wall", "door", "hazard"))
    state, goal = world.task(120, rng())
    for place in (state, goal):
        assert not world.danger(place).any()
    bold, shy = (attempt(Oracle(world, cautious), state, goal, rng()) for cautious in (False, True))
    assert bold.danger.any() and not shy.danger.any() and shy.success.all()
    assert shy.steps.sum() > bold.steps.sum()
    inside = world.place(state.take([0]), state.factors["hazard"][0, :2])
    assert world.danger(inside).all()
    with pytest.raises(UserError, match="leaves no place"):
        world.reset(1, rng(), hazard=(30, 30, 60))


def test_wandering_crosses_as_often_as_published() -> None:
    world, generator = TwoRooms(), rng()
    policy, state = RandomWalk(world), world.reset(250, generator)
    crossed = np.zeros(250, bool)
    for _ in range(90):
        after = world.step(state, policy(state, generator), generator)
        crossed |= crossing(state, after)[0]
        state = after
    assert 0.27 < crossed.mean() < 0.5


def test_discrete_headings_move_in_as_many_directions() -> None:
    world = TwoRooms(vary=(), headings=4)
    state = world.place(world.reset(4, rng()), (20.0, 40))
    moves = world.step(state, np.arange(4), rng()).values - (20, 40)
    assert moves == pytest.approx(2.45 * np.array([(1, 0), (0, 1), (-1, 0), (0, -1)]), abs=1e-9)
