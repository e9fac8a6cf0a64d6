"""What holds for every world."""

import json
import pickle
from itertools import pairwise

import numpy as np
import pytest

from openjepa.errors import UserError
from openjepa.worlds import Oracle, Random, State, World, make, names
from openjepa.worlds.oracle import attempt

VARIED = [
    make("two-rooms", vary=("wall", "door", "agent_colour", "hazard")),
    make("two-rooms", headings=8, size=32),
    make("maze"),
    make("maze", rooms=2, held_out=("layout", "agent_radius")),
    make("cart-pole", vary=("length",)),
    make("cart-pole", begin="upright"),
    make("branch"),
    make("branch", branches=4, size=48),
    make("arm", vary=("upper", "elbow", "arm_colour")),
]
NAMES = [make(name) for name in names()]


def label(world: World) -> str:
    return f"{world.name}-{world.size}-{len(world.held_out)}"


worlds = pytest.mark.parametrize("world", VARIED, ids=label)
each = pytest.mark.parametrize("world", NAMES, ids=label)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def roll(world: World, n: int, steps: int, seed: int) -> list[State]:
    generator, policy = rng(seed), Random(world)
    states = [world.reset(n, generator)]
    for _ in range(steps):
        states.append(world.step(states[-1], policy(states[-1], generator), generator))
    return states


def test_the_worlds_are_known() -> None:
    assert names() == ["arm", "branch", "cart-pole", "maze", "two-rooms"]


@worlds
def test_shapes(world: World) -> None:
    state, goal = world.task(5, rng())
    assert world.render(state).shape == (5, *world.frame) and world.render(state).dtype == np.uint8
    assert (
        world.observe(state).shape == (5, len(world.variables)) and world.observe(state).dtype == np.float32
    )
    for answer in (world.solved(state, goal), world.danger(state)):
        assert answer.shape == (5,) and answer.dtype == bool
    assert world.distance(state, goal).shape == (5,)
    assert set(state.factors) == set(world.factors)
    assert len(world.reset(0, rng())) == 0 and world.render(state.take([])).shape == (0, *world.frame)


@worlds
def test_an_episode_is_a_function_of_its_seed(world: World) -> None:
    one, two, other = (roll(world, 6, 12, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a.values, b.values) for a, b in zip(one, two, strict=True))
    assert np.array_equal(world.render(one[-1]), world.render(two[-1]))
    assert not np.array_equal(one[-1].values, other[-1].values)


@worlds
def test_many_worlds_are_as_many_single_ones(world: World) -> None:
    """Where nothing is left to chance; Branch draws once for each world and step (see its own tests)."""
    state, goal = world.task(9, rng())
    actions = Random(world)(state, rng(1))
    after = world.step(state, actions, rng(2))
    together = world.render(after), world.distance(after, goal), world.expert(after, goal)
    for i in range(9):
        alone = world.step(state.take(i), actions[i : i + 1], rng(2))
        if world.name != "branch":
            assert alone.values == pytest.approx(after.values[[i]], abs=1e-12)
        assert np.array_equal(world.render(after.take(i))[0], together[0][i])
        assert world.distance(after.take(i), goal.take(i))[0] == pytest.approx(together[1][i], abs=1e-9)
        assert np.array_equal(world.expert(after.take(i), goal.take(i))[0], together[2][i])


@worlds
def test_a_step_leaves_the_state_before_it_as_it_was(world: World) -> None:
    state = world.reset(4, rng())
    before = pickle.dumps((state.values, dict(state.factors)))
    world.step(state, Random(world)(state, rng()), rng())
    world.render(state), world.observe(state), world.goal(state, rng())
    assert pickle.dumps((state.values, dict(state.factors))) == before


@worlds
def test_pictures_of_different_states_differ(world: World) -> None:
    states = roll(world, 4, 25, 3)
    for before, after in pairwise(states):
        moved = np.abs(after.values - before.values)[:, [0, -2]].max(1) > 0.02
        differ = (world.render(after) != world.render(before)).any((1, 2, 3))
        assert differ[moved].all()
    pictures = world.render(world.reset(64, rng(5))).reshape(64, -1)
    assert len(np.unique(pictures, axis=0)) == 64


@worlds
def test_any_state_can_be_restored_from_what_is_observed(world: World) -> None:
    for state in roll(world, 8, 20, 4)[::5]:
        again = world.place(world.reset(8, rng(), **state.factors), world.observe(state))
        assert np.abs(world.observe(again) - world.observe(state)).max() < 1e-6
        assert np.abs(world.render(again).astype(int) - world.render(state)).max() <= 1


@worlds
def test_the_oracle_reaches_the_goals(world: World) -> None:
    state, goal = world.task(100, rng())
    outcome = attempt(Oracle(world), state, goal, rng())
    assert outcome.success.mean() >= 0.99
    assert not world.solved(state, goal).all()


@worlds
def test_actions_that_do_not_fit_are_named(world: World) -> None:
    state = world.reset(3, rng())
    good = Random(world)(state, rng())
    with pytest.raises(UserError, match=r"\(2,|integers"):
        world.step(state, good[:2], rng())
    with pytest.raises(UserError, match=r"not -?[0-9]"):
        world.step(state, good + 1000, rng())
    if not isinstance(world.actions, int):
        with pytest.raises(UserError, match="NaN"):
            world.step(state, np.full_like(good, np.nan), rng())
        with pytest.raises(UserError, match="shape"):
            world.step(state, good[:, :1].repeat(4, 1), rng())
        world.step(state, np.broadcast_to(world.actions.high, good.shape), rng())
    else:
        with pytest.raises(UserError, match="integers"):
            world.step(state, good.astype(np.float32), rng())


@each
def test_unknown_names_are_answered_with_the_nearest(world: World) -> None:
    factor = next(iter(world.factors))
    with pytest.raises(UserError, match=f"did you mean '{factor}'"):
        world.reset(1, rng(), **{factor + "s": 1})
    with pytest.raises(UserError, match=f"did you mean '{factor}'"):
        make(world.name, vary=[factor[:-1]])
    with pytest.raises(UserError, match="did you mean 'size'"):
        make(world.name, sise=64)
    with pytest.raises(UserError, match=f"did you mean '{world.name}'"):
        make(world.name.replace("-", "_") + "s")
    with pytest.raises(UserError, match="unknown difficulty"):
        world.goal(world.reset(1, rng()), rng(), hardness=3)


@each
def test_a_goal_of_another_layout_is_refused(world: World) -> None:
    name = world.layout[0]
    factor = world.factors[name]
    values = np.unique(np.concatenate([factor.seen, factor.held_out]))[:2]
    state, other = (world.reset(2, rng(), **{name: value}) for value in values)
    for ask in (world.solved, world.distance):
        with pytest.raises(UserError, match=rf"another layout.*{name}"):
            ask(state, world.goal(other, rng()))
    with pytest.raises(UserError, match="3 goals for 2 states"):
        world.solved(state, world.reset(3, rng()))


@each
def test_places_that_do_not_fit_are_refused(world: World) -> None:
    state = world.reset(2, rng())
    for wrong in ([0.0], np.full(len(world.variables), np.nan), np.zeros((3, len(world.variables)))):
        with pytest.raises(UserError, match="a place is"):
            world.place(state, wrong)


@each
def test_factors_vary_as_asked_and_held_out_values_are_never_seen(world: World) -> None:
    for name, factor in world.factors.items():
        seen = make(world.name, vary=(name,)).reset(200, rng()).factors[name]
        assert all(any(np.array_equal(value, s) for s in factor.seen) for value in seen)
        for value in factor.held_out:
            assert not any(np.array_equal(value, s) for s in factor.seen)
        if len(factor.held_out):
            held = make(world.name, held_out=(name,)).reset(50, rng()).factors[name]
            assert all(any(np.array_equal(value, h) for h in factor.held_out) for value in held)
    still = make(world.name, vary=()).reset(20, rng()).factors
    assert all((values == values[0]).all() for values in still.values())


@each
def test_factors_can_be_fixed_for_all_or_each(world: World) -> None:
    name = world.layout[0]
    a, b = world.factors[name].seen[0], [*world.factors[name].seen, *world.factors[name].held_out][-1]
    assert (world.reset(3, rng(), **{name: a}).factors[name] == a).all()
    assert world.reset(2, rng(), **{name: [a, b]}).factors[name].tolist() == [a, b]
    for wrong in (1e9, [a, b, a, b, a], "red", np.nan):
        with pytest.raises(UserError, match=f"factor '{name}' is a number"):
            world.reset(2, rng(), **{name: wrong})
    colours = [name for name, factor in world.factors.items() if factor.range == (0, 255)]
    bright = world.reset(2, rng(), **{colours[0]: (255, 0, 255)})
    assert (world.render(bright) == np.array([255, 0, 255])[:, None, None]).all(1).any()


@worlds
def test_a_world_is_made_again_from_its_options(world: World) -> None:
    again = make(world.name, **json.loads(json.dumps(world.options)))
    assert again == world and again.options == world.options
    assert np.array_equal(again.render(again.reset(2, rng())), world.render(world.reset(2, rng())))


def test_impossible_tasks_end_with_an_error() -> None:
    with pytest.raises(UserError, match=r"no start has a goal with .*999"):
        make("maze", rooms=2).task(4, rng(), distance=(999, 1000))
    with pytest.raises(UserError, match="size is 16 to"):
        make("maze", size=8)
    with pytest.raises(UserError, match="no held-out values"):
        make("branch", held_out=("risky",))


def test_states_are_taken_repeated_replaced_and_joined() -> None:
    world = make("two-rooms")
    state = world.reset(4, rng())
    twice = state.repeat(2)
    assert np.array_equal(twice.values[::2], state.values) and np.array_equal(
        twice.values[1::2], state.values
    )
    assert np.array_equal(twice.factors["wall"], np.repeat(state.factors["wall"], 2))
    joined = State.concatenate([state.take(slice(0, 2)), state.take([2, 3])])
    assert np.array_equal(joined.values, state.values)
    other = world.reset(2, rng(9))
    mixed = state.put([1, 3], other)
    assert np.array_equal(mixed.values[[1, 3]], other.values)
    assert np.array_equal(mixed.factors["door"][[0, 2]], state.factors["door"][[0, 2]])
    assert not np.array_equal(state.values[1], other.values[0])


@pytest.mark.parametrize(
    ("name", "difficulty", "message"),
    [
        ("two-rooms", {"distance": "x"}, "distance is a rising pair of numbers, such as .*, not 'x'"),
        ("two-rooms", {"distance": [5, 1]}, "a rising pair"),
        ("two-rooms", {"distance": [0, float("nan")]}, "a rising pair"),
        ("two-rooms", {"distance": None}, "a rising pair"),
        ("two-rooms", {"room": ["other"]}, "room is a str, such as other"),
        ("cart-pole", {"target": [0, float("inf")]}, "a rising pair"),
        ("maze", {"turns": True}, "turns is a int, such as 0, not True"),
    ],
)
def test_a_difficulty_of_another_kind_is_named(name: str, difficulty: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(name).task(2, np.random.default_rng(0), **difficulty)
