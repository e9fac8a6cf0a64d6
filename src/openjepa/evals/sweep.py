"""A sweep: runs of one recipe over a grid of options and seeds, trained by any number of processes, in one table.

A folder holds one run a point of the grid. What has ended is not trained again, what was interrupted goes on, and what
another process is training is left to it: several sweeps of one folder share the work by the runs' locks.
"""

import csv
import hashlib
import io
import itertools
import json
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from openjepa.common import files
from openjepa.common.lock import InUse, in_use
from openjepa.common.text import aligned
from openjepa.errors import UserError
from openjepa.evals.protocol import Kind as ProbeKind
from openjepa.evals.runs import probe_runs, training_cost
from openjepa.evals.table import Z95, ProbeTable, Score, student
from openjepa.health.gains import gain
from openjepa.recipes import Recipe
from openjepa.signals.label_table import LabelTable
from openjepa.training import Run, carry_on, has_ended
from openjepa.training.fastest import as_chosen, chosen, way
from openjepa.training.loop import RunProgress
from openjepa.training.start import open_data

ABOUT, TABLE, SCORES, PRECISION = "sweep.json", "sweep.csv", "sweep-scores.json", "precision.json"
LABEL_FREE: Literal["label-free"] = "label-free"
OURS = "model"
LONGEST_NAME = 120
Kind = Literal["label-free", "linear", "knn", "attentive"]
RunState = Literal["ended", "running", "interrupted", "failed", "waiting"]


@dataclass(frozen=True)
class SweepPoint:
    """One run of a sweep.

    Attributes:
        settings: what is varied, by dotted option.
        adapt: see `openjepa.training.start`.
    """

    settings: Mapping[str, str]
    seed: int
    config: Recipe
    path: Path
    adapt: bool = True

    @property
    def name(self) -> str:
        return self.path.name


@dataclass(frozen=True)
class Judged:
    """What the score of a sweep is.

    Attributes:
        kind: the gain on tasks without labels since step 0 (see `openjepa.health.gains`), or a probe.
        data: labelled samples; `None`: the data of the run.
        test: labelled samples to test on; `None`: the test split of `data`.
        labels: a table of labels, in the place of the data's own.
    """

    kind: Kind = LABEL_FREE
    data: str | None = None
    test: str | None = None
    labels: LabelTable = field(default_factory=LabelTable)

    @property
    def key(self) -> str:
        """What a kept score was asked for."""
        asked = {"kind": self.kind, "data": self.data, "test": self.test}
        return json.dumps(asked | {"labels": self.labels.model_dump(mode="json")}, sort_keys=True)

    def score(self, run: Path) -> None:
        """Probe a run that has ended, and keep the model's score in it."""
        table = probe_runs(
            [run], data=self.data, test=self.test, labels=self.labels, kinds=[self._probe], classical="none"
        )
        kept = ProbeTable([table.score(OURS, self.kind)]).to_dict()
        files.replace_json(run / SCORES, _scores_in(run) | {self.key: kept})

    def scored(self, run: Path) -> Score | None:
        """The kept score of a run; `None` where this was not asked for."""
        try:
            return ProbeTable.from_dict(_scores_in(run)[self.key]).scores[0]
        except (KeyError, IndexError, TypeError, ValueError):
            return None

    def done(self, run: Path) -> bool:
        """Whether a run has been trained, and probed where that is asked for."""
        return has_ended(run) and (self.kind == LABEL_FREE or self.scored(run) is not None)

    @property
    def _probe(self) -> ProbeKind:
        assert self.kind != LABEL_FREE
        return self.kind


@dataclass(frozen=True)
class SweepRow:
    """One setting over its seeds.

    Attributes:
        scores: of the runs that have ended, by seed.
        low, high: ends of the 95 % interval of the mean: over seeds by Student's t, of one run by its own; `None` where
            nothing has ended.
        verdicts: how many runs have which.
        minutes: CPU minutes of a run, the mean; `None` where they are not known.
        states: how many runs are in which.
    """

    settings: dict[str, str]
    scores: dict[int, float]
    low: float | None
    high: float | None
    verdicts: dict[str, int]
    minutes: float | None
    states: dict[str, int]

    @property
    def mean(self) -> float:
        """Over the runs that have ended; NaN where there is none."""
        return math.fsum(self.scores.values()) / len(self.scores) if self.scores else math.nan


@dataclass(frozen=True)
class SweepTable:
    """A row a setting, the best first.

    Attributes:
        score: the name of what is compared.
        share: whether it is shown in percent.
        failures: sentences of runs that failed, by name.
    """

    score: str
    share: bool
    rows: list[SweepRow]
    failures: dict[str, str]

    def cells(self) -> list[list[str]]:
        """A line of titles, and one for each row."""
        options = list(dict.fromkeys(option for row in self.rows for option in row.settings))
        lines = [[*options, "seeds", self.score, "verdict", "CPU minutes"]]
        for row in self.rows:
            ended, total = row.states.get("ended", 0), sum(row.states.values())
            seeds = f"{ended}" if ended == total else f"{ended} of {total}"
            others = [f"{count} {state}" for state, count in row.states.items() if state != "ended"]
            said = [f"{word} ({count})" if total > 1 else word for word, count in row.verdicts.items()]
            minutes = "–" if row.minutes is None else f"{row.minutes:,.1f}"
            settings = [row.settings.get(option, "") for option in options]
            lines.append([*settings, seeds, self._shown(row), ", ".join([*said, *others]), minutes])
        return lines

    def _shown(self, row: SweepRow) -> str:
        if not row.scores:
            return "not measured" if "ended" in row.states else "–"
        factor, digits = (100, 1) if self.share else (1, 3)
        told = f"{factor * row.mean:.{digits}f}"
        if row.low is None or row.high is None:
            return told
        return f"{told} [{factor * row.low:.{digits}f}, {factor * row.high:.{digits}f}]"

    def __str__(self) -> str:
        unit = "in %, " if self.share else ""
        said = f"{self.score}: {unit}with 95 % intervals over seeds, or of the one run."
        failed = [f"{name} failed: {why}" for name, why in self.failures.items()]
        return "\n".join([*aligned(self.cells()), "", said, *failed])

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        rows = [asdict(row) | {"mean": row.mean if row.scores else None} for row in self.rows]
        return {"score": self.score, "rows": rows, "failures": self.failures}


def grid(over: Iterable[str]) -> list[dict[str, str]]:
    """All settings of `train.lr=1e-3,3e-3` and the like; commas within brackets part nothing.

    Raises:
        UserError: no option or no value in one, or an option twice.

    Examples:
        >>> grid(["train.lr=1e-3,3e-3", "guard=vicreg"])
        [{'train.lr': '1e-3', 'guard': 'vicreg'}, {'train.lr': '3e-3', 'guard': 'vicreg'}]
    """
    axes: dict[str, list[str]] = {}
    for text in over:
        option, equals, values = text.partition("=")
        option = option.removeprefix("--").replace("-", "_")
        found = [value.strip() for value in re.split(r",(?![^\[]*\])", values)]
        if not (option and equals and all(found)):
            raise UserError(f"--over {text!r} is not OPTION=VALUE,VALUE, such as train.lr=1e-3,3e-3")
        if option in axes or len(set(found)) < len(found):
            raise UserError(
                f"--over names {option} or one of its values twice: give all values once, after one ="
            )
        axes[option] = found
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def points(
    out: str | Path,
    settings: Sequence[Mapping[str, str]],
    seeds: Sequence[int],
    configure: Callable[[Mapping[str, str], int], tuple[Recipe, bool]],
) -> list[SweepPoint]:
    """Every run of a sweep, its seeds side by side.

    Raises:
        UserError: what `configure` refuses, before any is trained.
    """
    if len(set(seeds)) < len(seeds):
        raise UserError("--seeds names one twice")
    found = []
    for seed in seeds:
        for setting in settings:
            config, adapt = configure(setting, seed)
            found.append(SweepPoint(setting, seed, config, Path(out) / _named(setting, seed), adapt))
    return found


def _named(setting: Mapping[str, str], seed: int) -> str:
    """A folder's name: `train.lr=1e-3_seed=0`."""
    full = "_".join(f"{option}={value}" for option, value in {**setting, "seed": str(seed)}.items())
    plain = re.sub(r"[^\w.=+\-]", "-", full)
    if plain == full and len(full) <= LONGEST_NAME:
        return full
    return f"{plain[:LONGEST_NAME]}-{hashlib.sha256(full.encode()).hexdigest()[:8]}"


def claim(out: str | Path, asked: Mapping[str, Any]) -> None:
    """Write down what all runs of a folder have in common, or compare with what is written there.

    Raises:
        UserError: the folder is of another sweep, or of something else.
    """
    path, plain = Path(out) / ABOUT, dict(asked)
    path.parent.mkdir(parents=True, exist_ok=True)
    before = _agreed(path, lambda: plain)
    for name in dict.fromkeys((*before, *plain)):
        if before.get(name) != plain.get(name):
            raise UserError(
                f"{out} holds a sweep with {name} {_told(before.get(name))}, not {_told(plain.get(name))}: give the "
                "same, or name another --out"
            )


def alike(out: str | Path, found: Sequence[SweepPoint]) -> list[SweepPoint]:
    """The runs with one precision and one attention where these are `auto`: measured once, else each run would choose.

    Raises:
        UserError: the data cannot be read.
    """
    open_ones = [point for point in found if "auto" in way(point.config).values()]
    if not open_ones:
        return list(found)

    def measured() -> dict[str, str]:
        return way(chosen(*open_data(open_ones[0].config, None, open_ones[0].adapt))[0])

    agreed = _agreed(Path(out) / PRECISION, measured)
    return [replace(point, config=as_chosen(point.config, agreed)) for point in found]


def _agreed(path: Path, value: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What the first process has written in a file."""
    if not path.exists():
        written = path.with_name(f"{path.name}.{os.getpid()}.partial")
        try:
            files.write_json(written, value())
            os.link(written, path)  # of several processes the first one writes
        except FileExistsError:
            pass
        finally:
            written.unlink(missing_ok=True)
    return files.read_json(path)


def _told(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {part}" for key, part in value.items()) or "none"
    return "none" if value in (None, "") else str(value)


def work(
    found: Sequence[SweepPoint],
    judged: Judged,
    progress: Callable[[str], RunProgress],
    command: str | None = None,
) -> dict[str, str]:
    """Train, one after the other, what no other process has and what has not ended; score it.

    Args:
        progress: given what is trained, gives who is told of it.

    Returns:
        Sentences of what failed, by the run's name; the others have gone on.

    Raises:
        KeyboardInterrupt: see `openjepa.training.stopping.Stopped`; a sweep that is started again goes on from there.
    """
    failures: dict[str, str] = {}
    for number, point in enumerate(found, 1):
        try:
            if not has_ended(point.path):
                told = progress(f"{number} of {len(found)}: {point.name}")
                carry_on(point.config, point.path, adapt=point.adapt, progress=told, command=command)
            if not judged.done(point.path):
                judged.score(point.path)
        except InUse:
            continue
        except UserError as error:
            failures[point.name] = str(error)
    return failures


def table(found: Sequence[SweepPoint], judged: Judged, failures: Mapping[str, str]) -> SweepTable:
    """What is known of all runs by now; what failed in one process may have been done by another."""
    done = {point.name for point in found if judged.done(point.path)}
    failures = {name: why for name, why in failures.items() if name not in done}
    groups: dict[tuple[tuple[str, str], ...], list[SweepPoint]] = {}
    for point in found:
        groups.setdefault(tuple(point.settings.items()), []).append(point)
    share = False
    rows = []
    for settings, group in groups.items():
        scores: dict[int, float] = {}
        alone: tuple[float, float] | None = None
        verdicts: Counter[str] = Counter()
        states = Counter(state_of(point.path, point.name in failures) for point in group)
        minutes = [training_cost(p.path).minutes for p in group if has_ended(p.path)]
        for point in group:
            if not has_ended(point.path):
                continue
            run = Run.open(point.path)
            verdicts[run.verdict().word] += 1
            if judged.kind == LABEL_FREE:
                gained = gain(run.readings())
                if gained is not None:
                    scores[point.seed] = gained.score
                    half = Z95 * gained.error
                    alone = gained.score - half, gained.score + half
            elif (score := judged.scored(point.path)) is not None:
                scores[point.seed], alone, share = score.mean, score.interval, score.is_share
        ends = student(list(scores.values())) if len(scores) > 1 else alone
        known = [value for value in minutes if value is not None]
        mean = math.fsum(known) / len(known) if known and len(known) == len(minutes) else None
        low, high = ends or (None, None)
        rows.append(SweepRow(dict(settings), scores, low, high, dict(verdicts), mean, dict(states)))
    rows.sort(key=lambda row: -row.mean if row.scores else math.inf)
    name = "label-free gain" if judged.kind == LABEL_FREE else f"{judged.kind} probe"
    return SweepTable(name, share, rows, dict(failures))


def write_table(out: str | Path, found: SweepTable) -> None:
    """The table as `sweep.csv`, each seed's score in a column of its own."""
    seeds = sorted({seed for row in found.rows for seed in row.scores})
    options = list(dict.fromkeys(option for row in found.rows for option in row.settings))
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([*options, "mean", "low", "high", "minutes", "verdicts", *(f"seed {s}" for s in seeds)])
    for row in found.rows:
        words = "; ".join(f"{word} {count}" for word, count in row.verdicts.items())
        writer.writerow(
            [row.settings.get(option, "") for option in options]
            + [row.mean if row.scores else "", row.low, row.high, row.minutes, words]
            + [row.scores.get(seed, "") for seed in seeds]
        )
    with files.whole(Path(out) / TABLE) as file:  # other processes of the sweep write it too
        file.write(text.getvalue().encode())


def state_of(path: Path, failed: bool = False) -> RunState:
    """Where a run stands."""
    if has_ended(path):
        return "ended"
    if failed:
        return "failed"
    if in_use(path):
        return "running"
    return "interrupted" if (path / files.CONFIG).is_file() else "waiting"


def _scores_in(run: Path) -> dict[str, Any]:
    try:
        return files.read_json(run / SCORES)
    except UserError:
        return {}
