"""The Gymnasium faces: checked by Gymnasium, alike one by one and vectorised."""

import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from openjepa.errors import UserError
from openjepa.worlds import make
from openjepa.worlds.gym import WorldEnv, WorldVectorEnv

IDS = ["TwoRooms", "Maze", "CartPole", "Branch", "Arm"]
INFO = {"state", "goal_frame", "goal_state", "success", "distance", "danger"}


@pytest.mark.parametrize("name", IDS)
def test_gymnasiums_checker_is_content(name: str) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        check_env(gymnasium.make(f"openjepa/{name}-v0", render_mode="rgb_array").unwrapped)
    assert all("normalized space" in str(warning.message) for warning in told)  # actions keep their units


def test_options_go_through_make() -> None:
    env = gymnasium.make("openjepa/TwoRooms-v0", size=32, headings=4, vary=())
    assert env.observation_space.shape == (3, 32, 32) and env.action_space == gymnasium.spaces.Discrete(4)
    check_env(env.unwrapped)
    env.reset(seed=0)
    env.step(env.action_space.sample())


@pytest.mark.parametrize("name", IDS)
def test_an_episode_tells_what_the_contract_says(name: str) -> None:
    env = gymnasium.make(f"openjepa/{name}-v0", max_steps=7)
    frame, info = env.reset(seed=3)
    world = env.unwrapped.world  # ty: ignore[unresolved-attribute]
    assert set(info) == INFO and info["goal_frame"].shape == frame.shape == world.frame
    env.action_space.seed(0)
    for t in range(7):
        frame, reward, terminated, truncated, info = env.step(env.action_space.sample())
        assert truncated == (t == 6) and terminated == info["success"] == bool(reward)
        assert info["state"].shape == (len(world.variables),) and isinstance(info["distance"], float)


def test_start_goal_and_factors_can_be_given() -> None:
    env = WorldEnv("two-rooms")
    given: dict[str, Any] = {"factors": {"wall": 30, "door": 40}, "start": (10, 40), "goal": (20, 40)}
    frame, info = env.reset(seed=0, options=given)
    assert info["state"].tolist() == [10, 40] and info["goal_state"].tolist() == [20, 40]
    assert info["distance"] == 10 and not info["success"]
    again, _ = env.reset(seed=5, options=given)
    assert np.array_equal(frame, again)
    ended = [env.step(np.array([2.45, 0], np.float32))[2] for _ in range(3)]
    assert ended == [False, False, True]
    assert np.array_equal(env.world.render(env.goal)[0], info["goal_frame"])  # ty: ignore[invalid-argument-type]
    _, info = env.reset(seed=0, options={"difficulty": {"room": "same", "distance": [5, 10]}})
    assert 5 <= info["distance"] <= 10


def test_a_picture_for_people_has_channels_last() -> None:
    env = WorldEnv("maze", render_mode="rgb_array")
    frame, _ = env.reset(seed=0)
    picture = env.render()
    assert picture is not None and np.array_equal(picture.transpose(2, 0, 1), frame)
    assert WorldEnv("maze").render() is None


@pytest.mark.parametrize("name", IDS)
def test_one_world_vectorised_is_the_single_one(name: str) -> None:
    env = WorldEnv(gymnasium.spec(f"openjepa/{name}-v0").kwargs["world"])
    many = gymnasium.make_vec(f"openjepa/{name}-v0", num_envs=1, vectorization_mode="vector_entry_point")
    one, told = env.reset(seed=11)
    all_of_them, infos = many.reset(seed=11)
    env.action_space.seed(2)
    for _ in range(15):
        assert np.array_equal(one, all_of_them[0])
        assert all(np.array_equal(told[key], infos[key][0]) for key in INFO)
        action = env.action_space.sample()
        one, reward, ended, cut, told = env.step(action)
        all_of_them, rewards, ends, cuts, infos = many.step(action[None])
        assert (reward, ended, cut) == (rewards[0], ends[0], cuts[0])
        if ended:
            break


def test_worlds_that_are_done_begin_again_at_the_next_step() -> None:
    envs = WorldVectorEnv("two-rooms", 3, vary=(), max_steps=4)
    assert envs.metadata["autoreset_mode"] is gymnasium.vector.AutoresetMode.NEXT_STEP
    given = {"start": [(10, 40), (10, 40), (40, 20)], "goal": [(15.5, 40), (28, 40), (55, 50)]}
    envs.reset(seed=0, options=given)
    right = np.tile(np.float32([2, 0]), (3, 1))
    _, rewards, ends, cuts, infos = envs.step(right)
    assert ends.tolist() == [True, False, False] and rewards.tolist() == [1, 0, 0] and not cuts.any()
    envs._options = {}
    frames, rewards, ends, cuts, infos = envs.step(right)
    assert not ends.any() and not cuts.any() and rewards.tolist() == [0, 0, 0]
    assert infos["state"][1].tolist() == [14, 40] and infos["state"][0].tolist() != [14, 40]
    assert np.array_equal(frames[0], envs.world.render(envs.state)[0])  # ty: ignore[invalid-argument-type]
    goals = envs.world.render(envs.goal)  # ty: ignore[invalid-argument-type]
    assert np.array_equal(infos["goal_frame"], goals)
    cuts = [envs.step(right)[3].tolist() for _ in range(2)]
    assert cuts[1][1:] == [True, True] and cuts[1][0] is False


def test_gymnasiums_own_vectorisation_works() -> None:
    envs = gymnasium.make_vec("openjepa/Branch-v0", num_envs=2, vectorization_mode="sync")
    frames, _ = envs.reset(seed=0)
    assert frames.shape == (2, 3, 64, 64)
    envs.step(envs.action_space.sample())
    envs.close()


def test_mistakes_are_named() -> None:
    env = WorldEnv(make("cart-pole"))
    with pytest.raises(UserError, match="call reset"):
        env.step(np.zeros(1, np.float32))
    with pytest.raises(UserError, match="did you mean 'start'"):
        env.reset(options={"strat": (0, 0, 0, 1, 0)})
    with pytest.raises(UserError, match="did you mean 'length'"):
        env.reset(options={"factors": {"lenght": 0.5}})
    env.reset(seed=0)
    with pytest.raises(UserError, match="shape"):
        env.step(np.zeros(2, np.float32))
    with pytest.raises(UserError, match="NaN"):
        env.step(np.array([np.nan], np.float32))
    with pytest.raises(UserError, match="call reset"):
        WorldVectorEnv("maze", 2).step(np.zeros((2, 2), np.float32))
