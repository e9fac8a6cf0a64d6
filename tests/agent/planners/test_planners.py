"""What holds of every planner of continuous actions."""

import pytest
import torch
from pydantic import TypeAdapter

from openjepa.agent.planners import (
    CEM,
    ICEM,
    Bounds,
    CategoricalCEM,
    Discrete,
    Planner,
    PlannerChoice,
    as_space,
    streams,
)
from openjepa.config import Config
from openjepa.errors import UserError

from ..objectives import CONTINUOUS, Box, box, opposite, quadratic, reach, reach_plan

every = pytest.mark.parametrize("planner", CONTINUOUS.values(), ids=CONTINUOUS.keys())


@every
def test_the_minimum_of_a_quadratic_is_found(planner: PlannerChoice) -> None:
    target = opposite()
    plan = planner.plan(quadratic(target), box(), streams(0, 2))
    torch.testing.assert_close(plan.actions, target, atol=0.06, rtol=0)
    torch.testing.assert_close(plan.value, quadratic(target)(plan.actions[:, None])[:, 0].double())
    assert plan.feasible.all()


@every
def test_a_point_mass_reaches_its_goal_as_the_analytic_optimum_does(planner: PlannerChoice) -> None:
    goal = torch.tensor([[1.5, -0.5], [-1.0, 2.0]])
    plan = planner.plan(reach(goal, 3.0), box(), streams(1, 2))
    best = reach_plan(goal, 3.0, 4)
    least = reach(goal, 3.0)(best[:, None])[:, 0].double()
    torch.testing.assert_close(plan.actions, best, atol=0.12, rtol=0)
    assert ((plan.value - least) < 0.02 * least).all() and (plan.value >= least - 1e-5).all()


@every
def test_opposite_goals_planned_in_one_batch_and_alone_give_the_same_plans(planner: PlannerChoice) -> None:
    target = opposite()
    together = planner.plan(quadratic(target), box(), streams(3, 2))
    assert (together.actions[0] * together.actions[1] < 0).all()
    for b in range(2):
        alone = planner.plan(quadratic(target[[b]]), box(), streams(3, [b]))
        torch.testing.assert_close(alone.actions[0], together.actions[b])
        torch.testing.assert_close(alone.trace.elites[:, 0], together.trace.elites[:, b])


@every
@pytest.mark.parametrize("by", ["planner", "space"])
def test_a_repeated_action_is_the_best_one_for_its_whole_block(planner: PlannerChoice, by: str) -> None:
    space = as_space(Box([-1.0, -1.0], [1.0, 1.0]), block=3, action_repeat=by == "space")
    planner = planner.model_copy(update={"action_repeat": by == "planner"})
    wanted = opposite()
    each = torch.tensor([-0.2, 0.0, 0.2]).repeat_interleave(
        2
    )  # what a block's actions would add, were they free
    target = wanted.repeat(1, 1, 3) + each
    plan = planner.plan(quadratic(target), space, streams(0, 2))
    blocks = plan.actions.unflatten(-1, (3, 2))
    assert torch.equal(blocks, blocks[:, :, :1].expand_as(blocks))
    torch.testing.assert_close(blocks[:, :, 0], wanted, atol=0.08, rtol=0)
    again = planner.plan(quadratic(target), space, streams(0, 2), start=plan.shifted(0, space))
    assert again.actions.shape == plan.actions.shape and (again.value <= plan.value + 0.05).all()


@every
def test_an_optimum_outside_the_bounds_is_met_at_the_bounds(planner: PlannerChoice) -> None:
    target = 4 * opposite()
    plan = planner.plan(quadratic(target), box(), streams(0, 2))
    assert plan.actions.abs().max() <= 1
    torch.testing.assert_close(plan.actions, target.clamp(-1, 1), atol=0.1, rtol=0)


@every
def test_bounds_that_are_far_from_zero_and_uneven_are_searched_in_their_own_scale(
    planner: PlannerChoice,
) -> None:
    space = as_space(Box([100.0, -0.01], [300.0, 0.03]))
    target = torch.tensor([230.0, 0.02]).expand(1, 4, 2)
    weight = torch.tensor([1e-4, 2500.0])
    plan = planner.plan(lambda a: ((a - target[:, None]).square() * weight).sum((2, 3)), space, streams(0, 1))
    torch.testing.assert_close(plan.actions / target, torch.ones(1, 4, 2), atol=0.1, rtol=0)


@every
def test_a_start_at_the_optimum_is_never_made_worse_by_much(planner: PlannerChoice) -> None:
    target = opposite()
    quick = planner.model_copy(update={"iterations": 1, "sigma": 0.3, "answer": "best"})
    cold = quick.plan(quadratic(target), box(), streams(0, 2))
    warm = quick.plan(quadratic(target), box(), streams(0, 2), start=target)
    assert (warm.value < 0.3 * cold.value).all()


@every
def test_given_candidates_take_part_in_the_search(planner: PlannerChoice) -> None:
    target = opposite()
    far = torch.stack([-target, target], 1)  # the start lies opposite, the second candidate is the answer
    quick = planner.model_copy(update={"iterations": 1, "answer": "best", "sigma": 0.01, "temperature": 1e-3})
    plan = quick.plan(quadratic(target), box(), streams(0, 2), start=far)
    assert plan.trace.best[0].max() < 1e-9


@every
@pytest.mark.parametrize("constraint", ["reject", "penalise"])
def test_a_constraint_keeps_the_plan_out_of_the_forbidden_half(
    planner: PlannerChoice, constraint: str
) -> None:
    target = opposite()
    careful = planner.model_copy(update={"constraint": constraint, "penalty": 20.0, "answer": "best"})
    plan = careful.plan(
        quadratic(target), box(), streams(0, 2), constraint=lambda a: a[..., 0].amax(2) - 0.25
    )
    allowed = target.clone()
    allowed[..., 0] = allowed[..., 0].clamp(max=0.25)
    assert plan.actions[..., 0].max() <= 0.25 + (0.05 if constraint == "penalise" else 0)
    torch.testing.assert_close(plan.actions, allowed, atol=0.2, rtol=0)
    if constraint == "reject":
        assert plan.feasible.all()


@every
def test_where_nothing_is_feasible_the_smallest_violation_is_answered_and_said_so(
    planner: PlannerChoice,
) -> None:
    plan = planner.plan(
        lambda a: a.sum((2, 3)) * 0, box(), streams(0, 1), constraint=lambda a: 3 - a.mean((2, 3))
    )
    assert not plan.feasible.any()
    assert plan.actions.mean() > 0.8


@every
def test_candidates_without_a_number_for_a_cost_never_win(planner: PlannerChoice) -> None:
    target = opposite()[:1]

    def broken(actions: torch.Tensor) -> torch.Tensor:
        costs = quadratic(target)(actions)
        return torch.where(actions[..., 0].amax(2) > 0.95, torch.nan, costs)

    plan = planner.plan(broken, box(), streams(0, 1))
    torch.testing.assert_close(plan.actions, target, atol=0.06, rtol=0)


@every
def test_the_trace_has_a_cost_per_iteration_that_falls(planner: PlannerChoice) -> None:
    plan = planner.plan(quadratic(opposite()), box(), streams(0, 2))
    assert plan.trace.best.shape == plan.trace.elites.shape
    assert plan.trace.best.shape[1] == 2 and len(plan.trace.best) >= 15
    assert (plan.trace.best <= plan.trace.elites + 1e-9).all()
    assert (plan.trace.elites[-1] < 0.2 * plan.trace.elites[0]).all()


@every
def test_plans_repeat_with_the_seed_and_the_generators_move_on(planner: PlannerChoice) -> None:
    objective, generators = quadratic(opposite()), streams(5, 2)
    first = planner.plan(objective, box(), generators).actions
    second = planner.plan(objective, box(), generators).actions
    again = planner.plan(objective, box(), streams(5, 2)).actions
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_the_shifted_plan_drops_what_was_done_and_ends_in_neutral_actions() -> None:
    plan = ICEM(horizon=4, samples=32, elites=10, reuse=0.3).plan(quadratic(opposite()), box(), streams(0, 2))
    start = plan.shifted(3, as_space(Box([1.0, 0.0], [3.0, 0.0])))
    assert start.shape == (2, 1 + 3, 4, 2)
    assert torch.equal(start[:, 0, 0], plan.actions[:, 3])
    assert torch.equal(start[:, 0, 1:], torch.tensor([2.0, 0.0]).expand(2, 3, 2))
    assert torch.equal(start[:, 1:, 0], plan.elites[:, :, 3])


def test_streams_differ_by_seed_and_by_problem_and_do_not_depend_on_the_batch() -> None:
    draws = {
        (seed, b): float(torch.rand(1, generator=g))
        for seed in range(5)
        for b, g in enumerate(streams(seed, 20))
    }
    assert len(set(draws.values())) == 100
    assert float(torch.rand(1, generator=streams(2, [7])[0])) == draws[2, 7]


@every
def test_discrete_actions_are_refused_by_a_continuous_planner(planner: PlannerChoice) -> None:
    with pytest.raises(UserError, match=r"searches continuous actions.*3 discrete.*categorical-cem"):
        planner.plan(lambda a: a.sum((2, 3)), 3, streams(0, 1))


def test_a_box_is_refused_by_the_discrete_planner() -> None:
    with pytest.raises(UserError, match=r"'categorical-cem' searches discrete actions.*use cem"):
        CategoricalCEM().plan(lambda a: a.sum((2, 3)), box(), streams(0, 1))
    with pytest.raises(UserError, match=r"planner\.action_repeat is for continuous actions"):
        CategoricalCEM(action_repeat=True).plan(lambda a: a.sum((2, 3)), 3, streams(0, 1))


def test_shapes_that_do_not_fit_are_named() -> None:
    planner = CEM(horizon=3)
    with pytest.raises(UserError, match=r"start of shape \[1, 2, 2\] does not fit 1 problems of horizon 3"):
        planner.plan(quadratic(torch.zeros(1, 3, 2)), box(), streams(0, 1), start=torch.zeros(1, 2, 2))
    with pytest.raises(UserError, match=r"the objective gave shape \[1, 300, 3\]"):
        planner.plan(lambda a: a.sum(3), box(), streams(0, 1))
    with pytest.raises(UserError, match="low <= high"):
        planner.plan(quadratic(torch.zeros(1, 3, 1)), Box([1.0], [0.0]), streams(0, 1))
    with pytest.raises(UserError, match="cannot plan in 'up'"):
        planner.plan(quadratic(torch.zeros(1, 3, 1)), "up", streams(0, 1))


def test_settings_that_cannot_hold_are_refused() -> None:
    with pytest.raises(UserError, match="execute 6 exceeds the horizon of 5"):
        CEM.parse({"execute": 6})
    with pytest.raises(UserError, match="400 elites cannot be chosen from 300"):
        CEM.parse({"elites": 400})


def test_a_config_holds_any_planner_by_its_kind() -> None:
    class Settings(Config):
        planner: Planner = CEM()

    assert isinstance(Settings.parse({"planner": {"kind": "icem", "horizon": 7}}).planner, ICEM)
    assert TypeAdapter(Planner).validate_python({"kind": "mppi"}).kind == "mppi"


def test_noise_is_as_large_as_is_said_through_a_block_and_each_problem_by_itself() -> None:
    space = as_space(Box([-1.0, 0.0], [1.0, 40.0]), block=3)
    assert isinstance(space, Bounds)
    actions, far = space.neutral.expand(3, 500, -1), torch.tensor([0.0, 0.1, 9.0])
    found = space.with_noise(actions, far, streams(0, [7, 8, 9]))
    assert torch.equal(found[0], actions[0])
    steps = found.unflatten(2, (3, 2))
    assert torch.equal(steps, steps[:, :, :1].expand_as(steps))
    spread = ((found[1] - space.neutral) / space.scale).std(0)
    torch.testing.assert_close(spread, torch.full((6,), 0.1), atol=0.02, rtol=0)
    assert torch.equal(found, space.clamp(found)) and bool((found[2] == space.high).any())
    alone = space.with_noise(actions[1:2], far[1:2], streams(0, [8]))
    assert torch.equal(alone[0], found[1])


def test_discrete_actions_are_replaced_with_that_probability() -> None:
    space = as_space(4, block=2)
    assert isinstance(space, Discrete)
    actions = torch.eye(4)[1].repeat(2).expand(2, 2000, -1)
    found = space.with_noise(actions, torch.tensor([0.0, 0.5]), streams(0, [1, 2]))
    assert torch.equal(found[0], actions[0])
    steps = found[1].unflatten(1, (2, 4))
    assert torch.equal(steps[:, 0], steps[:, 1]) and bool((steps.sum(2) == 1).all())
    share = steps[:, 0].mean(0)
    torch.testing.assert_close(share, torch.tensor([0.125, 0.625, 0.125, 0.125]), atol=0.04, rtol=0)
