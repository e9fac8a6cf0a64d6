"""Prediction-error cost: a prediction like one that failed in this episode is dear.

A world model that is wrong about a wall plans through it, fails, and plans through it once more: nothing in its states
has changed. The short-term memory knows better: this intrinsic cost compares imagined steps with remembered errors.
Ours; LeCun 2022, sections 3.1 and 3.2, has the memory and the intrinsic costs, but none of this kind.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from openjepa.agent.cost import Reduce


class ErrorMemory:
    """A memory of predicted steps for each of B problems, and how wrong each was; the oldest give way.

    A step from s to s' is expected to be as wrong as the most similar one was:
    `wrong * exp(-(|s - before|^2 + |s' - predicted|^2) / (2 (width |predicted - before|)^2))`, where `wrong` is
    `|after - predicted| / |predicted - before|`, at most 1: a step that led nowhere is wrong altogether.

    Args:
        problems: B.
        slots: errors remembered of each.
        width: the range of a remembered error, in lengths of the predicted step.

    Attributes:
        present: `[B, *L]`, where the problems are: what an imagined trajectory begins with; `None` before the first
            step.
    """

    def __init__(self, problems: int, *, slots: int = 64, width: float = 0.5) -> None:
        self.slots, self.width = slots, width
        self.present: Tensor | None = None
        self._count = torch.zeros(problems, dtype=torch.long)
        self._predicted: Tensor | None = None
        self._rows: dict[str, Tensor] = {}

    def record_outcome(self, states: Tensor, rows: Tensor) -> None:
        """Compare states `[R, *L]` of the problems `rows` with what was predicted, and remember the errors."""
        before, predicted = self.present, self._predicted
        if before is not None and predicted is not None:
            self._write(*(x.flatten(1).float() for x in (before[rows], predicted[rows], states)), rows)
        if before is None:
            self.present = states.new_full((len(self._count), *states.shape[1:]), torch.nan)
        assert self.present is not None
        self.present[rows] = states

    def record_prediction(self, states: Tensor, rows: Tensor) -> None:
        """Remember states `[R, *L]` that the world model predicts of the problems `rows`."""
        if self._predicted is None:
            self._predicted = states.new_full((len(self._count), *states.shape[1:]), torch.nan)
        self._predicted[rows] = states

    def expected_error(self, before: Tensor, after: Tensor) -> Tensor:
        """The expected error of steps from `[B, M, *L]` to `[B, M, *L]`: `[B, M]` in 0..1."""
        if not self._rows:
            return before.new_zeros(before.shape[:2])
        count = min(int(self._count.max()), self.slots)
        start, end, square, wrong = (
            self._rows[name][:, :count] for name in ("before", "predicted", "square", "wrong")
        )
        apart = torch.cdist(before.flatten(2), start).square() + torch.cdist(after.flatten(2), end).square()
        alike = torch.exp(-apart / (2 * self.width**2 * square[:, None]))
        return (wrong[:, None] * alike).amax(2)

    def near(self, states: Tensor, rows: Tensor) -> Tensor:
        """The error of the world model within twice `width` of states `[R, *L]` of the problems `rows`: `[R]` in
        0..1, whatever step it was."""
        if not self._rows:
            return states.new_zeros(len(states))
        start, square, wrong = (self._rows[name][rows] for name in ("before", "square", "wrong"))
        apart = (start - states.flatten(1)[:, None]).square().sum(2)
        return (wrong * torch.exp(-apart / (2 * (2 * self.width) ** 2 * square))).amax(1)

    def take(self, rows: Tensor) -> "ErrorMemory":
        """A copy of the memory for these problems alone."""
        part = ErrorMemory(len(rows), slots=self.slots, width=self.width)
        part._count = self._count[rows.to(self._count.device)]
        part.present = None if self.present is None else self.present[rows]
        part._rows = {name: values[rows] for name, values in self._rows.items()}
        return part

    def _write(self, before: Tensor, predicted: Tensor, after: Tensor, rows: Tensor) -> None:
        square = (predicted - before).square().sum(1).clamp(min=1e-12)
        wrong = ((after - predicted).square().sum(1) / square).sqrt().clamp(max=1)
        found = {"before": before, "predicted": predicted, "square": square, "wrong": wrong}
        if not self._rows:
            shape = len(self._count), self.slots
            # an empty slot is not wrong, whatever its width
            self._rows = {name: x.new_zeros(*shape, *x.shape[1:]) for name, x in found.items()}
            self._rows["square"] += 1
        places = self._count[rows.to(self._count.device)] % self.slots
        for name, values in found.items():
            self._rows[name][rows, places.to(rows.device)] = values
        self._count[rows.to(self._count.device)] += 1


@dataclass(frozen=True, eq=False)
class PredictionError:
    """The expected error of an imagined state, in 0..1: that of a step counts for all that follow it.

    Attributes:
        error_memory: the errors of the episode so far.
    """

    error_memory: ErrorMemory
    reduce: Reduce = "sum"

    def __call__(self, states: Tensor, actions: Tensor | None = None) -> Tensor:
        present = self.error_memory.present
        if present is None:
            return states.new_zeros(states.shape[:3])
        first = present[:, None, None].expand(-1, states.shape[1], 1, *states.shape[3:])
        before = torch.cat([first, states[:, :, :-1]], 2)
        believed = 1 - self.error_memory.expected_error(before.flatten(1, 2), states.flatten(1, 2))
        return 1 - believed.unflatten(1, states.shape[1:3]).cumprod(2)

    def take(self, rows: Tensor) -> "PredictionError":
        return replace(self, error_memory=self.error_memory.take(rows))
