"""Point 5: mode 1, distilled from mode 2, improved in imagination and by acting: its share of mode 2's success and
time.

Mode 2 plans in situations of the episodes that the world model was trained on (states and goals, relabelled in
hindsight), without acting; the policy learns those plans' first steps, then acts in imagination and descends the cost
of what it comes to, then acts in worlds of other layouts and learns what went better than its critic expected. It never
sees the problems. Where the world model was wrong, noise is added to its actions.
"""

from collections.abc import Mapping
from typing import Any

from benchmarks.acting import agents, common, latency, two_rooms
from benchmarks.acting.agents import Way
from benchmarks.acting.common import Settings, percent, table
from openjepa.agent import Task


def measure(settings: Settings) -> dict[str, Any]:
    """Both modes on the same problems, baselines, and the modes' times for one environment."""
    runs = agents.runs(settings, two_rooms.DATA)
    chosen = agents.protocol(settings, runs)
    slow, baselines = agents.beside(settings, chosen)
    ways = {
        "mode 1": Way(Task.reach(mode=1, exploration_noise=agents.NOISE), ("policy",)),
        "mode 1 without exploration noise": Way(Task.reach(mode=1), ("policy",)),
    }
    quick = agents.played(settings, chosen, runs, ways)
    rows, times = {"mode 2": slow, **quick}, latency.times(chosen)
    return {
        "protocol": chosen.model_dump(mode="json"),
        **common.costs(runs),
        "rows": rows,
        "baselines": baselines,
        "seconds": times,
        "share of success": rows["mode 1"]["success"] / max(rows["mode 2"]["success"], 1e-9),
        "times as fast": times["mode 2"]["p50"] / times["mode 1"]["p50"],
    }


def as_markdown(found: Mapping[str, Any]) -> str:
    """One table and a sentence."""
    rows = []
    for name, row in (found["rows"] | found["baselines"]).items():
        seconds = found["seconds"].get(name)
        times = ["", ""] if seconds is None else [f"{1000 * seconds[key]:.2f}" for key in ("p50", "p99")]
        rows.append([name, percent(row), *times])
    said = (
        f"Mode 1 has {100 * found['share of success']:.0f} % of mode 2's success and is "
        f"{found['times as fast']:.0f} times as fast."
    )
    lines = table(["", "success in %", "ms a decision: p50", "p99"], rows)
    return f"### Mode 1, distilled from mode 2\n\n{lines}\n\n{said}\n"
