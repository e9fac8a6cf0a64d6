"""A run's directory.

config.json    everything that was chosen                  checkpoints/  see `checkpoints`
run.json       command, versions, data                     model/        the trained model, for `openjepa.load`
logs/          what trackers write, see `trackers`
start/         of a run that began from trained weights (`init`): these
metrics.jsonl  one JSON object a line, with "step" and "kind": train, health, verdict or event
"""

import platform
import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from openjepa.common import files, plain
from openjepa.common.contents import changed, rewritten
from openjepa.common.distributed import rank
from openjepa.common.lock import LOCK, Lock
from openjepa.common.reach import regular
from openjepa.common.renamed import current
from openjepa.errors import UserError, warn
from openjepa.health import Verdict, judged
from openjepa.hub import store
from openjepa.jepa import JEPA
from openjepa.recipes import Recipe, Training, own
from openjepa.signals.base import Samples
from openjepa.training.checkpoints import Checkpoints, TrainingState
from openjepa.training.metrics import Line, Metrics
from openjepa.training.trackers import FOLDER, Trackers, require_known

ABOUT, METRICS = files.ABOUT, "metrics.jsonl"
START, LENGTHS, OVERWRITTEN = "start", "lengths", ".overwritten"
OUTCOMES = (
    *(files.MODEL, "model.onnx", "model.pt2", "probe.json", "probe", "report.html"),
    *("neighbours.html", "neighbours.samples.csv"),
    *("plan.json", "plan.films", "openloop.json", "remote.json", "sweep-scores.json"),
)
"""What commands leave in a run's directory about its trained model."""


class Run:
    """An open run directory. Every process may read it; only the first writes, under a lock where `train` holds one."""

    def __init__(self, path: Path, config: Recipe, lock: Lock | None = None) -> None:
        self.path, self.config, self.writes, self.lock = path, config, rank() == 0, lock
        self.metrics = Metrics(path / METRICS)
        training = config.train
        self.trackers = Trackers(path, training.log if self.writes else (), config.model_dump(mode="json"))
        self.checkpoints = Checkpoints(
            path / files.CHECKPOINTS, training.keep, training.on_collapse == "rollback"
        )

    @classmethod
    def create(
        cls,
        path: str | Path,
        config: Recipe,
        samples: Samples,
        command: str | None = None,
        lock: Lock | None = None,
        overwrite: bool = False,
    ) -> "Run":
        """Start a directory; with `overwrite` a run that lies there is removed.

        Raises:
            UserError: another run lies there, it cannot be written, or a tracker's library is missing.
        """
        require_known(config.train.log)
        run = cls(Path(path), config, lock)
        if not run.writes:
            return run
        if (run.path / files.CONFIG).exists():
            if not overwrite:
                raise UserError(
                    f"{path} already holds a run: continue it with --resume {path}, name another --out, or give "
                    "--overwrite (in Python overwrite=True) to lose it"
                )
            run.clear()
        elif run.path.exists() and not run.is_vacant():
            raise UserError(f"{path} exists and is not an empty directory: name another --out")
        about = {"command": command, "versions": _versions(), "data": samples.describe()}
        if came_from := own.origins(config):
            about["own"] = came_from
        try:
            run.checkpoints.root.mkdir(parents=True, exist_ok=True)
            files.replace_json(run.path / ABOUT, about)
            run.metrics.path.touch()
            # last: a directory with a config is a run
            files.replace_json(run.path / files.CONFIG, config.model_dump(mode="json"))
        except OSError as error:
            run.discard_unbegun()
            raise UserError(
                f"{path} cannot be written ({files.reason(error)}): make room, or name another --out"
            ) from error
        return run

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """Raises UserError where there is no run."""
        path = Path(path)
        signs = [name for name in (ABOUT, METRICS, files.CHECKPOINTS) if (path / name).exists()]
        if not signs:  # a model has the config alone
            raise UserError(f"{path} holds no run: name a directory that `openjepa train` has written")
        if not (path / files.CONFIG).is_file():
            raise UserError(
                f"{path} holds {signs[0]} but no {files.CONFIG}, which says what was trained: restore it"
                + (f", or name {path} as --out again" if cls.is_unbegun(path) else "")
            )
        own.check_run(path)
        return cls(path, store.read_config(path / files.CONFIG))

    @property
    def start(self) -> Path:
        """Where the weights are kept that the run began with, if it was given some."""
        return self.path / START

    @property
    def about(self) -> dict[str, Any]:
        """`command`, `versions` and `data` (see `Samples.describe`); of a damaged file what can be read of it."""
        try:
            about = files.read_json(self.path / ABOUT)
        except UserError as error:
            warn(f"{error}; going on without what it says of the command, the versions and the data")
            about = {}
        if not isinstance(about.get("data"), dict):
            about["data"] = {}
        return about

    def check_data(self, samples: Samples) -> None:
        """Raises UserError when the run was started with other data; warns where that cannot be told."""
        then, now, noun = self.about["data"], samples.describe(), samples.noun
        if "fingerprint" not in then:
            warn(
                f"{self.path / ABOUT} has no fingerprint of the data: whether they are the same is not known"
            )
            return
        before, contents = then.get("contents"), now.get("contents")
        if then["fingerprint"] != now["fingerprint"] or changed(before, contents):
            raise UserError(
                f"{self.path} was started with {then.get(noun, 0)} {noun} of {then.get('name')}, these are {now[noun]} "
                f"of {now['name']} with other contents: give the same data"
            )
        if then.get("name") == now["name"] and rewritten(before, contents):
            warn(
                f"files of {now['name']} have been written since {self.path} was started: are they the same?"
            )

    def log(self, kind: str, step: int, **values: Any) -> None:
        """Append a line; numbers that are not finite become null."""
        if self.writes:
            with self._writing(METRICS):
                self.metrics.append(kind, step, values)
            self.trackers.log(kind, step, values)

    def save(self, state: TrainingState) -> None:
        """A checkpoint, and the metrics that belong to it. Raises UserError; see `Checkpoints.save`."""
        if self.writes:
            with self._writing(METRICS):
                state.metrics_bytes = self.metrics.sync()
            self.checkpoints.save(state)
            shutil.rmtree(self._overwritten, ignore_errors=True)

    def keep_start(self, model: JEPA, came_from: dict[str, Any]) -> None:
        """Write down the weights that the run begins with, and where they are from."""
        if self.writes:
            with self._writing(START):
                store.save_model(model, self.start)
                files.replace_json(self.path / ABOUT, self.about | {"init": came_from})

    def lengthened(self, steps: int) -> "Run":
        """The run with `steps` in all, from its newest checkpoint on; its record says so.

        Raises:
            UserError: there is no checkpoint, or as many steps are done already.
        """
        newest, before = self.checkpoints.newest(), self.config.train.steps
        if newest is None:
            raise UserError(f"{self.path} was interrupted before its first checkpoint: start it again")
        done = files.step_of(newest)
        if steps <= done:
            raise UserError(
                f"{self.path} has done {done} steps: --steps is the run's whole length, so name more than these"
            )
        if steps == before:
            return self
        training = Training.parse(self.config.train.model_dump(mode="json") | {"steps": steps})
        config = self.config.model_copy(update={"train": training})
        if self.writes:
            with self._writing(files.CONFIG):
                lengths = [*self.lengths(), {"at": done, "before": before, "steps": steps}]
                files.replace_json(self.path / ABOUT, self.about | {LENGTHS: lengths})
                files.replace_json(self.path / files.CONFIG, config.model_dump(mode="json"))
        return Run(self.path, config, self.lock)

    def lengths(self) -> list[dict[str, int]]:
        """How the run's length was changed: after how many steps, from how many in all, to how many."""
        known = self.about.get(LENGTHS)
        return known if isinstance(known, list) else []

    def take_up(self) -> None:
        """Prepare a run that goes on: its checkpoints know of its length, and what was said of a model that it trains
        further is set aside, in `at-step-000123/`."""
        if not self.writes:
            return
        with self._writing(files.CHECKPOINTS):
            self.checkpoints.lengthen({entry["before"] for entry in self.lengths()}, self.config)
            newest = self.checkpoints.newest()
            if newest is None or files.step_of(newest) >= self.config.train.steps:
                return
            aside = self.path / f"at-{newest.name}"
            for path in (self.path / name for name in OUTCOMES):
                if path.exists():
                    aside.mkdir(exist_ok=True)
                    path.replace(aside / path.name)

    def clear(self) -> None:
        """Set the run aside, to start another one in its place; it is gone once that has a checkpoint.

        Raises:
            UserError: it is no run, or there is something else in its directory.
        """
        if not _is_about(self.path / ABOUT) or "recipe" not in files.read_json(self.path / files.CONFIG):
            raise UserError(f"{self.path} is no run, and is not overwritten: name another directory")
        ours = {files.CONFIG, ABOUT, METRICS, files.CHECKPOINTS, START, FOLDER, LOCK, OVERWRITTEN, *OUTCOMES}
        there = {path.name for path in self.path.iterdir()}
        if others := sorted(name for name in there - ours if not _is_passing(name)):
            raise UserError(
                f"{self.path} also holds {others[0]}, which no run writes, and is not overwritten: move it, or name "
                "another directory"
            )
        with self._writing(files.CONFIG):
            if (self._overwritten / files.CONFIG).is_file():
                self.discard_unbegun()  # killed before its first checkpoint: the run before it is to be kept
            shutil.rmtree(self._overwritten, ignore_errors=True)
            self._overwritten.mkdir()
            mine = [path for path in self.path.iterdir() if path.name not in (LOCK, OVERWRITTEN)]
            mine.sort(key=lambda path: path.name == files.CONFIG)  # last: until then it is a run
            for path in mine:
                path.replace(self._overwritten / path.name)

    @property
    def _overwritten(self) -> Path:
        """Where the run before lies until this one has a checkpoint."""
        return self.path / OVERWRITTEN

    def restart(self) -> None:
        """Empty the metrics of a run without a checkpoint."""
        if self.writes:
            with self._writing(METRICS):
                self.metrics.rewind(0, 0)
            self.trackers.rewind(0, [])

    def rewind(self, state: TrainingState) -> bool:
        """Cut the metrics back to what they were at a checkpoint; False where they have been changed since."""
        if not self.writes:
            return True
        with self._writing(METRICS):
            intact = self.metrics.rewind(state.metrics_bytes, state.step)
        if self.trackers.names:
            kept = [line for line in self.metrics.lines() if line["step"] >= state.step]
            self.trackers.rewind(state.step, kept)
        return intact

    def records(self, kind: str) -> Iterator[Line]:
        """The metrics' lines of one kind, oldest first."""
        return self.metrics.records(kind)

    def last(self, kind: str) -> Line:
        """The latest line of a kind; empty before the first."""
        return self.metrics.last(kind)

    def readings(self) -> list[dict[str, float]]:
        """All measurements of health, as `openjepa.health.judge` takes them."""
        return self.metrics.readings()

    def verdict(self) -> Verdict:
        """The latest. Raises UserError before the first."""
        record = self.last("verdict")
        if not record:
            raise UserError(
                f"{self.path} has no verdict: its first step was not reached, or {self.metrics.path.name} was lost"
            )
        return judged(record, self.readings(), self.config.train.steps, self.config.model_dump(mode="json"))

    def is_vacant(self) -> bool:
        """Whether a run may be started in the directory: it is empty, or a start there was cut short."""
        if not self.path.is_dir():
            return False
        there = {path.name for path in self.path.iterdir()} - {LOCK}
        return not there or self.is_unbegun(self.path)

    @staticmethod
    def is_unbegun(path: Path) -> bool:
        """Whether what lies in the directory is a run that was killed while `create` wrote it."""
        ours = {
            LOCK,
            ABOUT,
            METRICS,
            files.CHECKPOINTS,
            OVERWRITTEN,
            *(f"{name}.partial" for name in (ABOUT, files.CONFIG)),
        }
        checkpoints, metrics = path / files.CHECKPOINTS, path / METRICS
        return (
            {file.name for file in path.iterdir()} <= ours
            and not (checkpoints.is_dir() and any(checkpoints.iterdir()))
            and not (metrics.exists() and metrics.stat().st_size)
            and (not (path / ABOUT).exists() or _is_about(path / ABOUT))
        )

    def discard_unbegun(self) -> None:
        """Remove a run that failed before its first checkpoint, so that its name is free for the next attempt; a run
        that it was to overwrite comes back."""
        if not self.writes or self.checkpoints.newest() is not None:
            return
        for name in (files.CONFIG, ABOUT, METRICS):
            for file in (self.path / name, files.partial(self.path / name)):
                with suppress(OSError):
                    file.unlink(missing_ok=True)
        for folder in (self.checkpoints.root, self.start):
            shutil.rmtree(folder, ignore_errors=True)
        self.trackers.remove()
        if self._overwritten.is_dir():
            for path in self._overwritten.iterdir():
                path.replace(self.path / path.name)
            self._overwritten.rmdir()

    def finish(self, model: JEPA, samples: Samples) -> None:
        """Write `model/`, and the files that proved unreadable on the way."""
        if self.writes:
            with self._writing(files.MODEL):
                store.save_model(model, self.path / files.MODEL)
                about = self.about
                now = samples.describe()
                about["data"] = {**now, **about["data"], "skipped": now["skipped"]}
                files.replace_json(self.path / ABOUT, about)

    @contextmanager
    def _writing(self, name: str) -> Generator[None]:
        """Notice that the directory was taken away; put in one sentence why it cannot be written."""
        if self.lock:
            self.lock.check()
        try:
            yield
        except OSError as error:
            good = self.checkpoints.newest()
            raise UserError(
                f"{self.path / name} cannot be written ({files.reason(error)}); the last good checkpoint is {good}: "
                "make room and continue with --resume"
            ) from error


def read_config(path: str | Path) -> dict[str, Any]:
    """Plain config data from a run's directory, a JSON or a YAML file. Raises UserError when it is unreadable."""
    path = Path(path)
    if path.is_dir():
        own.check_run(path)
        path = path / files.CONFIG
    regular(path, plain.MOST_BYTES)
    try:
        data = plain.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # a UserError is one
        raise UserError(f"config {path} cannot be read: {files.reason(error)}") from None
    if not isinstance(data, dict):
        raise UserError(f"config {path} holds no options: write `name: value` lines")
    return current(data)


def _is_passing(name: str) -> bool:
    """Whether a file's name is one under which a run keeps what is unfinished or set aside."""
    return name.startswith("at-step-") or (
        name.startswith(".") and name.endswith((".partial", ".old", ".gone"))
    )


def _is_about(path: Path) -> bool:
    try:
        return path.stat().st_size == 0 or "versions" in files.read_json(path)
    except (OSError, UserError):
        return False


def _versions() -> dict[str, str]:
    return {
        "openjepa": files.library_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
