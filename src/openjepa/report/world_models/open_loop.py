"""The section on open-loop evaluation, from the file that `openjepa openloop` has left in a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from openjepa.common.reach import read_json
from openjepa.errors import UserError
from openjepa.evals.world_models.open_loop_table import ErrorCurve, OpenLoopTable
from openjepa.report import scores
from openjepa.report.charts import Chart, CurveLine
from openjepa.report.curves import Figure, figure
from openjepa.report.shown import Section, Shown, render
from openjepa.report.world_models.planning import bar

FILE = "openloop.json"


@dataclass(frozen=True)
class OpenLoopReport:
    """The content of the section.

    Attributes:
        facts: of the evaluation, in words.
        charts: errors of states and, where they were recorded, of physical variables.
        choices: for each kind of other actions, rows on an axis from 0 to 100 %.
    """

    table: OpenLoopTable
    facts: str
    charts: list[Figure]
    choices: list[tuple[str, list[scores.ScoreRow]]]


def open_loop(shown: Shown) -> Section | None:
    """The section; nothing of a run that is no world model's."""
    if not shown.of_episodes:
        return None
    found = read_open_loop(shown.record.path)
    return Section(render("open_loop", found=found, path=shown.record.path), [("open-loop", "Open loop")])


def read_open_loop(run: Path) -> OpenLoopReport | None:
    """What was measured; `None` where nothing was.

    Raises:
        UserError: the file is damaged.
    """
    path = run / FILE
    if not path.is_file():
        return None
    try:
        return _report(OpenLoopTable.from_dict(read_json(path)))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, UserError) as error:
        raise UserError(f"{path} is not what `openjepa openloop` writes ({error!s}); run it again") from None


def _report(table: OpenLoopTable) -> OpenLoopReport:
    charts = [
        _chart(
            "Error of predicted states",
            "As a share of the states' variance: 1 is what their mean costs. The linear models are ridge regressions "
            "from the last state.",
            table.states,
            table,
            "open-loop-states",
        )
    ]
    if table.physical:
        count = len(table.variables)
        charts.append(
            _chart(
                f"Error of {count} recorded variable{'s' * (count > 1)}",
                "Root mean square in their own units. Read off states by ridge regression, or predicted linearly from "
                "the variables themselves.",
                table.physical,
                table,
                "open-loop-variables",
            )
        )
    even = 1 / table.candidates
    chance = bar("chance", even, (even, even), scale=100.0)
    choices = []
    for kind in dict.fromkeys(one.among for one in table.preferences):
        chosen = [one for one in table.preferences if one.among == kind]
        rows = [bar(one.name, one.first, (one.low, one.high), scale=100.0) for one in chosen]
        choices.append((kind, [*rows, chance]))
    facts = (
        f"{table.windows:,} windows of {table.episodes} held-out episodes, up to {table.ahead(len(table.steps) - 1)} "
        "ahead"
    )
    return OpenLoopReport(table, facts, charts, choices)


def _chart(title: str, caption: str, curves: Sequence[ErrorCurve], table: OpenLoopTable, name: str) -> Figure:
    lines = [CurveLine(one.name, table.steps, one.values, (one.low, one.high)) for one in curves]
    each = "" if table.seconds is None else f", {table.seconds:.2g} s each"
    text = f"{caption} Against steps of the model ahead{each}; shaded: 95 % intervals."
    return figure(Chart(title, text, lines), name)
