"""What to change, knowing what was chosen: nothing is advised that a run has already."""

from collections.abc import Mapping
from typing import Any

from openjepa.targets import AVERAGED, FIXED

PlainConfig = Mapping[str, Any]
"""A recipe's dump (`config.json`); empty where it is not known."""

LEARNING_RATE = "lower the learning rate"


def chosen(config: PlainConfig, name: str) -> Any:
    """The value of a dotted option (`target.kind`), `None` where the config does not tell."""
    value: Any = config
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def against_collapse(config: PlainConfig, vanished: bool) -> str:
    """The likelier cause first: agreement on a constant makes the energy vanish, too large steps do not."""
    steps = _smaller_steps(config)
    if vanished:
        return _apart(config)
    return f"{steps}; if that does not help, {_apart(config)}"


def against_dying(config: PlainConfig) -> str:
    """Where the effective rank falls."""
    ways = [_apart(config), *_slower_target(config), _smaller_steps(config)]
    return "; or ".join(dict.fromkeys(ways))


def against_loss(config: PlainConfig) -> str:
    """Where features tell less than they did at the start."""
    return (
        f"{_smaller_steps(config)}; or hide more of the input, so that predicting needs what is worth knowing"
    )


def against_nothing(config: PlainConfig) -> str:
    """Where a whole run has taught nothing."""
    rate = chosen(config, "train.lr")
    number = f" (--train.lr above {rate:g})" if isinstance(rate, float) else ""
    return f"train longer, raise the learning rate{number}, or hide more; and look at the data in the report"


def against_unused_actions(config: PlainConfig) -> str:
    """Advice for a world model that does as well with another window's actions."""
    ways = ["check that actions and frames belong together", "take longer steps (--signal.block)"]
    if not chosen(config, "terms.inverse"):
        ways.insert(1, "let the state tell them (--terms.inverse 1)")
    return f"{', '.join(ways)}, ask for a longer rollout, or train longer"


def against_empty_targets(config: PlainConfig) -> str:
    """Where little of the target's power depends on the sample."""
    ways = ["scale the positions down (encoder.position_scale)"]
    if chosen(config, "target.centre") != "position":
        ways.insert(0, "centre the target per position (--target.centre position)")
    return " or ".join(ways)


def _apart(config: PlainConfig) -> str:
    """What keeps different samples' features apart."""
    guard, target = chosen(config, "guard.kind"), chosen(config, "target.kind")
    if guard in (None, "none"):
        still = "" if target in (*AVERAGED, *FIXED) else " or a target without gradients (--target ema)"
        return f"add a guard (--guard sigreg or vicreg){still}"
    name = {"sigreg": "weight", "vicreg": "std"}.get(guard, "weight")
    given = chosen(config, f"guard.{name}")
    return f"give the guard more weight (--guard.{name} above {given:g})"


def _slower_target(config: PlainConfig) -> list[str]:
    if chosen(config, "target.kind") not in (None, *AVERAGED):
        return []
    given = chosen(config, "target.half_life")
    return ["lengthen the target's half-life" + (f" (above {given:g})" if given is not None else "")]


def _smaller_steps(config: PlainConfig) -> str:
    rate, warm = chosen(config, "train.lr"), chosen(config, "train.warmup")
    if rate is None or warm is None:
        return f"{LEARNING_RATE} or lengthen its warm-up"
    return (
        f"{LEARNING_RATE} (--train.lr below {rate:g}) or lengthen its warm-up (--train.warmup above {warm:g})"
    )
