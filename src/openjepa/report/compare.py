"""Several runs on one page: scores, how their configs differ, and their curves over one another."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from os.path import commonpath
from pathlib import Path
from typing import Any

from openjepa.common import files
from openjepa.errors import UserError
from openjepa.evals.table import ProbeTable, title
from openjepa.health.gains import gain
from openjepa.report.charts import SERIES, Chart, CurveLine, colour_of, dash_of
from openjepa.report.curves import BOOKKEEPING, Figure, figure
from openjepa.report.headline import Headline, headline
from openjepa.report.record import Record, is_number, read_record
from openjepa.report.scores import OURS, probe_table
from openjepa.report.shown import render

MOST = 3 * len(SERIES)
"""Runs whose curves can be told apart."""
FITTED = "signal.mean", "signal.std", "signal.range", "train.log"
"""Options that the data or the machine decide, and that say nothing of an idea."""

CURVES: tuple[tuple[str, str, str, str], ...] = (
    (
        "train",
        "loss",
        "Loss",
        "What is minimised. Losses of other energies, guards or targets are no measure of one another.",
    ),
    ("train", "energy", "Energy", "The distance of the prediction from the target, in training."),
    (
        "health",
        "energy/model",
        "Energy on held-out samples",
        "Of the prediction. Between runs of other targets it says nothing.",
    ),
    (
        "health",
        "task/look",
        "Neighbours look alike",
        "Without labels, on held-out samples: higher than at step 0 is better.",
    ),
    ("health", "task/view", "A part finds its whole", "Without labels: mean reciprocal rank."),
    ("health", "task/coarse", "The coarse form is decoded", "Without labels: R²."),
    (
        "health",
        "rank/context",
        "Effective rank",
        "Directions that the context's features use. A fall towards 1 is a collapse.",
    ),
    ("health", "share/varying", "Varying power", "Share of the features' power that depends on the sample."),
    ("train", "lr", "Learning rate", "Of AdamW at each step."),
    ("train", "grad_norm", "Gradient norm", "Before clipping."),
)
"""Kind and key of a number, title and caption of its chart."""


@dataclass(frozen=True)
class Compared:
    """A run as the page shows it.

    Attributes:
        name: by which it is told from the others.
        gain: the label-free score over step 0 with twice its standard error; empty where it was not measured.
        scores: mean and interval by the title of the probe.
    """

    name: str
    record: Record
    said: Headline
    gain: str
    scores: dict[str, str]
    steps: str
    minutes: str


def write_comparison(runs: Sequence[str | Path], out: str | Path = "compare.html") -> Path:
    """Write one page about several runs: one file that opens offline, without scripts.

    Args:
        runs: directories that `train` has written, ended or not.
        out: the page's file.

    Raises:
        UserError: fewer than two runs or too many, one that is none, or the page cannot be written.
    """
    if not 2 <= len(runs) <= MOST:
        raise UserError(f"{len(runs)} runs were named: a comparison takes 2 to {MOST}")
    records = [read_record(run) for run in runs]
    path = Path(out)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.whole(path) as file:
            file.write(comparison(records).encode())
    except OSError as error:
        raise UserError(f"{path} cannot be written ({files.reason(error)}): name another --out") from error
    return path


def comparison(records: Sequence[Record]) -> str:
    """The page's text."""
    tables = [None if record.probe is None else probe_table(record.probe) for record in records]
    several = len({score.task for table in tables if table for score in table.scores}) > 1
    compared = [
        _compared(name, record, {} if table is None else _probe_scores(table, several))
        for name, record, table in zip(names(records), records, tables, strict=True)
    ]
    return render(
        "compare",
        runs=compared,
        columns=list(dict.fromkeys(title for run in compared for title in run.scores)),
        differences=_table(
            differences([record.config for record in records]), [run.name for run in compared]
        ),
        figures=list(overlaid(compared)),
        keys=[(colour_of(i), dash_of(i)) for i in range(len(compared))],
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def names(records: Sequence[Record]) -> list[str]:
    """The runs' folders, as much of their paths as tells them apart."""
    paths = [record.path.resolve() for record in records]
    if len({path.name for path in paths}) == len(paths):
        return [path.name for path in paths]
    shared = Path(commonpath(paths))
    return [str(path.relative_to(shared)) if path != shared else path.name for path in paths]


def _compared(name: str, record: Record, scores: dict[str, str]) -> Compared:
    readings = [
        {k: v for k, v in line.items() if k != "kind" and is_number(v)} for line in record.kind("health")
    ]
    gained = gain(readings)
    training = record.config.get("train") or {}
    done = record.last("train").get("step", -1) + 1
    seconds = [line.get("cpu_seconds") for kind in ("train", "verdict") for line in record.kind(kind)]
    known = [float(value) for value in seconds if value is not None and is_number(value)]
    total = math.fsum(known) / 60 if known and len(known) == len(seconds) else None
    return Compared(
        name,
        record,
        headline(record),
        "" if gained is None else f"{gained.score:+.3f} ± {2 * gained.error:.3f}",
        scores,
        f"{done:,} of {training.get('steps', 0):,}",
        "–" if total is None else f"{total:,.1f}",
    )


def _probe_scores(table: ProbeTable, several: bool) -> dict[str, str]:
    """The model's scores by title; of several tasks these name theirs."""
    return {title(score, task=several): score.told for score in table.scores if score.row == OURS}


def differences(configs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[str]]]:
    """Dotted options that are not the same in all configs, with each one's value; empty where a run has none, as where
    another choice was made."""
    plain = [dict(_flat(config)) for config in configs]
    for option in dict.fromkeys(option for config in plain for option in config):
        values = [config.get(option, "") for config in plain]
        if len(set(values)) > 1 and not option.startswith(FITTED):
            yield option, values


def _table(found: Iterable[tuple[str, list[str]]], runs: list[str]) -> list[list[str]]:
    """Differences as lines of cells, titles first; the longer side goes downwards. Empty where there are none."""
    options = dict(found)
    rows = [["option", *runs], *([option, *values] for option, values in options.items())]
    if not options:
        return []
    return rows if len(options) >= len(runs) else [list(column) for column in zip(*rows, strict=True)]


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in config.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping):
            if "kind" in value:
                yield path, str(value["kind"])
            yield from _flat({k: v for k, v in value.items() if k != "kind"}, f"{path}.")
        else:
            yield path, "none" if value is None else str(value)


def overlaid(runs: Sequence[Compared]) -> Iterator[Figure]:
    """A chart for each number that at least two of the runs have, a line a run."""
    terms = [("train", key, f"Guard: {key}", "Unweighted.") for key in _shared_terms(runs)]
    for i, (kind, key, heading, caption) in enumerate((*CURVES, *terms)):
        lines = [_line(run, kind, key) for run in runs]
        if sum(line is not None for line in lines) < 2:
            continue
        if key == "energy" and lines == [_line(run, kind, "loss") for run in runs]:
            continue  # no guard: one curve
        there = [line or CurveLine(run.name, [], []) for line, run in zip(lines, runs, strict=True)]
        yield figure(Chart(heading, caption, there), f"compare{i}")


def _shared_terms(runs: Sequence[Compared]) -> list[str]:
    """Terms of the loss beside those of `CURVES` that at least two runs have."""
    counts: dict[str, int] = {}
    for run in runs:
        for key, value in run.record.last("train").items():
            if is_number(value) and key not in BOOKKEEPING:
                counts[key] = counts.get(key, 0) + 1
    return [key for key, count in counts.items() if count > 1]


def _line(run: Compared, kind: str, key: str) -> CurveLine | None:
    steps, values = run.record.series(kind, key)
    return CurveLine(run.name, steps, values) if steps else None
