"""The cart-pole: mechanics against an independent integrator, limits, pictures, the expert."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from openjepa.errors import UserError
from openjepa.worlds import CartPole, State
from openjepa.worlds.cartpole import CART, FORCE, GRAVITY, LIMIT, POLE, STEP, energy


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def at(world: CartPole, n: int, *values: float) -> State:
    state = world.reset(n, rng())
    return State(np.broadcast_to(np.array(values), (n, 4)).copy(), state.factors)


def push(world: CartPole, state: State, force: float, steps: int = 1) -> State:
    for _ in range(steps):
        state = world.step(state, np.full((len(state), 1), force), rng())
    return state


def lagrange(_: float, y: np.ndarray, force: float, length: float) -> list[float]:
    """The equations of motion as a linear system in the two accelerations."""
    _, v, angle, spin = y
    couple = POLE * length * np.cos(angle)
    masses = np.array([[CART + POLE, couple], [couple, 4 / 3 * POLE * length**2]])
    forces = [force + POLE * length * spin**2 * np.sin(angle), POLE * GRAVITY * length * np.sin(angle)]
    a, turn = np.linalg.solve(masses, forces)
    return [v, a, spin, turn]


@pytest.mark.parametrize("length", [0.35, 0.5, 0.6])
def test_it_moves_as_the_equations_of_motion_say(length: float) -> None:
    world = CartPole()
    start = [-0.2, 0.5, 0.4, -1.0]
    state = State(np.array([start]), world.reset(1, rng(), length=length).factors)
    after = push(world, state, 2.0, 15).values[0]
    truth = solve_ivp(lagrange, (0, 15 * STEP), start, args=(2.0, length), rtol=1e-10, atol=1e-12).y[:, -1]
    truth[2] = (truth[2] + np.pi) % (2 * np.pi) - np.pi
    assert after == pytest.approx(truth, abs=1e-5)


def test_energy_is_conserved_without_force() -> None:
    world, generator = CartPole(begin="upright", vary=("length",)), rng()
    state = world.reset(50, generator)
    before = energy(state.values, state.factors["length"])
    for _ in range(60):
        touching = np.abs(state.values[:, 0]) >= LIMIT - 0.1
        state = push(world, state, 0.0)
        after = energy(state.values, state.factors["length"])
        assert np.all(np.abs(after - before)[~touching] < 1e-7)
        before = after


def test_the_rails_end_takes_energy_and_never_gives_any() -> None:
    world = CartPole()
    state = at(world, 1, 1.0, 3.0, 2.0, 4.0)
    seen = []
    for _ in range(100):
        before = energy(state.values, 0.5)[0]
        state = push(world, state, 0.0)
        assert np.abs(state.values[0, 0]) <= LIMIT
        seen.append(energy(state.values, 0.5)[0] - before)
    assert max(seen) < 1e-6 and min(seen) < -0.5


def test_a_force_against_the_end_moves_nothing_but_the_pole() -> None:
    world = CartPole()
    state = push(world, at(world, 1, LIMIT, 0.0, 3.0, 0.0), FORCE, 40)
    assert state.values[0, 0] == LIMIT and state.values[0, 1] == 0
    assert abs(state.values[0, 2]) != 3.0
    assert push(world, state, -FORCE, 5).values[0, 0] < LIMIT


def test_mirror_images_move_as_mirror_images() -> None:
    world = CartPole()
    one, other = at(world, 1, 0.3, 0.5, 0.4, -2.0), at(world, 1, -0.3, -0.5, -0.4, 2.0)
    for force in (3.0, -20.0, 7.0, 0.0, 20.0) * 5:
        one, other = push(world, one, force), push(world, other, -force)
        assert one.values == pytest.approx(-other.values, abs=1e-9)
    frames = world.render(one)[0].astype(int), world.render(other)[0, ..., ::-1].astype(int)
    assert np.abs(frames[0] - frames[1]).max() <= 1


def test_consecutive_pictures_differ_and_one_shows_no_velocity() -> None:
    world = CartPole()
    state = at(world, 1, 0.0, 0.15, 3.0, 0.2)
    frames = []
    for _ in range(50):
        frames.append(world.render(state)[0])
        state = push(world, state, 1.0)
    assert all((a != b).any() for a, b in pairwise(frames))
    still, moving = at(world, 1, 0.1, 0.0, 1.0, 0.0), at(world, 1, 0.1, 2.0, 1.0, -3.0)
    assert np.array_equal(world.render(still), world.render(moving))
    assert not np.array_equal(world.render(push(world, still, 0.0)), world.render(push(world, moving, 0.0)))


def test_the_pole_is_drawn_where_it_points() -> None:
    world = CartPole()
    for angle, row, column in ((0.0, 12, 32), (np.pi, 51, 32), (np.pi / 2, 31, 50), (-np.pi / 2, 31, 13)):
        state = world.reset(1, rng(), pole_colour=(255, 0, 0))
        frame = world.render(State(np.array([[0.0, 0, angle, 0]]), state.factors))[0]
        assert frame[0, row, column] > 200 and frame[1, row, column] < 60


def test_success_is_the_published_tolerance() -> None:
    world = CartPole()
    state = State(np.zeros((5, 4)), world.reset(5, rng()).factors)
    state.values[:, 0] = [0.349, 0.351, 0.3, 0.3, 0.3]
    state.values[:, 2] = [0, 0, 0.049, -0.051, np.pi]
    goal = world.goal(state, rng(), target=(0.3, 0.3))
    assert world.solved(state, goal).tolist() == [True, False, True, False, False]
    assert world.distance(state, goal) == pytest.approx([0.049, 0.051, 0.049, 0.051, np.pi])


def test_starts_and_goals() -> None:
    for begin, far in (("hanging", np.pi), ("upright", 0.0)):
        state, goal = CartPole(begin=begin).task(300, rng(), target=(-0.2, 0.4))
        away = np.abs(np.abs(state.values[:, 2]) - far)
        assert away.max() <= 0.2 and np.abs(state.values[:, 0]).max() <= 0.6
        assert goal.values[:, 0].min() >= -0.2 and goal.values[:, 0].max() <= 0.4
        assert not goal.values[:, 1:].any()


def test_the_expert_keeps_the_pole_up_where_it_should_be() -> None:
    world, generator = CartPole(begin="upright", held_out=("length",)), rng()
    state, goal = world.task(60, generator)
    held = np.ones(60, bool)
    for t in range(200):
        state = world.step(state, world.expert(state, goal), generator)
        held &= world.solved(state, goal) | (t < 150)
    assert held.all()


def test_options_that_do_not_fit_are_named() -> None:
    with pytest.raises(UserError, match="begin is 'hanging' or 'upright', not 'lying'"):
        CartPole(begin="lying")  # ty: ignore[invalid-argument-type]
    world = CartPole()
    state = world.reset(1, rng())
    with pytest.raises(UserError, match=r"rail ends at 1\.2 m"):
        world.place(state, (1.5, 0, 0, 1, 0))
    with pytest.raises(UserError, match="target cannot be in"):
        world.goal(state, rng(), target=(1.0, 3.0))
