"""Point 4: a critic in the place of a long horizon, and danger in the intrinsic cost.

The critic learns how long it takes to a goal, from the episodes that the world model was trained on, relived in
hindsight; it never sees the problems. The long horizon is point 1's. Danger is what a detector learned of those
episodes says of imagined states.
"""

from collections.abc import Mapping
from typing import Any

from benchmarks.acting import agents, common
from benchmarks.acting.common import Settings, percent, table
from openjepa.agent import Task
from openjepa.evals.planning.players import Expert, Planned

TIMES = 4
"""How many times as long the long horizon is."""
WEIGHTS = (0.0, 1.0, 10.0)
"""Of danger, beside distances to the goal in units of a typical one."""


def measure(settings: Settings) -> dict[str, Any]:
    """Rows with and without critic, and rows by weight of danger."""
    runs = agents.runs(settings, agents.HAZARDS)
    chosen = agents.protocol(settings, runs)
    models = chosen.load(chosen.world())
    lived = [agents.experience(model) for model in models]
    common.tell("learning critics and detectors")
    critics = [agents.critic(one, run.seed) for one, run in zip(lived, runs, strict=True)]
    detectors = [agents.detector(one, run.seed) for one, run in zip(lived, runs, strict=True)]
    horizon = chosen.planner.horizon
    short = max(1, horizon // TIMES)
    ways = {
        f"horizon {horizon}": Task.reach(),
        f"horizon {short}": Task.reach(horizon=short),
        f"horizon {short} and critic": Task({"goal": 1.0, "critic": 1.0}, horizon=short),
    }
    rows, danger = {}, {}
    for name, task in ways.items():
        players = [
            Planned(model, chosen, task, critic=one) for model, one in zip(models, critics, strict=True)
        ]
        rows[name] = agents.row(name, chosen, players)
    for weight in WEIGHTS:
        name, task = f"danger weighs {weight:g}", Task.avoid(weight)
        danger[name] = agents.row(
            name,
            chosen,
            [
                Planned(model, chosen, task, danger=detector, unit=agents.unit(one))
                for model, detector, one in zip(models, detectors, lived, strict=True)
            ],
        )
    for name, cautious in (("expert", False), ("cautious expert", True)):
        danger[name] = agents.row(name, chosen, [Expert(cautious) for _ in runs])
    shared = {"protocol": chosen.model_dump(mode="json"), **common.costs(runs)}
    return {**shared, "critic": rows, "danger": danger}


def as_markdown(found: Mapping[str, Any]) -> str:
    """Two tables."""
    first = [
        [
            name,
            percent(row),
            f"{row['predictions']:,.0f}",
            f"{1000 * row['seconds']['p50']:.0f}",
            f"{1000 * row['seconds']['p99']:.0f}",
        ]
        for name, row in found["critic"].items()
    ]
    second = [
        [name, percent(row), f"{row['danger']:.2f}", common.percent(row["entered"])]
        for name, row in found["danger"].items()
    ]
    batch = found["protocol"]["batch"]
    head = ["planning with", "success in %", "predictions", f"ms a step, {batch} side by side: p50", "p99"]
    told = ["two rooms with hazards", "success in %", "steps in danger", "episodes in danger in %"]
    return (
        f"### A critic for a shorter horizon\n\n{table(head, first)}\n\n"
        f"### Danger in the cost\n\n{table(told, second)}\n"
    )
