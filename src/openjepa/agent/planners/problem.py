"""A planning problem: its candidates' prices, its random numbers, its answer."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from openjepa.agent.planners.space import Bounds, Discrete, Space
from openjepa.errors import UserError

Objective = Callable[[Tensor], Tensor]
"""Costs `[B, S]` of actions `[B, S, H, A']`."""
Constraint = Callable[[Tensor], Tensor]
"""Violations `[B, S]` of actions `[B, S, H, A']`; at most 0 where the constraint holds."""

REJECTED = 1e12
"""Price of breaking a constraint, plus the violation, in float64: above any cost, and smaller violations still win."""


def streams(seed: int, problems: int | Iterable[int]) -> list[torch.Generator]:
    """A generator for each problem, a function of the seed and the problem's number alone."""
    numbers = range(problems) if isinstance(problems, int) else problems
    mixed = ((seed * 1_000_003 + int(number)) * 2_654_435_761 + 97 for number in numbers)
    return [torch.Generator().manual_seed(value % (2**63 - 1)) for value in mixed]


@dataclass(frozen=True, eq=False)
class Trace:
    """The course of the search, per iteration I: costs `[I, B]` of the best candidate and the mean over the elites."""

    best: Tensor
    elites: Tensor


@dataclass(frozen=True, eq=False)
class Plan:
    """A planner's answer.

    Attributes:
        actions: `[B, H, A']`, inside the bounds (one-hot where actions are discrete).
        value: `[B]`, the objective at `actions` (with `penalise`: and the penalty), float64.
        feasible: `[B]` bool, whether the constraint holds.
        trace: costs per iteration.
        elites: `[B, K, H, A']`, good candidates that the next plan may start from.
    """

    actions: Tensor
    value: Tensor
    feasible: Tensor
    trace: Trace
    elites: Tensor

    def shifted(self, steps: int, space: Space) -> Tensor:
        """A start for the plan made `steps` steps later, `[B, 1 + K, H, A']`: what is left, then neutral actions."""
        sequences = torch.cat([self.actions[:, None], self.elites], 1)
        tail = space.neutral.to(sequences).expand(*sequences.shape[:2], steps, -1)
        return torch.cat([sequences, tail], 2)[:, :, steps:]


class Rules(Protocol):
    """The rules of a planner that a problem must know (see `PlannerChoice`)."""

    @property
    def horizon(self) -> int: ...
    @property
    def constraint(self) -> Literal["reject", "penalise"]: ...
    @property
    def penalty(self) -> float: ...


class Problem:
    """B problems as a planner sees them."""

    def __init__(
        self,
        planner: Rules,
        space: Space,
        objective: Objective,
        constraint: Constraint | None,
        generators: Sequence[torch.Generator],
    ) -> None:
        self.planner, self.space, self.generators = planner, space, generators
        self.objective, self.constraint = objective, constraint
        self.size, self.device = len(generators), space.neutral.device

    def repeated(self) -> "Problem":
        """The same problem with one environment action for each block, repeated."""
        box = self.box

        def through(judge: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
            return lambda actions: judge(box.repeated(actions))

        constraint = None if self.constraint is None else through(self.constraint)
        return Problem(self.planner, box.single, through(self.objective), constraint, self.generators)

    @property
    def box(self) -> Bounds:
        """The space of a continuous planner."""
        assert isinstance(self.space, Bounds)
        return self.space

    @property
    def choices(self) -> Discrete:
        """The space of a discrete planner."""
        assert isinstance(self.space, Discrete)
        return self.space

    def starts(self, start: Tensor | None) -> Tensor:
        """`[B, K, H, A']`."""
        shape = (self.planner.horizon, self.space.width)
        if start is None:
            return self.space.neutral.expand(self.size, 1, *shape)
        if start.dim() not in (3, 4) or len(start) != self.size or start.shape[-2:] != shape:
            raise UserError(
                f"a start of shape {list(start.shape)} does not fit {self.size} problems of horizon {shape[0]} with "
                f"{shape[1]} numbers a step: give [B, H, A'] or [B, K, H, A']"
            )
        start = start.detach().to(self.device, torch.float32)
        return start.unsqueeze(1) if start.dim() == 3 else start

    def normal(self, *shape: int) -> Tensor:
        """Standard normal, `[B, *shape]`."""
        draws = [torch.randn(*shape, generator=g, device=g.device) for g in self.generators]
        return torch.stack(draws).to(self.device)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform in [0, 1), `[B, *shape]`."""
        draws = [torch.rand(*shape, generator=g, device=g.device) for g in self.generators]
        return torch.stack(draws).to(self.device)

    def price(self, actions: Tensor) -> Tensor:
        """Costs with constraints, `[B, S]` float64; what is not a number is as bad as can be."""
        costs = self.measure(self.objective, actions, "the objective")
        if self.constraint is None:
            return self.combine(costs, None)
        return self.combine(costs, self.measure(self.constraint, actions, "the constraint"))

    def combine(self, costs: Tensor, violation: Tensor | None) -> Tensor:
        """The price of candidates with costs and violations `[B, S]`."""
        costs = costs.double()
        if violation is not None and self.planner.constraint == "penalise":
            costs = costs + self.planner.penalty * violation.detach().double().relu()
        elif violation is not None:
            violation = violation.detach().double()
            costs = torch.where(violation <= 0, costs, REJECTED + violation)
        worst = 2 * REJECTED
        return costs.nan_to_num(nan=worst, posinf=worst, neginf=-worst)

    def measure(self, function: Callable[[Tensor], Tensor], actions: Tensor, name: str) -> Tensor:
        """`[B, S]`, checked."""
        values = function(actions)
        if values.shape != actions.shape[:2]:
            raise UserError(
                f"{name} gave shape {list(values.shape)} for actions {list(actions.shape)}: give one number for each "
                f"candidate, {list(actions.shape[:2])}"
            )
        return values

    def feasible(self, actions: Tensor) -> Tensor:
        """`[B]` bool of one sequence `[B, H, A']` each."""
        if self.constraint is None:
            return torch.ones(self.size, dtype=torch.bool, device=self.device)
        return self.measure(self.constraint, actions[:, None], "the constraint")[:, 0] <= 0

    def answer(self, search: "Search", actions: Tensor | None, elites: Tensor) -> Plan:
        """The plan: `actions` `[B, H, A']` (what the search arrived at), or, where that is `None` or breaks the
        constraint, the best candidate seen."""
        best, value = search.actions, search.value
        feasible = self.feasible(best)
        if actions is not None:
            arrived, fine = self.price(actions[:, None])[:, 0], self.feasible(actions)
            chosen = fine | ~feasible
            best = torch.where(chosen[:, None, None], actions, best)
            value, feasible = torch.where(chosen, arrived, value), torch.where(chosen, fine, feasible)
        return Plan(best, value, feasible, search.trace, elites)


class Search:
    """The best candidate so far, and the trace."""

    actions: Tensor
    value: Tensor

    def __init__(self) -> None:
        self._best: list[Tensor] = []
        self._elites: list[Tensor] = []

    def note(self, actions: Tensor, value: Tensor, elites: Tensor) -> None:
        """An iteration's best candidate `[B, H, A']`, its cost `[B]` and the elites' mean cost `[B]`."""
        if self._best:
            better = value < self.value
            actions = torch.where(better[:, None, None], actions, self.actions)
            self.value = torch.where(better, value, self.value)
        else:
            self.value = value
        self.actions = actions
        self._best.append(value)
        self._elites.append(elites)

    @property
    def trace(self) -> Trace:
        return Trace(torch.stack(self._best), torch.stack(self._elites))


def top(actions: Tensor, values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` cheapest of each problem, cheapest first: `[B, K, H, A']` and `[B, K]`."""
    values, order = values.topk(count, 1, largest=False, sorted=True)
    rows = torch.arange(len(actions), device=actions.device)[:, None]
    return actions[rows, order], values
