"""What a task makes of the modules."""

import warnings

import pytest
import torch

from openjepa.agent import Configurator, Critic, KeyValueMemory, Policy, Risk, Task
from openjepa.agent.actor import Mode1, Mode2
from openjepa.agent.planners import CEM, CategoricalCEM, as_space
from openjepa.errors import UserError

from .worlds import ForkModel, PointModel

model, planner = PointModel(), CEM(horizon=6, execute=3)
goal, memory = torch.zeros(2, 2), KeyValueMemory(2)


def test_a_task_sets_goal_weights_and_horizon() -> None:
    configurator = Configurator(
        model, planner, danger=lambda s: s[..., 0] > 0, distance="l1", reduce="last", unit=2.0
    )
    task = Task.avoid(danger=7.0, horizon=2)
    actor, cost = configurator.actor(task), configurator.cost(task, goal, memory)
    assert isinstance(actor, Mode2) and (actor.planner.horizon, actor.execute) == (2, 2)
    states = torch.tensor([[[[4.0, 0.0], [-2.0, 0.0]]]]).expand(2, 1, 2, 2)
    assert (
        cost(states).tolist() == [[7.0 + 0.5]] * 2
    )  # dangerous once; the last step's l1 mean, in units of 2
    assert set(cost.terms(states)) == {"goal", "danger"}


def test_exploring_weighs_the_memory_alone() -> None:
    cost = Configurator(model, planner).cost(Task.explore(), None, memory)
    assert set(cost.terms(torch.zeros(2, 1, 1, 2))) == {"explore"}


def test_mode_level_and_risk_pick_the_actor() -> None:
    policy = Policy((2,), as_space(model.actions))
    higher = Mode2(model, planner)
    configurator = Configurator(model, planner, policy=policy, higher=[higher])
    assert isinstance(configurator.actor(Task.reach(mode=1)), Mode1)
    assert configurator.actor(Task.reach(level=2)) is higher
    assert Configurator(ForkModel(), planner, futures=6).actor(Task.reach(risk=2.0)).risk == Risk(2.0, 6)  # type: ignore[attr-defined]


def test_the_critics_discount_is_the_costs_where_the_critic_counts() -> None:
    configurator = Configurator(model, planner, critic=Critic((2,), goal=True, discount=0.8))
    assert configurator.cost(Task({"goal": 1, "critic": 1}), goal, memory).discount == 0.8
    assert configurator.cost(Task.reach(), goal, memory).discount == 1.0


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Task.reach(), r"weighs 'goal', and there is none: give Task a goal_frame"),
        (Task({"danger": 1.0}), r"weighs 'danger', and there is none: give the agent a detector"),
        (Task({"critic": 1.0}), r"weighs 'critic', and there is none: give the agent a critic"),
        (
            Task({"joy": 1.0}),
            r"weighs 'joy', which is no term of the cost; there are critic, danger, effort, explore",
        ),
    ],
)
def test_a_weight_on_what_is_missing_is_named(task: Task, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Configurator(model, planner).cost(task, None, memory)


def test_what_the_actor_lacks_is_named() -> None:
    configurator = Configurator(model, planner)
    with pytest.raises(UserError, match="mode 1 acts by a policy"):
        configurator.actor(Task.reach(mode=1))
    with pytest.raises(UserError, match="level 2 is not among this agent's levels 1 to 1"):
        configurator.actor(Task.reach(level=2))
    with pytest.raises(UserError, match="horizon: Input should be greater"):
        configurator.actor(Task.reach(horizon=0))


def test_planners_and_actions_of_different_kinds_are_refused() -> None:
    with pytest.raises(UserError, match="'cem' searches continuous actions and this space has 4 discrete"):
        Configurator(PointModel(actions=4), planner).actor(Task.reach())
    with pytest.raises(UserError, match="'categorical-cem' searches discrete actions"):
        Configurator(model, CategoricalCEM()).actor(Task.reach())


def test_a_horizon_far_beyond_the_models_training_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="planning 26 steps ahead with a world model trained for 5"):
        Configurator(PointModel(horizon=5), planner).actor(Task.reach(horizon=26))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Configurator(PointModel(horizon=5), planner).actor(Task.reach(horizon=25))
