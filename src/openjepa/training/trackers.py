"""Experiment trackers that a run's metrics go to as well (`train.log`): csv files, TensorBoard, W&B, Trackio.

`metrics.jsonl` stays the run's record. A tracker is told what is appended to it, and one that fails is left out from
there on: it never stops a run.
"""

import csv
import importlib
import math
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Protocol

from openjepa.common import files
from openjepa.errors import UserError, warn

FOLDER = "logs"
"""Where a run's directory keeps what trackers write."""
PROJECT = "openjepa"


class Tracker(Protocol):
    """What a tracker is told.

    It is opened with `(folder, config, step)`: a folder of its own, which may hold what it wrote before; the run's
    plain config; and the steps that are done: whatever it has of this step and of later ones is to be forgotten.
    `needs` names its library, or is `None`. Any exception that it raises ends it, and not the run.
    """

    needs: ClassVar[str | None]

    def __init__(self, folder: Path, config: Mapping[str, Any], step: int) -> None: ...

    def log(self, kind: str, step: int, numbers: Mapping[str, float]) -> None:
        """Numbers by name, all finite, of one step; `kind` is `train`, `health` or `verdict`."""

    def tell(self, kind: str, step: int, text: str) -> None:
        """A verdict or an event in words."""

    def close(self) -> None:
        """Nothing follows."""


class CSV:
    """`train.csv`, `health.csv` and `verdict.csv`, one row a line with its step; a new number becomes a new column."""

    needs: ClassVar[str | None] = None

    def __init__(self, folder: Path, config: Mapping[str, Any], step: int) -> None:
        self.folder = folder
        self._columns: dict[str, list[str]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob("*.csv"):
            with path.open(newline="") as file:
                rows = [row for row in csv.DictReader(file) if int(row["step"]) < step]
            self._write(path.stem, list(rows[0]) if rows else [], rows)

    def log(self, kind: str, step: int, numbers: Mapping[str, float]) -> None:
        columns = self._columns.get(kind, [])
        row = {"step": step, **numbers}
        path = self.folder / f"{kind}.csv"
        if row.keys() <= set(columns):
            with path.open("a", newline="") as file:
                csv.DictWriter(file, columns).writerow(row)
            return
        before: list[dict[str, Any]] = []
        if columns:
            with path.open(newline="") as file:
                before = list(csv.DictReader(file))
        self._write(kind, [*columns, *(name for name in row if name not in columns)], [*before, row])

    def tell(self, kind: str, step: int, text: str) -> None: ...
    def close(self) -> None: ...

    def _write(self, kind: str, columns: list[str], rows: Iterable[Mapping[str, Any]]) -> None:
        path = self.folder / f"{kind}.csv"
        if not columns:
            path.unlink(missing_ok=True)
            return
        with files.partial(path).open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
        os.replace(files.partial(path), path)
        self._columns[kind] = columns


class TensorBoard:
    """Event files of `torch.utils.tensorboard`: scalars named `train/loss`, verdicts and events as text."""

    needs: ClassVar[str | None] = "tensorboard"

    def __init__(self, folder: Path, config: Mapping[str, Any], step: int) -> None:
        module = importlib.import_module("torch.utils.tensorboard")
        self._writer = module.SummaryWriter(str(folder), purge_step=step if folder.is_dir() else None)

    def log(self, kind: str, step: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(f"{kind}/{name}", value, step)

    def tell(self, kind: str, step: int, text: str) -> None:
        self._writer.add_text(kind, text, step)

    def close(self) -> None:
        self._writer.close()


class WandB:
    """One run of Weights & Biases in the project `openjepa`, or in `WANDB_PROJECT`; its name is the run's folder.

    Its steps never fall: what a run that goes back does again is not shown a second time.
    """

    needs: ClassVar[str | None] = "wandb"

    def __init__(self, folder: Path, config: Mapping[str, Any], step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._run = importlib.import_module("wandb").init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=_run_of(folder),
            id=_identity(folder),
            resume="allow",
            dir=str(folder),
            config=dict(config),
        )

    def log(self, kind: str, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log({f"{kind}/{name}": value for name, value in numbers.items()}, step=step)

    def tell(self, kind: str, step: int, text: str) -> None:
        self._run.summary[kind] = text

    def close(self) -> None:
        self._run.finish()


class Trackio:
    """One run of Trackio in the project `openjepa`; its name is the run's folder and a number of its own."""

    needs: ClassVar[str | None] = "trackio"

    def __init__(self, folder: Path, config: Mapping[str, Any], step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._library = importlib.import_module("trackio")
        name = f"{_run_of(folder)}-{_identity(folder)}"
        self._library.init(project=PROJECT, name=name, config=dict(config), resume="allow")

    def log(self, kind: str, step: int, numbers: Mapping[str, float]) -> None:
        self._library.log({f"{kind}/{name}": value for name, value in numbers.items()}, step=step)

    def tell(self, kind: str, step: int, text: str) -> None: ...
    def close(self) -> None:
        self._library.finish()


TRACKERS: dict[str, type[Tracker]] = {
    "csv": CSV,
    "tensorboard": TensorBoard,
    "wandb": WandB,
    "trackio": Trackio,
}
"""By the names that `train.log` takes; one of your own is entered here."""


def require_known(names: Iterable[str]) -> None:
    """Raises UserError for an unknown tracker, or one whose library is not installed; it names the extra."""
    for name in names:
        if name not in TRACKERS:
            raise UserError(f"train.log {name!r} is none of {', '.join(TRACKERS)}")
        library = TRACKERS[name].needs
        if library and find_spec(library) is None:
            raise UserError(f"train.log {name} needs {library}: pip install 'openjepa[{library}]'")


class Trackers:
    """All trackers of a run; they are opened when the first line comes.

    Args:
        path: the run's directory.
        names: of `TRACKERS`.
        config: the run's plain config.
    """

    def __init__(self, path: Path, names: Iterable[str], config: Mapping[str, Any]) -> None:
        self.folder, self.names, self.config = path / FOLDER, list(names), config
        self._open: dict[str, Tracker] | None = None
        self._step = 0
        self._again: list[Mapping[str, Any]] = []

    def rewind(self, step: int, lines: Iterable[Mapping[str, Any]]) -> None:
        """The run goes on from where `step` steps are done; `lines` of its metrics are of this step and remain."""
        self.close()
        self._open, self._step, self._again = None, step, list(lines)

    def log(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """A line of the metrics."""
        if not self.names:
            return
        if self._open is None:
            self._open = {}
            for name in self.names:
                self._guarded(name, lambda name=name: self._start(name))
            for line in self._again:
                rest = {key: value for key, value in line.items() if key not in ("kind", "step")}
                self._tell(line["kind"], line["step"], rest)
        self._tell(kind, step, values)

    def close(self) -> None:
        """Nothing follows, or the run goes back."""
        for name, tracker in list((self._open or {}).items()):
            self._guarded(name, tracker.close)
        self._open = {}

    def remove(self) -> None:
        """Take away what was written, of a run that failed before its first checkpoint; another may begin."""
        self.rewind(0, [])
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, name: str) -> None:
        assert self._open is not None
        self._open[name] = TRACKERS[name](self.folder / name, self.config, self._step)

    def _tell(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        numbers = {key: value for key, value in values.items() if _is_finite(value)}
        words = _in_words(kind, values)
        for name, tracker in list((self._open or {}).items()):
            if numbers:
                self._guarded(name, lambda tracker=tracker: tracker.log(kind, step, numbers))
            if words and name in (self._open or {}):
                self._guarded(name, lambda tracker=tracker: tracker.tell(kind, step, words))

    def _guarded(self, name: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            assert self._open is not None
            self._open.pop(name, None)
            self.names = [other for other in self.names if other != name]
            warn(
                f"{name} has failed ({type(error).__name__}: {error}): nothing more is logged to it; the run goes on, "
                "and its metrics.jsonl has everything"
            )


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _in_words(kind: str, values: Mapping[str, Any]) -> str:
    """A verdict or an event as one text; empty for others."""
    if kind == "event":
        return str(values.get("text", ""))
    if kind != "verdict":
        return ""
    found = f"{values.get('word')}: {values.get('reason')}"
    return f"{found}; {values['advice']}" if values.get("advice") else found


def _run_of(folder: Path) -> str:
    """The name of the run whose tracker's folder this is."""
    return folder.resolve().parents[1].name


def _identity(folder: Path) -> str:
    """By which a service knows the run again when it is resumed; drawn once."""
    path = folder / "id.json"
    if not path.is_file():
        files.replace_json(path, {"id": uuid.uuid4().hex[:12]})
    return str(files.read_json(path)["id"])
