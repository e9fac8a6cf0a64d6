"""Point 2: mazes with two turns or more on the way; flat planning against two levels and against the truth's sub-goals.

Published: 83 % against 44 % flat at 13 to 16 cells (HWM on PLDM, arXiv:2604.03208; 90 % in an independent run of the
released model), at a third to a quarter of the planning. One trained model plays all: flat is its level 1 alone.
"""

from collections.abc import Mapping
from typing import Any

from benchmarks.acting import common
from benchmarks.acting.common import Data, Settings, percent, table

DATA = Data("maze", {"rooms": 3, "size": 32}, "scripted", episodes=4000, steps=100)
"""Ways of up to eight rooms, 160 units; 25 layouts."""
TURNS = 2
ANY: Mapping[str, Any] = {
    "planner": "mppi",
    "planner__execute": 1,
    "planner__sigma": 1.0,
    "cost__prediction_error": 2.0,
}
FLAT: Mapping[str, Any] = {
    **ANY,
    "planner__horizon": 8,
    "planner__samples": 96,
    "planner__iterations": 5,
    "planner__elites": 12,
}
LOWER: Mapping[str, Any] = {
    **ANY,
    "level": 2,
    "planner__horizon": 5,
    "planner__samples": 48,
    "planner__iterations": 3,
    "planner__elites": 8,
}
"""What is left to level 1 when something else sets its sub-goals."""
HIGHER: Mapping[str, Any] = {
    "higher__planner__horizon": 8,
    "higher__planner__samples": 64,
    "higher__planner__iterations": 3,
    "higher__planner__elites": 8,
}
METHODS: Mapping[str, Mapping[str, Any]] = {
    "flat": FLAT,
    "flat, twice as far": {**FLAT, "planner__horizon": 16, "planner__execute": 2},
    "flat, a new plan every 4 steps": {**FLAT, "planner__execute": 4},
    "two levels": {**LOWER, **HIGHER},
    "two levels, without prediction-error cost": {**LOWER, **HIGHER, "cost__prediction_error": 0.0},
    "true sub-goals": {**LOWER, "higher__subgoals": "oracle"},
}
"""Options of planning."""


def measure(settings: Settings) -> dict[str, Any]:
    """By method: success, by distance too, and predictions asked of both levels."""
    data = common.collected(settings, DATA)
    recipe = (settings.recipes or ("h-jepa",))[0]
    runs = common.trained(settings, recipe, data)
    protocols = {
        name: common.protocol(
            settings,
            runs,
            **{
                "difficulty": {"turns": TURNS},
                "baselines": ["nothing", "random", "cloning", "expert", "oracle"] if name == "flat" else [],
                **options,
            },
        )
        for name, options in METHODS.items()
    }
    methods, below = {}, []
    for name, result in common.played(settings, protocols).items():
        rows = [{**common.summary(row), "by_distance": _near(row)} for row in result.rows]
        below += rows[1:]
        methods[name] = {**rows[0], "protocol": result.protocol.model_dump(mode="json")}
    found = {"methods": methods, "baselines": below, **common.costs(runs)}
    return {**found, "far": _far(methods)}


def as_markdown(found: Mapping[str, Any]) -> str:
    """Success by distance, baselines below."""
    rows = [*found["methods"].items(), *((row["method"], row) for row in found["baselines"])]
    bins = rows[0][1]["by_distance"]
    head = ["method", "success in %", *(f"{b['from']:.0f} to {b['to']:.0f}" for b in bins), "predictions"]
    lines = [
        [name, percent(row), *(percent(near) for near in row["by_distance"]), f"{row['predictions']:,.0f}"]
        for name, row in rows
    ]
    far = found["far"]
    verdict = "wins" if far["wins"] else "does not win"
    episodes = rows[0][1]["episodes"]
    title = (
        f"### Maze, {TURNS} turns or more: {episodes} episodes, 95 % Wilson intervals, by distance in units"
    )
    note = (
        f"At the farthest goals two levels {verdict} over flat planning by disjoint intervals, with "
        f"{far['predictions']:.2f} times its predictions."
    )
    return f"{title}\n\n{table(head, lines)}\n\n{note}\n"


def _near(row: Any) -> list[dict[str, float]]:
    return [
        {
            "success": near.successes / near.episodes,
            "low": near.interval[0],
            "high": near.interval[1],
            "from": near.low,
            "to": near.high,
            "episodes": near.episodes,
        }
        for near in row.by_distance()
    ]


def _far(methods: Mapping[str, Any]) -> dict[str, Any]:
    """Two levels against the best flat planner at the farthest goals."""
    flat = max(
        (method for name, method in methods.items() if name.startswith("flat")),
        key=lambda m: m["by_distance"][-1]["success"],
    )
    ours = methods["two levels"]
    return {
        "wins": ours["by_distance"][-1]["low"] > flat["by_distance"][-1]["high"],
        "predictions": ours["predictions"] / flat["predictions"],
    }
