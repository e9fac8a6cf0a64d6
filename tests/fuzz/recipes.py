"""A training of every recipe that takes no time."""

from openjepa.recipes import registered

from .. import dots
from .words import flags

IMAGES = {
    "signal.size": 16,
    "encoder.width": 16,
    "encoder.depth": 1,
    "encoder.heads": 2,
    "train.steps": 2,
    "train.batch_size": 8,
    "train.health_every": 0.5,
    "train.save_every": 0.5,
}
OF_IMAGES = {
    "i-jepa": {"preset": "tiny-vit", "predictor.width": 16, "predictor.depth": 1, "predictor.heads": 2},
    "lejepa": {"encoder": "vit", "head.hidden": 16, "head.width": 8, "hiding.global_augment.size": 16},
}
OF_WORLDS = [name for name in registered() if name not in OF_IMAGES]


def training(recipe: str, data: str) -> list[str]:
    """A command; its model is tiny, where the recipe has one of its own."""
    if recipe in OF_IMAGES:
        options: dict[str, object] = IMAGES | OF_IMAGES[recipe]
    else:
        known = recipe in dots.RECIPES
        options = dots.options(recipe) if known else {"train.steps": 2, "train.batch_size": 8}
    return ["train", recipe, "--data", data, "--out", "out", *flags(options), "--json"]
