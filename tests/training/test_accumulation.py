"""Micro-batches give what the whole batch would, or are refused: `train.accumulate`."""

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from openjepa.errors import UserError
from openjepa.recipes import build, configure
from openjepa.recipes.base import Recipe
from openjepa.signals.base import Batch
from openjepa.training import resume, train
from openjepa.training.optim import adamw
from openjepa.training.step import Stepper, require_whole_batches

from .. import dots
from . import small

BATCH = 12
WORLD = {"terms.inverse": 0.5, "guard": "none"}

ALLOWED: list[tuple[str, dict[str, object]]] = [
    ("i-jepa", {"target.norm": "layer", "target.centre": "none"}),
    ("i-jepa", {"target.layers": 1, "hiding.quirk": "official", "hiding.min_context": 0.01}),
    ("i-jepa", {"energy": "cosine", "predictor.joint": False, "encoder.hide": "replace"}),
    ("lejepa", {"head.layers": 0, "guard": "none"}),
    ("lejepa", {"head.layers": 0, "guard": "none", "hiding.local_views": 2, "hiding.local_augment.size": 8}),
    ("pldm", {**WORLD, "terms.similarity": 0.7, "terms.motion": 0.3}),
    ("lewm", {**WORLD, "head.layers": 0}),
    ("latent-action", {**WORLD, "condition.latent.capacity.free": 0}),
    ("mixture", WORLD),
    ("remote-jepa", {**WORLD, "encoder.batch_norm": False}),
]
REFUSED: list[tuple[str, dict[str, object], str]] = [
    ("i-jepa", {"target.norm": "batch"}, "target ema"),
    ("i-jepa", {"target.centre": "position"}, "target ema"),
    ("i-jepa", {"guard": "vicreg", "target": "shared"}, "guard vicreg"),
    ("i-jepa", {"guard": "sigreg", "target": "shared"}, "guard sigreg"),
    ("lejepa", {}, "guard sigreg, batch norm in the head"),
    ("lejepa", {"guard": "none"}, "batch norm in the head"),
    ("lejepa", {"head.layers": 0}, "guard sigreg"),
    ("pldm", {}, "guard vicreg"),
    ("lewm", {"guard": "none"}, "batch norm in the head, batch norm in the predictor"),
    ("h-jepa", {"guard": "none", "level2.guard": "none"}, "level2"),
    ("latent-action", WORLD, "condition.latent.capacity kl"),
    ("latent-action", {**WORLD, "condition.latent.capacity": "sparse"}, "condition.latent.capacity sparse"),
    (
        "latent-action",
        {**WORLD, "condition.latent.capacity": "codebook"},
        "condition.latent.capacity codebook",
    ),
    ("mixture", {**WORLD, "condition.latent.balance": 0.1}, "condition.latent mixture"),
    ("remote-jepa", WORLD, "batch norm in the encoder"),
]


def configured(recipe: str, changes: dict[str, object]) -> tuple[Recipe, Batch]:
    """A config of seconds, and a batch for it."""
    base = small.options(recipe) if recipe in small.OF_RECIPE else dots.options(recipe)
    dotted = base | {"train.batch_size": BATCH, "train.seed": 3} | changes
    config = small.configured(recipe, dotted)
    if recipe in small.OF_RECIPE:
        return config, torch.from_numpy(small.pixels(BATCH)).permute(0, 3, 1, 2)
    samples = config.open(dots.episodes(), adapt=True)
    fitted = config.adapt(samples)
    return fitted, samples.read(torch.linspace(0, len(samples) - 1, BATCH).long())


def first_gradients(recipe: str, changes: dict[str, object]) -> tuple[dict[str, Tensor], dict[str, float]]:
    config, batch = configured(recipe, changes)
    model = build(config)
    require_whole_batches(model, config.train)
    logged = Stepper(model, adamw(model, config.train), config.train, 0)(0, batch)
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, logged


@pytest.mark.parametrize(("recipe", "changes"), ALLOWED)
def test_equals_one_large_batch(recipe: str, changes: dict[str, object]) -> None:
    whole, expected = first_gradients(recipe, changes)
    gradients, logged = first_gradients(recipe, changes | {"train.accumulate": 3})
    small.assert_equal_gradients(gradients, whole)
    assert logged["loss"] == pytest.approx(expected["loss"], rel=1e-6)
    assert logged["energy"] == pytest.approx(expected["energy"], rel=1e-6)


@pytest.mark.parametrize(("recipe", "changes", "what"), REFUSED)
def test_refused_where_something_is_of_the_whole_batch(
    recipe: str, changes: dict[str, object], what: str
) -> None:
    config, _ = configured(recipe, changes | {"train.accumulate": 2})
    with pytest.raises(
        UserError, match=rf"^train.accumulate 2 would change [a-z ]+ \({re.escape(what)}\): use "
    ):
        require_whole_batches(build(config), config.train)


def test_a_frozen_encoders_batch_norm_is_no_hindrance() -> None:
    config, _ = configured("lejepa", {"train.accumulate": 2, "guard": "none", "head.layers": 0})
    model = build(config)
    model.encoder.extra = torch.nn.BatchNorm1d(4).eval()
    require_whole_batches(model, config.train)


def test_refused_before_anything_is_written_and_never_on_resuming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = small.options("lejepa", train__accumulate=2, train__steps=4)
    with pytest.raises(UserError, match="guard sigreg"):
        train("lejepa", preset="tiny-vit", data=small.pixels(), out=tmp_path / "run", options=options)
    assert not (tmp_path / "run").exists()
    with monkeypatch.context() as patch:  # a run of before it was refused
        patch.setattr("openjepa.training.loop.require_whole_batches", lambda *_: None)
        train("lejepa", preset="tiny-vit", data=small.pixels(), out=tmp_path / "run", options=options)
    assert resume(tmp_path / "run", data=small.pixels()).verdict().step == 4


@pytest.mark.parametrize(
    ("recipe", "preset"), [("i-jepa", "vit-h14"), ("dino-wm", "push-t"), ("vjepa2-ac", "droid")]
)
def test_the_papers_that_may_accumulate(recipe: str, preset: str) -> None:
    config = configure(recipe, preset)
    assert not [path for path, part in config.within() if part.of_batch]


def test_no_preset_accumulates() -> None:
    from openjepa.recipes import registered

    for name, cls in registered().items():
        assert all(configure(name, preset).train.accumulate == 1 for preset in cls.presets)
