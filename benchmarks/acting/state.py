"""Point 9: physical variables in the states: R2 of a linear probe, beside random initialisation and raw pixels.

Position in two rooms from one frame; position, velocity and angle of a cart-pole from two.
"""

from collections.abc import Mapping
from typing import Any

from benchmarks.acting import agents, common, two_rooms
from benchmarks.acting.common import Data, Settings, table
from openjepa.evals.planning import states
from openjepa.evals.table import student

WORLDS: Mapping[str, tuple[Data, int, Mapping[str, Any]]] = {
    "two-rooms": (two_rooms.DATA, 1, {}),
    "cart-pole": (Data("cart-pole"), 2, {"train.steps": 2_500}),
}
"""Episodes, frames that a probe is given, and options of training: a cart-pole has no walls to be learned."""


def measure(settings: Settings) -> dict[str, Any]:
    """By world: every seed's R2."""
    found = {}
    for world, (data, frames, options) in WORLDS.items():
        runs = agents.runs(settings, data, options)
        chosen = common.protocol(settings, runs, baselines=[])
        tables = [one.to_dict() for one in states(chosen, frames=frames)]
        shared = {"protocol": chosen.model_dump(mode="json"), **common.costs(runs)}
        found[world] = {**shared, "tables": tables}
    return {"worlds": found}


def as_markdown(found: Mapping[str, Any]) -> str:
    """Means over seeds with Student's intervals."""
    lines = []
    for world, one in found["worlds"].items():
        for fits in zip(*(table_["fits"] for table_ in one["tables"]), strict=True):
            values = [fit["r2"] for fit in fits]
            if None in values:
                continue  # a variable that never changes
            low, high = student(values) if len(values) > 1 else (fits[0]["low"], fits[0]["high"])
            mean = sum(values) / len(values)
            frames = one["tables"][0]["frames"]
            lines.append(
                [world, frames, fits[0]["variable"], fits[0]["row"], f"{mean:.3f} [{low:.3f}, {high:.3f}]"]
            )
    head = ["world", "frames", "variable", "features", "R² on held-out episodes"]
    return f"### Physical state, linearly from the states\n\n{table(head, lines)}\n"
