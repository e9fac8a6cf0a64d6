"""A prediction beside those that know less: is what the predictor is given used?"""

import math
from collections.abc import Mapping, Sequence

Reading = Mapping[str, float]

TRIVIAL = {
    "mean": "mean target",
    "permuted": "another sample's context",
    "persistence": "the last state copied",
    "permuted_actions": "another sample's actions",
    "mean_z": "the mean over z",
    "permuted_z": "another sample's z",
}
"""What has an `energy/...` of its own; from the third on a world model's, the last two of one with a latent z."""
MEANS, SWAPS = ("mean", "persistence", "mean_z"), ("permuted", "permuted_actions", "permuted_z")
SWAP_MATTERS = 0.02
"""A predictor whose energy rises by less than this when its context (or actions) is another sample's ignores it."""
IN_A_ROW = 3
"""Measurements that must agree before a trend is called one."""
PATIENCE = 0.5
"""Share of the run before which a predictor is not blamed for ignoring what it is given: first it learns the means."""
ACTIONS_PATIENCE, ACTIONS_STEPS = 0.15, 30
"""Actions are told earlier, from this share and this step on ..."""
ACTIONS_MATTER = 0.003
"""... where swapping them raises the energy by less than this: beside runs whose actions belonged to other episodes (up
to 0.001 there), those that used them had 0.008 at least (docs/notebook/actions.md)."""


def is_world(reading: Reading) -> bool:
    """Whether a world model was measured."""
    return "energy/persistence" in reading


def trivial(reading: Reading) -> list[str]:
    """The energies of the trivial predictions that were measured, in words."""
    return [f"{text} {reading[f'energy/{k}']:.3g}" for k, text in TRIVIAL.items() if f"energy/{k}" in reading]


def beats_trivial(reading: Reading) -> bool:
    """Whether the prediction is better than all of them; than those with something swapped, clearly so."""
    means = [reading[f"energy/{k}"] for k in MEANS if f"energy/{k}" in reading]
    swaps = [k for k in SWAPS if f"energy/{k}" in reading]
    return reading["energy/model"] < min(means) and all(gap(reading, k) >= SWAP_MATTERS for k in swaps)


def unused(history: Sequence[Reading], first: float, swapped: str, matters: float = SWAP_MATTERS) -> bool:
    """Whether, from step `first` on, swapping this has long made no difference, and none is about to appear."""
    gaps = [gap(reading, swapped) for reading in history[-IN_A_ROW:]]
    early = history[-1]["step"] < first or len(history) <= IN_A_ROW
    if early or max(gaps) >= matters:
        return False
    return gaps[-1] <= max(matters / 4, *gaps[:-1])  # else it is small, but on its way up


def gap(reading: Reading, swapped: str) -> float:
    """How much the energy rises, relatively, when something of the input is another sample's."""
    energy, permuted = reading["energy/model"], reading[f"energy/{swapped}"]
    return (permuted - energy) / energy if energy > 0 else math.inf * (permuted > 0)
