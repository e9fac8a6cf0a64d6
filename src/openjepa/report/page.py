"""Gathers what there is to say about a run and renders it as one file: a list of sections, some of which are empty."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from openjepa.common import files
from openjepa.errors import UserError
from openjepa.jepa import JEPA
from openjepa.recipes import own
from openjepa.report import samples as looks
from openjepa.report import scores, sections
from openjepa.report.headline import headline
from openjepa.report.record import Record, read_record
from openjepa.report.shown import Progress, Section, Shown, render
from openjepa.report.world_models import page as worlds
from openjepa.report.world_models.open_loop import open_loop
from openjepa.signals.parts import labelled

SECTIONS: tuple[Callable[[Shown], Section | None], ...] = (
    sections.verdict,
    scores.section_of,
    open_loop,
    worlds.planning,
    sections.choices,
    sections.run_curves,
    worlds.rollouts,
    looks.prediction,
    looks.patches,
    looks.neighbours,
    looks.feature_map,
    sections.data,
    sections.reproduce,
)
"""The page from top to bottom."""

LABELLED = 16
"""Samples with a label below which a set that has others too is shown without labels."""


def write_report(
    run_dir: str | Path,
    samples: Any = None,
    model: JEPA | None = None,
    *,
    data: Any = None,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write `report.html` into a run's directory: one file without scripts that makes no request.

    What the run does not have yet (a probe, labels, a model) is said in a sentence.

    Args:
        run_dir: a directory that `train` wrote, of a run that ended or not.
        samples: what to look at; by default `data`.
        model: the run's model; by default loaded from `run_dir`.
        data: what the run's signal opens, instead of `samples`; by default the test split of the run's data.
        limit: samples in the map and among the neighbours; by default 1,500, fewer where they are large.
        progress: called as (what, done, total).

    Returns:
        The path of the report.

    Raises:
        UserError: no run lies in `run_dir`, a file of it is damaged, `data` cannot be opened or does not fit the
            model, or the report cannot be written.
    """
    record = read_record(run_dir)
    reasons: list[str] = []
    if model is None:
        own.check_run(record.path)
        model = _found(lambda: _load(record), reasons)
    shown = Shown(record, model, data=data, limit=limit, progress=progress)
    if not shown.of_episodes:
        if samples is None and model is not None:
            if data is not None:
                samples = _open(data, model)
            else:
                samples = _found(lambda: _open(record.config.get("data"), model), reasons)
        shown = replace(shown, **_known(samples))
    missing = "" if not reasons else "There are no pictures: " + "; ".join(reasons) + "."
    return _write(record, page(replace(shown, missing=missing)))


def page(shown: Shown) -> str:
    """The page's text."""
    record = shown.record
    found = [made for section in SECTIONS if (made := section(shown)) is not None]
    return render(
        "page",
        name=record.path.resolve().name,
        config=record.config,
        facts=sections.facts(record, shown.model),
        verdict=headline(record),
        data=sections.data_of(shown),
        links=[link for section in found for link in section.links],
        sections=[section.html for section in found],
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _load(record: Record) -> JEPA:
    from openjepa.training import load  # only here: a model that is given needs no training room

    return load(record.path)


def _open(data: Any, model: JEPA) -> Any:
    """The held-out part of the data where it has one, as the model takes it."""
    samples = model.config.samples(data)
    return model.config.samples(data, "test") if {"test", "val"} & set(_splits(samples)) else samples


def _splits(samples: Any) -> tuple[str, ...]:
    return getattr(samples, "splits", ())


def _known(samples: Any) -> dict[str, Any]:
    """The labelled samples and their labels; or all of them, where too few have any to name the others by."""
    if samples is None or samples.labels is None:
        return {"samples": samples, "labels": None}
    values = samples.labels.values
    if values.dtype.kind != "f" and (values >= 0).sum() < LABELLED:
        return {"samples": samples, "labels": None}
    known = labelled(samples)
    return {"samples": known, "labels": known.labels}


def _found(get: Any, reasons: list[str]) -> Any:
    """What `get` gives, or `None` and why it could not."""
    try:
        return get()
    except UserError as error:
        reasons.append(str(error))
        return None


def _write(record: Record, text: str) -> Path:
    """All of it or nothing."""
    path = record.path / "report.html"
    try:
        with files.whole(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}); make room or allow writing there"
        ) from error
    return path
