"""Policies: bounds, smoothness, purpose, new episodes."""

import numpy as np
import pytest

from openjepa.errors import UserError
from openjepa.worlds import (
    BehaviourPolicy,
    LegWalk,
    PerturbedExpert,
    Random,
    RandomWalk,
    Scripted,
    WallSeekingWalk,
    World,
    make,
)

WORLDS = [make(name) for name in ("two-rooms", "maze", "cart-pole", "branch", "arm")] + [
    make("two-rooms", headings=6)
]
POLICIES = [Random, RandomWalk, LegWalk, WallSeekingWalk, Scripted, PerturbedExpert]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def played(world: World, policy: BehaviourPolicy, n: int, steps: int, seed: int = 0) -> np.ndarray:
    """Actions, `[steps, n, ...]`."""
    generator = rng(seed)
    state, actions = world.reset(n, generator), []
    for _ in range(steps):
        actions.append(policy(state, generator))
        state = world.step(state, actions[-1], generator)
    return np.stack(actions)


@pytest.mark.parametrize("world", WORLDS, ids=lambda w: f"{w.name}-{w.actions}"[:14])
@pytest.mark.parametrize("kind", POLICIES)
def test_actions_fit_and_repeat_with_the_seed(world: World, kind: type[BehaviourPolicy]) -> None:
    one, two, other = (played(world, kind(world), 7, 20, seed) for seed in (0, 0, 1))
    assert np.array_equal(one, two) and not np.array_equal(one, other)
    if isinstance(world.actions, int):
        assert one.shape == (20, 7) and one.dtype == np.int64
    else:
        assert one.shape == (20, 7, world.actions.size) and one.dtype == np.float32


@pytest.mark.parametrize("kind", POLICIES)
def test_new_episodes_owe_nothing_to_old_ones(kind: type[BehaviourPolicy]) -> None:
    world = make("maze")
    used = kind(world)
    played(world, used, 5, 10, seed=3)
    assert np.array_equal(played(world, used, 5, 10, seed=4), played(world, kind(world), 5, 10, seed=4))


def test_random_actions_fill_their_bounds() -> None:
    actions = played(make("two-rooms"), Random(make("two-rooms")), 200, 20)
    assert np.abs(actions).max() > 2.4 and abs(actions.mean()) < 0.1
    assert actions.std() == pytest.approx(2.45 / np.sqrt(3), rel=0.03)


def test_a_walk_has_the_published_steps_and_a_smooth_heading() -> None:
    world = make("two-rooms")
    actions = played(world, RandomWalk(world, goal_legs=0), 300, 60)
    length = np.linalg.norm(actions, axis=-1)
    assert length.min() >= 0.2 - 1e-6 and length.max() <= 1.8 + 1e-6
    assert length.mean() == pytest.approx(1.0, abs=0.02) and length.std() == pytest.approx(0.352, abs=0.02)
    heading = np.arctan2(actions[..., 1], actions[..., 0])
    turn = np.cos(np.diff(heading, axis=0))
    assert turn.mean() == pytest.approx(0.894, abs=0.01)  # I1(5) / I0(5), the von Mises mean cosine
    assert abs(np.cos(heading[0]).mean()) < 0.1


def test_a_leg_walk_goes_straight_at_full_speed_as_a_plan_may() -> None:
    world = make("two-rooms")
    actions = played(world, LegWalk(world, goal_legs=0), 300, 60)
    assert np.abs(actions).max() == pytest.approx(2.45)
    five = np.linalg.norm(actions.reshape(12, 5, 300, 2).sum(1), axis=-1)
    published = played(world, RandomWalk(world, goal_legs=0), 300, 60).reshape(12, 5, 300, 2).sum(1)
    assert five.min() < 0.5 and five.max() > 14 > 9 > np.linalg.norm(published, axis=-1).max()


def test_a_wall_seeking_walk_runs_into_walls_and_passes_doors_more_often_than_the_published_one() -> None:
    world = make("two-rooms")

    def events(policy: BehaviourPolicy) -> tuple[float, float]:
        """Shares of steps that the wall between the rooms cut short, and that led to the other room."""
        generator = rng()
        state = world.reset(200, generator)
        stopped = passed = 0
        for _ in range(100):
            action = policy(state, generator)
            following = world.step(state, action, generator)
            moved = following.values - state.values
            cut = np.abs(moved - action).max(1) > 0.1
            there = np.abs(following.values[:, 0] - state.factors["wall"]) < 1.1
            stopped += int((cut & there & (np.abs(moved).max(1) > 0.1)).sum())
            sides = [one.values[:, 0] > state.factors["wall"] for one in (state, following)]
            passed += int((sides[0] != sides[1]).sum())
            state = following
        return stopped / 20_000, passed / 20_000

    seeking, legs, published = (events(kind(world)) for kind in (WallSeekingWalk, LegWalk, RandomWalk))
    assert seeking[0] > 1.5 * max(legs[0], published[0]) and seeking[1] > 2 * published[1]
    assert events(WallSeekingWalk(world, blind=1.0))[0] > events(WallSeekingWalk(world, blind=0.0))[0]
    with pytest.raises(UserError, match="blind is a share"):
        WallSeekingWalk(world, blind=2.0)


def test_a_wall_seeking_walk_that_is_stopped_soon_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    world = make("two-rooms")

    def still() -> float:
        """Share of steps that lead nowhere."""
        policy, generator = WallSeekingWalk(world, goal_legs=0), rng()
        state, count = world.reset(300, generator), 0
        for _ in range(100):
            following = world.step(state, policy(state, generator), generator)
            count += int((np.abs(following.values - state.values).max(1) < 0.01).sum())
            state = following
        return count / 30_000

    soon = still()
    monkeypatch.setattr(WallSeekingWalk, "patience", 1000)
    assert soon < 0.25 < 0.4 < still()


def test_a_perturbed_expert_takes_the_same_ways_and_runs_into_walls() -> None:
    world = make("branch")

    def events(policy: BehaviourPolicy) -> tuple[int, int, int]:
        """How often the rapids were entered, steps on the road below the block, and steps that a wall cut short."""
        generator = rng()
        state, entered, road, stopped = world.reset(300, generator), 0, 0, 0
        for _ in range(40):
            action = policy(state, generator)
            following = world.step(state, action, generator)
            (x, y, branch), carried = following.values.T, state.values[:, 2] > 0
            entered += int(((branch > 0) & ~carried).sum())
            road += int(((y > 47.5) & (x > 19.5) & (x < 43.5)).sum())
            stopped += int(
                (
                    ~carried & (np.abs(following.values - state.values)[:, :2] + 0.5 < np.abs(action)).any(1)
                ).sum()
            )
            state = following
        return entered, road, stopped

    perturbed, scripted = events(PerturbedExpert(world)), events(Scripted(world))
    assert perturbed[0] > 0.7 * scripted[0] and perturbed[1] > 0.5 * scripted[1]
    assert perturbed[2] > 3 * scripted[2]


def test_a_walk_in_one_dimension_is_smooth_too() -> None:
    world = make("cart-pole")
    force = played(world, RandomWalk(world, goal_legs=0), 200, 40)[..., 0]
    lagged = np.corrcoef(force[:-1].ravel(), force[1:].ravel())[0, 1]
    assert lagged > 0.6 and np.abs(force).max() <= 20 and abs(force.mean()) < 0.5


def test_goal_legs_come_first_and_end() -> None:
    world, generator = make("branch"), rng()
    policy, state = RandomWalk(world, goal_legs=1.0), world.reset(100, generator)
    came = np.zeros(100, bool)
    for _ in range(100):
        state = world.step(state, policy(state, generator), generator)
        came |= world.solved(state, policy.goal)
    assert came.mean() > 0.9 and policy.on_goal_leg.mean() < 0.1


@pytest.mark.parametrize("name", ["two-rooms", "maze", "branch", "arm"])
def test_a_script_reaches_goal_after_goal(name: str) -> None:
    world, generator = make(name), rng()
    policy, state = Scripted(world, noise=0.2), world.reset(100, generator)
    policy(state, generator)
    first, reached = policy.goal, np.zeros(100, bool)
    for _ in range(80):
        state = world.step(state, policy(state, generator), generator)
        reached |= world.solved(state, first)
    assert reached.mean() >= 0.98
    assert (policy.goal.values != first.values).any(1).mean() >= 0.98


@pytest.mark.parametrize("kind", [RandomWalk, Scripted])
def test_goals_are_of_the_difficulty_that_is_asked_for(kind: type[BehaviourPolicy]) -> None:
    world, generator = make("cart-pole"), rng()
    policy, state = kind(world, difficulty={"target": [0.2, 0.3]}), world.reset(50, generator)
    policy(state, generator)
    assert (policy.goal.values[:, 0] >= 0.2).all() and (policy.goal.values[:, 0] <= 0.3).all()


def test_half_of_the_scripts_shun_danger() -> None:
    world, generator = make("branch", risk=1.0), rng()
    policy, state = Scripted(world), world.reset(300, generator)
    danger = np.zeros(300, bool)
    for _ in range(30):
        state = world.step(state, policy(state, generator), generator)
        danger |= world.danger(state)
    assert 0.35 < danger.mean() < 0.65


def test_settings_that_do_not_fit_are_named() -> None:
    with pytest.raises(UserError, match="goal_legs is a share"):
        RandomWalk(make("maze"), goal_legs=2)
    with pytest.raises(UserError, match="noise is at least 0"):
        Scripted(make("maze"), noise=-1)
    with pytest.raises(UserError, match="perturbations is a probability"):
        PerturbedExpert(make("maze"), perturbations=2)
