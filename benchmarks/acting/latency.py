"""How long an agent takes to decide, alone in one environment: mode 2 and mode 1 as `policy` plays them, from frame to
action."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks.acting import agents, two_rooms
from benchmarks.acting.common import Settings, costs, table
from openjepa.agent import Policy, Task
from openjepa.agent.actor import space_of
from openjepa.agent.perception import Perception
from openjepa.evals.planning import PlanningProtocol
from openjepa.evals.planning.players import Planned

DECISIONS, TURN = 200, 20
"""Measured of each mode; made in a row before it is the other's turn."""


def measure(settings: Settings) -> dict[str, Any]:
    """Of the first seed's run."""
    runs = agents.runs(replace(settings, seeds=settings.seeds[:1]), two_rooms.DATA)
    chosen = agents.protocol(settings, runs, baselines=[])
    return {
        "protocol": chosen.model_dump(mode="json"),
        **costs(runs),
        "decisions": DECISIONS,
        "seconds": times(chosen),
    }


def times(chosen: PlanningProtocol) -> dict[str, Any]:
    """Seconds of a decision by mode, p50 and p99; steps that follow a plan made before are not counted.

    Of the first model; the policy is untrained, which takes as long.
    """
    world = chosen.world()
    (model, *_), rng = chosen.load(world), np.random.default_rng(0)
    start, goal = world.task(1, rng)
    seen = Perception(model).look(torch.from_numpy(world.render(start)))
    policy = Policy(tuple(seen.shape[1:]), space_of(model)).to(seen.device)
    quick = Task.reach(mode=1, exploration_noise=agents.NOISE)
    players = {
        "mode 2": Planned(model, chosen).agent,
        "mode 1": Planned(model, chosen, quick, policy=policy).agent,
    }
    seconds: dict[str, list[float]] = {name: [] for name in players}
    states = dict.fromkeys(players, start)
    for agent in players.values():
        agent.begin(1, world.render(goal))
    while any(len(taken) < DECISIONS for taken in seconds.values()):
        for name, agent in players.items():
            for _ in range(TURN):
                frame, began = world.render(states[name]), time.perf_counter()
                actions = agent.step(frame)
                if agent.planned is not None:
                    seconds[name].append(time.perf_counter() - began)
                states[name] = world.step(states[name], actions, rng)
    return {
        name: dict(zip(("p50", "p99"), np.percentile(taken[TURN // 2 :], [50, 99]).tolist(), strict=True))
        for name, taken in seconds.items()
    }


def as_markdown(found: Mapping[str, Any]) -> str:
    """A line for each mode."""
    rows = [
        [name, *(f"{1000 * value[key]:.2f}" for key in ("p50", "p99"))]
        for name, value in found["seconds"].items()
    ]
    return f"### A decision, from frame to action\n\n{table(['', 'p50, ms', 'p99, ms'], rows)}\n"
