"""The fork: several futures of one state and action, one of them dangerous, and a way round."""

import numpy as np
import pytest

from openjepa.errors import UserError
from openjepa.worlds import Branch, Oracle, State
from openjepa.worlds.branch import FLOW, MIDDLE, MOUTH
from openjepa.worlds.oracle import attempt


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def at_mouth(world: Branch, n: int) -> State:
    """One state, many times, from which a step to the right enters the rapids."""
    return world.place(world.reset(1, rng(), risky=0), (MOUTH - 1.5, MIDDLE, 0)).repeat(n)


def ahead(n: int) -> np.ndarray:
    return np.tile(np.float32([2, 0]), (n, 1))


@pytest.mark.parametrize(("branches", "risk"), [(2, 0.5), (3, 0.2), (4, 0.7), (2, 0.0), (2, 1.0)])
def test_the_fork_is_as_likely_as_asked(branches: int, risk: float) -> None:
    world = Branch(branches=branches, risk=risk)
    after = world.step(at_mouth(world, 4000), ahead(4000), rng())
    taken = np.bincount(after.values[:, 2].astype(int), minlength=branches + 1) / 4000
    rest = (1 - risk) / (branches - 1)
    assert taken == pytest.approx([0, risk, *[rest] * (branches - 1)], abs=0.03)


def test_the_branch_shows_in_the_very_next_picture() -> None:
    world = Branch(branches=3)
    after = world.step(at_mouth(world, 60), ahead(60), rng())
    pictures = {}
    for branch, frame in zip(after.values[:, 2], world.render(after), strict=True):
        pictures.setdefault(branch, set()).add(frame.tobytes())
    assert len(pictures) == 3 and all(len(frames) == 1 for frames in pictures.values())
    assert len(set.union(*pictures.values())) == 3


def test_the_rapids_carry_at_their_own_pace_whatever_is_done() -> None:
    world, generator = Branch(), rng()
    state = world.step(at_mouth(world, 50), ahead(50), generator)
    branch = state.values[:, 2]
    for _ in range(30):
        actions = generator.uniform(-2.45, 2.45, (50, 2)).astype(np.float32)
        after = world.step(state, actions, generator)
        still = world.step(state, 0 * actions, generator)
        carried = state.values[:, 2] > 0
        assert np.array_equal(after.values[carried], still.values[carried])
        moved = np.linalg.norm(after.values - state.values, axis=1)[carried & (after.values[:, 2] > 0)]
        assert np.all((moved <= FLOW + 1e-9) & (moved > 0.6 * FLOW))
        state = State(np.where(carried[:, None], after.values, state.values), state.factors)
    assert not state.values[:, 2].any() and len(np.unique(branch)) == 2
    assert np.all(state.values[:, 0] > 43)


def test_danger_is_in_the_risky_branch_alone() -> None:
    world = Branch(branches=3)
    state = world.step(at_mouth(world, 90), ahead(90), rng())
    branch, danger = state.values[:, 2], np.zeros(90, bool)
    for _ in range(20):
        danger |= world.danger(state)
        state = world.step(state, 0 * ahead(90), rng())
    assert np.array_equal(danger, branch == 1)


def test_danger_is_red_in_the_picture() -> None:
    world = Branch(branches=2)
    frames = [world.render(world.reset(1, rng(), risky=risky))[0].astype(int) for risky in (0, 1)]
    red = [(f[0] > 200) & (f[1] < 90) for f in frames]
    rows = [r.any(1).nonzero()[0] for r in red]
    assert rows[0].max() < MIDDLE < rows[1].min()


@pytest.mark.parametrize("branches", [2, 3, 4])
def test_caution_is_slower_and_safe(branches: int) -> None:
    world = Branch(branches=branches, risk=0.5)
    state, goal = world.task(100, rng())
    bold, shy = (attempt(Oracle(world, cautious), state, goal, rng(1)) for cautious in (False, True))
    assert bold.success.all() and shy.success.all()
    assert not shy.danger.any() and 0.3 < bold.danger.mean() < 0.7
    assert bold.steps.mean() < 0.75 * shy.steps.mean()


def test_the_way_back_is_by_the_road() -> None:
    world = Branch()
    state, goal = world.task(50, rng())
    outcome = attempt(Oracle(world), goal, state, rng())
    assert outcome.success.all() and not outcome.danger.any()


def test_one_draw_a_world_and_step() -> None:
    """So the first of many worlds has the future that it has alone."""
    world = Branch()
    many, one = at_mouth(world, 30), at_mouth(world, 1)
    for seed in range(8):
        together, alone = world.step(many, ahead(30), rng(seed)), world.step(one, ahead(1), rng(seed))
        assert np.array_equal(together.values[0], alone.values[0])


def test_options_that_do_not_fit_are_named() -> None:
    with pytest.raises(UserError, match=r"branches is 2\.\.4, not 5"):
        Branch(branches=5)
    with pytest.raises(UserError, match="risk is a probability"):
        Branch(risk=2)
    world = Branch()
    with pytest.raises(UserError, match=r"branch is 0\.\.2, not 3"):
        world.place(world.reset(1, rng()), (10, 10, 3))
    with pytest.raises(UserError, match="inside a wall"):
        world.place(world.reset(1, rng()), (30, 20, 0))
