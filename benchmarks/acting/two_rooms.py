"""Point 1: two rooms with a random wall and door; recipes by planners, and what the papers leave out to show its worth.

Published: 97 +- 2 % (EB-JEPA, MPPI; CEM 96 +- 2), 87 % (LeWM). EB-JEPA's ablations: 47 % without variance, 1 % without
inverse dynamics, 89 +- 2 % with the last step's cost alone.
"""

from collections.abc import Mapping
from typing import Any

from benchmarks.acting import common
from benchmarks.acting.common import Data, Settings, percent, table
from openjepa.recipes.lewm import LeWM
from openjepa.recipes.pldm import PLDM
from openjepa.recipes.worlds import WorldRecipe

DATA = Data("two-rooms", {"size": 32}, "wall-seeking-walk", episodes=4000, steps=100)
RECIPES: Mapping[str, type[WorldRecipe]] = {"pldm": PLDM, "lewm": LeWM}
PLANNERS = ("cem", "mppi")


def planned(recipe: str) -> dict[str, Any]:
    """How a recipe's preset plans, with whichever planner."""
    plans = RECIPES[recipe].plans["tiny"].items()
    return {name.replace(".", "__"): value for name, value in plans if name != "planner"}


PLAN: Mapping[str, Any] = planned("pldm")
ABLATIONS: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "no inverse dynamics": ({"terms.inverse": 0}, {}),
    "no variance": ({"guard.std": 0}, {}),
    "last-step cost": ({}, {"cost__reduce": "last"}),
    "without prediction-error cost": ({}, {"cost__prediction_error": 0.0}),
}
"""Of the first recipe, with its first planner: options of training and of planning."""


def measure(settings: Settings) -> dict[str, Any]:
    """By method: success, and what its training took."""
    data = common.collected(settings, DATA)
    recipes, planners = settings.recipes or tuple(RECIPES), settings.planners or PLANNERS
    runs, protocols = {}, {}

    def add(
        name: str, recipe: str, planner: str, train: Mapping, plan: Mapping, baselines: list[str]
    ) -> None:
        runs[name] = common.trained(settings, recipe, data, train)
        known = planned(recipe) if recipe in RECIPES else PLAN
        changes = {"planner": planner, **known, **plan, "baselines": baselines}
        protocols[name] = common.protocol(settings, runs[name], **changes)

    for recipe in recipes:
        for planner in planners:
            cloning = ["cloning"] if planner == planners[0] else []
            baselines = ["nothing", "random", *cloning, "expert", "oracle"] if not runs else cloning
            add(f"{recipe}, {planner}", recipe, planner, {}, {}, baselines)
    for name, (train, plan) in (ABLATIONS if settings.ablations else {}).items():
        add(f"{recipes[0]}, {planners[0]}, {name}", recipes[0], planners[0], train, plan, [])
    methods = {}
    for name, result in common.played(settings, protocols).items():
        rows = [common.summary(row) for row in result.rows]
        shared = {"protocol": result.protocol.model_dump(mode="json"), **common.costs(runs[name])}
        methods[name] = {**rows[0], **shared, "baselines": rows[1:]}
    return {"methods": methods}


def as_markdown(found: Mapping[str, Any]) -> str:
    """One table, baselines below."""
    lines, below = [], []
    for name, method in found["methods"].items():
        runs = method["runs"]
        took = [f"{max(run[key] for run in runs):.1f}" for key in ("minutes", "core_minutes")]
        words = ", ".join(dict.fromkeys(run["verdict"] for run in runs))
        lines.append([name, *_cells(method), *took, words])
        for row in method["baselines"]:
            label = f"{row['method']} ({name})" if row["method"] == "behaviour cloning" else row["method"]
            below.append([label, *_cells(row), "", "", ""])
    head = ["method", "success in %", "by seed", "steps", "predictions", "minutes", "core-minutes", "verdict"]
    episodes = next(iter(found["methods"].values()))["episodes"]
    title = f"### Two rooms, random wall: {episodes} episodes, 95 % Wilson intervals"
    return f"{title}\n\n{table(head, lines + below)}\n"


def _cells(row: Mapping[str, Any]) -> list[str]:
    seeds = ", ".join(f"{100 * rate:.0f}" for rate in row["rates"])
    steps = "–" if row["steps"] is None else f"{row['steps']:.1f}"
    return [percent(row), seeds, steps, f"{row['predictions']:,.0f}"]
