"""Point 7: one agent, three tasks in sequence, nothing learned in between: reach, reach while avoiding, explore.

Reaching is solved at the goal; avoiding, at the goal without a step in danger; exploring, where an episode sees more
than a random walk from the same start.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from benchmarks.acting import agents, common
from benchmarks.acting.common import Settings, percent, table
from openjepa.agent import Task
from openjepa.evals.planning import Explored, Protocol, explore
from openjepa.evals.planning.play import problems
from openjepa.evals.planning.players import Chance, Planned
from openjepa.worlds import RandomWalk

AVOID = 10.0
"""Weight of danger."""
STEPS = 100
"""Of an episode of exploration."""


def measure(settings: Settings) -> dict[str, Any]:
    """The three tasks' rows, in their order, and exploration beside chance."""
    runs = agents.runs(settings, agents.HAZARDS)
    chosen = agents.protocol(settings, runs)
    players = []
    for model, run in zip(chosen.load(chosen.world()), runs, strict=True):
        lived = agents.experience(model)
        modules = {"danger": agents.detector(lived, run.seed), "unit": agents.unit(lived)}
        players.append(Planned(model, chosen, Task.reach(), **modules))
    rows = {"reach": agents.row("reach", chosen, players)}
    for player in players:
        player.agent.configure(Task.avoid(AVOID))
    rows["reach while avoiding"] = agents.row("reach while avoiding", chosen, players)
    for player in players:
        player.agent.configure(Task.explore())
    walk = [Chance(chosen.seed, partial(RandomWalk, errands=0)) for _ in runs]
    seen = {
        name: explored(chosen, name, some)
        for name, some in (
            ("explore", players),
            ("random walk", walk),
            ("uniform", [Chance(chosen.seed)] * len(runs)),
        )
    }
    share, (low, high) = seen["explore"].beats(seen["random walk"])
    rows["explore"] = {"success": share, "low": low, "high": high}
    cells = {name: one.to_dict() for name, one in seen.items()}
    return {"protocol": chosen.model_dump(mode="json"), **common.costs(runs), "rows": rows, "cells": cells}


def explored(chosen: Protocol, name: str, players: list[Any]) -> Explored:
    """What each run's player saw, on the problems of its number."""
    common.tell(f"exploring: {name}")
    shares: list[float] = []
    for number, player in enumerate(players):
        first = number * chosen.episodes
        for start in range(first, first + chosen.episodes, chosen.batch):
            numbers = range(start, min(start + chosen.batch, first + chosen.episodes))
            given = problems(chosen.world(), chosen.seed, numbers, chosen.factors, chosen.difficulty)
            shares += explore(player, given, STEPS, chosen.seed).tolist()
    return Explored(name, tuple(shares))


def as_markdown(found: Mapping[str, Any]) -> str:
    """The tasks, and the cells."""
    tasks = []
    for name, row in found["rows"].items():
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
