"""Cost: weighted intrinsic terms, hard-wired, plus trained ones (the critic).

LeCun 2022, section 3.2: `C(s) = IC(s) + TC(s)` with `IC(s) = sum_i u_i IC_i(s)` and `TC(s) = sum_j v_j TC_j(s)`; the
weights u, v are the configurator's. The energy of an imagined trajectory is the sum of C over its states.

A term maps states `[B, S, H, *L]`, and the actions `[B, S, H, A']` that led to them, to a cost per step `[B, S, H]`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol, Self

import torch
from torch import Tensor

from openjepa.agent.keyvalue import KeyValueMemory
from openjepa.agent.planners import Bounds, Space
from openjepa.errors import UserError

Reduce = Literal["sum", "last"]
"""Whether every step of a trajectory counts, or the last alone."""


class Term(Protocol):
    """One cost."""

    @property
    def reduce(self) -> Reduce: ...
    def __call__(self, states: Tensor, actions: Tensor | None = None) -> Tensor: ...
    def take(self, rows: Tensor) -> Self:
        """The term for these problems alone."""
        ...


@dataclass(frozen=True, eq=False)
class Goal:
    """Distance to a goal, mean over the state's elements.

    Summed over the horizon it asks for haste (PLDM; EB-JEPA: 97 against 89 of the last step alone), on the last step
    it leaves the way free (LeWM, DINO-WM).

    Attributes:
        goal: `[B, *L]`.
        distance: `l2` squared, `l1`, or `cosine` (1 - cos over the state's last axis).
        unit: a typical distance between two states of this world; the cost is in units of it, so that weights mean the
            same in any latent space.
        proprio_dim: how many numbers at the end of a state's last axis are proprioception: a goal's picture does not
            tell them, and they are left out.
    """

    goal: Tensor
    distance: Literal["l2", "l1", "cosine"] = "l2"
    reduce: Reduce = "sum"
    unit: float = 1.0
    proprio_dim: int = 0

    def __call__(self, states: Tensor, actions: Tensor | None = None) -> Tensor:
        """Raises UserError when the goal has another shape than the states."""
        if self.goal.shape[1:] != states.shape[3:] or len(self.goal) not in (1, len(states)):
            raise UserError(
                f"a goal of shape {list(self.goal.shape)} does not fit {len(states)} problems with states "
                f"{list(states.shape[3:])}: encode the goal's frame with the model that predicts"
            )
        goal = self.goal[:, None, None]
        if self.proprio_dim:
            goal, states = goal[..., : -self.proprio_dim], states[..., : -self.proprio_dim]
        if self.distance == "cosine":
            gap = 1 - torch.cosine_similarity(states, goal.expand_as(states), dim=-1)
        else:
            gap = (states - goal).abs() if self.distance == "l1" else (states - goal).square()
        return (gap.flatten(3).mean(3) if gap.dim() > 3 else gap) / self.unit

    def take(self, rows: Tensor) -> "Goal":
        return self if len(self.goal) == 1 else replace(self, goal=self.goal[rows])


@dataclass(frozen=True, eq=False)
class Effort:
    """Mean square of the actions, in half ranges of their bounds; discrete actions cost nothing."""

    space: Space
    reduce: Reduce = "sum"

    def __call__(self, states: Tensor, actions: Tensor | None = None) -> Tensor:
        if actions is None or not isinstance(self.space, Bounds):
            return states.new_zeros(states.shape[:3])
        scaled = (actions - self.space.neutral) / self.space.scale.clamp(min=1e-9)
        return scaled.square().mean(3)

    def take(self, rows: Tensor) -> "Effort":
        return self


@dataclass(frozen=True)
class Time:
    """1 a step. No plan is cheaper than another by it; a critic that learns from it knows how long it takes."""

    reduce: Reduce = "sum"

    def __call__(self, states: Tensor, actions: Tensor | None = None) -> Tensor:
        return states.new_ones(states.shape[:3])

    def take(self, rows: Tensor) -> "Time":
        return self


@dataclass(frozen=True, eq=False)
class Danger:
    """A detector's answer to a state: a probability, or yes and no.

    Attributes:
        detector: states `[..., *L]` to `[...]` in 0..1 (see `openjepa.agent.detector.Detector` for a learned one).
    """

    detector: Callable[[Tensor], Tensor]
    reduce: Reduce = "sum"

    def __call__(self, states: Tensor, actions: Tensor | None = None) -> Tensor:
        return self.detector(states).to(torch.float32)

    def take(self, rows: Tensor) -> "Danger":
        return self


@dataclass(frozen=True, eq=False)
class Explore:
    """The familiarity of a state to the memory, in 0..1: the share of an answer that the memory has; new is cheap."""

    memory: KeyValueMemory
    reduce: Reduce = "sum"

    def __call__(self, states: Tensor, actions: Tensor | None = None) -> Tensor:
        return self.memory.familiarity(states.flatten(1, 2)).unflatten(1, states.shape[1:3])

    def take(self, rows: Tensor) -> "Explore":
        return replace(self, memory=self.memory.take(rows))


@dataclass(frozen=True, eq=False)
class Cost:
    """`cost(states [B, S, H, *L], actions [B, S, H, A'] | None) -> [B, S]`.

    Attributes:
        intrinsic: terms by name; immutable in what they measure.
        trained: critics by name, which stand for what comes after the horizon (`reduce` `last`) or, as the paper
            writes it, after every state (`sum`).
        weights: u and v by name; 1 where none is given.
        discount: of the cost at step t of 1..H the share `discount^(t-1)`, of a critic's `discount^t`.
        imagined: names of intrinsic terms that judge how a state was predicted, not the state: they are no part of
            IC(s), from which critics learn.
    """

    intrinsic: Mapping[str, Term]
    trained: Mapping[str, Term]
    weights: Mapping[str, float]
    discount: float = 1.0
    imagined: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Raises UserError when a weight has no term."""
        known = {**self.intrinsic, **self.trained}
        for name in self.weights:
            if name not in known:
                raise UserError(
                    f"a weight is given to {name!r}, which this cost lacks; it has {', '.join(known)}"
                )

    def __call__(self, states: Tensor, actions: Tensor | None = None) -> Tensor:
        steps = torch.arange(states.shape[2], device=states.device)
        total = states.new_zeros(states.shape[:2])
        for terms, later in ((self.intrinsic, 0), (self.trained, 1)):
            share = self.discount ** (steps + later)
            for name, term in self._weighed(terms):
                if term.reduce == "last":
                    led = None if actions is None else actions[:, :, -1:]
                    total = total + self.weight(name) * share[-1] * term(states[:, :, -1:], led)[:, :, 0]
                else:
                    total = total + self.weight(name) * (share * term(states, actions)).sum(2)
        return total

    def terms(self, states: Tensor, actions: Tensor | None = None) -> dict[str, Tensor]:
        """Each term's weighted cost at each step, `[B, S, H]`, whatever its `reduce`."""
        every = [*self._weighed(self.intrinsic), *self._weighed(self.trained)]
        return {name: self.weight(name) * term(states, actions) for name, term in every}

    def now(self, state: Tensor, action: Tensor | None = None) -> tuple[dict[str, Tensor], Tensor]:
        """The cost of present states `[B, *L]`, reached by `[B, A']`: the weighted terms, `[B]` each, and IC(s)
        `[B]`."""
        led = None if action is None else action[:, None, None]
        terms = {name: value[:, 0, 0] for name, value in self.terms(state[:, None, None], led).items()}
        intrinsic = [
            value for name, value in terms.items() if name in self.intrinsic and name not in self.imagined
        ]
        return terms, torch.stack(intrinsic).sum(0) if intrinsic else state.new_zeros(len(state))

    def weight(self, name: str) -> float:
        return self.weights.get(name, 1.0)

    def take(self, rows: Tensor) -> "Cost":
        """The cost for these problems alone, with the terms that count."""
        intrinsic, trained = (
            {name: term.take(rows) for name, term in self._weighed(terms)}
            for terms in (self.intrinsic, self.trained)
        )
        weights = {name: self.weight(name) for name in (*intrinsic, *trained)}
        return replace(self, intrinsic=intrinsic, trained=trained, weights=weights)

    def _weighed(self, terms: Mapping[str, Term]) -> list[tuple[str, Term]]:
        return [(name, term) for name, term in terms.items() if self.weight(name) != 0]
