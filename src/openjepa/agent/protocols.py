"""Interfaces of the agent: world model, actor, environment."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from openjepa.agent.planners import Plan

if TYPE_CHECKING:
    from openjepa.agent.cost import Cost


class WorldModel(Protocol):
    """A world model, which predicts states from states and actions and knows nothing of cost.

    Attributes:
        block: environment steps in one step of the model.
        history: the most frames it looks back on.
        horizon: steps that it was trained to predict.
        actions: of ONE environment step: bounds with `low` and `high` `[A]`, or a count of discrete actions, which the
            model gets as one-hot vectors (A is then the count).
    """

    @property
    def block(self) -> int: ...
    @property
    def history(self) -> int: ...
    @property
    def horizon(self) -> int: ...
    @property
    def actions(self) -> Any: ...

    def encode(self, frames: Tensor, actions: Tensor | None = None) -> Tensor:
        """States `[B, T, *L]` of uint8 frames `[B, T, C, H, W]`, T up to `history`, one model step apart.

        Args:
            actions: `[B, T-1, block * A]` between the frames; `None` where T is 1 or nothing is known of them.
        """
        ...

    def rollout(
        self, state: Tensor, actions: Tensor, z: Tensor | None = None, past: Tensor | None = None
    ) -> Tensor:
        """Predicted states `[B, S, H, *L]` after each of the actions `[B, S, H, block * A]`.

        Args:
            state: `[B, T, *L]`, the newest last; equal for all S candidates.
            z: `[B, S, H, *Z]`, what cannot be known (see `Uncertain`); `None`: the model's single, or mean, future.
            past: `[B, T-1, block * A]`, the actions between the states.
        """
        ...


@runtime_checkable
class Uncertain(Protocol):
    """A world model with several futures: a latent variable, a mixture's branch, an ensemble's member."""

    def draw_z(
        self, state: Tensor, count: int, horizon: int, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """`z` of `count` futures, sampled or enumerated: `[B, count, horizon, *Z]`, from one generator a problem."""
        ...


@dataclass(frozen=True, eq=False)
class Situation:
    """The situation that an actor is given.

    Attributes:
        state: `[B, T, *L]`, states of the last frames.
        past: `[B, T-1, A']`, the model actions between them; `None` where T is 1.
        goal: `[B, *L]`, or `None` where the task has none.
        cost: of imagined states, for these B problems.
        generators: one a problem.
        start: `[B, K, H, A']`, where a search may start: the last plan, shifted.
    """

    state: Tensor
    past: Tensor | None
    goal: Tensor | None
    cost: "Cost"
    generators: Sequence[torch.Generator]
    start: Tensor | None = None


class Actor(Protocol):
    """An actor, which picks actions: a policy (mode 1), a planner (mode 2), a hierarchy of planners."""

    @property
    def execute(self) -> int:
        """Model steps of a plan that are executed before the next one."""
        ...

    def act(self, situation: Situation) -> Plan:
        """A plan of at least `execute` steps."""
        ...


class Environment(Protocol):
    """Gymnasium's interface, by its two methods.

    `info` may hold `goal_frame` (the goal, uint8 like the observation), `success`, `distance` and `danger`.
    """

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]: ...
    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]: ...
