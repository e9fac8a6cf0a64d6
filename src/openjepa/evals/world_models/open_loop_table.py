"""The table of an open-loop evaluation: errors by how far ahead, whether actions are used, which are preferred."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from openjepa.common.text import aligned
from openjepa.evals.tasks import resampled

MODEL, OTHERS = "model", "model, others' actions"
COPY, BLIND, LINEAR = "copying the last", "linear, without actions", "linear, with actions"
READ, CHANGE, CHANGE_OTHERS, TRUE = (
    "model, read off its states",
    "model, change read off its states",
    "model, change, others' actions",
    "change read off the true states",
)
VARIABLES = "linear, of the variables"


@dataclass(frozen=True)
class ErrorCurve:
    """Errors of one way to predict, for each number of steps ahead, with 95 % intervals over episodes."""

    name: str
    values: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Preference:
    """How one way to predict ranks the actions that led to a goal, among others.

    Attributes:
        among: what the others are.
        first: share of the goals for which the true actions come first.
        rank: their mean rank; 1 is the first.
    """

    name: str
    among: str
    first: float
    low: float
    high: float
    rank: float


@dataclass(frozen=True)
class OpenLoopTable:
    """An open-loop evaluation.

    Attributes:
        steps: of the model, ahead, of each column.
        seconds: of a step; `None` where the data do not tell.
        trained: steps that the model was trained to predict.
        episodes, windows: that were predicted.
        states: errors of states, as a share of their variance.
        variables: names of the physical variables, and errors of these (rms); none where none is recorded.
        each: rms of each variable at the last of the steps, by curve.
        ratio: how many times as large the error at the last step is with another episode's actions, with its interval.
        candidates: sequences of actions to choose from, the true one among them.
        goals: how many were chosen for.
        notes: what a reader should know besides.
    """

    name: str
    steps: tuple[int, ...]
    seconds: float | None
    trained: int
    episodes: int
    windows: int
    states: tuple[ErrorCurve, ...]
    variables: tuple[str, ...]
    physical: tuple[ErrorCurve, ...]
    each: dict[str, tuple[float, ...]]
    ratio: tuple[float, float, float]
    candidates: int
    goals: int
    preferences: tuple[Preference, ...]
    notes: tuple[str, ...] = ()

    @property
    def uses_actions(self) -> bool:
        """Whether the error with another episode's actions is clearly larger."""
        return self.ratio[1] > 1

    @property
    def said(self) -> str:
        """Whether the actions are used, in a sentence."""
        value, low, high = self.ratio
        how = "It uses the actions" if self.uses_actions else "Nothing shows that it uses the actions"
        return (
            f"{how}: {self.ahead(len(self.steps) - 1)} ahead, the error with another episode's actions is {value:.2f} "
            f"[{low:.2f}, {high:.2f}] times as large."
        )

    def ahead(self, column: int) -> str:
        """How far ahead a column lies, in steps and seconds."""
        steps = self.steps[column]
        told = f"{steps} step{'s' * (steps > 1)}"
        return told if self.seconds is None else f"{told} ({steps * self.seconds:.2g} s)"

    def curve(self, name: str, physical: bool = False) -> ErrorCurve:
        """Raises KeyError where there is none."""
        return {curve.name: curve for curve in (self.physical if physical else self.states)}[name]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self) | {"uses_actions": self.uses_actions}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "OpenLoopTable":
        """The inverse of `to_dict`. Raises KeyError, TypeError or ValueError where it is none."""
        given = {name: data[name] for name in cls.__dataclass_fields__}
        for name in ("states", "physical"):
            given[name] = tuple(
                ErrorCurve(
                    str(one["name"]), *(tuple(map(float, one[part])) for part in ("values", "low", "high"))
                )
                for one in given[name]
            )
        given["preferences"] = tuple(Preference(**one) for one in given["preferences"])
        given["each"] = {str(name): tuple(map(float, values)) for name, values in given["each"].items()}
        given["ratio"] = tuple(map(float, given["ratio"]))
        given["steps"] = tuple(map(int, given["steps"]))
        given["variables"], given["notes"] = tuple(given["variables"]), tuple(given["notes"])
        table = cls(**given)
        lengths = {
            len(side) for one in (*table.states, *table.physical) for side in (one.values, one.low, one.high)
        }
        if lengths != {len(table.steps)} or len(table.ratio) != 3:
            raise ValueError("its curves and steps are of unequal length")
        return table

    def __str__(self) -> str:
        parts = [
            f"Open loop: {self.name}, {self.windows:,} windows of {self.episodes} held-out episodes; trained "
            f"to predict {self.trained} step{'s' * (self.trained > 1)} ahead"
        ]
        parts.append(_curves("Error of predicted states, as a share of their variance", self, self.states))
        if self.physical:
            count = len(self.variables)
            parts.append(
                _curves(
                    f"Error of {count} variable{'s' * (count > 1)}, rms in their units", self, self.physical
                )
            )
        parts.append(self.said)
        rows = [["which actions led to the goal?", "others", "true ones first", "mean rank"]]
        rows += [
            [one.name, one.among, f"{one.first:.1%} [{one.low:.1%}, {one.high:.1%}]", f"{one.rank:.1f}"]
            for one in self.preferences
        ]
        rows.append(["chance", "", f"{1 / self.candidates:.1%}", f"{(self.candidates + 1) / 2:.1f}"])
        ahead = self.ahead(len(self.steps) - 1)
        told = (
            f"{self.goals:,} recorded goals, {ahead} ahead; {self.candidates} sequences of actions for each"
        )
        parts.append("\n".join([*aligned(rows), told]))
        parts.append(
            "\n".join(["95 % intervals: bootstrap over episodes, at the farthest step.", *self.notes])
        )
        return "\n\n".join(parts)


def interval(parts: Tensor, episode: NDArray, root: bool = False) -> tuple[float, float, float]:
    """The ratio of the sums of two columns `[N, 2]`, or its root, and the ends of its 95 % interval over episodes."""

    def of(sums: NDArray) -> NDArray:
        with np.errstate(invalid="ignore", divide="ignore"):
            share = sums[..., 0] / sums[..., 1]
        return np.sqrt(share) if root else share

    low, high = resampled(parts.numpy(), episode, of)
    return float(of(parts.sum(0).numpy())), float(low), float(high)


def _curves(title: str, table: OpenLoopTable, curves: Sequence[ErrorCurve]) -> str:
    head = [title, *(table.ahead(i) for i in range(len(table.steps))), ""]
    rows = [
        [one.name, *(f"{value:.3g}" for value in one.values), f"[{one.low[-1]:.3g}, {one.high[-1]:.3g}]"]
        for one in curves
    ]
    return "\n".join(aligned([head, *rows]))
