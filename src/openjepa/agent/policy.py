"""Mode 1: a policy that answers at once, distilled from plans and improved by experience."""

import torch
from torch import Tensor, nn

from openjepa.agent.critic import Critic
from openjepa.agent.heads import MLPHead, descend, draw, some
from openjepa.agent.memory import ShortTermMemory, need_goals
from openjepa.agent.planners import Bounds, Space
from openjepa.agent.protocols import WorldModel
from openjepa.errors import UserError


class Policy(nn.Module):
    """`a = A(s)`, or `A(s, goal)`: the model action `[N, A']` for states `[N, *L]`.

    LeCun 2022, section 3.1.3: run mode 2, and train A to give the actions that the planner found, minimising the
    distance D(a, A(s)). Inside the bounds by a tanh; of discrete actions it gives probabilities, trained by
    cross-entropy.

    Args:
        shape: `L`, of one state.
        space: of one model action.
        goal: whether it sees the goal beside the state.
    """

    def __init__(
        self, shape: tuple[int, ...], space: Space, *, goal: bool = True, hidden: int = 256, layers: int = 2
    ) -> None:
        super().__init__()
        self.space, self.goal = space, goal
        self.head = MLPHead(shape, space.width, hidden, layers, beside=2 if goal else 1)

    def forward(self, states: Tensor, goals: Tensor | None = None) -> Tensor:
        """Raises UserError when a goal is missing."""
        if self.goal and goals is None:
            raise UserError(
                "this policy sees the goal (goal=True), and the task has none: give one, or train without"
            )
        raw = self.head(*((states, goals) if self.goal and goals is not None else (states,)))
        if not isinstance(self.space, Bounds):
            return raw.unflatten(-1, (self.space.block, self.space.count)).softmax(-1).flatten(-2)
        space = self.space
        return space.clamp(space.neutral + space.scale * torch.where(space.bounded, raw.tanh(), raw))

    @torch.no_grad()
    def act(self, states: Tensor, goals: Tensor | None = None) -> Tensor:
        """The action that is executed: `forward`, and of discrete actions the most probable, one-hot."""
        return self._executed(states, goals)

    def _executed(self, states: Tensor, goals: Tensor | None) -> Tensor:
        chosen = self(states, goals)
        return chosen if isinstance(self.space, Bounds) else self.space.one_hot(chosen)

    def imagine(
        self, model: WorldModel, state: Tensor, past: Tensor | None, goal: Tensor | None, horizon: int
    ) -> tuple[Tensor, Tensor]:
        """The plan that the policy would follow, `[B, H, A']`, and the states `[B, H, *L]` that the model predicts and
        that it acts on. Continuous actions can be differentiated.

        Args:
            state: `[B, T, *L]`.
            past: `[B, T-1, A']`, or `None` where T is 1.
            goal: `[B, *L]`, or `None`.
        """
        actions: list[Tensor] = []
        states: list[Tensor] = []
        for _ in range(horizon):
            actions.append(self._executed(state[:, -1], goal))
            following = model.rollout(state, actions[-1][:, None, None], past=past)[:, 0]
            states.append(following[:, 0])
            taken = actions[-1][:, None]
            taken = taken if past is None else torch.cat([past, taken], 1)
            state = torch.cat([state, following], 1)[:, -model.history :]
            past = taken[:, -(state.shape[1] - 1) :] if state.shape[1] > 1 else None
        return torch.stack(actions, 1), torch.stack(states, 1)

    def distil(
        self,
        memory: ShortTermMemory,
        generator: torch.Generator,
        *,
        updates: int = 2000,
        batch: int = 256,
        lr: float = 1e-3,
    ) -> list[float]:
        """Learn the actions that mode 2 took; the losses.

        Raises:
            UserError: a memory without actions, or without the goals that the policy sees.
        """
        states, goals, actions = memory.taken()
        if self.goal:
            need_goals(goals, "this policy")
        return self.learn(states, goals, actions, generator, updates=updates, batch=batch, lr=lr)

    def learn(
        self,
        states: Tensor,
        goals: Tensor | None,
        actions: Tensor,
        generator: torch.Generator,
        *,
        updates: int = 2000,
        batch: int = 256,
        lr: float = 1e-3,
    ) -> list[float]:
        """Learn to give these actions `[N, A']` in these states `[N, *L]`, for these goals `[N, *L]`; the losses."""
        self.head.standardise(states)

        def loss() -> Tensor:
            index = draw(states, batch, generator)
            return self.distance(actions[index], self(*some(states, goals, index))).mean()

        return descend(self, loss, updates=updates, lr=lr)

    def improve(
        self,
        memory: ShortTermMemory,
        critic: Critic,
        generator: torch.Generator,
        *,
        temperature: float = 1.0,
        updates: int = 2000,
        batch: int = 256,
        lr: float = 1e-3,
    ) -> list[float]:
        """Learn the actions that were taken, each the more, the better it went on than the critic had expected; the
        losses.

        Advantage-weighted regression (Peng et al., arXiv:1910.00177): an action counts `exp(advantage / temperature)`,
        at most 20 as in their code, where the advantage is the cost that the critic expected less what came in the next
        step and what the critic expects from there. (Theirs takes all that came, by TD(lambda); one step has less
        noise.)

        Args:
            critic: of the memory's costs, fitted to it (`discounted`).
            temperature: in units of cost.

        Raises:
            UserError: a critic of another target, a memory in which nothing was done, or without the goals that policy
                or critic see.
        """
        if critic.target != "discounted":
            raise UserError(
                "a critic with target 'later' predicts one moment's cost: improve by one with 'discounted'"
            )
        found = memory.futures(1)
        if found.actions is None:
            raise UserError("the memory holds no actions to learn from: let the agent act first")
        for module, name in ((self, "this policy"), (critic, "this critic")):
            if module.goal:
                need_goals(found.goals, name)
        with torch.no_grad():
            rest = critic(found.last, found.last_goals).masked_fill(found.over, 0)
            came = found.costs[:, 0] + critic.discount * rest
            advantage = critic(found.states, found.goals) - came
        rows = (found.known[:, 0] & found.actions.isfinite().all(1)).nonzero()[:, 0]
        (states, goals), actions = some(found.states, found.goals, rows), found.actions[rows]
        counts = (advantage[rows] / temperature).exp().clamp(max=20)

        def loss() -> Tensor:
            index = draw(states, batch, generator)
            given = self(*some(states, goals, index))
            return (counts[index] * self.distance(actions[index], given)).mean()

        return descend(self, loss, updates=updates, lr=lr)

    def distance(self, planned: Tensor, given: Tensor) -> Tensor:
        """D, `[N]` of `[N, A']` each: mean square in half ranges of the bounds, or cross-entropy."""
        if isinstance(self.space, Bounds):
            scale = self.space.scale.clamp(min=1e-9)
            return ((given - planned) / scale).square().mean(-1)
        return -(planned * given.clamp(min=1e-8).log()).sum(-1) / self.space.block
