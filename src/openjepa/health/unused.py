"""What a predictor is given and does not use, with what to change."""

from collections.abc import Sequence
from typing import Literal

from openjepa.health.trivial import Reading, unused

Word = Literal[
    "warming up",
    "learning",
    "not using the context",
    "not using the actions",
    "not using z",
    "dimensions dying",
    "collapsed",
]
Finding = tuple[Word, str, str]
"""Word, reason and advice of a verdict."""


def ignores(history: Sequence[Reading], total_steps: int) -> Finding | None:
    """The gravest of what is ignored."""
    for find in (_context_unused, _actions_unused, _latent_unused):
        if found := find(history, total_steps):
            return found
    return None


def _context_unused(history: Sequence[Reading], total_steps: int) -> Finding | None:
    now = history[-1]
    if not unused(history, total_steps, "permuted"):
        return None
    reason = (
        f"the energy is {now['energy/model']:.3g} with the right context, {now['energy/permuted']:.3g} with another "
        f"sample's and {now['energy/mean']:.3g} for the mean target"
    )
    if "energy/permuted_z" in now:
        advice = "z tells the predictor the next frame itself: lower its capacity (--condition.latent)"
    elif now["power/content"] < 0.5:
        advice = (
            f"only {now['power/content']:.0%} of the target's power depends on the sample: "
            "centre the target per position or scale the positions down"
        )
    else:
        advice = "raise the learning rate or the predictor's depth, show more of the context, or train longer"
    return "not using the context", reason, advice


def _actions_unused(history: Sequence[Reading], total_steps: int) -> Finding | None:
    """Of a world model, which alone measures `energy/permuted_actions`."""
    now = history[-1]
    if "energy/permuted_actions" not in now or not unused(history, total_steps, "permuted_actions"):
        return None
    reason = (
        f"the energy is {now['energy/model']:.3g} with the right actions, {now['energy/permuted_actions']:.3g} with "
        f"another window's and {now['energy/persistence']:.3g} for the last state copied"
    )
    advice = (
        "check that actions and frames belong together, let the state tell them (--terms.inverse 1), take longer steps "
        "(--signal.block) or a longer rollout, or train longer"
    )
    return "not using the actions", reason, advice


def _latent_unused(history: Sequence[Reading], total_steps: int) -> Finding | None:
    """Of a world model with a latent variable, which alone measures `energy/permuted_z`."""
    now = history[-1]
    if "energy/permuted_z" not in now or not unused(history, total_steps, "permuted_z"):
        return None
    reason = (
        f"the energy is {now['energy/model']:.3g} told the right z, "
        f"{now['energy/permuted_z']:.3g} told another window's"
    )
    advice = (
        "give z more capacity (a lower --condition.latent.capacity.weight, more codes), have more of what cannot be "
        "foreseen in the windows, or train longer; where nothing is uncertain z is not needed"
    )
    return "not using z", reason, advice
