"""What the page says of a run from its files: the verdict, the choices, the curves, the data, how to get it again."""

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch

from openjepa.jepa import JEPA
from openjepa.report import charts, curves
from openjepa.report.command import command_for
from openjepa.report.headline import headline
from openjepa.report.record import Record, is_number
from openjepa.report.shown import Section, Shown, section


def verdict(shown: Shown) -> Section:
    """What is said of the run first."""
    return section("verdict", "", verdict=headline(shown.record))


def choices(shown: Shown) -> Section:
    """The six choices."""
    return section("choices", "Choices", choices=chosen(shown.record.config))


def run_curves(shown: Shown) -> Section:
    """How the run went."""
    figures, events = curves.figures(shown.record), shown.record.kind("event")
    return section("curves", "Curves", figures=figures, events=events, noun=shown.record.noun)


def data(shown: Shown) -> Section:
    """What the run was trained on, what is shown here, and every file that was left out."""
    return section("data", "Data", data=data_of(shown))


def reproduce(shown: Shown) -> Section:
    """How to get the run again."""
    record = shown.record
    return section(
        "reproduce",
        "Reproduce",
        command=record.about.get("command"),
        minimal=command_for(record.config),
        versions=versions(record),
        config_text=json.dumps(record.config, indent=2, ensure_ascii=False),
    )


def facts(record: Record, model: JEPA | None) -> list[str]:
    """The line below the title."""
    training = record.config.get("train") or {}
    total, size = training.get("steps"), training.get("batch_size")
    done = record.last("train").get("step", -1) + 1  # a step is numbered from 0
    said = [f"{done:,} of {total:,} steps" if is_number(total) else f"{done:,} steps"]
    if is_number(size):
        said[0] += f" of {size:,} {record.noun}"
    seconds = [line["seconds"] for line in record.kind("train") if is_number(line.get("seconds"))]
    if seconds:
        said.append(f"{duration(sum(seconds))} of training")
    if model is not None:
        said.append(
            f"{charts.short(sum(p.numel() for p in model.encoder.parameters()) / 1e6)} M encoder parameters"
        )
    return said


def duration(seconds: float) -> str:
    """`48 s`, `6.2 min`, `3.1 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def chosen(config: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The six choices and the two nets: name, kind, and the options that are plain values."""
    names = ("signal", "hiding", "condition", "target", "energy", "guard", "encoder", "predictor")
    found = []
    for name in names:
        part = config.get(name)
        if isinstance(part, Mapping):
            plain = [
                f"{k.replace('_', ' ')} {_plain(v)}"
                for k, v in part.items()
                if k != "kind" and v not in ("", []) and _is_plain(v)
            ]
            found.append((name, str(part.get("kind", "")), " · ".join(plain)))
    return found


LISTED = 8
"""Values of an option that are shown; a montage has dozens."""


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_plain(part) and not isinstance(part, list) for part in value)
    return value is not None and not isinstance(value, Mapping)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        more = [f"… ({len(value)})"] if len(value) > LISTED else []
        return "–".join([*map(str, value[:LISTED]), *more])
    return str(value)


def data_of(shown: Shown) -> dict[str, Any]:
    """Plain data for the section on data."""
    record, samples = shown.record, shown.samples
    trained = record.about.get("data")
    trained = trained if isinstance(trained, Mapping) else {}
    skipped = [(str(name), str(reason)) for name, reason in trained.get("skipped", [])]
    seen = None
    if samples is not None:
        skipped += [pair for pair in _skipped(samples) if pair not in skipped]
        classes = (
            None if shown.labels is None or shown.labels.values.dtype.kind == "f" else shown.labels.values
        )
        counts = [] if classes is None else np.unique(classes, return_counts=True)[1].tolist()
        seen = {
            "name": samples.name,
            "count": len(samples),
            "noun": samples.noun,
            "shape": said_shape(getattr(samples, "shape", ())),
            "counts": counts,
        }
    return {
        "name": trained.get("name", record.config.get("data", "")),
        "noun": record.noun,
        "count": trained.get(record.noun),
        "episodes": trained.get("episodes"),
        "shape": said_shape(trained["shape"]) if "shape" in trained else "",
        "measured": _values(trained.get("values")),
        "of_episodes": shown.of_episodes,
        "shown": seen,
        "skipped": skipped,
    }


def _skipped(samples: Any) -> list[tuple[str, str]]:
    """Files left out, named tuples or records of a name and a reason."""
    found = getattr(samples, "skipped", ())
    return [(str(s.name), str(s.reason)) if hasattr(s, "reason") else (str(s[0]), str(s[1])) for s in found]


def _values(found: Any) -> str:
    """`values 62 to 961 in 900 levels`; empty where they were not measured."""
    if not isinstance(found, Mapping) or not (is_number(found.get("low")) and is_number(found.get("high"))):
        return ""
    levels = found.get("levels")
    counted = f"{levels:,}" if is_number(levels) else str(levels)
    return f"values {found['low']:g} to {found['high']:g} in {counted} levels"


def said_shape(shape: Sequence[int]) -> str:
    """Pictures and films in pixels, anything else by its sides."""
    if len(shape) not in (3, 4):
        return " × ".join(map(str, shape))
    *frames, channels, height, width = shape
    colours = {1: "grey", 3: "colour"}.get(channels, f"{channels} channels")
    said = f"{height} × {width} px, {colours}"
    return f"{frames[0]} frames of {said}" if frames else said


def versions(record: Record) -> list[tuple[str, str, str]]:
    """Name, version when the run was started, version now; of the run's own list and of what draws this page."""
    then = record.about.get("versions")
    then = {str(k): str(v) for k, v in then.items()} if isinstance(then, Mapping) else {}
    now = {name: _version(name) for name in ("openjepa", "numpy", "scikit-learn", "matplotlib")}
    now |= {"torch": torch.__version__, "python": platform.python_version(), "platform": platform.platform()}
    return [(name, then.get(name, "–"), now.get(name, "–")) for name in dict.fromkeys((*then, *now))]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed as a package"
