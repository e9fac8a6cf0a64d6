"""Point 4: a critic in the place of a long horizon, and danger in the intrinsic cost.

The critic learns how long it takes to a goal from the agent's own memory of acting by its policy (see `policy`); it
never sees the problems. The long horizon is point 1's. Danger is what a detector, learned from the episodes that the
world model was trained on, says of imagined states.
"""

from collections.abc import Mapping
from typing import Any

from benchmarks.acting import agents, common
from benchmarks.acting.agents import Way
from benchmarks.acting.common import Settings, percent, table
from openjepa.agent import Task
from openjepa.evals.planning.players import Expert

WEIGHTS = (0.0, 1.0, 10.0)
"""Of danger, beside distances to the goal in units of a typical one."""


def measure(settings: Settings) -> dict[str, Any]:
    """Rows with and without critic, rows by weight of danger, and baselines on the same problems."""
    runs = agents.runs(settings, agents.HAZARDS)
    chosen = agents.protocol(settings, runs, **agents.QUICK)
    horizon = chosen.planner.horizon
    short = max(1, horizon // agents.TIMES)
    shorter = {
        f"horizon {short}": Way(Task.reach(horizon=short)),
        f"horizon {short} and critic": Way(agents.near(short), ("critic",)),
        f"horizon {short}, critic and policy": Way(agents.near(short), ("policy", "critic")),
    }
    wary = {
        f"danger weighs {weight:g}": Way(agents.near(short, danger=weight), agents.ALL) for weight in WEIGHTS
    }
    long, baselines = agents.beside(settings, chosen)
    rows = agents.played(settings, chosen, runs, shorter | wary)
    baselines["cautious expert"] = agents.row("cautious expert", chosen, Expert(cautious=True))
    return {
        "protocol": chosen.model_dump(mode="json"),
        **common.costs(runs),
        "critic": {f"horizon {horizon}": long} | {name: rows[name] for name in shorter},
        "danger": {name: rows[name] for name in wary},
        "baselines": baselines,
    }


def as_markdown(found: Mapping[str, Any]) -> str:
    """Two tables, baselines below each."""
    below = found["baselines"]
    first = [
        [
            name,
            percent(row),
            f"{row['predictions']:,.0f}",
            f"{1000 * row['seconds']['p99']:.0f}",
        ]
        for name, row in (found["critic"] | below).items()
    ]
    second = [
        [name, percent(row), f"{row['danger']:.2f}", percent(row["entered"])]
        for name, row in (found["danger"] | below).items()
    ]
    batch = found["protocol"]["batch"]
    head = ["planning with", "success in %", "predictions", f"ms a decision, {batch} side by side (p99)"]
    titles = ["two rooms with hazards", "success in %", "steps in danger", "episodes in danger in %"]
    return (
        f"### A critic for a shorter horizon\n\n{table(head, first)}\n\n"
        f"### Danger in the cost\n\n{table(titles, second)}\n"
    )
