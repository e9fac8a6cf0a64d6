"""What models declare unused is what their loss does not read."""

from typing import Any

import pytest
import torch

from openjepa.common.rng import Rng
from openjepa.jepa import JEPA
from openjepa.recipes import build

from .. import dots
from ..training import small
from ..training.test_world_runs import fitted
from ..world_models import test_proprioception

IMAGES: list[tuple[str, dict[str, object], set[str]]] = [
    ("i-jepa", {}, set()),
    ("i-jepa", {"encoder.hide": "replace"}, set()),
    ("i-jepa", {"encoder.positions": "learned", "target": "shared", "guard": "vicreg"}, set()),
    ("i-jepa", {"predictor": "convolutional"}, set()),
    ("i-jepa", {"predictor": "convolutional", "encoder.hide": "replace"}, {"predictor.mask_token"}),
    ("lejepa", {}, set()),
    ("lejepa", {"encoder.hide": "replace", "hiding.drop": 0.3}, set()),
    ("lejepa", {"encoder.hide": "replace", "hiding.drop": 0}, {"encoder.mask_token"}),
]
WORLDS: list[tuple[str, dict[str, Any], set[str]]] = [
    *((recipe, {}, set()) for recipe in dots.RECIPES),
    ("latent-action", {"condition__latent__capacity": "codebook"}, set()),
    ("mixture", {"condition__latent__router": 0}, set()),
    ("lewm", {"hiding__forced": False, "hiding__rollout": 3}, set()),
]


def not_read(model: JEPA, batch: Any) -> set[str]:
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    loss = model(batch, Rng(0, 0)).loss
    gradients = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
    return {name for name, gradient in zip(trained, gradients, strict=True) if gradient is None}


@pytest.mark.parametrize(("recipe", "changes", "expected"), IMAGES)
def test_of_images(recipe: str, changes: dict[str, object], expected: set[str]) -> None:
    dotted = small.options(recipe) | changes
    other = {"predictor.width"} if "predictor" in changes else set()
    model = build(small.configured(recipe, {k: v for k, v in dotted.items() if k not in other}))
    batch = torch.from_numpy(small.pixels(8)).permute(0, 3, 1, 2)
    assert model.unused() == not_read(model, batch) == expected


@pytest.mark.parametrize(("recipe", "changes", "expected"), WORLDS)
def test_of_worlds(recipe: str, changes: dict[str, Any], expected: set[str]) -> None:
    config, samples = fitted(recipe, **changes)
    model = build(config)
    assert model.unused() == not_read(model, config.hold_out(samples)[1]) == expected


@pytest.mark.parametrize("name", test_proprioception.OPTIONS)
def test_of_worlds_on_a_frozen_encoder(name: str) -> None:
    model = test_proprioception.model_of(name)
    assert model.unused() == not_read(model, test_proprioception.windows(model)) == set()
