"""What a run directory tells, read without trusting it to be complete."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openjepa.errors import UserError
from openjepa.evals.runs import PROBE
from openjepa.hub.store import read_json
from openjepa.training.metrics import Line, Metrics
from openjepa.training.run import ABOUT, METRICS


@dataclass(frozen=True)
class Record:
    """A run as its files tell it; every part but the config may be missing.

    Attributes:
        config: the recipe's dump.
        about: the command, the versions and the data as they were when the run was started.
        lines: the metrics, in the order in which they were written, by kind.
        probe: `evals.ProbeTable.to_dict`, or `None` before the first probe.
    """

    path: Path
    config: dict[str, Any]
    about: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, list[Line]] = field(default_factory=dict)
    probe: dict[str, Any] | None = None

    def kind(self, name: str) -> list[Line]:
        """All lines of a kind (`train`, `health`, `verdict`, `event`), oldest first."""
        return self.lines.get(name, [])

    def series(self, kind: str, key: str) -> tuple[list[int], list[float]]:
        """Steps and values of one number, where it was logged."""
        found = [(line["step"], line[key]) for line in self.kind(kind) if is_number(line.get(key))]
        return [int(step) for step, _ in found], [float(value) for _, value in found]

    def last(self, kind: str) -> Line:
        """The latest line of a kind; empty when there is none."""
        return next(reversed(self.kind(kind)), {})


def read_record(run_dir: str | Path) -> Record:
    """Read a run directory.

    Raises:
        UserError: it is no run directory, or a file in it is not the JSON that it should be.
    """
    path = Path(run_dir)
    if not (path / "config.json").is_file():
        raise UserError(
            f"{path} is not a run directory: it has no config.json; name a folder that `train` wrote"
        )
    config = read_json(path / "config.json")
    for name, value in config.items():
        if name in ("train", "signal") and not isinstance(value, dict):
            raise UserError(
                f"{path / 'config.json'} has a {name} that cannot be: restore it or name another run"
            )
    about, probe = path / ABOUT, path / PROBE
    return Record(
        path,
        config,
        _about(read_json(about)) if about.is_file() else {},
        _by_kind(Metrics(path / METRICS).lines()),
        read_json(probe) if probe.is_file() else None,
    )


def is_number(value: Any) -> bool:
    """Whether a logged value is a number (NaN included, booleans not)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _about(data: dict[str, Any]) -> dict[str, Any]:
    """What can be shown of `run.json`: without parts of the data's description that are something else."""
    found = data.get("data")
    trained = dict(found) if isinstance(found, dict) else {}
    skipped, shape = trained.get("skipped"), trained.get("shape")
    pairs = skipped if isinstance(skipped, list) else []
    trained["skipped"] = [pair for pair in pairs if isinstance(pair, list) and len(pair) == 2]
    if not (isinstance(shape, list) and len(shape) == 3 and all(type(side) is int for side in shape)):
        trained.pop("shape", None)
    return {**data, "data": trained}


def _by_kind(lines: Iterable[Line]) -> dict[str, list[Line]]:
    kinds: dict[str, list[Line]] = {}
    for line in lines:
        kinds.setdefault(str(line.get("kind")), []).append(line)
    return kinds
