"""What a run directory tells, read without trusting it to be complete."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openjepa.common.reach import parse_json, read_json
from openjepa.common.renamed import current
from openjepa.errors import UserError

Line = dict[str, Any]


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

    @property
    def signal(self) -> str:
        """The kind of the signal; empty where the config names none."""
        signal = self.config.get("signal")
        return str(signal.get("kind", "")) if isinstance(signal, Mapping) else ""

    @property
    def noun(self) -> str:
        """What the run's samples are called: under this name their number stands in `run.json`."""
        data = self.about.get("data")
        counts = data.items() if isinstance(data, Mapping) else ()
        return next((str(name) for name, count in counts if is_number(count)), "samples")

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
    config = current(_json(path / "config.json"))
    if not isinstance(config.get("recipe"), str):
        raise UserError(f"{path / 'config.json'} is not a config of OpenJEPA: it names no recipe")
    for part in ("train", "signal", "terms"):
        if not isinstance(config.get(part) or {}, dict):
            raise UserError(f"{path / 'config.json'}: {part} holds no options: restore it")
    about, probe, metrics = (path / name for name in ("run.json", "probe.json", "metrics.jsonl"))
    return Record(
        path,
        config,
        _json(about) if about.is_file() else {},
        _by_kind(_complete_lines(metrics)) if metrics.is_file() else {},
        _json(probe) if probe.is_file() else None,
    )


def is_number(value: Any) -> bool:
    """Whether a logged value is a number (NaN included, booleans not)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _json(path: Path) -> dict[str, Any]:
    data = read_json(path)
    if not isinstance(data, dict):
        raise UserError(f"{path} holds a {type(data).__name__} where an object belongs; name another run")
    return data


def _complete_lines(path: Path) -> Iterable[Line]:
    """A run that was killed, or still writes, may end in half a line; that line is left out."""
    for text in path.read_text(errors="replace").splitlines():
        try:
            line = parse_json(text, str(path))
        except UserError:
            continue
        if isinstance(line, dict) and is_number(line.get("step")):
            yield line


def _by_kind(lines: Iterable[Line]) -> dict[str, list[Line]]:
    kinds: dict[str, list[Line]] = {}
    for line in lines:
        kinds.setdefault(str(line.get("kind")), []).append(line)
    return kinds
