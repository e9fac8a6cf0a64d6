"""Other people's environments: collected from, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gymnasium")
pytest.importorskip("h5py")

from openjepa.errors import UserError
from openjepa.worlds import State, make, open_world
from openjepa.worlds.collect import collect
from openjepa.worlds.third_party import ThirdParty

from . import boxes  # noqa: F401 (registers the environments)

POINT = "gym:test-boxes/Point-v0"


def point(measured: tuple[int, ...] = (0, 1), tolerance: float = 0.15, **kwargs: object) -> ThirdParty:
    world = open_world(POINT, size=16, kwargs=kwargs, measured=measured, tolerance=tolerance)
    assert isinstance(world, ThirdParty)
    return world


def test_it_says_of_itself_what_a_world_says() -> None:
    world = point()
    assert (world.name, world.frame, world.max_steps, len(world.variables)) == (POINT, (3, 16, 16), 30, 2)
    assert world.actions.low.tolist() == [-2, -2] and world.actions.high.tolist() == [2, 2]
    assert point(discrete=True).actions == 4
    again = open_world(POINT, **world.options)
    assert again.options == world.options
    assert open_world("two-rooms") == make("two-rooms")


def test_frames_are_pictures_and_the_state_is_the_observation() -> None:
    (environment,) = point().environments(1)
    frame, info = environment.reset(seed=3)
    assert frame.shape == (3, 16, 16) and frame.dtype == np.uint8 and 100 < frame.mean() < 200
    assert "goal_frame" not in info
    *_, after = environment.step(np.array([2.0, 0.0]))
    np.testing.assert_allclose(after["state"] - info["state"], [0.1, 0.0], atol=1e-6)
    far, *_, beyond = environment.step(np.array([50.0, 0.0]))  # clipped to its bounds
    np.testing.assert_allclose(beyond["state"] - after["state"], [0.1, 0.0], atol=1e-6)
    assert environment.observation_space.contains(frame) and not np.array_equal(frame, far)


def test_a_goal_was_reached_from_the_start_that_is_played() -> None:
    world = point()
    (environment,) = world.environments(1)
    frame, info = environment.reset(seed=5, options={"steps": 8})
    again, same = environment.reset(seed=5, options={"steps": 8})
    alone, _ = environment.reset(seed=5)
    assert np.array_equal(frame, again) and np.array_equal(frame, alone)
    assert np.array_equal(info["goal_frame"], same["goal_frame"])
    assert info["distance"] == pytest.approx(np.linalg.norm(info["state"] - info["goal_state"]))
    assert info["success"] == (info["distance"] <= 0.15)
    _, other = environment.reset(seed=6, options={"steps": 8})
    assert not np.array_equal(other["goal_state"], info["goal_state"])
    with pytest.raises(UserError, match="at least 1 step ahead"):
        environment.reset(seed=5, options={"steps": 0})


def test_success_is_the_environment_s_own_word_unless_a_distance_is_stated() -> None:
    for says in (True, False):  # without a word: ended with a reward
        (environment,) = point((), 0.0, ends=-0.9, says=says).environments(1)
        environment.reset(seed=0, options={"steps": 2})
        *_, terminated, _, info = environment.step(np.zeros(2))
        assert terminated and info["success"] and info["distance"] == 0
    (environment,) = point(ends=-0.9, says=True).environments(1)
    environment.reset(seed=0, options={"steps": 9})
    *_, info = environment.step(np.zeros(2))
    assert info["success"] == (info["distance"] <= 0.15)


@pytest.mark.parametrize("discrete", [False, True])
def test_episodes_are_functions_of_seed_and_number(discrete: bool, tmp_path: Path) -> None:
    world = point(discrete=discrete, ends=0.6)
    long = collect(world, "random-walk", 6, 1, tmp_path / "long", steps=20, worlds=4)
    short = collect(world, "random-walk", 3, 1, tmp_path / "short", steps=20)
    assert long.action_dim == (4 if discrete else 2) and long.actions is not None
    assert (long.lengths <= 20).all() and len(set(long.lengths.tolist())) > 1  # some end by themselves
    for one, other in zip(short, long, strict=False):
        assert np.array_equal(one.frames, other.frames) and np.array_equal(one.actions, other.actions)
    more = collect(world, "random-walk", 6, 1, tmp_path / "short", steps=20)  # goes on
    assert all(np.array_equal(a.state, b.state) for a, b in zip(more, long, strict=True))
    assert long.about["world"] == POINT and len(long.variables) == 2


def test_an_environment_that_raises_ends_its_episode_alone(tmp_path: Path) -> None:
    found = collect(point(breaks=4), "random", 8, 0, tmp_path, steps=10)
    broken = [episode for episode in found if "error" in episode.info]
    assert 0 < len(broken) < len(found) == 8
    assert all(len(episode) == 3 and "motor is hot" in episode.info["error"] for episode in broken)
    assert all(len(episode) == 10 for episode in found if "error" not in episode.info)


def test_one_s_own_policy_sees_the_observation(tmp_path: Path) -> None:
    def home(state: State, rng: np.random.Generator) -> np.ndarray:
        return np.clip(-20 * state.values, -2, 2)

    found = collect(point(), home, 2, 0, tmp_path, steps=15)
    assert all(np.abs(episode.state[-1]).max() < 0.05 for episode in found)


@pytest.mark.parametrize(
    ("id", "options", "said"),
    [
        ("NoSuch-v0", {}, "Gymnasium knows no such id"),
        ("no_such_module:A-v0", {}, r"needs what is not installed .*openjepa\[environments\]"),
        ("test-boxes/Blind-v0", {}, "renders no pictures"),
        ("test-boxes/Split-v0", {}, "bounded numbers or one discrete choice"),
        ("test-boxes/Point-v0", {"measured": [7], "tolerance": 1.0}, "measured="),
        ("test-boxes/Point-v0", {"measured": [0]}, "a distance above 0"),
        ("test-boxes/Point-v0", {"policy": "exprt"}, "policy"),
        ("test-boxes/Point-v0", {"kwargs": {"colour": 1}}, "cannot be made"),
        ("test-boxes/Point-v0", {"tolerence": 1}, "tolerance"),
    ],
)
def test_mistakes_are_named(id: str, options: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        open_world(f"gym:{id}", **options)


def test_a_start_that_its_seed_does_not_fix_has_no_goal() -> None:
    (environment,) = point(steady=False).environments(1)
    with pytest.raises(UserError, match="differently with the same seed"):
        environment.reset(seed=1, options={"steps": 2})


def test_policies_without_a_goal_only(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="random-walk"):
        collect(point(), "scripted", 2, 0, tmp_path)


@pytest.mark.parametrize("id", ["gym_pusht/PushT-v0", "Reacher-v5", "MiniGrid-Empty-5x5-v0"])
def test_the_known_ones_collect_where_they_are_installed(id: str, tmp_path: Path) -> None:
    pytest.importorskip({"gym_pusht/PushT-v0": "gym_pusht", "Reacher-v5": "mujoco"}.get(id, "minigrid"))
    found = collect(f"gym:{id}", "random", 2, 0, tmp_path, steps=3)
    assert found.frame == (3, 64, 64) and found[0].frames.std() > 5
