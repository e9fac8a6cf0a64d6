"""The arm: its geometry, its workspace, its pictures, its expert."""

import numpy as np
import pytest

from openjepa.errors import UserError
from openjepa.worlds import Arm, State
from openjepa.worlds.arm import FOREARM, HIGH, LOW, NEAR, OPENING, SHOULDER, SIDE, STRIDE, TURN


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def at(world: Arm, *poses: tuple[float, float, float], **factors: object) -> State:
    return world.place(world.reset(len(poses), rng(), **factors), np.array(poses))


def test_an_action_is_added_to_the_pose() -> None:
    world = Arm()
    state = at(world, (0, 30, 0.5), (-5, 20, 0.0))
    after = world.step(state, np.array([[2.5, -1.0, 0.25], [-1.0, 2.0, 0.1]]), rng())
    assert after.values == pytest.approx(np.array([[2.5, 29, 0.75], [-6, 22, 0.1]]))
    assert world.observe(after) == pytest.approx(after.values)


def test_the_joints_put_the_hand_where_it_is() -> None:
    world = Arm(vary=("upper", "elbow"))
    state = world.reset(300, rng())
    first, bend = world.joints(state).T
    upper = state.factors["upper"]
    x = upper * np.cos(first) + FOREARM * np.cos(first + bend)
    y = upper * np.sin(first) + FOREARM * np.sin(first + bend)
    assert np.stack([x, y], 1) == pytest.approx(state.values[:, :2], abs=1e-9)
    assert np.array_equal(np.sign(bend), state.factors["elbow"])


def test_nothing_leaves_the_workspace() -> None:
    world, generator = Arm(vary=("upper",)), rng()
    state = world.reset(200, generator)
    push = world.actions.clip(generator.normal(0, 3, (200, 3)))
    for _ in range(60):
        state = world.step(state, push, generator)
        x, y, opening = state.values.T
        assert np.abs(x).max() <= SIDE and y.min() >= LOW and y.max() <= HIGH
        assert opening.min() >= 0 and opening.max() <= 1
        assert np.all(np.hypot(x, y) <= state.factors["upper"] + FOREARM - 1 + 1e-9)
    again = world.step(state, push, generator)  # pressed against the border, they glide along it at most
    assert np.abs(again.values - state.values).max() <= STRIDE
    starts = world.reset(4000, rng(1)).values
    assert starts[:, 0].min() < -SIDE + 1 and starts[:, 1].max() > HIGH - 2 and starts[:, 1].min() < LOW + 1


def test_the_hand_is_drawn_where_it_is_and_the_gripper_as_open_as_it_is() -> None:
    world = Arm()
    state = at(world, (10, 25, 0), (10, 25, 1), arm_colour=(255, 0, 0), base_colour=(0, 0, 255))
    closed, opened = world.render(state).astype(int)
    row, column = round(SHOULDER[1] - 25), round(SHOULDER[0] + 10)
    blue = [(picture[2] - picture[0] > 120) for picture in (closed, opened)]
    rows, columns = np.nonzero(blue[0][: int(SHOULDER[1]) - 4])
    assert np.hypot(rows - row, columns - column).max() < 6
    assert blue[1][: int(SHOULDER[1]) - 4].sum() > blue[0][: int(SHOULDER[1]) - 4].sum() + 8
    assert closed[0, int(SHOULDER[1]) - 6, 31] > 200  # the upper arm leaves the shoulder


def test_the_elbow_is_on_its_side() -> None:
    world = Arm()
    right, left = (
        world.render(at(world, (0, 30, 0.5), elbow=side, arm_colour=(255, 0, 0), ground_colour=(0, 255, 0)))
        for side in (1, -1)
    )
    assert not np.array_equal(right, left)
    red = [np.nonzero(picture[0, 0] > 200)[1].mean() for picture in (right, left)]
    assert abs(red[0] - red[1]) > 10


def test_success_and_distance() -> None:
    world = Arm()
    state = at(world, (0, 30, 0.5), (0, 30, 0.5), (0, 30, 0.5), (0, 30, 0.5))
    goal = at(world, (2.9, 30, 0.5), (3.1, 30, 0.5), (0, 30, 0.79), (0, 30, 0.81))
    assert world.solved(state, goal).tolist() == [True, False, True, False]
    assert world.distance(state, goal) == pytest.approx([2.9, 3.1, 0.29 * OPENING, 0.31 * OPENING])
    state, goal = world.task(300, rng())
    assert world.distance(state, goal).min() >= 8 > NEAR
    near = world.goal(state, rng(), distance=(0, np.inf))
    assert world.distance(state, near).min() < 8


def test_the_expert_takes_the_fewest_steps() -> None:
    world, generator = Arm(vary=("upper",)), rng()
    state, goal = world.task(100, generator)
    gap = np.abs(goal.values - state.values)
    fewest = np.ceil(np.maximum(gap[:, :2].max(1) / STRIDE, gap[:, 2] / TURN) - 1e-9)
    for t in range(int(fewest.max())):
        state = world.step(state, world.expert(state, goal), generator)
        done = fewest <= t + 1
        assert world.distance(state, goal)[done] == pytest.approx(0, abs=1e-4)


def test_poses_out_of_reach_are_named() -> None:
    world = Arm()
    for pose in ((30, 30, 0.5), (0, 5, 0.5), (26, 50, 0.5), (0, 30, 1.2)):
        with pytest.raises(UserError, match=r"the hand cannot be at .* within the arm's reach"):
            at(world, pose)
