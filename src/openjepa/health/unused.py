"""What a predictor is given and does not use, with what to change."""

from collections.abc import Sequence

from openjepa.health.advice import PlainConfig, against_empty_targets, against_unused_actions
from openjepa.health.trivial import ACTIONS_MATTER, ACTIONS_PATIENCE, ACTIONS_STEPS, PATIENCE, Reading, unused
from openjepa.health.words import Finding


def ignores(history: Sequence[Reading], total_steps: int, config: PlainConfig) -> Finding | None:
    """The gravest of what is ignored."""
    for find in (_context_unused, _actions_unused, _latent_unused):
        if found := find(history, total_steps, config):
            return found
    return None


def _context_unused(history: Sequence[Reading], total_steps: int, config: PlainConfig) -> Finding | None:
    now = history[-1]
    if not unused(history, PATIENCE * total_steps, "permuted"):
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
            + against_empty_targets(config)
        )
    else:
        advice = "raise the learning rate or the predictor's depth, show more of the context, or train longer"
    return "not using the context", reason, advice


def _actions_unused(history: Sequence[Reading], total_steps: int, config: PlainConfig) -> Finding | None:
    """Actions that are not used by a world model, which alone measures `energy/permuted_actions`."""
    now, swapped = history[-1], "permuted_actions"
    if f"energy/{swapped}" not in now:
        return None
    soon = max(ACTIONS_STEPS, ACTIONS_PATIENCE * total_steps)
    if not unused(history, soon, swapped, ACTIONS_MATTER) and not unused(
        history, PATIENCE * total_steps, swapped
    ):
        return None
    reason = (
        f"the energy is {now['energy/model']:.3g} with the right actions, {now['energy/permuted_actions']:.3g} with "
        f"another window's and {now['energy/persistence']:.3g} for the last state copied"
    )
    return "not using the actions", reason, against_unused_actions(config)


def _latent_unused(history: Sequence[Reading], total_steps: int, config: PlainConfig) -> Finding | None:
    """A latent variable that is not used by a world model that has one, which alone measures `energy/permuted_z`."""
    now = history[-1]
    if "energy/permuted_z" not in now or not unused(history, PATIENCE * total_steps, "permuted_z"):
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
