"""Checkpoints are complete or absent, and never run code."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from openjepa.common import files
from openjepa.errors import UserError
from openjepa.recipes import build
from openjepa.signals.base import hold_out
from openjepa.training.checkpoints import Checkpoints, TrainingState
from openjepa.training.data import Batches
from openjepa.training.optim import adamw
from openjepa.training.step import Stepper

from . import small


def state(recipe: str = "i-jepa", steps: int = 0, **changes: object) -> TrainingState:
    """A model after some steps."""
    config, images = small.config(recipe, **changes), small.images()
    model = build(config)
    found = TrainingState(model, adamw(model, config.train))
    stepper = Stepper(model, found.optimiser, config.train, 0)
    stream = Batches(images, hold_out(images)[0], config.train).stream(0)
    for step in range(steps):
        stepper(step, next(stream))
        found.step += 1
    return found


@pytest.fixture
def store_of(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints", keep=2, keep_healthy=False)


def everything(found: TrainingState) -> dict[str, torch.Tensor]:
    moments, counts = found.moments()
    return found.model.state_dict() | moments | {name: torch.tensor(count) for name, count in counts.items()}


@pytest.mark.parametrize("recipe", small.RECIPES)
def test_round_trip(recipe: str, store_of: Checkpoints) -> None:
    saved, fresh = state(recipe, steps=2), state(recipe)
    saved.rollbacks, saved.healthy, saved.metrics_bytes = 2, False, 77
    path = store_of.save(saved)
    store_of.load(path, fresh)
    assert (fresh.step, fresh.rollbacks, fresh.healthy, fresh.metrics_bytes) == (2, 2, False, 77)
    before, after = everything(saved), everything(fresh)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert sorted(file.name for file in path.iterdir()) == [
        "model.safetensors",
        "state.json",
        "state.safetensors",
    ]


def test_the_last_ones_are_kept(store_of: Checkpoints) -> None:
    found = state()
    for found.step in range(5):
        store_of.save(found)
    assert [path.name for path in store_of.all()] == ["step-000003", "step-000004"]


def test_checkpoints_are_ordered_by_number(tmp_path: Path) -> None:
    checkpoints, found = Checkpoints(tmp_path, keep=2, keep_healthy=True), state(train__steps=3_000_000)
    for found.step in (999_990, 1_000_000, 2_000_000):
        path = checkpoints.save(found)
        assert checkpoints.newest() == path
    assert [path.name for path in checkpoints.all()] == ["step-1000000", "step-2000000"]
    (tmp_path / "step-by-step").mkdir()
    checkpoints.keep, found.step = 3, 999_990
    back = checkpoints.save(found)
    checkpoints.drop_after(back)
    assert checkpoints.all() == [back]


def test_the_last_healthy_one_is_kept_for_going_back(tmp_path: Path) -> None:
    checkpoints, found = Checkpoints(tmp_path, keep=1, keep_healthy=True), state()
    for found.step in range(5):
        found.healthy = found.step < 2
        checkpoints.save(found)
    assert [path.name for path in checkpoints.all()] == ["step-000001", "step-000004"]
    assert checkpoints.newest_healthy() == tmp_path / "step-000001"


@pytest.mark.parametrize("file", ["model.safetensors", "state.safetensors", "state.json"])
def test_a_full_disk_leaves_the_last_good_one(
    file: str, store_of: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = state(steps=1)
    good = store_of.save(found)
    before = {path.name: path.read_bytes() for path in good.iterdir()}

    def full(path: Path) -> None:
        if path.name == file:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "sync", full)
    found.step = 2
    with pytest.raises(UserError, match=r"No space left on device.*step-000001 is complete") as caught:
        store_of.save(found)
    assert "\n" not in str(caught.value)
    assert store_of.all() == [good]
    assert list(store_of.root.iterdir()) == [good]
    assert {path.name: path.read_bytes() for path in good.iterdir()} == before


def test_a_really_full_device() -> None:
    """The error of safetensors itself, not a simulated one."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    root = Path("/dev/full/checkpoints")
    with pytest.raises(UserError, match="cannot be written"):
        Checkpoints(root, 2, False).save(state())


def test_interrupted_saving_is_invisible(store_of: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the worst moment: everything is written, the name is not yet given."""
    found = state(steps=1)
    good = store_of.save(found)

    def interrupt(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", interrupt)
        found.step = 2
        with pytest.raises(KeyboardInterrupt):
            store_of.save(found)
    assert store_of.all() == [good]
    assert store_of.load_newest(state()) == (good, [])
    assert store_of.save(found).name == "step-000002"
    assert [path.name for path in store_of.root.iterdir() if "partial" in path.name] == []


@pytest.mark.parametrize("file", ["model.safetensors", "state.safetensors", "state.json"])
def test_truncated_falls_back_to_the_one_before(file: str, store_of: Checkpoints) -> None:
    found = state(steps=1)
    good = store_of.save(found)
    found.step = 2
    bad = store_of.save(found) / file
    bad.write_bytes(bad.read_bytes()[: bad.stat().st_size // 2])
    fresh = state()
    path, failures = store_of.load_newest(fresh)
    assert (path, fresh.step) == (good, 1)
    assert len(failures) == 1
    assert "truncated" in failures[0] and "step-000002" in failures[0]


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON or a safetensors file as another program would: it stays well-formed."""
    if path.suffix == ".json":
        data = json.loads(path.read_text())
        change(data)
        path.write_text(json.dumps(data))
        return
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata)


def flip(path: Path) -> None:
    """One bit in the middle of the last tensor."""
    data = bytearray(path.read_bytes())
    data[-30] ^= 4
    path.write_bytes(data)


def weights_for_moments(path: Path) -> None:
    weights = load_file(path / "model.safetensors")
    rewrite(
        path / "state.safetensors",
        lambda tensors: tensors.update({name: weights[name.rsplit("/", 1)[0]].clone() for name in tensors}),
    )


def lose_a_parameter(path: Path) -> None:
    name = next(iter(json.loads((path / "state.json").read_text())["optimiser_steps"]))
    rewrite(path / "state.json", lambda data: data["optimiser_steps"].pop(name))
    rewrite(
        path / "state.safetensors", lambda t: [t.pop(f"{name}/{key}") for key in ("exp_avg", "exp_avg_sq")]
    )


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a bit of the weights": lambda path: flip(path / "model.safetensors"),
    "a bit of the moments": lambda path: flip(path / "state.safetensors"),
    "weights for moments": weights_for_moments,
    "a parameter's moments lost": lose_a_parameter,
    "a moment lost": lambda path: rewrite(path / "state.safetensors", lambda tensors: tensors.popitem()),
    "a moment of another shape": lambda path: rewrite(
        path / "state.safetensors", lambda tensors: tensors.update({next(iter(tensors)): torch.zeros(3)})
    ),
    "all moments lost": lambda path: rewrite(path / "state.safetensors", lambda tensors: tensors.clear()),
    "a negative step": lambda path: rewrite(path / "state.json", lambda data: data.update(step=-5)),
    "another step": lambda path: rewrite(path / "state.json", lambda data: data.update(step=1)),
    "no step": lambda path: rewrite(path / "state.json", lambda data: data.update(step=None)),
    "a step count": lambda path: rewrite(
        path / "state.json",
        lambda data: data["optimiser_steps"].update({next(iter(data["optimiser_steps"])): -1}),
    ),
    "another rate": lambda path: rewrite(path / "state.json", lambda data: data.update(rollbacks=3)),
    "another verdict": lambda path: rewrite(path / "state.json", lambda data: data.update(healthy="no")),
}
SEEN_WITHOUT_CHECKSUMS = DAMAGES.keys() - {
    "a bit of the weights",
    "a bit of the moments",
    "a parameter's moments lost",
    "another rate",
}


def as_before(path: Path) -> None:
    """Take away what older versions did not write."""
    rewrite(path / "state.json", lambda data: (data.pop("checksums"), data.pop("sha256")))
    for name in ("model.safetensors", "state.safetensors"):
        save_file(
            load_file(path / name), path / name, {"format": "pt", "recipe": "i-jepa", "openjepa": "0.1"}
        )


@pytest.mark.parametrize("what", DAMAGES)
def test_what_was_damaged_is_skipped_by_name(what: str, store_of: Checkpoints) -> None:
    found = state(steps=1)
    good = store_of.save(found)
    found.step = 2
    bad = store_of.save(found)
    if what in SEEN_WITHOUT_CHECKSUMS:
        as_before(bad)
    DAMAGES[what](bad)
    fresh = state()
    path, failures = store_of.load_newest(fresh)
    assert (path, fresh.step, fresh.rollbacks) == (good, 1, 0)
    assert len(failures) == 1 and str(bad) in failures[0] and "\n" not in failures[0]


def test_files_of_two_checkpoints_do_not_mix(store_of: Checkpoints) -> None:
    found = state(steps=1)
    first = store_of.save(found)
    found.step, parameter = 2, next(found.model.parameters())
    parameter.data += 1
    second = store_of.save(found)
    (second / "model.safetensors").write_bytes((first / "model.safetensors").read_bytes())
    assert store_of.load_newest(state())[0] == first


def test_checkpoints_of_before_have_no_checksums(store_of: Checkpoints) -> None:
    saved, fresh = state(steps=2), state()
    as_before(store_of.save(saved))
    assert store_of.load_newest(fresh)[1] == []
    before, after = everything(saved), everything(fresh)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_removal_that_was_interrupted_leaves_no_half(
    store_of: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = state()
    for found.step in (1, 2):
        store_of.save(found)

    def interrupt(path: Path, ignore_errors: bool = False) -> None:
        if path.is_dir() and path.name.endswith(".gone"):
            (path / "state.json").unlink()
            raise KeyboardInterrupt

    found.step = 3
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", interrupt)
        with pytest.raises(KeyboardInterrupt):
            store_of.save(found)
    assert [path.name for path in store_of.all()] == ["step-000002", "step-000003"]
    found.step = 4
    store_of.save(found)
    assert [path.name for path in store_of.root.iterdir() if path.name.startswith(".")] == []


def test_none_readable_is_one_sentence(store_of: Checkpoints) -> None:
    with pytest.raises(UserError, match="holds no checkpoint"):
        store_of.load_newest(state())
    path = store_of.save(state())
    (path / "state.json").write_text("{}")
    with pytest.raises(UserError, match="is incomplete: it lacks config"):
        store_of.load_newest(state())


def test_another_config_is_refused_by_name(store_of: Checkpoints) -> None:
    path = store_of.save(state())
    with pytest.raises(UserError, match=r"train\.lr was 0\.001 and is 0\.002"):
        store_of.load(path, state(train__lr=2e-3))
    with pytest.raises(UserError, match="another config"):
        store_of.load(path, state("lejepa"))


def test_pickled_code_is_refused_and_never_run(store_of: Checkpoints, tmp_path: Path) -> None:
    witness = tmp_path / "witness"

    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(witness),)

    path = store_of.save(state())
    for disguise in (pickle.dumps(Payload()), None):
        if disguise is None:
            torch.save(Payload(), path / "model.safetensors")
        else:
            (path / "model.safetensors").write_bytes(disguise)
        with pytest.raises(UserError, match="pickled file, which can run code"):
            store_of.load(path, state())
        with pytest.raises(UserError, match="pickled"):
            store_of.load_newest(state())
    assert not witness.exists()


def test_scalars_are_plain_json(store_of: Checkpoints) -> None:
    scalars = json.loads((store_of.save(state(steps=1)) / "state.json").read_text())
    assert scalars["step"] == 1
    assert set(scalars["optimiser_steps"].values()) == {1.0}
    assert scalars["config"]["recipe"] == "i-jepa"
    assert scalars["versions"]["torch"] == torch.__version__
