"""Point 5: mode 1, distilled from mode 2: its share of mode 2's success, and of its time.

Mode 2 plans in situations of the episodes that the world model was trained on (states and goals, relived in hindsight),
without acting; the policy learns those plans' first steps. It never sees the problems.
"""

from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.acting import agents, common, latency, two_rooms
from benchmarks.acting.common import Settings, percent, table
from openjepa.agent import Agent, Policy, ShortTermMemory, Task, rehearse, relive
from openjepa.agent.actor import space_of
from openjepa.evals.planning import Protocol
from openjepa.evals.planning.players import Planned
from openjepa.world_model import WorldJEPA

PLANS, STEPS = 2000, 4
"""Plans rehearsed, and steps of each that are learned."""


def measure(settings: Settings) -> dict[str, Any]:
    """Both modes on the same problems, and their times for one environment."""
    runs = agents.runs(settings, two_rooms.DATA)
    chosen = agents.protocol(settings, runs, baselines=["cloning"])
    models = chosen.load(chosen.world())
    policies = [distilled(model, chosen, run.seed) for model, run in zip(models, runs, strict=True)]
    result = common.played(settings, {"mode 2": chosen})["mode 2"]
    rows = {"mode 2": common.summary(result.row()), "behaviour cloning": common.summary(result.rows[1])}
    quick = [
        Planned(model, chosen, Task.reach(mode=1), policy=policy)
        for model, policy in zip(models, policies, strict=True)
    ]
    rows["mode 1"] = agents.row("mode 1", chosen, quick)
    times = latency.times(chosen, policies[0])
    return {
        "protocol": chosen.model_dump(mode="json"),
        **common.costs(runs),
        "rows": rows,
        "seconds": times,
        "share of success": rows["mode 1"]["success"] / max(rows["mode 2"]["success"], 1e-9),
        "times as fast": times["mode 2"]["p50"] / times["mode 1"]["p50"],
    }


def distilled(model: WorldJEPA, chosen: Protocol, seed: int) -> Policy:
    """A policy of what mode 2 does."""
    lived = agents.experience(model)
    memory = ShortTermMemory(sum(len(one.states) for one in lived) * agents.GOALS)
    generator = torch.Generator().manual_seed(seed)
    relive(memory, lived, generator, goals=agents.GOALS)
    cost = chosen.cost
    agent = Agent(model, chosen.planner, seed=seed, distance=cost.distance, reduce=cost.reduce)
    common.tell(f"seed {seed}: rehearsing {PLANS} plans")
    found = rehearse(agent, memory, PLANS, seed, steps=min(STEPS, chosen.planner.horizon))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        policy = Policy(tuple(memory.states.shape[1:]), space_of(model))
    policy.distil(found, generator, updates=agents.UPDATES)
    return policy


def as_markdown(found: Mapping[str, Any]) -> str:
    """One table and a sentence."""
    rows = []
    for name, row in found["rows"].items():
        seconds = found["seconds"].get(name)
        times = ["", ""] if seconds is None else [f"{1000 * seconds[key]:.2f}" for key in ("p50", "p99")]
        rows.append([name, percent(row), *times])
    said = (
        f"Mode 1 has {100 * found['share of success']:.0f} % of mode 2's success and is "
        f"{found['times as fast']:.0f} times as fast."
    )
    lines = table(["", "success in %", "ms a decision: p50", "p99"], rows)
    return f"### Mode 1, distilled from mode 2\n\n{lines}\n\n{said}\n"
