"""Mazes: layouts, ways, and a disc that never touches a wall."""

import numpy as np
import pytest
from scipy.sparse.csgraph import shortest_path

from openjepa.errors import UserError
from openjepa.worlds import Maze, RandomWalk
from openjepa.worlds.layouts import layouts


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("rooms", [2, 3, 4, 5])
def test_layouts_are_different_perfect_mazes_with_turns(rooms: int) -> None:
    made = layouts(rooms, 4 if rooms == 2 else 20)
    assert len(np.unique(made.doors.reshape(len(made), -1), axis=0)) == len(made)
    for doors, turns, steps in zip(made.doors, made.turns, made.steps, strict=True):
        assert np.array_equal(doors, doors.T) and doors.sum() == 2 * (rooms**2 - 1)  # a tree's edges, twice
        a, b = np.nonzero(doors)
        row, column = abs(a // rooms - b // rooms), abs(a % rooms - b % rooms)
        assert np.all(row + column == 1)
        assert turns.max() >= 2 and np.array_equal(turns, turns.T)
        assert np.array_equal(steps, shortest_path(doors.astype(float), unweighted=True))


def test_following_leads_to_the_goal_in_as_many_steps() -> None:
    made = layouts(4, 5)
    for layout in range(5):
        here, there = np.divmod(np.arange(256), 16)
        steps = made.steps[layout, here, there]
        for _ in range(steps.max()):
            after = made.following[layout, here, there]
            assert np.all(made.doors[layout, here, after] | (here == there))
            here = after
        assert np.array_equal(here, there)


def test_two_by_two_rooms_make_a_u_in_four_rotations() -> None:
    world = Maze(rooms=2)
    assert len(world.layouts) == 4
    assert set(world.factors["layout"].seen) == {0, 1, 2} and set(world.factors["layout"].held_out) == {3}
    assert world.layouts.steps.max() == 3 and world.layouts.turns.max() == 2


def test_a_layout_is_the_same_whatever_else_is_asked_for() -> None:
    few, many = Maze(seen=3), Maze(seen=10)
    assert np.array_equal(few.layouts.doors, many.layouts.doors[:6])


@pytest.mark.parametrize("rooms", [2, 4, 6])
def test_the_disc_never_touches_a_wall(rooms: int) -> None:
    world, generator = Maze(rooms=rooms, held_out=("agent_radius",)), rng()
    state = world.reset(80, generator)
    for t in range(60):
        after = world.step(state, 2.45 * generator.choice([-1, -0.6, 0.3, 1], (80, 2)), generator)
        boxes = world.boxes(after.factors)
        gap = np.maximum(boxes[..., :2] - after.values[:, None], after.values[:, None] - boxes[..., 2:])
        assert gap.max(-1).min(-1) == pytest.approx(gap.max(-1).min(-1).clip(after.factors["agent_radius"]))
        here, there, layout = world.room(state), world.room(after), state.factors["layout"]
        assert np.all((here == there) | world.layouts.doors[layout, here, there]), t
        state = after


def test_it_slides_along_walls() -> None:
    world = Maze(vary=())
    state = world.reset(1, rng())
    down = world.step(state, [(0.0, 0.0)], rng())
    for _ in range(30):
        down = world.step(down, [(-2.45, 0)], rng())
    after = world.step(down, [(-1.0, 0.5)], rng())
    assert after.values[0, 0] == down.values[0, 0] and after.values[0, 1] == down.values[0, 1] + 0.5


@pytest.mark.parametrize("span", [(2, 3), (5, 8), (9, 12)])
def test_goals_are_as_far_as_asked(span: tuple[int, int]) -> None:
    world = Maze()
    state, goal = world.task(300, rng(), distance=span, turns=1)
    layout, here, there = state.factors["layout"], world.room(state), world.room(goal)
    steps = world.layouts.steps[layout, here, there]
    assert steps.min() == span[0] and steps.max() == span[1]
    assert world.layouts.turns[layout, here, there].min() >= 1
    length = world.distance(state, goal)
    assert np.all(length >= np.linalg.norm(state.values - goal.values, axis=1) - 1e-9)
    assert np.all(length <= world.pitch * (steps + 2))


def test_a_goal_too_far_from_here_is_refused() -> None:
    world = Maze(vary=())
    with pytest.raises(UserError, match="no goal has"):
        world.goal(world.reset(20, rng()), rng(), distance=(15, 99))


def test_the_way_gets_shorter_with_every_step_of_the_expert() -> None:
    world, generator = Maze(rooms=5), rng()
    state, goal = world.task(100, generator, distance=(4, 24))
    before = world.distance(state, goal)
    for _ in range(30):
        state = world.step(state, world.expert(state, goal), generator)
        length = world.distance(state, goal)
        assert np.all(length <= before + 1e-6)
        before = length


def test_starts_fill_the_maze_and_wandering_leaves_its_room() -> None:
    world, generator = Maze(), rng()
    state = world.reset(300, generator)
    first = world.room(state)
    assert set(first) == set(range(16))
    policy = RandomWalk(world, goal_legs=0)
    for _ in range(60):
        state = world.step(state, policy(state, generator), generator)
    assert (world.room(state) != first).mean() > 0.4


def test_sizes_that_do_not_fit_are_named() -> None:
    with pytest.raises(UserError, match=r"rooms is 2\.\.6, not 7"):
        Maze(rooms=7)
    for seen in (0, 100_000):
        with pytest.raises(UserError, match=rf"seen is 1\.\.500 layouts, not {seen}"):
            Maze(seen=seen)
    with pytest.raises(UserError, match="only 4 different layouts of 2 x 2 rooms found, not 5"):
        layouts(2, 5)
