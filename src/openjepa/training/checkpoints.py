"""Checkpoints: complete or absent, safetensors and JSON, the last few kept."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from openjepa.errors import UserError
from openjepa.hub.store import (
    WEIGHTS,
    complete_or_absent,
    library_version,
    load_weights,
    read_json,
    read_tensors,
    refuse_pickle,
    replace_json,
    write_json,
    write_tensors,
)
from openjepa.jepa import JEPA

MOMENTS, SCALARS = "state.safetensors", "state.json"
RESTORED = ("step", "rollbacks", "healthy", "metrics_bytes")


@dataclass
class State:
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
        """Oldest first."""
        return sorted(path for path in self.root.glob("step-*") if path.is_dir())

    def newest(self) -> Path | None:
        """The latest, if there is one."""
        return next(reversed(self.all()), None)

    def save(self, state: State) -> Path:
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
                write_tensors(partial / WEIGHTS, state.model.state_dict(), recipe)
                write_tensors(partial / MOMENTS, moments, recipe)
                write_json(partial / SCALARS, _scalars(state, counts))
        except UserError as error:
            kept = (
                f"{good} is complete: make room and continue with --resume"
                if good
                else "there is no earlier one"
            )
            raise UserError(f"checkpoint {error}; {kept}") from error
        self._prune()
        return path

    def load(self, path: Path, state: State) -> None:
        """Fill `state` from `path`.

        Raises:
            UserError: incomplete, truncated, pickled, of another recipe or config; `state` may then be half filled.
        """
        refuse_pickle(path / WEIGHTS)
        scalars = read_json(path / SCALARS)
        if missing := [key for key in ("config", "optimiser_steps", *RESTORED) if key not in scalars]:
            raise UserError(f"{path / SCALARS} is incomplete: it lacks {', '.join(missing)}")
        if scalars["config"] != state.model.config.model_dump(mode="json"):
            raise UserError(
                f"{path} was saved under another config ({_difference(scalars.get('config'), state.model.config)}): "
                "continue a run with the config.json it was started with"
            )
        load_weights(state.model, path / WEIGHTS)
        state.set_moments(read_tensors(path / MOMENTS), scalars["optimiser_steps"])
        for key in RESTORED:
            setattr(state, key, scalars[key])

    def load_newest(self, state: State) -> tuple[Path, list[str]]:
        """Fill `state` from the latest checkpoint that can be read; its path, and why later ones could not be.

        Raises:
            UserError: none can be read.
        """
        failures = []
        for path in reversed(self.all()):
            try:
                self.load(path, state)
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
        replace_json(path / SCALARS, scalars | {"rollbacks": rollbacks})

    def drop_after(self, path: Path) -> None:
        """Make `path` the newest."""
        for later in self.all():
            if later.name > path.name:
                shutil.rmtree(later)

    def _prune(self) -> None:
        paths = self.all()
        wanted = {*paths[-self.keep :], self.newest_healthy() if self.keep_healthy else None}
        for path in paths:
            if path not in wanted:
                shutil.rmtree(path, ignore_errors=True)


def _scalars(state: State, counts: Mapping[str, float]) -> dict[str, Any]:
    return {
        **{key: getattr(state, key) for key in RESTORED},
        "versions": {"openjepa": library_version(), "torch": torch.__version__},
        "config": state.model.config.model_dump(mode="json"),
        "optimiser_steps": counts,
    }


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
    name = next(key for key in (*old, *new) if old.get(key) != new.get(key))
    return f"{name} was {old.get(name)!r} and is {new.get(name)!r}"
