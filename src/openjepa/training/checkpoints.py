"""Checkpoints: complete or absent, safetensors and JSON, the last few kept."""

import hashlib
import json
import shutil
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from openjepa.common.files import (
    WEIGHTS,
    checkpoints,
    complete_or_absent,
    library_version,
    read_json,
    read_tensors,
    reason,
    refuse_pickle,
    remove,
    replace_json,
    step_of,
    write_json,
    write_tensors,
)
from openjepa.common.renamed import current
from openjepa.errors import UserError
from openjepa.hub.store import load_weights
from openjepa.jepa import JEPA
from openjepa.recipes import Recipe

MOMENTS, SCALARS = "state.safetensors", "state.json"
MOMENT_NAMES = ("exp_avg", "exp_avg_sq")
RESTORED = ("step", "rollbacks", "healthy", "metrics_bytes")
SEAL = "sha256"
"""Key of the checksum of everything else in `state.json`."""


@dataclass
class TrainingState:
    """Everything that a run's next step depends on, besides its config and data.

    Attributes:
        step: optimiser steps done.
        rollbacks: times the run went back after a collapse; each halves the learning rate.
        healthy: whether the latest verdict was fine.
        metrics_bytes: length of metrics.jsonl when this was saved.
    """

    model: JEPA
    optimiser: torch.optim.Optimizer
    step: int = 0
    rollbacks: int = 0
    healthy: bool = True
    metrics_bytes: int = 0
    _names: dict[Tensor, str] = field(init=False)

    def __post_init__(self) -> None:
        self._names = {parameter: name for name, parameter in self.model.named_parameters()}

    def moments(self) -> tuple[dict[str, Tensor], dict[str, float]]:
        """AdamW's moments as `parameter/moment`, and its step count by parameter."""
        tensors, counts = {}, {}
        for parameter, values in self.optimiser.state.items():
            name = self._names[parameter]
            counts[name] = float(values["step"])
            tensors |= {f"{name}/{key}": value for key, value in values.items() if key != "step"}
        return tensors, counts

    def check_moments(self, tensors: Mapping[str, Tensor], counts: Mapping[str, float], path: Path) -> None:
        """Raises UserError where `path` holds what `moments` cannot have written for this model."""
        shapes = {f"{self._names[p]}/{key}": p.shape for p in self._names for key in MOMENT_NAMES}
        wanted = {f"{name}/{key}" for name in counts for key in MOMENT_NAMES}
        wrong = sorted(wanted ^ tensors.keys()) or sorted(
            name
            for name, tensor in tensors.items()
            if tensor.shape != shapes.get(name) or (name.endswith("_sq") and (tensor < 0).any())
        )
        if wrong:
            raise UserError(
                f"{path} is no optimiser state of this model: {wrong[0]} is missing, unknown or has values that it "
                "cannot have"
            )

    def set_moments(self, tensors: Mapping[str, Tensor], counts: Mapping[str, float]) -> None:
        """The inverse of `moments`; they lie in memory as their parameters do, which fused AdamW takes for granted."""
        self.optimiser.state.clear()
        for parameter, name in self._names.items():
            if name in counts:
                prefix = name + "/"
                own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
                moments = {
                    key: torch.empty_like(parameter, dtype=value.dtype).copy_(value)
                    for key, value in own.items()
                }
                count = torch.tensor(counts[name], dtype=torch.float32, device=parameter.device)
                self.optimiser.state[parameter] = {"step": count, **moments}


class Checkpoints:
    """The directories `step-000123` under `root`, named by the steps done.

    The last `keep` stay; with `keep_healthy` also the last one saved under a fine verdict, to go back to.
    """

    def __init__(self, root: Path, keep: int, keep_healthy: bool) -> None:
        self.root, self.keep, self.keep_healthy = root, keep, keep_healthy

    def all(self) -> list[Path]:
        """Oldest first, by the number in their names."""
        return checkpoints(self.root)

    def newest(self) -> Path | None:
        """The latest, if there is one."""
        return next(reversed(self.all()), None)

    def save(self, state: TrainingState) -> Path:
        """Write one, then remove those that are no longer wanted.

        Raises:
            UserError: the disk is full or refuses; names the last good checkpoint, which is untouched.
        """
        path = self.root / f"step-{state.step:06d}"
        good = self.newest()
        moments, counts = state.moments()
        recipe = state.model.config.recipe
        try:
            with complete_or_absent(path) as partial:
                checksums = {
                    WEIGHTS: write_tensors(partial / WEIGHTS, state.model.state_dict(), recipe),
                    MOMENTS: write_tensors(partial / MOMENTS, moments, recipe),
                }
                write_json(partial / SCALARS, _sealed(_scalars(state, counts) | {"checksums": checksums}))
        except UserError as error:
            kept = (
                f"{good} is complete: make room and continue with --resume"
                if good
                else "there is no earlier one"
            )
            raise UserError(f"checkpoint {error}; {kept}") from error
        self._prune()
        return path

    def load(self, path: Path, state: TrainingState) -> None:
        """Fill `state` from `path`.

        Raises:
            UserError: incomplete, damaged, pickled, of another recipe or config; `state` may then be half filled.
        """
        refuse_pickle(path / WEIGHTS)
        scalars = _checked(path, state.model.config)
        checksums = scalars.get("checksums", {})
        load_weights(state.model, path / WEIGHTS, checksums.get(WEIGHTS))
        moments = read_tensors(path / MOMENTS, checksums.get(MOMENTS))
        state.check_moments(moments, scalars["optimiser_steps"], path / MOMENTS)
        state.set_moments(moments, scalars["optimiser_steps"])
        for key in RESTORED:
            setattr(state, key, scalars[key])

    def load_newest(self, state: TrainingState) -> tuple[Path, list[str]]:
        """Fill `state` from the latest checkpoint that can be read; its path, and why later ones could not be.

        Raises:
            UserError: none can be read.
        """
        return self._latest(lambda path: self.load(path, state))

    def load_model(self, model: JEPA) -> tuple[Path, list[str]]:
        """The same for the model alone."""
        return self._latest(lambda path: load_weights(model, path / WEIGHTS))

    def _latest(self, load: Callable[[Path], None]) -> tuple[Path, list[str]]:
        failures = []
        for path in reversed(self.all()):
            try:
                load(path)
                return path, failures
            except UserError as error:
                failures.append(str(error))
        raise UserError(failures[0] if failures else f"{self.root} holds no checkpoint: start the run again")

    def newest_healthy(self) -> Path | None:
        """The latest that was saved under a fine verdict."""
        return next((path for path in reversed(self.all()) if _healthy(path)), None)

    def note_rollback(self, path: Path, rollbacks: int) -> None:
        """Write into a checkpoint how often the run has gone back."""
        scalars = read_json(path / SCALARS)
        try:
            replace_json(path / SCALARS, _sealed(scalars | {"rollbacks": rollbacks}))
        except OSError as error:
            raise UserError(f"{path / SCALARS} cannot be written ({reason(error)}): make room") from error

    def lengthen(self, before: Collection[int], config: Recipe) -> None:
        """Let checkpoints that were saved when the run was to have so many steps (`before`) be those of `config`."""
        steps = config.train.steps
        for path in self.all():
            try:
                scalars = read_json(path / SCALARS)
            except UserError:
                continue  # `load` names it
            training = current(scalars.get("config") or {}).get("train", {})
            sound = SEAL in scalars and scalars == _sealed(scalars)
            if sound and training.get("steps") != steps and training.get("steps") in before:
                scalars["config"]["train"]["steps"] = steps
                replace_json(path / SCALARS, _sealed(scalars))

    def drop_after(self, path: Path) -> None:
        """Make `path` the newest."""
        for later in reversed(self.all()):
            if step_of(later) > step_of(path):
                remove(later)

    def _prune(self) -> None:
        paths = self.all()
        wanted = {*paths[-self.keep :], self.newest_healthy() if self.keep_healthy else None}
        for path in paths:
            if path not in wanted:
                with suppress(UserError):  # too many do no harm
                    remove(path)
        for left in self.root.glob(".step-*"):  # by a save or a removal that was interrupted
            shutil.rmtree(left, ignore_errors=True)


def _scalars(state: TrainingState, counts: Mapping[str, float]) -> dict[str, Any]:
    return {
        **{key: getattr(state, key) for key in RESTORED},
        "versions": {"openjepa": library_version(), "torch": torch.__version__},
        "config": state.model.config.model_dump(mode="json"),
        "optimiser_steps": counts,
    }


def _sealed(scalars: Mapping[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in scalars.items() if key != SEAL}
    return {**rest, SEAL: hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()}


def _checked(path: Path, config: Recipe) -> dict[str, Any]:
    """A checkpoint's scalars; those of before have no seal. Raises UserError where they cannot be right."""
    file = path / SCALARS
    scalars = read_json(file)
    if missing := [key for key in ("config", "optimiser_steps", *RESTORED) if key not in scalars]:
        raise UserError(f"{file} is incomplete: it lacks {', '.join(missing)}")
    if SEAL in scalars and scalars != _sealed(scalars):
        raise UserError(f"{file} is damaged, its checksum is another: restore it from a copy")
    saved = current(scalars["config"])
    if _completed(saved, config) != config.model_dump(mode="json"):
        raise UserError(
            f"{path} was saved under another config ({_difference(saved, config)}): "
            "continue a run with the config.json it was started with"
        )
    if not _is_count(scalars["step"]) or not scalars["step"] == step_of(path) <= config.train.steps:
        raise UserError(f"{file} says that {scalars['step']!r} of {config.train.steps} steps are done")
    counts, checksums = scalars["optimiser_steps"], scalars.get("checksums", {})
    sound = {
        "rollbacks": _is_count(scalars["rollbacks"]),
        "healthy": isinstance(scalars["healthy"], bool),
        "metrics_bytes": _is_count(scalars["metrics_bytes"]),
        "optimiser_steps": isinstance(counts, dict)
        and all(isinstance(n, int | float) and 0 <= n <= config.train.steps for n in counts.values()),
        "checksums": isinstance(checksums, dict),
    }
    if wrong := [key for key, holds in sound.items() if not holds]:
        raise UserError(f"{file} has a {wrong[0]} that cannot be: restore it from a copy")
    return scalars


def _completed(saved: Any, config: Recipe) -> Any:
    """A saved config with options that are newer than it, as it was without them."""
    try:
        return type(config).parse(saved).model_dump(mode="json")
    except (UserError, TypeError, ValueError):
        return saved


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _healthy(path: Path) -> bool:
    try:
        return bool(read_json(path / SCALARS)["healthy"])
    except (UserError, KeyError):
        return False


def _difference(saved: Any, config: Any) -> str:
    """The first option in which a saved config differs."""

    def flat(data: Any, prefix: str = "") -> dict[str, Any]:
        if not isinstance(data, Mapping):
            return {prefix.rstrip("."): data}
        return {k: v for key, value in data.items() for k, v in flat(value, f"{prefix}{key}.").items()}

    old, new = flat(saved), flat(config.model_dump(mode="json"))
    name = next((key for key in (*old, *new) if old.get(key) != new.get(key)), "an option")
    return f"{name} was {old.get(name)!r} and is {new.get(name)!r}"
