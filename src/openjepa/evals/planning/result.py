"""The result of an evaluation of planning: successes with their intervals, by method, run and distance."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from openjepa.common.renamed import current_protocol
from openjepa.common.text import aligned
from openjepa.errors import UserError
from openjepa.evals.planning.play import EpisodeOutcome
from openjepa.evals.planning.protocol import PlanningProtocol
from openjepa.evals.table import wilson

BINS = 4
"""Bins of distance, with as many episodes each."""


@dataclass(frozen=True)
class Near:
    """Successes among episodes whose goal lay `low` to `high` away."""

    low: float
    high: float
    successes: int
    episodes: int

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's, 95 %."""
        return wilson(self.successes, self.episodes)


@dataclass(frozen=True)
class PlayedRow:
    """One method's episodes. Those that began at their goal are counted apart, and in no rate, interval or mean.

    Attributes:
        method: `planning` with a world model, or a baseline.
        outcomes: in the order of their numbers.
        runs: how many models they are of, in equal parts.
        p50, p99: seconds that it took to find the actions of a step, for `batch` episodes side by side.
    """

    method: str
    outcomes: tuple[EpisodeOutcome, ...]
    runs: int
    p50: float
    p99: float

    @property
    def successes(self) -> int:
        return sum(outcome.success for outcome in self.outcomes)

    @property
    def played(self) -> tuple[EpisodeOutcome, ...]:
        """Those in which there was something to do."""
        return tuple(outcome for outcome in self.outcomes if not outcome.at_goal)

    @property
    def at_goal(self) -> int:
        """Number of episodes that began at their goal."""
        return len(self.outcomes) - len(self.played)

    @property
    def rate(self) -> float:
        """Share of the episodes played that succeeded, 0..1."""
        return _share(self.played)

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval over the episodes played."""
        return wilson(self.successes, len(self.played)) if self.played else (0.0, 1.0)

    @property
    def rates(self) -> list[float]:
        """Each run's."""
        size = len(self.outcomes) // self.runs
        parts = [self.outcomes[i * size : (i + 1) * size] for i in range(self.runs)]
        return [_share([outcome for outcome in part if not outcome.at_goal]) for part in parts]

    @property
    def errors(self) -> list[str]:
        """Errors that worlds raised."""
        return [outcome.error for outcome in self.outcomes if outcome.error]

    def by_distance(self, bins: int = BINS) -> list[Near]:
        """Success against the distance of start and goal, in bins of equal size; fewer where distances repeat."""
        away = np.array([outcome.distance for outcome in self.played])
        success = np.array([outcome.success for outcome in self.played])
        if not len(away):
            return []
        edges = np.unique(np.quantile(away, np.linspace(0, 1, bins + 1)))
        which = np.searchsorted(edges[1:-1], away, side="right")
        parts = [(which == i, low, high) for i, (low, high) in enumerate(_pairs(edges))]
        return [
            Near(low, high, int(success[rows].sum()), int(rows.sum()))
            for rows, low, high in parts
            if rows.any()
        ]

    def mean(self, what: str, successful: bool = False) -> float:
        """Mean of an outcome's number over the episodes played, or over those that succeeded; NaN where there is
        none."""
        values = [getattr(o, what) for o in self.played if o.success or not successful]
        return math.fsum(values) / len(values) if values else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the derived numbers included."""
        low, high = self.interval
        return {
            "method": self.method,
            "success": self.rate,
            "low": low,
            "high": high,
            "episodes": len(self.played),
            "at_goal": self.at_goal,
            "runs": self.runs,
            "rates": self.rates,
            "by_distance": [
                [near.low, near.high, near.successes, near.episodes] for near in self.by_distance()
            ],
            "seconds": {"p50": self.p50, "p99": self.p99},
            "outcomes": [outcome.to_dict() for outcome in self.outcomes],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "PlayedRow":
        """The inverse of `to_dict`."""
        outcomes = tuple(map(EpisodeOutcome.from_dict, data["outcomes"]))
        return cls(data["method"], outcomes, data["runs"], data["seconds"]["p50"], data["seconds"]["p99"])

    @classmethod
    def joined(cls, rows: Sequence["PlayedRow"]) -> "PlayedRow":
        """One method's row, from rows of some runs each, in their order; seconds are the means of theirs."""
        runs = [row.runs for row in rows]
        p50, p99 = (
            float(np.average([getattr(row, p) for row in rows], weights=runs)) for p in ("p50", "p99")
        )
        return cls(rows[0].method, tuple(o for row in rows for o in row.outcomes), sum(runs), p50, p99)


@dataclass(frozen=True)
class PlanningResult:
    """All rows of one protocol: planning first, then the baselines on the same problems."""

    protocol: PlanningProtocol
    rows: tuple[PlayedRow, ...]

    def row(self, method: str = "planning") -> PlayedRow:
        """Raises KeyError for a method that was not played."""
        for row in self.rows:
            if row.method == method:
                return row
        raise KeyError(f"{method} was not played")

    def same_outcomes(self, other: "PlanningResult") -> bool:
        """Whether every episode of every row went the same way; time does not count."""
        return [(r.method, r.outcomes) for r in self.rows] == [(r.method, r.outcomes) for r in other.rows]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `PlanningProtocol.read` takes such a file too."""
        return {
            "protocol": self.protocol.model_dump(mode="json"),
            "rows": [row.to_dict() for row in self.rows],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "PlanningResult":
        """The inverse of `to_dict`. Raises UserError when it is none."""
        try:
            rows = tuple(PlayedRow.from_dict(row) for row in data["rows"])
        except (KeyError, TypeError, AttributeError):
            raise UserError(
                "this is no result of a planning evaluation: it has no rows of outcomes"
            ) from None
        return cls(PlanningProtocol.parse(current_protocol(data["protocol"])), rows)

    @classmethod
    def joined(cls, protocol: PlanningProtocol, parts: Sequence["PlanningResult"]) -> "PlanningResult":
        """The result of a protocol, from those of its parts (see `WorldEvaluation.parts`)."""
        return cls(protocol, tuple(map(PlayedRow.joined, zip(*(part.rows for part in parts), strict=True))))

    def __str__(self) -> str:
        """Aligned text for people."""
        table = [["", "success in %", "steps", "ends at", "predictions", "ms a step p50", "p99"]]
        table += [_cells(row) for row in self.rows]
        lines = aligned(table)
        first, protocol = self.rows[0], self.protocol
        lines += [
            "",
            f"{len(first.played)} episodes on {protocol.env}, seed {protocol.seed}; 95 % intervals: Wilson over "
            f"episodes.{begun_at_goal(first)}",
            "Steps: mean over successes; ends at: mean distance to the goal; predictions: one-step, an episode; "
            f"time: for up to {protocol.batch} episodes side by side.",
        ]
        if first.runs > 1:
            rates = ", ".join(f"{100 * rate:.0f}" for rate in first.rates)
            spread = float(np.std(first.rates, ddof=1))
            lines += [
                f"By run: {rates} % (mean {100 * first.rate:.1f}, standard deviation {100 * spread:.1f})."
            ]
        if first.played:
            lines += ["", "Success in % by distance of start and goal:", *aligned(_by_distance(self.rows))]
        for row in self.rows:
            if row.errors:
                lines.append(f"{row.method}: {len(row.errors)} episodes ended in an error: {row.errors[0]}")
        return "\n".join(lines)


def _cells(row: PlayedRow) -> list[str]:
    predictions = row.mean("predictions")
    return [
        row.method,
        percent(row.rate, row.interval),
        "–" if not row.successes else f"{row.mean('steps', successful=True):.1f}",
        f"{row.mean('final'):.3g}",
        f"{predictions:,.0f}" if predictions else "–",
        f"{1000 * row.p50:.1f}",
        f"{1000 * row.p99:.1f}",
    ]


def _by_distance(rows: Sequence[PlayedRow]) -> list[list[str]]:
    bins = rows[0].by_distance()
    head = ["", *(f"{near.low:.3g} to {near.high:.3g}" for near in bins)]
    body = [
        [row.method, *(percent(near.successes / near.episodes, near.interval) for near in row.by_distance())]
        for row in rows
    ]
    return [head, *body]


def begun_at_goal(row: PlayedRow) -> str:
    """A sentence on the episodes in which there was nothing to do, after a space; empty where there are none."""
    if not row.at_goal:
        return ""
    said = (
        "1 more began at its goal and counts"
        if row.at_goal == 1
        else f"{row.at_goal} more began at their goals and count"
    )
    return f" {said} as neither success nor failure."


def _share(outcomes: Sequence[EpisodeOutcome]) -> float:
    return sum(outcome.success for outcome in outcomes) / max(len(outcomes), 1)


def percent(rate: float, interval: tuple[float, float]) -> str:
    """`93.3 [90.0, 95.6]`, of shares."""
    low, high = interval
    return f"{100 * rate:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _pairs(edges: np.ndarray) -> list[tuple[float, float]]:
    values = edges.tolist()
    return [(values[0], values[0])] if len(values) == 1 else list(pairwise(values))
