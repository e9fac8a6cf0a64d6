"""Runs of a second: 60 images of 16 px, 16 tokens, one block."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from openjepa.common.distributed import rank, world_size
from openjepa.recipes import Recipe, build, configure
from openjepa.signals.base import hold_out
from openjepa.signals.images import ImageSet, open_images
from openjepa.training import Run
from openjepa.training.data import Batches
from openjepa.training.optim import adamw
from openjepa.training.step import Stepper

SIZES = {
    "signal.size": 16,
    "encoder.width": 16,
    "encoder.depth": 1,
    "encoder.heads": 2,
    "train.steps": 10,
    "train.batch_size": 8,
    "train.lr": 1e-3,
    "train.precision": "fp32",
    "train.save_every": 0.3,
    "train.health_every": 0.5,
}
OF_RECIPE = {
    "i-jepa": {"predictor.width": 16, "predictor.depth": 1},
    "lejepa": {"head.hidden": 16, "head.width": 8, "guard.slices": 16},
}
PRESETS = {"i-jepa": "tiny-vit", "lejepa": "tiny-vit"}
"""Whose `tiny` has no transformer."""
RECIPES = list(OF_RECIPE)


def options(recipe: str = "i-jepa", **changes: object) -> dict[str, object]:
    """Dotted options; in keywords, `train__lr` stands for `train.lr`."""
    dotted = {name.replace("__", "."): value for name, value in changes.items()}
    return SIZES | OF_RECIPE[recipe] | dotted


def config(recipe: str = "i-jepa", **changes: object) -> Recipe:
    return configured(recipe, options(recipe, **changes))


def configured(recipe: str, dotted: Mapping[str, object]) -> Recipe:
    """Options of a guard that has been switched off are left out."""
    off = dotted.get("guard") == "none"
    texts = {name: str(v) for name, v in dotted.items() if not (off and name.startswith("guard."))}
    return configure(recipe, PRESETS.get(recipe, "tiny"), texts)


def steady(recipe: str) -> dict[str, object]:
    """Options under which no statistics of the batch enter the loss."""
    extra = {
        "i-jepa": {"target.norm": "layer", "target.centre": "none", "guard": "none"},
        "lejepa": {"head.layers": 0, "guard": "none"},
    }
    return options(recipe) | extra[recipe]


def pixels(count: int = 60, channels: int = 1, size: int = 16) -> np.ndarray:
    """Smooth blobs, uint8 `[N, H, W, C]`, alike between calls."""
    random = np.random.default_rng(0)
    place = np.linspace(-1, 1, size)
    x, y = random.uniform(-0.7, 0.7, (2, count, 1, 1, channels))
    width = random.uniform(0.1, 0.5, (count, 1, 1, channels))
    distance = (place[None, :, None, None] - y) ** 2 + (place[None, None, :, None] - x) ** 2
    return (255 * np.exp(-distance / width)).astype(np.uint8)


def images(count: int = 60) -> ImageSet:
    return open_images(pixels(count))


def new_run(path: Path, settings: Recipe, data: ImageSet | None = None) -> Run:
    return Run.create(path, settings, data or images())


def first_gradients(recipe: str, dotted: Mapping[str, object]) -> tuple[dict[str, Tensor], float]:
    """Every parameter's gradient in a run's first step, over all processes, and its loss."""
    settings, data = configured(recipe, dotted), images()
    model = build(settings)
    batches = Batches(data, hold_out(data)[0], settings.train, rank(), world_size())
    stepper = Stepper(model, adamw(model, settings.train), settings.train, batches.start)
    logged = stepper(0, next(batches.stream(0)))
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, logged["loss"]


def assert_equal_gradients(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """To 1e-5 of each parameter's largest gradient, or 1e-6 of the largest of all: some are zero but for rounding."""
    assert found.keys() == expected.keys()
    floor = 1e-6 * max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in expected.items():
        off = float((found[name] - gradient).abs().max())
        assert off <= 1e-5 * float(gradient.abs().max()) + floor, (name, off)


def losses(run: Any) -> list[tuple[int, float]]:
    """`(step, loss)` of every line, in the file's order."""
    opened = run if isinstance(run, Run) else Run.open(run)
    return [(record["step"], record["loss"]) for record in opened.records("train")]
