"""Point 7: one agent, three tasks in sequence, nothing learned in between: reach, reach while avoiding, explore.

Reaching is solved at the goal; avoiding, at the goal without a step in danger; exploring, where an episode sees more
than a random walk from the same start.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from benchmarks.acting import agents, common
from benchmarks.acting.agents import Way
from benchmarks.acting.common import Settings, percent, table
from openjepa.agent import Task
from openjepa.evals.planning import Explored, PlanningProtocol
from openjepa.evals.planning.play import Player
from openjepa.evals.planning.players import Chance, Expert
from openjepa.worlds import RandomWalk

AVOID = 10.0
"""Weight of danger."""
STEPS = 100
"""Of an episode of exploration."""


def measure(settings: Settings) -> dict[str, Any]:
    """The three tasks' rows, in their order, baselines of the first two, and exploration beside chance."""
    runs = agents.runs(settings, agents.HAZARDS)
    chosen = agents.protocol(settings, runs, **agents.QUICK)
    short = max(1, chosen.planner.horizon // agents.TIMES)
    tasks = {
        "reach": Way(agents.near(short), agents.ALL),
        "reach while avoiding": Way(agents.near(short, danger=AVOID), agents.ALL),
        "explore": Way(Task.explore(), agents.ALL, exploring=STEPS),
    }
    rows = agents.played(settings, chosen, runs, tasks)
    _, baselines = agents.beside(settings, chosen)
    baselines["cautious expert"] = agents.row("cautious expert", chosen, Expert(cautious=True))
    walk = Chance(chosen.seed, partial(RandomWalk, goal_legs=0))
    seen = {
        "explore": rows["explore"],
        "random walk": _explored("random walk", chosen, walk),
        "uniform": _explored("uniform", chosen, Chance(chosen.seed)),
    }
    share, (low, high) = seen["explore"].beats(seen["random walk"])
    return {
        "protocol": chosen.model_dump(mode="json"),
        **common.costs(runs),
        "rows": {**rows, "explore": {"success": share, "low": low, "high": high}},
        "baselines": baselines,
        "cells": {name: one.to_dict() for name, one in seen.items()},
    }


def as_markdown(found: Mapping[str, Any]) -> str:
    """The tasks with what stands beside the first two, and the cells."""
    tasks = []
    for name, row in (found["rows"] | found["baselines"]).items():
        danger = [percent(row["safe"]), f"{row['danger']:.2f}"] if "safe" in row else ["", ""]
        tasks.append([name, percent(row), *danger])
    cells = [
        [name, f"{100 * one['mean']:.1f} [{100 * one['interval'][0]:.1f}, {100 * one['interval'][1]:.1f}]"]
        for name, one in found["cells"].items()
    ]
    head = ["task", "success in %", "without danger, in %", "steps in danger"]
    return (
        f"### One agent, three tasks\n\n{table(head, tasks)}\n\n"
        f"Exploring succeeds where more is seen than by a random walk from the same start.\n\n"
        f"{table(['explorer', f'free cells entered in {STEPS} steps, %'], cells)}\n"
    )


def _explored(name: str, chosen: PlanningProtocol, player: Player) -> Explored:
    """By who needs no model, from the starts of every model's problems."""
    shares = [agents.explored(chosen, i, player, STEPS) for i in range(len(chosen.models))]
    return Explored(name, tuple(share for one in shares for share in one))
