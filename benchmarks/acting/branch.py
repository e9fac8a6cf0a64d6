"""Point 6: a world that forks. Best-of-K with z against a deterministic predictor and a codebook; risk under z.

Forks are held-out steps into the rapids, whose branch nothing says beforehand; every predictor is judged in the states
of the run whose z it is compared with. Then agents plan: told nothing of danger, told to avoid it, and told so with a
dislike of uncertain outcomes, beside a deterministic world model that is told the same. The way round the block is
longer than the rapids, so keeping out of danger costs haste.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from benchmarks.acting import agents, common
from benchmarks.acting.common import Data, Settings, Trained, percent, table
from openjepa.agent import Task
from openjepa.evals.latent import error, guessing, latent_controls
from openjepa.evals.latent_table import GUESSES
from openjepa.evals.planning import Protocol, play_row
from openjepa.evals.planning.cloning import open_windows
from openjepa.evals.planning.players import Expert, Planned
from openjepa.evals.planning.protocol import load_world_model
from openjepa.evals.table import wilson
from openjepa.evals.transitions import DETERMINISTIC, Fitted, Transitions, fit, transitions
from openjepa.latents.world import LatentWorldJEPA
from openjepa.world_model import WorldJEPA
from openjepa.worlds.branch import MOUTH

DATA = Data("branch", policy="scripted", steps=40)
RECIPES = ("mixture", "latent-action")
"""The first one acts."""
BLIND, TRAIN = "pldm", {"signal.block": 3}
"""The deterministic world model, and what makes it see as they do."""
STEPS, UPDATES = 20_000, 2000
"""Recorded steps to fit on (a quarter as many to judge by), and updates of each predictor."""
PLAN: Mapping[str, Any] = {"planner__horizon": 8, "planner__samples": 200, "planner__iterations": 5}
DANGER, AVERSION = 10.0, 2.0
"""Weights of danger beside the goal, and of a standard deviation of the cost beside its mean."""


def measure(settings: Settings) -> dict[str, Any]:
    """By recipe best-of-K and controls, a run each; and rows of agents."""
    data = common.collected(settings, DATA)
    runs = {name: common.trained(settings, name, data) for name in settings.recipes or RECIPES}
    blind = common.trained(settings, BLIND, data, TRAIN)
    latent = {name: [_judge(run) for run in found] for name, found in runs.items()}
    first = next(iter(runs))
    tasks = {
        "indifferent to danger": Task.reach(risk=0.0),
        "told to avoid it": Task.avoid(DANGER, risk=0.0),
        "told to avoid it, and averse to risk": Task.avoid(DANGER, risk=AVERSION),
    }
    acting = _play(settings, runs[first], {f"{first}, {name}": task for name, task in tasks.items()})
    certain = {"indifferent to danger": Task.reach(), "told to avoid it": Task.avoid(DANGER)}
    acting |= _play(settings, blind, {f"{BLIND}, {name}": task for name, task in certain.items()})
    chosen = _protocol(settings, runs[first])
    for name, cautious in (("expert", False), ("cautious expert", True)):
        acting[name] = _row(chosen, name, [Expert(cautious) for _ in runs[first]])
    costs = {name: common.costs(found) for name, found in {**runs, BLIND: blind}.items()}
    return {"latent": latent, "acting": acting, "costs": costs, "protocol": chosen.model_dump(mode="json")}


def forks(given: Transitions) -> torch.Tensor:
    """Which steps end in the rapids and began before anything told the branch, `[N]` bool."""
    x, branch = given.before[:, 0], given.before[:, 2]
    unknown = (branch == 0) | (x <= MOUTH)
    return unknown & (given.after[:, 2] > 0) & (given.after[:, 0] > MOUTH)


def _judge(run: Trained) -> dict[str, Any]:
    """Guesses at forks and at all steps, and the controls, of one run."""
    model = load_world_model(run.path)
    assert isinstance(model, LatentWorldJEPA)
    common.tell(f"{run.path}: controls")
    samples = open_windows(model)
    seen, held = (
        transitions(model, samples, out, count, run.seed)
        for out, count in ((False, STEPS), (True, STEPS // 4))
    )
    single = fit(model, DETERMINISTIC, seen, updates=UPDATES, seed=run.seed, told="nothing")
    found: dict[str, Any] = {"seed": run.seed}
    for name, some, known in (("forks", held[forks(held)], seen[forks(seen)]), ("all steps", held, seen)):
        without = error(single, some, blind=True)
        guesses = guessing(Fitted(model), some, known, without, run.seed)
        found[name] = {"steps": len(some), **asdict(guesses)}
    controls = latent_controls(model, seed=run.seed, updates=UPDATES, name=run.path)
    return {**found, "controls": controls.to_dict()}


def _protocol(settings: Settings, runs: Sequence[Trained]) -> Protocol:
    return common.protocol(settings, runs, **{**PLAN, "baselines": []})


def _play(settings: Settings, runs: Sequence[Trained], tasks: Mapping[str, Task]) -> dict[str, Any]:
    """A row for each task."""
    chosen = _protocol(settings, runs)
    models: list[WorldJEPA] = chosen.load(chosen.world())
    lived = [agents.experience(model) for model in models]
    detectors = [agents.detector(one, run.seed) for one, run in zip(lived, runs, strict=True)]
    found = {}
    for name, task in tasks.items():
        players = [
            Planned(model, chosen, task, danger=danger, unit=agents.unit(one))
            for model, danger, one in zip(models, detectors, lived, strict=True)
        ]
        found[name] = _row(chosen, name, players)
    return found


def _row(chosen: Protocol, name: str, players: Sequence[Any]) -> dict[str, Any]:
    """A summary, with the share of episodes that were in danger."""
    common.tell(f"playing {name}")
    row = play_row(chosen, name, players)
    harmed = sum(outcome.danger > 0 for outcome in row.outcomes)
    low, high = wilson(harmed, len(row.outcomes))
    share = {"success": harmed / len(row.outcomes), "low": low, "high": high}
    return {**common.summary(row), "harmed": share}


def as_markdown(found: Mapping[str, Any]) -> str:
    """Best of K at forks, the controls, and agents."""
    lines, verdicts = [], []
    for recipe, runs in found["latent"].items():
        for run in runs:
            name, forked = f"{recipe}, seed {run['seed']}", run["forks"]
            lines.append([name, "z", *(f"{value:.3g}" for value in forked["latent"])])
            lines.append([name, "codebook", *(f"{value:.3g}" for value in forked["codebook"])])
            lines.append([name, "without z", f"{forked['deterministic']:.3g}", *[""] * (len(GUESSES) - 1)])
            controls = run["controls"]["controls"]
            verdicts += [[name, c["name"], f"{c['value']:.3g}", c["wanted"], c["verdict"]] for c in controls]
    acting = [
        [name, percent(row), percent(row["harmed"]), f"{row['final']:.1f}"]
        for name, row in found["acting"].items()
    ]
    steps = next(iter(found["latent"].values()))[0]["forks"]["steps"]
    return "\n\n".join(
        (
            f"### Branch: error of the best of K guesses at {steps} held-out forks",
            table(["run", "guesses", *(f"K = {k}" for k in GUESSES)], lines),
            table(["run", "control", "value", "wanted", "verdict"], verdicts),
            "### Branch: planning, 95 % Wilson intervals",
            table(["agent", "success in %", "in danger in %", "distance at the end"], acting),
        )
    ) + "\n"  # fmt: skip
