"""World models in the one trainer: the same loop, run directory and promises as for images."""

from pathlib import Path

import pytest
import torch

import openjepa
from openjepa.common.distributed import rank, world_size
from openjepa.errors import UserError
from openjepa.recipes import build, configure
from openjepa.recipes.worlds import WorldRecipe
from openjepa.training import Run, resume, train
from openjepa.training.data import Batches
from openjepa.training.optim import adamw
from openjepa.training.step import Stepper
from openjepa.world_models.model import WorldJEPA
from openjepa.world_models.windows import EpisodeWindows

from .. import dots
from .test_loop import InterruptedAt


def fitted(recipe: str, **changes: object) -> tuple[WorldRecipe, EpisodeWindows]:
    texts = {name: str(value) for name, value in dots.options(recipe, **changes).items()}
    config = configure(recipe, "tiny", texts)
    assert isinstance(config, WorldRecipe)
    samples = config.open(dots.episodes(), adapt=True)
    return config.adapt(samples), samples


@pytest.mark.parametrize("recipe", dots.RECIPES)
def test_a_run_leaves_metrics_checkpoints_and_a_model(recipe: str, tmp_path: Path) -> None:
    model = train(recipe, data=dots.episodes(), out=tmp_path / "run", options=dots.options(recipe))
    assert isinstance(model, WorldJEPA) and not model.training
    run = Run.open(tmp_path / "run")
    assert [record["step"] for record in run.records("train")] == list(range(10))
    named = {
        "pldm": ("inverse", "vicreg/std"),
        "lewm": ("inverse", "sigreg"),
        "h-jepa": ("inverse", "vicreg/std", "level2/energy", "level2/latent/nats"),
        "latent-action": ("inverse", "vicreg/std", "latent/nats"),
        "mixture": ("inverse", "vicreg/std", "latent/router"),
        "remote-jepa": (),
    }[recipe]
    assert all(record[name] >= 0 for record in run.records("train") for name in (*named, "energy"))
    assert [record["step"] for record in run.records("health")] == [0, 5, 10]
    assert run.verdict().step == 10
    data = run.about["data"]
    assert (
        data["episodes"] == 20
        and data["windows"] == len(model.config.open(dots.episodes(), adapt=False))
        and data["variables"] == ["x", "y"]
    )
    loaded = openjepa.load(tmp_path / "run")
    assert isinstance(loaded, WorldJEPA)
    frames = dots.frames_of(3)
    assert torch.equal(loaded.embed(frames), model.embed(frames))
    states = loaded.encode(frames[:, None])
    actions = torch.rand(3, 2, 4, 2 * model.block)
    assert torch.equal(loaded.rollout(states, actions), model.rollout(model.encode(frames[:, None]), actions))
    assert loaded.actions.high.tolist() == [1, 1]


def test_a_model_learns_the_dots() -> None:
    recipe, samples = fitted("pldm", train__steps=60, train__lr=5e-3)
    _, held_out = recipe.hold_out(samples)
    trained = openjepa.train(
        "pldm", data=dots.episodes(), options=dots.options("pldm", train__steps=60, train__lr=5e-3)
    )
    readings = [recipe.monitor(held_out).measure(model, 0) for model in (build(recipe).eval(), trained)]
    left = [reading["energy/model"] / reading["energy/mean"] for reading in readings]
    assert left[1] < 0.5 * left[0]


@pytest.mark.parametrize("recipe", dots.RECIPES)
def test_resuming_is_bit_for_bit(recipe: str, tmp_path: Path) -> None:
    options, data = dots.options(recipe), dots.episodes()
    whole = train(recipe, data=data, out=tmp_path / "whole", options=options)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, data=data, out=tmp_path / "cut", options=options, progress=InterruptedAt(8))
    resume(tmp_path / "cut", data=dots.episodes())
    for kind, timed in (("train", {"seconds", "data_wait", "cpu_seconds"}), ("health", set())):
        runs = [
            [{k: v for k, v in r.items() if k not in timed} for r in Run.open(tmp_path / name).records(kind)]
            for name in ("whole", "cut")
        ]
        assert runs[0] == runs[1]
    again = openjepa.load(tmp_path / "cut").state_dict()
    assert all(torch.equal(value, again[name]) for name, value in whole.state_dict().items())


def test_other_episodes_are_refused_on_resuming(tmp_path: Path) -> None:
    options = dots.options("pldm", train__steps=2)
    train("pldm", data=dots.episodes(), out=tmp_path / "run", options=options)
    with pytest.raises(UserError, match="these are 180 of dots with other contents: give the same data"):
        resume(tmp_path / "run", data=dots.episodes(seed=1))


def test_whole_episodes_are_held_out() -> None:
    recipe, samples = fitted("pldm")
    rows, held_out = recipe.hold_out(samples)
    train_episodes, others = samples.split()
    assert len(others) == 4 and not set(train_episodes.tolist()) & set(others.tolist())
    assert set(samples.windows.episode[rows.numpy()]) == set(train_episodes.tolist())
    assert len(rows) + len(held_out) == len(samples)
    seen = samples.read(rows).state.flatten(1)
    assert not (held_out.state.flatten(1)[:, None] == seen[None]).all(-1).any()


def test_the_episodes_fill_in_what_they_decide() -> None:
    recipe, samples = fitted("lewm")
    assert (recipe.signal.size, recipe.signal.action_dim, recipe.signal.block) == (16, 2, 2)
    assert recipe.condition.low == (-1, -1) and recipe.condition.high == (1, 1)
    train_episodes, _ = samples.split()
    rows = torch.cat([torch.from_numpy(samples.episodes[i].actions) for i in train_episodes.tolist()])
    assert recipe.signal.action_std == pytest.approx(rows.std(0, correction=0).tolist(), rel=1e-4)
    assert recipe.adapt(samples) == recipe
    with pytest.raises(UserError, match=r"size 16, the config's signal\.size is 32"):
        recipe.model_copy(update={"signal": recipe.signal.model_copy(update={"size": 32})}).adapt(samples)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hiding.frames": 6}, "looks back on 3 frames"),
        ({"predictor": "maps"}, "takes maps"),
        ({"predictor": "block-causal"}, "takes patch tokens"),
        ({"hiding.forced": False}, "nothing would be predicted"),
        ({"hiding.rollout": 4}, "more than the window's 4 frames"),
        ({"hiding.frames": 2, "terms.motion": 1}, "at least three frames"),
        ({"encoder": "vit", "encoder.patch": 5}, "do not divide into patches"),
    ],
)
def test_choices_that_do_not_fit_are_named(changes: dict[str, object], message: str) -> None:
    options = dots.options("lewm")
    for choice in ("predictor", "encoder"):
        if choice in changes:
            options = {k: v for k, v in options.items() if not k.startswith(f"{choice}.")}
    with pytest.raises(UserError, match=message) as caught:
        train("lewm", data=dots.episodes(), options=options | changes)
    assert "\n" not in str(caught.value)


def test_without_episodes_it_says_how_to_get_some() -> None:
    with pytest.raises(UserError, match="openjepa collect two-rooms"):
        train("pldm")
    with pytest.raises(UserError, match="give at least two"):
        train("pldm", data=dots.episodes(1), options=dots.options("pldm"))


def first_gradients(recipe: str, **changes: object) -> tuple[dict[str, torch.Tensor], float]:
    """As `small.first_gradients`, of a world model."""
    config, samples = fitted(recipe, **changes)
    model = build(config)
    batches = Batches(samples, config.hold_out(samples)[0], config.train, rank(), world_size())
    stepper = Stepper(model, adamw(model, config.train), config.train, batches.start)
    logged = stepper(0, next(batches.stream(0)))
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, logged["loss"]
