"""A run's directory.

config.json    everything that was chosen                  checkpoints/  see `checkpoints`
run.json       command, versions, data                     model/        the trained model, for `openjepa.load`
metrics.jsonl  one JSON object a line, with "step" and "kind": train, health, verdict or event
"""

import json
import math
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from openjepa import plain
from openjepa.errors import UserError
from openjepa.health import Verdict
from openjepa.hub import store
from openjepa.jepa import JEPA
from openjepa.parallel import rank
from openjepa.recipes import Recipe
from openjepa.samples import Samples
from openjepa.training.checkpoints import Checkpoints

ABOUT = "run.json"


class Run:
    """An open run directory. Every process may read it; only the first writes."""

    def __init__(self, path: Path, config: Recipe) -> None:
        self.path, self.config, self.writes = path, config, rank() == 0
        training = config.train
        self.checkpoints = Checkpoints(
            path / "checkpoints", training.keep, training.on_collapse == "rollback"
        )

    @classmethod
    def create(cls, path: str | Path, config: Recipe, samples: Samples, command: str | None = None) -> "Run":
        """Start a directory.

        Raises:
            UserError: another run lies there, or it cannot be written.
        """
        run = cls(Path(path), config)
        if not run.writes:
            return run
        if (run.path / store.CONFIG).exists():
            raise UserError(
                f"{path} already holds a run: continue it with --resume {path}, or name another --out"
            )
        if run.path.exists() and (not run.path.is_dir() or any(run.path.iterdir())):
            raise UserError(f"{path} exists and is not an empty directory: name another --out")
        about = {"command": command, "versions": _versions(), "data": samples.describe()}
        try:
            run.checkpoints.root.mkdir(parents=True, exist_ok=True)
            store.write_json(run.path / ABOUT, about)
            run._metrics.touch()
            # last: a directory with a config is a run
            store.replace_json(run.path / store.CONFIG, config.model_dump(mode="json"))
        except OSError as error:
            raise UserError(
                f"{path} cannot be written ({store.reason(error)}): name another --out"
            ) from error
        return run

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """Raises UserError where there is no run."""
        path = Path(path)
        if not all((path / name).is_file() for name in (store.CONFIG, ABOUT)):  # a model has the config alone
            raise UserError(f"{path} holds no run: name a directory that `openjepa train` has written")
        return cls(path, store.read_config(path / store.CONFIG))

    @property
    def about(self) -> dict[str, Any]:
        """`command`, `versions` and `data` (see `Samples.describe`)."""
        return store.read_json(self.path / ABOUT)

    def check_data(self, samples: Samples) -> None:
        """Raises UserError when the run was started with other data."""
        then, now, noun = self.about["data"], samples.describe(), samples.noun
        if then["fingerprint"] != now["fingerprint"]:
            raise UserError(
                f"{self.path} was started with {then.get(noun, 0)} {noun} of {then['name']}, these are {now[noun]} of "
                f"{now['name']} with other contents: give the same data"
            )

    def log(self, kind: str, step: int, **values: Any) -> None:
        """Append a line; numbers that are not finite become null."""
        if not self.writes:
            return
        line = json.dumps({"step": step, "kind": kind, **{k: _finite(v) for k, v in values.items()}})
        try:
            with self._metrics.open("a") as file:
                file.write(line + "\n")
        except OSError as error:
            good = self.checkpoints.newest()
            raise UserError(
                f"{self._metrics} cannot be written ({store.reason(error)}); the last good checkpoint is {good}: "
                "make room and continue with --resume"
            ) from error

    def sync(self) -> int:
        """Bring the metrics to the disk; their length in bytes."""
        store.sync(self._metrics)
        return self._metrics.stat().st_size

    def rewind(self, length: int) -> None:
        """Cut the metrics back to what they were at a checkpoint."""
        if self.writes:
            os.truncate(self._metrics, min(length, self._metrics.stat().st_size))

    def records(self, kind: str) -> Iterator[dict[str, Any]]:
        """The lines of one kind, oldest first; a last line that was cut off is left out."""
        with self._metrics.open() as file:
            for line in file:
                if line.endswith("\n") and (record := json.loads(line))["kind"] == kind:
                    yield record

    def last(self, kind: str) -> dict[str, Any]:
        """The latest line of a kind; empty before the first."""
        record: dict[str, Any] = {}
        for record in self.records(kind):  # noqa: B007
            pass
        return record

    def readings(self) -> list[dict[str, float]]:
        """All measurements of health, as `openjepa.health.judge` takes them."""
        return [
            {key: math.nan if value is None else value for key, value in record.items() if key != "kind"}
            for record in self.records("health")
        ]

    def verdict(self) -> Verdict:
        """The latest. Raises UserError before the first."""
        record = self.last("verdict")
        if not record:
            raise UserError(f"{self.path} has no verdict yet: its first step was not reached")
        return Verdict(record["word"], record["reason"], record["advice"], record["step"])

    def discard_unbegun(self) -> None:
        """Remove a run that failed before its first checkpoint, so that its name is free for the next attempt."""
        if self.writes and self.checkpoints.newest() is None:
            shutil.rmtree(self.path, ignore_errors=True)

    def finish(self, model: JEPA, samples: Samples) -> None:
        """Write `model/`, and the files that proved unreadable on the way."""
        if self.writes:
            store.save_model(model, self.path / "model")
            about = self.about
            about["data"]["skipped"] = samples.describe()["skipped"]
            store.replace_json(self.path / ABOUT, about)

    @property
    def _metrics(self) -> Path:
        return self.path / "metrics.jsonl"


def read_config(path: str | Path) -> dict[str, Any]:
    """Plain config data from a run's directory, a JSON or a YAML file. Raises UserError when it is unreadable."""
    path = Path(path)
    path = path / store.CONFIG if path.is_dir() else path
    try:
        data = plain.parse(path.read_text())
    except (OSError, ValueError) as error:  # a UserError is one
        raise UserError(f"config {path} cannot be read: {store.reason(error)}") from None
    if not isinstance(data, dict):
        raise UserError(f"config {path} holds no options: write `name: value` lines")
    return data


def _versions() -> dict[str, str]:
    return {
        "openjepa": store.library_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
