"""The configurator: from a task to the settings of every other module."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from openjepa.agent.actor import Mode1, Mode2, space_of
from openjepa.agent.cost import Cost, Danger, Effort, Explore, Goal, Reduce, Term, Time
from openjepa.agent.critic import Critic, CriticTerm
from openjepa.agent.keyvalue import KeyValueMemory
from openjepa.agent.objective import Risk
from openjepa.agent.perception import proprio_dim_of
from openjepa.agent.planners import PlannerChoice
from openjepa.agent.policy import Policy
from openjepa.agent.prediction_error import ErrorMemory, PredictionError
from openjepa.agent.protocols import Actor, WorldModel
from openjepa.errors import UserError


@dataclass(frozen=True, eq=False)
class Task:
    """A task: what the agent is to do, in terms of its modules.

    Attributes:
        weights: of the cost's terms: `goal`, `time`, `effort`, `prediction_error`, `danger`, `explore`, `critic`; what
            is not named has none.
        goal_frame: uint8 `[C, H, W]`, or `[B, C, H, W]` for B environments; `None`: the environment's `goal_frame`.
        goal_state: states `[1 or B, *L]` instead.
        horizon: steps that mode 2 looks ahead; `None`: the planner's.
        mode: 1 acts by the policy, 2 plans.
        level: of the hierarchy, 1 the lowest.
        risk: weight of the standard deviation of a plan's cost over possible futures; `None`: one future.
        exploration_noise: noise on actions where the world model has just been wrong (see `ErrorMemory.near`): its
            standard deviation in half ranges of their bounds, or of discrete actions the probability of another one. A
            policy has no memory, and without it does again and again what leads nowhere.
    """

    weights: Mapping[str, float]
    goal_frame: Any = None
    goal_state: Tensor | None = None
    horizon: int | None = None
    mode: Literal[1, 2] = 2
    level: int = 1
    risk: float | None = None
    exploration_noise: float = 0.0

    @staticmethod
    def reach(**settings: Any) -> "Task":
        """Get to the goal."""
        return Task({"goal": 1.0}, **settings)

    @staticmethod
    def avoid(danger: float = 10.0, **settings: Any) -> "Task":
        """Get to the goal, keeping out of danger."""
        return Task({"goal": 1.0, "danger": danger}, **settings)

    @staticmethod
    def explore(**settings: Any) -> "Task":
        """Go where the memory knows nothing."""
        return Task({"explore": 1.0}, **settings)


@dataclass(frozen=True, eq=False)
class Configurator:
    """Knows every module, and what a task makes of it.

    Attributes:
        model, planner: of mode 2 at level 1.
        policy: of mode 1; it also starts the plans of mode 2.
        critic: what comes after the horizon.
        danger: states to a probability of danger (given, or a learned `Detector`).
        higher: actors of levels 2, 3, ... of the hierarchy.
        distance, reduce, unit: of the goal's cost (see `cost.Goal`).
        critic_reduce: whether the critic counts after the last imagined state or after all.
        discount: of the cost along the horizon; the critic's, if there is one.
        futures: imagined for each candidate where the task speaks of risk.
        prediction_error_width: the range of a remembered error (see `prediction_error.ErrorMemory`).
        batch: the most candidates that the model is given at a time.
    """

    model: WorldModel
    planner: PlannerChoice
    policy: Policy | None = None
    critic: Critic | None = None
    danger: Callable[[Tensor], Tensor] | None = None
    higher: Sequence[Actor] = ()
    distance: Literal["l2", "l1", "cosine"] = "l2"
    reduce: Reduce = "sum"
    unit: float = 1.0
    critic_reduce: Reduce = "last"
    discount: float | None = None
    futures: int = 8
    prediction_error_width: float = 0.5
    batch: int | None = None

    def actor(self, task: Task) -> Actor:
        """The actor that picks the actions.

        Raises:
            UserError: mode 1 without a policy, a level that is not there.

        Warns:
            UserWarning: a horizon beyond what the model was trained for.
        """
        if task.mode == 1:
            if self.policy is None:
                raise UserError("mode 1 acts by a policy, and this agent has none: distil one, or use mode 2")
            return Mode1(self.policy)
        if not 1 <= task.level <= 1 + len(self.higher):
            raise UserError(
                f"level {task.level} is not among this agent's levels 1 to {1 + len(self.higher)}"
            )
        if task.level > 1:
            return self.higher[task.level - 2]
        planner = self.planner
        if task.horizon is not None:
            changed = {"horizon": task.horizon, "execute": min(planner.execute, task.horizon)}
            planner = planner.parse({**planner.model_dump(), **changed})
        risk = None if task.risk is None else Risk(task.risk, self.futures)
        return Mode2(self.model, planner, policy=self.policy, risk=risk, batch=self.batch)

    def cost(
        self, task: Task, goal: Tensor | None, memory: KeyValueMemory, error_memory: ErrorMemory | None = None
    ) -> Cost:
        """The cost that is minimised, for B problems with goals `[B, *L]` (or none), whose states so far are in
        `memory`, and whose prediction errors are in `error_memory` (`None`: there are none yet).

        Raises:
            UserError: a weight on what is missing: a goal, a detector, a critic.
        """
        error_memory = ErrorMemory(len(memory.taken)) if error_memory is None else error_memory
        terms: dict[str, Term] = {
            "time": Time(),
            "effort": Effort(space_of(self.model)),
            "prediction_error": PredictionError(error_memory),
            "explore": Explore(memory),
        }
        if goal is not None:
            terms["goal"] = Goal(goal, self.distance, self.reduce, self.unit, proprio_dim_of(self.model))
        if self.danger is not None:
            terms["danger"] = Danger(self.danger)
        trained: dict[str, Term] = {}
        if self.critic is not None:
            trained["critic"] = CriticTerm(self.critic, goal, self.critic_reduce)
        for name, weight in task.weights.items():
            if weight and name not in terms and name not in trained:
                raise UserError(_missing(name, {**terms, **trained}))
        weights = {name: task.weights.get(name, 0.0) for name in (*terms, *trained)}
        discount = 1.0 if self.critic is None or not weights["critic"] else self.critic.discount
        return Cost(
            terms,
            trained,
            weights,
            discount if self.discount is None else self.discount,
            imagined=frozenset({"prediction_error"}),
        )


_ADVICE = {
    "goal": "give Task a goal_frame or goal_state, or an environment whose reset puts goal_frame into info",
    "danger": "give the agent a detector of danger",
    "critic": "give the agent a critic",
}


def _missing(name: str, known: Mapping[str, Any]) -> str:
    if name in _ADVICE:
        return f"the task weighs {name!r}, and there is none: {_ADVICE[name]}"
    return f"the task weighs {name!r}, which is no term of the cost; there are {', '.join(sorted({*known, *_ADVICE}))}"
