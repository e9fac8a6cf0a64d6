"""The actor: mode 2 plans with the world model, mode 1 answers at once.

LeCun 2022, section 3.1.
"""

import torch
from torch import Tensor

from openjepa.agent.objective import Imagination, Risk
from openjepa.agent.perception import device_of
from openjepa.agent.planners import Plan, PlannerChoice, Space, Trace, as_space
from openjepa.agent.policy import Policy
from openjepa.agent.protocols import Situation, WorldModel
from openjepa.errors import warn

FAR = 5
"""Times the steps that a model has seen in training, the longer of those it predicts and those it looks back on with
the next, from which on a plan is warned of. In two rooms the best plans measured look 4.5 times as far."""


def space_of(model: WorldModel) -> Space:
    """The space of one model action, `A' = block * A`."""
    return as_space(model.actions, model.block, device_of(model), getattr(model, "action_repeat", False))


class Mode2:
    """Look ahead: propose actions, imagine their outcome, judge it, improve, execute the first ones.

    Args:
        planner: how to search.
        policy: proposes a plan, from which the search starts (with the last plan, shifted, if there is one).
        risk: how plans with several possible outcomes are judged; `None`: the model's one future.
        batch: the most candidates that the model is given at a time; `None`: all.

    Raises:
        UserError: a planner for the other kind of actions.

    Warns:
        OpenJEPAWarning: a horizon far beyond what the model was trained for (`FAR`).
    """

    def __init__(
        self,
        model: WorldModel,
        planner: PlannerChoice,
        *,
        policy: Policy | None = None,
        risk: Risk | None = None,
        batch: int | None = None,
    ) -> None:
        self.model, self.planner, self.policy, self.risk, self.batch = model, planner, policy, risk, batch
        self.space = space_of(model)
        planner.check(self.space)
        if planner.horizon > FAR * max(model.horizon, model.history + 1):
            warn(
                f"planning {planner.horizon} steps ahead with a world model trained for {model.horizon}: "
                f"its errors grow with every step, so lower planner.horizon or train on longer windows"
            )

    @property
    def execute(self) -> int:
        return self.planner.execute

    def act(self, situation: Situation) -> Plan:
        horizon = self.planner.horizon
        objective = Imagination(self.model, situation, horizon, self.risk, self.batch)
        return self.planner.plan(objective, self.space, situation.generators, self._start(situation, horizon))

    def _start(self, situation: Situation, horizon: int) -> Tensor | None:
        if self.policy is None:
            return situation.start
        with torch.no_grad():
            proposed, _ = self.policy.imagine(
                self.model, situation.state, situation.past, situation.goal, horizon
            )
        proposed = proposed[:, None]
        return proposed if situation.start is None else torch.cat([proposed, situation.start], 1)


class Mode1:
    """Answer at once: the policy's action, no look-ahead."""

    execute = 1

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def act(self, situation: Situation) -> Plan:
        actions = self.policy.act(situation.state[:, -1], situation.goal)[:, None]
        unknown = torch.full((len(actions),), torch.nan, dtype=torch.double, device=actions.device)
        trace = Trace(unknown[None][:0], unknown[None][:0])
        return Plan(
            actions, unknown, torch.ones_like(unknown, dtype=torch.bool), trace, actions[:, None][:, :0]
        )
