"""Point 3: a cart-pole controlled from afar: success against transmissions sent.

Ours predicts the states between transmissions; keeping the last one repeats its command. Both obey the same actor and
the same schedules, of which one sends always. The pole begins within 0.2 rad of upright, and is to stand in the middle,
within 0.05 m and 0.05 rad, for a second.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.acting import common
from benchmarks.acting.common import Data, Settings, percent, table
from openjepa.evals.planning import remote_protocol_for
from openjepa.evals.planning.remote import NAMES_BETWEEN, Transmissions, said

RECIPE = "remote-jepa"
DATA = Data(
    "cart-pole", {"begin": "upright"}, "scripted", episodes=300, steps=100, difficulty={"target": [0, 0]}
)


def measure(settings: Settings) -> dict[str, Any]:
    """Rows by receiver and schedule, the most transmissions first, and the baselines, which need no channel."""
    recipe = (settings.recipes or (RECIPE,))[0]
    runs = common.trained(settings, recipe, common.collected(settings, DATA))
    chosen = remote_protocol_for([run.path for run in runs], changes=common.options_of(settings))
    result = common.played(settings, {"remote control": chosen})["remote control"]
    rows = {NAMES_BETWEEN[between]: [_row(way) for way in result.of(between)] for between in chosen.between}
    return {
        "protocol": chosen.model_dump(mode="json"),
        **common.costs(runs),
        "receivers": rows,
        "baselines": [common.summary(row) for row in result.baselines],
        "fewest": {receiver: _fewest(found) for receiver, found in rows.items()},
    }


def as_markdown(found: Mapping[str, Any]) -> str:
    """One table, baselines below, and how few transmissions do."""
    lines = [
        [
            receiver,
            row["schedule"],
            f"{100 * row['share']:.1f}",
            f"{row['sent']:.1f}",
            percent(row),
            _seeds(row),
        ]
        for receiver, rows in found["receivers"].items()
        for row in rows
    ]
    lines += [[row["method"], "–", "–", "–", percent(row), _seeds(row)] for row in found["baselines"]]
    head = ["receiver", "schedule", "sent in % of the steps", "an episode", "success in %", "by seed"]
    few = "; ".join(
        f"one that {receiver} needs {100 * row['share']:.1f} % ({row['schedule']})"
        for receiver, row in found["fewest"].items()
    )
    first, loss = next(iter(found["receivers"].values()))[0], found["protocol"]["loss"]
    title = f"### Remote control of a cart-pole: {first['episodes']} episodes, 95 % Wilson intervals"
    note = (
        f"{100 * loss:g} % of transmissions are lost. Those with which a receiver's success does not differ, by "
        f"intervals, from that with the most: {few}."
    )
    return f"{title}\n\n{table(head, lines)}\n\n{note}\n"


def _row(way: Transmissions) -> dict[str, Any]:
    """A summary, with transmissions as a share of the model's steps and as means over episodes."""
    row, episodes = common.summary(way.row), len(way.sent)
    return {
        **row,
        "schedule": said(way.schedule),
        "share": way.share,
        "sent": sum(way.sent) / episodes,
        "lost": sum(way.lost) / episodes,
    }


def _fewest(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The row with the fewest transmissions whose interval overlaps that of the most."""
    able = [row for row in rows if row["high"] >= rows[0]["low"]]
    fewest = min(able, key=lambda row: row["share"])
    return {key: fewest[key] for key in ("schedule", "share", "sent", "success", "low", "high")}


def _seeds(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{100 * rate:.0f}" for rate in row["rates"])
