"""Point 8: violation of expectation: prediction error tells teleports and passing through walls."""

from collections.abc import Mapping
from typing import Any

from benchmarks.acting import common, two_rooms
from benchmarks.acting.common import Settings, table
from openjepa.evals.planning import surprises


def measure(settings: Settings) -> dict[str, Any]:
    """Each run's AUROCs, on as many impossible clips of each kind as episodes are asked for."""
    recipes = settings.recipes or two_rooms.RECIPES
    data, found = common.collected(settings, two_rooms.DATA), {}
    for recipe in recipes:
        runs = common.trained(settings, recipe, data)
        chosen = common.protocol(settings, runs, baselines=[])
        tables = [one.to_dict()["scores"] for one in surprises(chosen, clips=settings.episodes)]
        found[recipe] = {"protocol": chosen.model_dump(mode="json"), **common.costs(runs), "scores": tables}
    return {"recipes": found}


def as_markdown(found: Mapping[str, Any]) -> str:
    """A line for each recipe, violation and row: each seed's AUROC with its interval."""
    lines = []
    for recipe, one in found["recipes"].items():
        for scores in zip(*one["scores"], strict=True):
            cells = [f"{s['auroc']:.3f} [{s['interval'][0]:.3f}, {s['interval'][1]:.3f}]" for s in scores]
            lines.append([recipe, scores[0]["violation"], scores[0]["row"], *cells])
    seeds = [f"seed {run['seed']}" for run in next(iter(found["recipes"].values()))["runs"]]
    return f"### Surprise at what cannot be, AUROC\n\n{table(['recipe', 'violation', 'by', *seeds], lines)}\n"
