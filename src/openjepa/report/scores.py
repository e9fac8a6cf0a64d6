"""The probe table, ready to be shown: numbers, intervals and where they lie on a common axis."""

import math
from dataclasses import dataclass
from typing import Any

from openjepa.errors import UserError
from openjepa.evals.table import JOINED, RANDOM, ProbeTable, Score, column, title

PROBES = {"linear": "Linear probe", "knn": "Nearest neighbours", "attentive": "Attentive probe"}
OURS = "model"


@dataclass(frozen=True)
class Row:
    """One score in percent with its interval, and where these lie on the axis, in percent of its length."""

    name: str
    mean: str
    interval: str
    left: float
    width: float
    dot: float
    chosen: str


@dataclass(frozen=True)
class Scores:
    """One comparison per probe, `(title, rows)`, on an axis that all share."""

    probes: list[tuple[str, list[Row]]]
    axis: tuple[str, str]
    sentence: str
    methods: str
    notes: list[str]
    table: list[list[str]]
    """The same numbers and what each row costs: a line of titles, and one for each row."""


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
    columns = {column(s): _title(s) for s in table.scores}
    low = max(0.0, math.floor(20 * min(s.interval[0] for s in table.scores) - 0.4) / 20)
    high = min(1.0, math.ceil(20 * max(s.interval[1] for s in table.scores) + 0.4) / 20)
    return Scores(
        probes=[
            (told, [_row(s, low, high) for s in table.scores if column(s) == which])
            for which, told in columns.items()
        ],
        axis=(f"{low:.0%}", f"{high:.0%}"),
        sentence=" ".join([*map(str, standings(table)), *added(table)]),
        methods="; ".join(dict.fromkeys(s.method for s in table.scores)),
        notes=table.notes,
        table=table.cells(),
    )


def _row(score: Score, low: float, high: float) -> Row:
    start, end = score.interval

    def place(value: float) -> float:
        return round(100 * min(max((value - low) / (high - low), 0), 1), 2)

    return Row(
        name=score.row,
        mean=f"{100 * score.mean:.1f}",
        interval=f"{100 * start:.1f}–{100 * end:.1f}",
        left=place(start),
        width=round(place(end) - place(start), 2),
        dot=place(score.mean),
        chosen=" | ".join(dict.fromkeys(score.choices)),
    )


@dataclass(frozen=True)
class Standing:
    """How the model stands beside the baselines in one probe, by whether 95 % intervals overlap."""

    probe: str
    beats: list[str]
    level: list[str]
    behind: list[str]

    def __str__(self) -> str:
        verbs = (("beats", self.beats), ("is level with", self.level), ("is worse than", self.behind))
        said = [f"{verb} {' and '.join(names)}" for verb, names in verbs if names]
        return f"{self.probe}: the model {', '.join(said)}."


def standings(table: ProbeTable) -> list[Standing]:
    """One for each probe that has baselines."""
    found = []
    for which, told in {column(s): _title(s) for s in table.scores}.items():
        group = {s.row: s for s in table.scores if column(s) == which and s.row != JOINED}
        mine = group.pop(OURS, None)
        if mine is None or not group:
            continue
        beats = [name for name, s in group.items() if mine.interval[0] > s.interval[1]]
        behind = [name for name, s in group.items() if mine.interval[1] < s.interval[0]]
        level = [name for name in group if name not in beats and name not in behind]
        found.append(Standing(told, beats, level, behind))
    return found


def added(table: ProbeTable) -> list[str]:
    """What the model adds to the best classical features, in a sentence for each probe."""
    found = []
    for which, told in {column(s): _title(s) for s in table.scores}.items():
        group = {s.row: s for s in table.scores if column(s) == which}
        both = group.get(JOINED)
        classical = [s for name, s in group.items() if name not in (OURS, RANDOM, JOINED)]
        if both is None or not classical:
            continue
        best = max(classical, key=lambda s: s.mean)
        points = 100 * (both.mean - best.mean)
        clear = both.interval[0] > best.interval[1] or both.interval[1] < best.interval[0]
        sure = "" if clear else " (the intervals overlap)"
        found.append(f"{told}: beside {best.row} the model adds {points:+.1f} points{sure}.")
    return found


def _title(score: Score) -> str:
    return title(score, PROBES.get(score.kind, score.kind))
