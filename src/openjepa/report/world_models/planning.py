"""The section on planning, from the evaluation's file alone: success, by distance, surprise, physical state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openjepa.common.reach import read_json
from openjepa.errors import UserError
from openjepa.evals.planning import PlanningResult
from openjepa.evals.planning.result import PlayedRow, begun_at_goal
from openjepa.report import scores
from openjepa.report.charts import Chart, CurveLine, short
from openjepa.report.curves import Figure, figure

OURS = "planning"
FILE = "plan.json"


@dataclass(frozen=True)
class PlanningReport:
    """The content of the section on planning.

    Attributes:
        result: as it was played.
        success: a row for each who played, on an axis from 0 to 100 %.
        sentence: how planning stands beside the others.
        facts: of the protocol, in words.
        notes: errors of the world, steps and time.
        distance: success against distance, or `None` where all goals lay equally far.
        surprise, state: groups of rows, where they were measured; `state` on an axis of R².
    """

    result: PlanningResult
    success: list[scores.ScoreRow]
    sentence: str
    facts: str
    notes: list[str]
    distance: Figure | None
    surprise: list[tuple[str, list[scores.ScoreRow]]] = field(default_factory=list)
    state: list[tuple[str, list[scores.ScoreRow]]] = field(default_factory=list)
    state_of: str = ""


def read_acting(run: Path) -> PlanningReport | None:
    """The evaluation that `openjepa plan` has left in a run; `None` where there is none.

    Raises:
        UserError: the file is damaged.
    """
    path = run / FILE
    if not path.is_file():
        return None
    try:
        data = read_json(path)
        result = PlanningResult.from_dict(data)
        return _acting(result, data)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, UserError) as error:
        raise UserError(f"{path} is not what `openjepa plan` writes ({error!s}); plan again") from None


def _acting(result: PlanningResult, data: Mapping[str, Any]) -> PlanningReport:
    protocol, first = result.protocol, result.rows[0]
    said = [
        f"{len(first.played)} episodes of {protocol.env}, seed {protocol.seed}",
        f"{protocol.planner.kind}, {protocol.planner.horizon} steps ahead",
    ]
    world = protocol.own_world()
    budget = protocol.budget or (protocol.options.get("max_steps") if world is None else world.max_steps)
    said += [f"at most {budget} environment steps each"] if budget else []
    state, state_of = _state(data.get("state", []))
    return PlanningReport(
        result,
        [_success(row) for row in result.rows],
        _sentence(result.rows),
        ", ".join(said),
        _notes(result.rows, protocol.batch),
        _by_distance(result.rows),
        _surprise(data.get("surprise", [])),
        state,
        state_of,
    )


def _success(row: PlayedRow) -> scores.ScoreRow:
    return bar(row.method, row.rate, row.interval, scale=100.0)


def bar(
    name: str,
    value: float,
    interval: tuple[float, float],
    axis: tuple[float, float] = (0, 1),
    scale: float = 1,
) -> scores.ScoreRow:
    """A row with its interval on an axis; numbers are shown times `scale`."""
    low, high = axis

    def place(x: float) -> float:
        return round(100 * min(max((x - low) / (high - low), 0), 1), 2)

    digits = 1 if scale == 100 else 3
    start, end = (place(x) for x in interval)
    shown = (f"{scale * x:.{digits}f}" for x in interval)
    return scores.ScoreRow(
        name, f"{scale * value:.{digits}f}", "–".join(shown), start, round(end - start, 2), place(value), ""
    )


def _sentence(rows: Sequence[PlayedRow]) -> str:
    """A sentence that compares planning with the others, by whether 95 % intervals overlap."""
    mine, others = rows[0], rows[1:]
    if not others:
        return ""
    clear = [row.method for row in others if mine.interval[0] > row.interval[1]]
    behind = [row.method for row in others if mine.interval[1] < row.interval[0]]
    level = [row.method for row in others if row.method not in clear and row.method not in behind]
    verbs = (("beats", clear), ("is level with", level), ("is worse than", behind))
    parts = [f"{verb} {' and '.join(names)}" for verb, names in verbs if names]
    return f"Planning with this model {', '.join(parts)}."


def _notes(rows: Sequence[PlayedRow], batch: int) -> list[str]:
    mine = rows[0]
    said = [begun_at_goal(mine).strip()] if mine.at_goal else []
    if mine.successes:
        said.append(f"Successes took {mine.mean('steps', successful=True):.0f} steps on average.")
    said.append(
        f"Finding an action took {short(1000 * mine.p50)} ms at the median and {short(1000 * mine.p99)} ms at the 99th "
        f"percentile, for up to {min(batch, len(mine.outcomes))} episodes side by side."
    )
    said += [
        f"{row.method}: {len(row.errors)} episodes ended in an error ({row.errors[0]})."
        for row in rows
        if row.errors
    ]
    return said


def _by_distance(rows: Sequence[PlayedRow]) -> Figure | None:
    lines = []
    for row in rows if rows[0].played else ():
        near = row.by_distance()
        ends = list(zip(*(one.interval for one in near), strict=True))
        middles = [(one.low + one.high) / 2 for one in near]
        lines.append(
            CurveLine(row.method, middles, [one.successes / one.episodes for one in near], (ends[0], ends[1]))
        )
    if len(lines) == 0 or len(lines[0].steps) < 2:
        return None
    bins = rows[0].by_distance()
    title = "Success by distance"
    caption = (
        "Share of the episodes that succeeded against the distance from start to goal by the shortest feasible path, "
        f"in {len(bins)} bins of about {bins[0].episodes} episodes; shaded: 95 % intervals."
    )
    return figure(Chart(title, caption, lines, top=1.0), "by-distance")


def _surprise(tables: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[scores.ScoreRow]]]:
    groups: dict[str, list[scores.ScoreRow]] = {}
    for score in tables[0]["scores"] if tables else ():
        row = bar(score["row"], score["auroc"], tuple(score["interval"]))
        groups.setdefault(score["violation"], []).append(row)
    names = {"teleport": "A jump to another place", "wall": "A way through a wall"}
    return [(names.get(name, name), rows) for name, rows in groups.items()]


def _state(tables: Sequence[Mapping[str, Any]]) -> tuple[list[tuple[str, list[scores.ScoreRow]]], str]:
    if not tables:
        return [], ""
    groups: dict[str, list[scores.ScoreRow]] = {}
    for fit in tables[0]["fits"]:
        if fit["r2"] is not None:
            row = bar(fit["row"], fit["r2"], (fit["low"], fit["high"]))
            groups.setdefault(fit["variable"], []).append(row)
    frames, tested = tables[0]["frames"], tables[0]["tested"]
    return list(groups.items()), f"{frames} frame{'s' * (frames > 1)}, {tested} held-out episodes"
