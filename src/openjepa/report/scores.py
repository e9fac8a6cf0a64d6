"""The probe table, ready to be shown: numbers, intervals and where they lie on a common axis."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from openjepa.errors import UserError
from openjepa.evals.table import JOINED, RANDOM, ProbeTable, Score, better_by, column, title
from openjepa.report.shown import Section, Shown, section

PROBES = {"linear": "Linear probe", "knn": "Nearest neighbours", "attentive": "Attentive probe"}
OURS = "model"


@dataclass(frozen=True)
class ScoreRow:
    """One score in its unit with its interval, and where these lie on the axis, in percent of its length."""

    name: str
    mean: str
    interval: str
    left: float
    width: float
    dot: float
    chosen: str


@dataclass(frozen=True)
class Scores:
    """One comparison per probe, `(title, rows, axis)`; all of one task share an axis."""

    probes: list[tuple[str, list[ScoreRow], tuple[str, str]]]
    metrics: str
    """What the scores are."""
    sentence: str
    classical: str
    """`raw pixels and HOG need`, with a capital; empty where there are none."""
    methods: str
    notes: list[str]
    table: list[list[str]]
    """The same numbers and what each row costs: a line of titles, and one for each row."""


def section_of(shown: Shown) -> Section | None:
    """What the features are worth; nothing of a world model that has not been probed."""
    probe = shown.record.probe
    if probe is None and shown.of_episodes:
        return None
    return section("scores", "Scores", scores=scores(probe) if probe else None, path=shown.record.path)


def probe_table(probe: dict[str, Any]) -> ProbeTable:
    """Raises UserError where the data are no probe table."""
    try:
        table = ProbeTable.from_dict(probe)
        table.cells()
        return table
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"probe.json is not what `openjepa probe` writes ({error!r}); run the probe again"
        ) from None


def scores(probe: dict[str, Any]) -> Scores | None:
    """`None` when the table is empty. Raises UserError where the data are no probe table."""
    table = probe_table(probe)
    if not table.scores:
        return None
    axes = {task: _axis([s for s in table.scores if s.task == task]) for task in _tasks(table)}
    probes = []
    for which, told in _columns(table).items():
        group = [s for s in table.scores if column(s) == which]
        low, high = axes[group[0].task]
        ends = (f"{low:.0%}", f"{high:.0%}") if group[0].is_share else (f"{low:.3g}", f"{high:.3g}")
        probes.append((told, [_row(s, low, high) for s in group], ends))
    classical = [
        row for row in dict.fromkeys(s.row for s in table.scores) if row not in (OURS, RANDOM, JOINED)
    ]
    return Scores(
        probes=probes,
        metrics=_metrics(table),
        classical=_needs(classical),
        sentence=" ".join([*map(str, standings(table)), *added(table)]),
        methods="; ".join(dict.fromkeys(s.method for s in table.scores)),
        notes=table.notes,
        table=table.cells(),
    )


def _tasks(table: ProbeTable) -> list[str]:
    return list(dict.fromkeys(s.task for s in table.scores))


def _columns(table: ProbeTable) -> dict[tuple[Any, ...], str]:
    """Titles of the columns for people."""
    several = len(_tasks(table)) > 1
    return {column(s): title(s, PROBES.get(s.kind, s.kind), task=several) for s in table.scores}


def _metrics(table: ProbeTable) -> str:
    intervals = "with 95 % intervals (level: they overlap; on the same draws of the labels: the differences' holds 0)."
    if not (said := table.metrics()):
        return f"Test accuracy of probes on frozen features, in percent, {intervals}"
    return f"Test scores of probes on frozen features, {intervals} {' '.join(s[0].upper() + s[1:] for s in said)}"


def _needs(rows: Sequence[str]) -> str:
    if not rows:
        return ""
    said = listed(rows)
    return f"{said[0].upper()}{said[1:]} {'need' if len(rows) > 1 else 'needs'}"


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`; a name that reads as several is quoted."""
    names = [f"“{name}”" if ", " in name or " and " in name else name for name in names]
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _axis(scores: Sequence[Score]) -> tuple[float, float]:
    """Ends of an axis on which all intervals lie."""
    low, high = min(s.interval[0] for s in scores), max(s.interval[1] for s in scores)
    if scores[0].is_share:
        return max(0.0, math.floor(20 * low - 0.4) / 20), min(1.0, math.ceil(20 * high + 0.4) / 20)
    margin = 0.05 * max(high - low, 1e-6)
    return low - margin, high + margin


def _row(score: Score, low: float, high: float) -> ScoreRow:
    start, end = score.interval

    def place(value: float) -> float:
        return round(100 * min(max((value - low) / (high - low), 0), 1), 2)

    return ScoreRow(
        name=score.row,
        mean=score.show(score.mean),
        interval=f"{score.show(start)}–{score.show(end)}",
        left=place(start),
        width=round(place(end) - place(start), 2),
        dot=place(score.mean),
        chosen=" | ".join(dict.fromkeys(score.choices)),
    )


@dataclass(frozen=True)
class Standing:
    """How the model stands beside the baselines in one probe, by 95 % intervals (`better_by`)."""

    probe: str
    beats: list[str]
    level: list[str]
    behind: list[str]

    def __str__(self) -> str:
        verbs = (("beats", self.beats), ("is level with", self.level), ("is worse than", self.behind))
        said = [f"{verb} {listed(names)}" for verb, names in verbs if names]
        return f"{self.probe}: the model {', '.join(said)}."


def standings(table: ProbeTable) -> list[Standing]:
    """One for each probe that has baselines."""
    found = []
    for which, told in _columns(table).items():
        group = {s.row: s for s in table.scores if column(s) == which and s.row != JOINED}
        mine = group.pop(OURS, None)
        if mine is None or not group:
            continue
        gaps = {name: better_by(mine, s) for name, s in group.items()}
        beats = [name for name, (low, _) in gaps.items() if low > 0]
        behind = [name for name, (_, high) in gaps.items() if high < 0]
        level = [name for name in group if name not in beats and name not in behind]
        found.append(Standing(told, beats, level, behind))
    return found


def added(table: ProbeTable) -> list[str]:
    """What the model adds to the best classical features, in a sentence for each probe."""
    found = []
    for which, told in _columns(table).items():
        group = {s.row: s for s in table.scores if column(s) == which}
        both = group.get(JOINED)
        classical = [s for name, s in group.items() if name not in (OURS, RANDOM, JOINED)]
        if both is None or not classical:
            continue
        best = max(classical, key=lambda s: s.mean if s.higher else -s.mean)
        more = both.mean - best.mean
        gain = f"{100 * more:+.1f} points" if both.is_share else f"{more:+.3f} of {both.metric}"
        low, high = better_by(both, best)
        sure = " (which may be chance)" if low <= 0 <= high else ""
        found.append(f"{told}: beside {best.row} the model adds {gain}{sure}.")
    return found
