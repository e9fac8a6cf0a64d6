"""Doubt: what the world model foresaw and did not come is not believed again nearby.

A world model that is wrong about a wall plans through it, fails, and plans through it once more: nothing in its states
has changed. The short-term memory knows better: this intrinsic cost compares imagined steps with remembered mistakes.
Ours; LeCun 2022, sections 3.1 and 3.2, has the memory and the intrinsic costs, but none of this kind.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from openjepa.agent.cost import Reduce


class Mistakes:
    """Steps that were foreseen for each of B problems, and how much of each did not come; the oldest of them give way.

    A step from s to s' is doubted as the most similar mistake is:
    `wrong * exp(-(|s - before|^2 + |s' - foreseen|^2) / (2 (width |foreseen - before|)^2))`, where `wrong` is
    `|after - foreseen| / |foreseen - before|`, at most 1: a step that led nowhere is wrong altogether.

    Args:
        problems: B.
        slots: mistakes remembered of each.
        width: how far from a mistake it still tells, in lengths of the foreseen step.

    Attributes:
        present: `[B, *L]`, where the problems are: what an imagined trajectory begins with; `None` before the first
            step.
    """

    def __init__(self, problems: int, *, slots: int = 64, width: float = 0.5) -> None:
        self.slots, self.width = slots, width
        self.present: Tensor | None = None
        self._count = torch.zeros(problems, dtype=torch.long)
        self._foreseen: Tensor | None = None
        self._rows: dict[str, Tensor] = {}

    def see(self, states: Tensor, rows: Tensor) -> None:
        """States `[R, *L]` of the problems `rows`: what came of what was foreseen."""
        before, foreseen = self.present, self._foreseen
        if before is not None and foreseen is not None:
            self._write(*(x.flatten(1).float() for x in (before[rows], foreseen[rows], states)), rows)
        if before is None:
            self.present = states.new_full((len(self._count), *states.shape[1:]), torch.nan)
        assert self.present is not None
        self.present[rows] = states

    def foresee(self, states: Tensor, rows: Tensor) -> None:
        """States `[R, *L]` that the world model foresees of the problems `rows`."""
        if self._foreseen is None:
            self._foreseen = states.new_full((len(self._count), *states.shape[1:]), torch.nan)
        self._foreseen[rows] = states

    def doubt(self, before: Tensor, after: Tensor) -> Tensor:
        """Of steps from `[B, M, *L]` to `[B, M, *L]`: `[B, M]` in 0..1."""
        if not self._rows:
            return before.new_zeros(before.shape[:2])
        count = min(int(self._count.max()), self.slots)
        start, end, square, wrong = (
            self._rows[name][:, :count] for name in ("before", "foreseen", "square", "wrong")
        )
        apart = torch.cdist(before.flatten(2), start).square() + torch.cdist(after.flatten(2), end).square()
        alike = torch.exp(-apart / (2 * self.width**2 * square[:, None]))
        return (wrong[:, None] * alike).amax(2)

    def near(self, states: Tensor, rows: Tensor) -> Tensor:
        """How wrong the world model has been within twice `width` of states `[R, *L]` of the problems `rows`: `[R]` in
        0..1, whatever step it was."""
        if not self._rows:
            return states.new_zeros(len(states))
        start, square, wrong = (self._rows[name][rows] for name in ("before", "square", "wrong"))
        apart = (start - states.flatten(1)[:, None]).square().sum(2)
        return (wrong * torch.exp(-apart / (2 * (2 * self.width) ** 2 * square))).amax(1)

    def take(self, rows: Tensor) -> "Mistakes":
        """A copy for these problems alone."""
        part = Mistakes(len(rows), slots=self.slots, width=self.width)
        part._count = self._count[rows.to(self._count.device)]
        part.present = None if self.present is None else self.present[rows]
        part._rows = {name: values[rows] for name, values in self._rows.items()}
        return part

    def _write(self, before: Tensor, foreseen: Tensor, after: Tensor, rows: Tensor) -> None:
        square = (foreseen - before).square().sum(1).clamp(min=1e-12)
        wrong = ((after - foreseen).square().sum(1) / square).sqrt().clamp(max=1)
        found = {"before": before, "foreseen": foreseen, "square": square, "wrong": wrong}
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
class Doubt:
    """How little an imagined state is to be believed, in 0..1: one who doubts a step doubts all that follow it.

    Attributes:
        mistakes: of the episode so far.
    """

    mistakes: Mistakes
    reduce: Reduce = "sum"

    def __call__(self, states: Tensor, actions: Tensor | None = None) -> Tensor:
        present = self.mistakes.present
        if present is None:
            return states.new_zeros(states.shape[:3])
        first = present[:, None, None].expand(-1, states.shape[1], 1, *states.shape[3:])
        before = torch.cat([first, states[:, :, :-1]], 2)
        believed = 1 - self.mistakes.doubt(before.flatten(1, 2), states.flatten(1, 2))
        return 1 - believed.unflatten(1, states.shape[1:3]).cumprod(2)

    def take(self, rows: Tensor) -> "Doubt":
        return replace(self, mistakes=self.mistakes.take(rows))
