"""What each part of the page says of a run's files, as plain data for the template."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch

from openjepa.jepa import JEPA
from openjepa.report import charts
from openjepa.report.record import Record, is_number
from openjepa.signals.images import ImageSet


def facts(record: Record, model: JEPA | None) -> list[str]:
    """The line below the title."""
    training = record.config.get("train") or {}
    total, size = training.get("steps"), training.get("batch_size")
    done = record.last("train").get("step", -1) + 1  # a step is numbered from 0
    said = [f"{done:,} of {total:,} steps" if is_number(total) else f"{done:,} steps"]
    if is_number(size):
        said[0] += f" of {size:,} {noun(record)}"
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


def choices(config: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The six choices and the two nets: name, kind, and the options that are plain values."""
    names = ("signal", "hiding", "condition", "target", "energy", "guard", "encoder", "predictor")
    found = []
    for name in names:
        part = config.get(name)
        if isinstance(part, Mapping):
            plain = [
                f"{k.replace('_', ' ')} {_plain(v)}" for k, v in part.items() if k != "kind" and _is_plain(v)
            ]
            found.append((name, str(part.get("kind", "")), " · ".join(plain)))
    return found


def _is_plain(value: Any) -> bool:
    return value is not None and not isinstance(value, Mapping)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–".join(map(str, value)) if isinstance(value, list) else str(value)


def data(record: Record, images: ImageSet | None) -> dict[str, Any]:
    """What the run was trained on, what is shown here, and every file that was left out."""
    trained = record.about.get("data")
    trained = trained if isinstance(trained, Mapping) else {}
    skipped = [(str(name), str(reason)) for name, reason in trained.get("skipped", [])]
    shown = None
    if images is not None:
        skipped += [pair for s in images.skipped if (pair := (s.name, s.reason)) not in skipped]
        counts = (
            [] if images.labels is None else np.unique(images.labels.values, return_counts=True)[1].tolist()
        )
        shown = {"name": images.name, "count": len(images), "shape": _shape(images.shape), "counts": counts}
    return {
        "name": trained.get("name", record.config.get("data", "")),
        "noun": noun(record),
        "count": trained.get(noun(record)),
        "episodes": trained.get("episodes"),
        "shape": _shape(trained["shape"]) if "shape" in trained else "",
        "pixels": _values(trained.get("values")),
        "shown": shown,
        "skipped": skipped,
    }


def of_images(record: Record) -> bool:
    """Whether the run's samples are images, and not windows of episodes."""
    signal = record.config.get("signal")
    return not isinstance(signal, Mapping) or signal.get("kind") != "frames"


def noun(record: Record) -> str:
    """What the run's samples are called."""
    return "images" if of_images(record) else "windows"


def _values(found: Any) -> str:
    """`values 62 to 961 in 900 levels`; empty where they were not measured."""
    if not isinstance(found, Mapping) or not (is_number(found.get("low")) and is_number(found.get("high"))):
        return ""
    levels = found.get("levels")
    counted = f"{levels:,}" if is_number(levels) else str(levels)
    return f"values {found['low']:g} to {found['high']:g} in {counted} levels"


def _shape(shape: Sequence[int]) -> str:
    channels, height, width = shape
    colours = {1: "grey", 3: "colour"}.get(channels, f"{channels} channels")
    return f"{height} × {width} px, {colours}"


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
