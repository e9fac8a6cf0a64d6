"""The whole agent on a point mass."""

import numpy as np
import pytest
import torch
from torch import Tensor

from openjepa.agent import Agent, Critic, Policy, ShortTermMemory, Task
from openjepa.agent.planners import CEM, ICEM, MPPI, CategoricalCEM, Gradient, PlannerChoice, as_space
from openjepa.errors import UserError

from .worlds import PointEnv, PointModel, picture

quick = CEM(horizon=5, samples=64, elites=8, iterations=4)
PLANNERS: list[PlannerChoice] = [
    quick,
    ICEM(horizon=5, samples=48, iterations=3),
    MPPI(horizon=5, samples=64, elites=16, iterations=4),
    Gradient(horizon=5, iterations=15, restarts=2),
]


@pytest.mark.parametrize("planner", PLANNERS, ids=lambda p: p.kind)
def test_every_planner_reaches_the_goal_nearly_as_fast_as_can_be(planner: PlannerChoice) -> None:
    environments = [PointEnv() for _ in range(4)]
    results = Agent(PointModel(), planner).run(environments, seeds=10)
    for result, environment in zip(results, environments, strict=True):
        fastest = np.abs(environment.target - environment.visited[0]).max() / 0.1
        assert result.success and result.steps <= fastest + 2


def test_discrete_actions_reach_the_goal() -> None:
    planner = CategoricalCEM(horizon=4, samples=64, elites=8, iterations=4)
    results = Agent(PointModel(actions=4), planner).run([PointEnv(discrete=True) for _ in range(3)], seeds=1)
    assert all(result.success for result in results)
    assert np.asarray(results[0].actions).dtype.kind == "i"


@pytest.mark.parametrize("block", [1, 3])
@pytest.mark.parametrize("execute", [1, 2])
def test_blocks_and_execution_decide_when_frames_are_encoded_and_plans_are_made(
    block: int, execute: int
) -> None:
    model = PointModel(block)
    agent = Agent(model, quick.model_copy(update={"execute": execute}))
    result = agent.run(PointEnv(start=[-0.9, -0.9], goal=[0.9, 0.9]), max_steps=12, record=True)
    steps, plans = 12 // block, 12 // block // execute
    assert len(result.plans) == plans
    assert len(model.encoded) == 1 + steps + 1  # the goal, each model step, the last frame
    assert len(model.rolled) == plans * (4 + 1) + plans  # iterations, the mean's price, the record
    assert model.rolled[0] == (1, 64, 5, 2 * block)
    first = result.plans[0].actions[0].reshape(block, 2)
    np.testing.assert_allclose(result.actions[:block], first)


def test_the_next_plan_starts_from_the_last_one_shifted() -> None:
    starts: list[Tensor] = []

    class Watched(PointModel):
        def rollout(self, state, actions, z=None, past=None):  # type: ignore[no-untyped-def]
            if actions.shape[1] > 1 and len(starts) < 99:
                starts.append(actions[:, 0])
            return super().rollout(state, actions, z, past)

    planner = quick.model_copy(update={"iterations": 1, "execute": 2})
    result = Agent(Watched(), planner).run(PointEnv(), record=True, max_steps=4)
    first, second = result.plans
    torch.testing.assert_close(starts[1][0, :3], first.actions[2:])
    assert (starts[1][0, 3:] == 0).all() and (starts[0] == 0).all()
    assert second.step == 2


def test_step_by_step_use_needs_no_gymnasium() -> None:
    agent = Agent(PointModel(), quick, Task.reach(goal_frame=picture([0.5, 0.5])))
    position = np.array([-0.5, 0.0])
    for _ in range(20):
        action = agent.step(picture(position))
        assert action.shape == (2,) and action.dtype == np.float32
        position = position + 0.1 * action
    assert np.abs(position - 0.5).max() < 0.1


def centre(states: Tensor) -> Tensor:
    """A dangerous square around the middle, a little larger than the environment's."""
    return (states.abs() < 0.25).all(-1).float()


def through_the_middle() -> PointEnv:
    return PointEnv(start=[-0.6, -0.05], goal=[0.6, 0.05], stops=True)


def test_one_agent_solves_three_tasks_in_sequence_without_training() -> None:
    """Reach goes through danger; avoid goes round it and arrives; explore covers the square; and reach again."""
    planner = CEM(horizon=12, samples=200, elites=20, iterations=8, execute=2)
    agent = Agent(PointModel(), planner, danger=centre)
    reached = agent.run(through_the_middle(), Task.reach())
    avoided = agent.run(through_the_middle(), Task.avoid(danger=20.0))
    assert reached.success and reached.danger > 0
    assert avoided.success and avoided.danger == 0
    wanderer = PointEnv(limit=60, stops=False, start=[0.0, 0.0])
    agent.run(wanderer, Task.explore())
    cells = {tuple(np.floor(2 * p).astype(int)) for p in np.clip(wanderer.visited, -0.99, 0.99)}
    resting = PointEnv(limit=60, stops=False, start=[0.0, 0.0])
    agent.run(resting, Task({"effort": 1.0}))
    still = {tuple(np.floor(2 * p).astype(int)) for p in np.clip(resting.visited, -0.99, 0.99)}
    assert len(cells) >= 10 and len(still) <= 4  # of 16; random actions come to 5
    assert agent.run(through_the_middle(), Task.reach()).danger > 0


def test_memory_holds_what_happened() -> None:
    agent = Agent(PointModel(), quick, memory=ShortTermMemory(500))
    results = agent.run([PointEnv(), PointEnv()], seeds=[4, 9])
    assert len(agent.memory) == sum(result.steps + 1 for result in results)
    futures = agent.memory.futures(1)
    assert int(futures.over.sum()) == 2 * 2  # each episode's last state, and the one before it
    states, goals, _ = agent.memory.taken()
    assert len(states) == sum(result.steps for result in results) and goals is not None
    following = torch.stack([agent.memory.states[i + 2] for i in range(4)])
    torch.testing.assert_close(
        following, agent.memory.states[:4] + 0.1 * agent.memory.actions[:4], atol=0.02, rtol=0
    )


def test_mode_1_distilled_from_mode_2_reaches_the_goal_without_imagining() -> None:
    model = PointModel()
    agent = Agent(model, quick)
    agent.run([PointEnv() for _ in range(40)], seeds=100)
    torch.manual_seed(0)
    policy = Policy((2,), as_space(model.actions), hidden=64)
    policy.distil(agent.memory, torch.Generator().manual_seed(0), updates=200, lr=1e-2)
    model.rolled.clear()
    results = Agent(model, quick, Task.reach(mode=1), policy=policy).run([PointEnv() for _ in range(10)])
    assert sum(result.success for result in results) >= 9
    assert model.rolled == []


def test_a_policy_starts_the_plan() -> None:
    """One iteration of a narrow search moves little: the plan is the policy's."""
    model = PointModel()
    torch.manual_seed(0)
    policy = Policy((2,), as_space(model.actions), hidden=16)
    planner = quick.model_copy(update={"iterations": 1, "sigma": 1e-3})
    agent = Agent(model, planner, Task.reach(goal_frame=picture([0.9, 0.9])), policy=policy)
    start = picture([-0.3, 0.1])
    agent.step(start)
    assert agent.planned is not None and agent.goal is not None
    state = agent.perception.look(torch.as_tensor(start)[None])
    proposed, _ = policy.imagine(model, state[:, None], None, agent.goal, planner.horizon)
    torch.testing.assert_close(agent.planned.actions, proposed, atol=0.01, rtol=0)


def test_a_critic_stands_for_what_lies_beyond_the_horizon() -> None:
    """A goal behind a wall: two steps ahead the distance alone leads into the wall; with the cost to come, round it."""
    torch.manual_seed(0)
    model, task = PointModel(), Task({"goal": 1.0, "critic": 1.0})
    critic = Critic((2,), discount=0.9)

    def to_come(states: Tensor, goals: Tensor | None = None) -> Tensor:
        return 5 * (states[..., 1] - 0.9).abs()  # the way is up first

    critic.forward = to_come  # type: ignore[method-assign]
    environment = PointEnv(start=[0.0, 0.0], goal=[0.9, 0.0], limit=8)
    near = quick.model_copy(update={"horizon": 2})
    Agent(model, near, critic=critic).run(environment, task)
    assert environment.position[1] > 0.6
    Agent(model, near, critic=critic).run(environment, Task.reach())
    assert abs(environment.position[1]) < 0.1


def test_goals_of_another_shape_or_number_are_refused() -> None:
    wrong = Agent(PointModel(), quick, Task.reach(goal_frame=np.zeros((3, 8, 8), np.uint8)))
    with pytest.raises(
        UserError, match=r"goal of shape \[3, 8, 8\] cannot be compared with observations of \[1, 1, 2\]"
    ):
        wrong.run(PointEnv())
    many = Agent(PointModel(), quick, Task.reach(goal_frame=np.zeros((3, 1, 1, 2), np.uint8)))
    with pytest.raises(UserError, match="3 goals do not fit 2 environments"):
        many.run([PointEnv(), PointEnv()])
    latent = Agent(PointModel(), quick, Task.reach(goal_state=torch.zeros(1, 7)))
    with pytest.raises(UserError, match=r"goal of shape \[1, 7\] does not fit 1 problems with states \[2\]"):
        latent.run(PointEnv())


def test_a_task_without_a_goal_where_one_is_needed_is_refused() -> None:
    with pytest.raises(UserError, match="weighs 'goal', and there is none"):
        Agent(PointModel(), quick).step(picture([0.0, 0.0]))
    agent = Agent(PointModel(), quick, Task.explore())
    agent.begin(2)
    with pytest.raises(UserError, match=r"3 observations for an episode begun in 2 environments"):
        agent.step(np.zeros((3, 1, 1, 2), np.uint8))
