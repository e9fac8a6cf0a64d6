"""Point 6: a world that forks. Best-of-K with z against a deterministic predictor and a codebook; risk under z.

Forks are held-out steps into the rapids, whose branch nothing says beforehand; every predictor is judged in the states
of the run whose z it is compared with. Then agents plan: indifferent to danger, avoiding it, and avoiding it with a
dislike of uncertain outcomes, beside a deterministic world model with the same tasks. The way round the block is
longer than the rapids, so keeping out of danger costs haste.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.acting import agents, common
from benchmarks.acting.agents import Way
from benchmarks.acting.common import Data, Settings, Trained, percent, table
from openjepa.agent import Task
from openjepa.evals.planning import PlanningProtocol, write
from openjepa.evals.planning.cloning import open_windows
from openjepa.evals.planning.players import Expert
from openjepa.evals.planning.protocol import load_world_model
from openjepa.evals.world_models.latent_controls import best_of_k, error, latent_controls
from openjepa.evals.world_models.latent_table import COUNTS
from openjepa.evals.world_models.transitions import DETERMINISTIC, Fitted, Transitions, fit, transitions
from openjepa.recipes.latentaction import TINY
from openjepa.world_models.latent import LatentWorldJEPA
from openjepa.worlds.branch import MOUTH

DATA = Data("branch", {"size": 32}, policy="perturbed-expert", episodes=4000, steps=60)
RECIPES = ("mixture", "latent-action")
"""The first one acts."""
BLIND = "pldm"
"""The deterministic world model."""
TRAIN = {
    f"{part}.{name}": value
    for part, choices in TINY.items()
    if isinstance(choices, dict)
    for name, value in choices.items()
}
"""What makes it the same as they are but for z."""
STEPS, UPDATES = 20_000, 2000
"""Recorded steps to fit on (a quarter as many to judge by), and updates of each predictor."""
PLAN: Mapping[str, Any] = {
    "planner": "mppi",
    "planner__horizon": 18,
    "planner__samples": 48,
    "planner__iterations": 4,
    "planner__elites": 8,
    "planner__sigma": 1.0,
    "cost__prediction_error": 4.0,
    "cost__prediction_error_width": 1.0,
    "budget": 120,
}
"""As long as the way round takes, and time to find it: it is 45 steps long. Few candidates, since each has eight
futures. The block is predicted less well than the wall of two rooms, so the range of its errors is wider."""
DANGER, AVERSION = 30.0, 2.0
"""Weights of danger beside the goal, and of a standard deviation of the cost beside its mean."""


def measure(settings: Settings) -> dict[str, Any]:
    """By recipe best-of-K and controls, a run each; rows of agents, and baselines on the same problems."""
    data = common.collected(settings, DATA)
    runs = {name: common.trained(settings, name, data) for name in settings.recipes or RECIPES}
    blind = common.trained(settings, BLIND, data, TRAIN)
    latent = {name: _judged(settings, found) for name, found in runs.items()}
    first = next(iter(runs))
    risky = {
        f"{first}, indifferent to danger": Task.reach(risk=0.0),
        f"{first}, told to avoid it": Task.avoid(DANGER, risk=0.0),
        f"{first}, told to avoid it, and averse to risk": Task.avoid(DANGER, risk=AVERSION),
    }
    certain = {f"{BLIND}, told to avoid it": Task.avoid(DANGER)}
    protocols = {first: _protocol(settings, runs[first]), BLIND: _protocol(settings, blind)}
    acting = _play(settings, protocols[first], runs[first], risky)
    acting[f"{BLIND}, indifferent to danger"], baselines = agents.beside(settings, protocols[BLIND])
    acting |= _play(settings, protocols[BLIND], blind, certain)
    baselines["cautious expert"] = agents.row("cautious expert", protocols[BLIND], Expert(cautious=True))
    return {
        "latent": latent,
        "acting": acting,
        "baselines": baselines,
        "costs": {name: common.costs(found) for name, found in {**runs, BLIND: blind}.items()},
        "protocols": {name: chosen.model_dump(mode="json") for name, chosen in protocols.items()},
    }


def forks(given: Transitions) -> torch.Tensor:
    """Which steps end in the rapids and began before anything showed the branch, `[N]` bool."""
    x, branch = given.before[:, 0], given.before[:, 2]
    unknown = (branch == 0) | (x <= MOUTH)
    return unknown & (given.after[:, 2] > 0) & (given.after[:, 0] > MOUTH)


def _judged(settings: Settings, runs: Sequence[Trained]) -> list[dict[str, Any]]:
    """Each run's, in a job of its own; of controls, which train a dozen predictors, the first run's alone."""
    items = []
    for run in runs:
        key = {"judged": Path(run.path).name, "on": STEPS, "updates": UPDATES, "controls": run is runs[0]}
        items.append((run, run is runs[0], common.place(settings, key)))
    common.fill(settings, _judge, items)
    return [json.loads(path.read_text()) for *_, path in items]


def _judge(item: tuple[Trained, bool, Path]) -> None:
    """Guesses at forks and at all steps, and the controls where they are asked for, of one run."""
    run, controls, path = item
    model = load_world_model(run.path)
    assert isinstance(model, LatentWorldJEPA)
    common.tell(f"{run.path}: best of K")
    samples = open_windows(model)
    seen, tested = (
        transitions(model, samples, out, count, run.seed)
        for out, count in ((False, STEPS), (True, STEPS // 4))
    )
    single = fit(model, DETERMINISTIC, seen, updates=UPDATES, seed=run.seed, given_z="nothing")
    found: dict[str, Any] = {"seed": run.seed}
    for name, some, known in (
        ("forks", tested[forks(tested)], seen[forks(seen)]),
        ("all steps", tested, seen),
    ):
        without = error(single, some, blind=True)
        best = best_of_k(Fitted(model), some, known, without, run.seed)
        found[name] = {"steps": len(some), **asdict(best)}
    if controls:
        common.tell(f"{run.path}: controls")
        judged = latent_controls(model, seed=run.seed, updates=UPDATES, name=run.path)
        found["controls"] = judged.to_dict()
    write(path, found)


def _protocol(settings: Settings, runs: Sequence[Trained]) -> PlanningProtocol:
    return common.protocol(settings, runs, **{**PLAN, "baselines": agents.BASELINES})


def _play(
    settings: Settings, chosen: PlanningProtocol, runs: Sequence[Trained], tasks: Mapping[str, Task]
) -> dict[str, Any]:
    """A summary for each task."""
    return agents.played(
        settings, chosen, runs, {name: Way(task, ("danger",)) for name, task in tasks.items()}
    )


def as_markdown(found: Mapping[str, Any]) -> str:
    """Best of K at forks, the controls, and agents."""
    lines, verdicts = [], []
    for recipe, runs in found["latent"].items():
        for run in runs:
            name, forked = f"{recipe}, seed {run['seed']}", run["forks"]
            lines.append([name, "z", *(f"{value:.3g}" for value in forked["latent"])])
            lines.append([name, "codebook", *(f"{value:.3g}" for value in forked["codebook"])])
            lines.append([name, "without z", f"{forked['deterministic']:.3g}", *[""] * (len(COUNTS) - 1)])
            controls = run["controls"]["controls"] if "controls" in run else []
            verdicts += [[name, c["name"], f"{c['value']:.3g}", c["wanted"], c["verdict"]] for c in controls]
    acting = [
        [name, percent(row), percent(row["entered"]), f"{row['final']:.1f}"]
        for name, row in (found["acting"] | found["baselines"]).items()
    ]
    steps = [run["forks"]["steps"] for run in next(iter(found["latent"].values()))]
    return "\n\n".join(
        (
            f"### Branch: error of the best of K predictions at {min(steps)} to {max(steps)} held-out forks",
            table(["run", "predictions", *(f"K = {k}" for k in COUNTS)], lines),
            table(["run", "control", "value", "wanted", "verdict"], verdicts),
            "### Branch: planning, 95 % Wilson intervals",
            table(["agent", "success in %", "in danger in %", "distance at the end"], acting),
        )
    ) + "\n"  # fmt: skip
