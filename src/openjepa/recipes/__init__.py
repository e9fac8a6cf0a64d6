"""One paper, one file; registered by name."""

import difflib
from collections.abc import Mapping
from typing import Any

import torch

from openjepa.common.memory import require_room
from openjepa.common.renamed import CONFIGS, RECIPES, refuse_old
from openjepa.config import override
from openjepa.errors import UserError
from openjepa.jepa import JEPA
from openjepa.recipes import (
    ajepa,
    audiojepa,
    dinowm,
    dmtjepa,
    finetune,
    hjepa,
    ijepa,
    latentaction,
    lejepa,
    lewm,
    mixture,
    own,
    pldm,
    pointjepa,
    remotejepa,
    sarjepa,
    signaljepa,
    tsjepa,
    vjepa,
    vjepa2,
    vjepa2ac,
    vjepa21,
)
from openjepa.recipes.base import Recipe, Training, all_recipes, register, registered
from openjepa.recipes.table import CHOICES

__all__ = [
    "Recipe",
    "Training",
    "ajepa",
    "audiojepa",
    "build",
    "configure",
    "dinowm",
    "dmtjepa",
    "find",
    "finetune",
    "hjepa",
    "ijepa",
    "latentaction",
    "lejepa",
    "lewm",
    "mixture",
    "pldm",
    "pointjepa",
    "register",
    "registered",
    "remotejepa",
    "sarjepa",
    "signaljepa",
    "tsjepa",
    "vjepa",
    "vjepa2",
    "vjepa2ac",
    "vjepa21",
]


def find(name: str) -> type[Recipe]:
    """The recipe of this name; UserError with the nearest name otherwise."""
    recipes = all_recipes()
    if not isinstance(name, str):
        raise UserError(f"a recipe is one name, of {', '.join(recipes)}, and no list or number")
    if name not in recipes:
        if name in RECIPES:
            raise UserError(f"the recipe {name!r} is now called {RECIPES[name].name!r}")
        close = difflib.get_close_matches(name, recipes, n=1, cutoff=0.3)
        hint = f"; did you mean {close[0]!r}?" if close else "; one of your own is named as FILE.py:CLASS"
        raise UserError(f"unknown recipe {name!r}, known are {', '.join(recipes)}{hint}")
    return recipes[name]


def configure(
    recipe: str,
    preset: str | None = None,
    changes: Mapping[str, str] | None = None,
    base: Mapping[str, Any] | None = None,
) -> Recipe:
    """A recipe's config: its paper's defaults, a preset, a saved config's values, dotted changes on top.

    Raises:
        UserError: unknown recipe, preset or option (with the nearest valid name), or values that do not fit.

    Examples:
        >>> config = configure("i-jepa", "tiny-vit", {"guard": "sigreg", "guard.slices": "64", "train.steps": "500"})
        >>> config.guard.kind, config.guard.slices, config.train.steps
        ('sigreg', 64, 500)
    """
    cls, changes = find(recipe), own.entered(changes or {})
    names = cls.presets
    if preset is not None and preset not in names:
        close = difflib.get_close_matches(preset, names, n=1, cutoff=0.3)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise UserError(f"{recipe} has no preset {preset!r}, only {', '.join(names)}{hint}")
    if base and all(name in base for name in ("recipe", "preset", "data", "train", *CHOICES)):
        data = cls.parse(base).model_dump(
            mode="json"
        )  # it was saved: an option newer than it is as it was without
    else:
        data = cls.model_validate({}).model_dump(mode="json")
        if preset is not None:
            data = _merge(data, names[preset] | {"preset": preset})
        data = _merge(data, base or {})
    signal = data.get("signal")
    if isinstance(signal, Mapping) and signal.get("kind") == "frames":
        refuse_old(changes, CONFIGS)
    return cls.parse(cls.by_hand(override(cls, data, changes), base or {}, changes))


def build(config: Recipe, seed: int | None = None) -> JEPA:
    """The config's model; what of its weights is drawn is a function of `seed` (the config's own by default).

    Raises:
        UserError: choices that cannot go together, or more numbers than the machine's memory has room for.

    Examples:
        >>> model = build(configure("i-jepa", "tiny-vit"), seed=0)
        >>> model.layout  # rows and columns of features
        (7, 7)
    """
    _require_room(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed if seed is None else seed)
        model = config.build()
    config.fill(model)
    return model


def _require_room(config: Recipe) -> None:
    """Counts the numbers by building the model's shapes alone."""
    try:
        with torch.device("meta"):
            model = config.from_scratch().build()
    except NotImplementedError:  # a part of somebody's own looks at numbers while it is built
        return
    sizes = {
        name: sum(t.numel() for t in part.state_dict().values()) for name, part in model.named_children()
    }
    if sizes:
        largest = max(sizes, key=lambda name: sizes[name])
        advice = f"most of them in its {largest}: choose smaller sizes of it"
        require_room(sum(sizes.values()), "the model", advice)


def _merge(data: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`changes` over `data`, key by key; a choice of another kind replaces the old one whole."""
    result = dict(data)
    for key, value in changes.items():
        old = result.get(key)
        same = (
            isinstance(old, Mapping)
            and isinstance(value, Mapping)
            and value.get("kind", old.get("kind")) == old.get("kind")
        )
        result[key] = _merge(old, value) if same else value
    return result
