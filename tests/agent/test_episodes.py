"""Episodes: one environment, several, a vector of them; what breaks is counted."""

import numpy as np
import pytest
from torch import Tensor

from openjepa.agent import Agent, EpisodeResult, Task
from openjepa.agent.environments import Vector
from openjepa.agent.planners import CEM, CategoricalCEM
from openjepa.errors import UserError

from .worlds import PointEnv, PointModel, VectorPointEnv

planner = CEM(horizon=5, samples=40, elites=6, iterations=3)


def agent(**settings: object) -> Agent:
    return Agent(PointModel(**settings), planner)  # type: ignore[arg-type]


def test_an_episode_says_what_became_of_it() -> None:
    result = agent().run(PointEnv(), seeds=3)
    assert isinstance(result, EpisodeResult)
    assert result.success and result.ended == "terminated" and result.error is None and result.seed == 3
    assert result.steps == len(result.actions) == len(result.seconds) == len(result.costs["goal"]) < 20
    assert result.distance is not None and result.distance < 0.12
    assert result.costs["goal"][-1] < 0.1 * result.costs["goal"][0]
    assert result.frames == [] and result.plans == []


@pytest.mark.parametrize("vector", [False, True])
def test_an_episode_is_the_same_alone_among_others_and_in_a_vector(vector: bool) -> None:
    seeds = [4, 9, 2]
    alone = [agent().run(PointEnv(), seeds=seed) for seed in seeds]
    environments = [PointEnv() for _ in seeds]
    together = agent().run(VectorPointEnv(environments) if vector else environments, seeds=seeds)
    assert len({result.steps for result in alone}) > 1  # they end at different times
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one.actions, other.actions, atol=1e-5)
        assert (one.success, one.steps, one.ended, one.seed) == (
            other.success,
            other.steps,
            other.ended,
            other.seed,
        )
        assert other.costs["goal"] == pytest.approx(one.costs["goal"], abs=1e-5)


def test_explorers_do_not_share_what_is_familiar() -> None:
    def environments() -> list[PointEnv]:
        return [PointEnv(limit=limit, stops=False) for limit in (6, 14, 10)]

    together = agent().run(environments(), Task.explore(), seeds=3)
    for row, other in enumerate(together):
        alone = agent().run(environments()[row], Task.explore(), seeds=3 + row)
        np.testing.assert_allclose(alone.actions, other.actions, atol=1e-4)


@pytest.mark.parametrize("breaks_at", [0, 1, 4])
def test_an_environment_that_raises_fails_its_episode_and_no_other(breaks_at: int) -> None:
    acting = agent()
    results = acting.run([PointEnv(), PointEnv(breaks_at=breaks_at), PointEnv()], seeds=5)
    broken = results[1]
    assert (broken.success, broken.ended, broken.steps) == (False, "error", breaks_at)
    assert broken.error == ("RuntimeError: the motor is stuck" if breaks_at else "RuntimeError: no power")
    assert results[0].success and results[2].success
    alone = agent().run(PointEnv(), seeds=7)
    np.testing.assert_allclose(alone.actions, results[2].actions, atol=1e-5)


def test_a_single_broken_environment_is_still_a_result() -> None:
    result = agent().run(PointEnv(breaks_at=0))
    assert (result.ended, result.steps, result.success) == ("error", 0, False)


def test_a_vector_environment_that_raises_fails_those_that_run() -> None:
    environments = [PointEnv(), PointEnv(breaks_at=3)]
    environments[0].start, environments[0].goal = [0.2, 0.2], [0.3, 0.2]  # there in one step
    results = agent().run(VectorPointEnv(environments))
    assert [r.ended for r in results] == ["terminated", "error"]
    assert [r.success for r in results] == [True, False]


def test_limits_of_the_environment_and_of_ours_are_told_apart() -> None:
    far = {"start": [-0.9, -0.9], "goal": [0.9, 0.9]}
    assert agent().run(PointEnv(limit=4, **far)).ended == "truncated"  # type: ignore[arg-type]
    ours = agent().run(PointEnv(**far), max_steps=6)  # type: ignore[arg-type]
    assert (ours.ended, ours.steps, ours.success) == ("budget", 6, False)


def test_a_record_keeps_frames_and_what_was_imagined() -> None:
    model = PointModel()
    acting = Agent(model, planner.model_copy(update={"execute": 2}))
    results = acting.run([PointEnv(), PointEnv()], seeds=[4, 9], record=True)
    for result in results:
        assert len(result.frames) == result.steps + 1
        assert [plan.step for plan in result.plans] == list(range(0, result.steps, 2))
        for plan in result.plans:
            assert plan.actions.shape == (5, 2) and plan.imagined.shape == (5, 2) and plan.best.shape == (3,)
            if plan.step + 2 <= result.steps:  # imagined next to real
                real = result.frames[plan.step + 2].reshape(2) / 127 - 1
                np.testing.assert_allclose(plan.imagined[1].numpy(), real, atol=0.02)


def test_an_action_space_other_than_the_models_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"takes 4 discrete actions and the world model was trained on 2 numbers"
    ):
        agent().run(PointEnv(discrete=True))
    discrete = Agent(PointModel(actions=4), CategoricalCEM())
    with pytest.raises(UserError, match=r"takes actions of shape \(2,\) and .* on 4 discrete ones"):
        discrete.run(PointEnv())
    wide = PointEnv()
    wide.action_space.shape = (3,)
    with pytest.raises(UserError, match=r"takes actions of shape \(3,\)"):
        agent().run(wide)


def test_options_that_no_episode_can_begin_with_are_refused() -> None:
    class Strict(PointEnv):
        def reset(self, *, seed=None, options=None):  # type: ignore[no-untyped-def]
            raise UserError("no such option")

    with pytest.raises(UserError, match="no such option"):
        agent().run([PointEnv(), Strict()])


def test_our_own_worlds_are_environments_alone_and_as_a_vector() -> None:
    pytest.importorskip("gymnasium")
    from openjepa.worlds.gym import WorldEnv, WorldVectorEnv

    class Blurred(PointModel):
        """Knows nothing of two rooms, but its latents have two numbers and its actions too."""

        def encode(self, frames: Tensor, actions: Tensor | None = None) -> Tensor:
            return frames.float().mean((-1, -2))[..., :2] / 255

    blind = Agent(Blurred(), planner)
    alone = blind.run(WorldEnv("two-rooms"), max_steps=5)
    together = blind.run(WorldVectorEnv("two-rooms", 3), max_steps=5, record=True)
    for result in (alone, *together):
        assert result.error is None and result.distance is not None and result.distance > 0
        assert (result.ended, result.steps) == ("budget", 5)
    assert together[0].frames[0].shape == (3, 64, 64)


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(UserError, match="2 seeds do not fit 3 environments"):
        agent().run([PointEnv()] * 3, seeds=[1, 2])
    with pytest.raises(UserError, match="no environment to act in"):
        agent().run([])
    with pytest.raises(UserError, match="2 options do not fit 3 environments"):
        agent().run([PointEnv()] * 3, options=[None, None])


def test_a_vector_environment_that_begins_anew_in_the_same_step_hands_over_the_last_frame() -> None:
    class SameStep:
        num_envs = 2

        def step(self, actions: np.ndarray) -> tuple[object, ...]:
            info = {
                "final_obs": np.array([None, np.full(3, 7)], dtype=object),
                "_final_obs": np.array([False, True]),
                "final_info": {"success": np.array([False, True]), "_success": np.array([False, True])},
                "_final_info": np.array([False, True]),
            }
            ended = np.array([False, True])
            return np.zeros((2, 3)), np.zeros(2), ended, ~ended & ended, info

    first, second = Vector(SameStep()).step(np.zeros(2), [True, True])
    assert first is not None and second is not None
    assert first.observation.tolist() == [0, 0, 0] and first.info == {}
    assert second.observation.tolist() == [7, 7, 7] and second.info["success"]


def test_gymnasiums_own_vector_environment_is_understood() -> None:
    gymnasium = pytest.importorskip("gymnasium")

    class Point(gymnasium.Env):
        def __init__(self) -> None:
            self.inner = PointEnv()
            self.observation_space = gymnasium.spaces.Box(0, 255, (1, 1, 2), np.uint8)
            self.action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)

        def reset(self, *, seed=None, options=None):  # type: ignore[no-untyped-def]
            return self.inner.reset(seed=seed)

        def step(self, action):  # type: ignore[no-untyped-def]
            return self.inner.step(action)

    vector = gymnasium.vector.SyncVectorEnv([Point, Point])
    results = agent().run(vector, seeds=[4, 9])
    for result, seed in zip(results, [4, 9], strict=True):
        alone = agent().run(PointEnv(), seeds=seed)
        assert result.success and result.steps == alone.steps
        np.testing.assert_allclose(result.actions, alone.actions, atol=1e-5)
