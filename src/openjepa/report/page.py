"""Gathers what there is to say about a run and renders it as one file."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2

from openjepa.errors import UserError
from openjepa.evals.splits import labelled
from openjepa.jepa import JEPA
from openjepa.report import curves, gallery, sections
from openjepa.report.command import command_for
from openjepa.report.headline import headline
from openjepa.report.looks import Progress
from openjepa.report.record import Record, read_record
from openjepa.report.scores import scores
from openjepa.signals.images import ImageSet


def write_report(
    run_dir: str | Path,
    images: ImageSet | None = None,
    model: JEPA | None = None,
    *,
    data: Any = None,
    samples: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write `report.html` into a run's directory: one file without scripts that makes no request.

    What the run does not have yet (a probe, labels, a model) is said in a sentence.

    Args:
        run_dir: a directory that `train` wrote, of a run that ended or not.
        images: what to look at; by default `data`.
        model: the run's model; by default loaded from `run_dir`.
        data: what `open_images` takes, instead of `images`; by default the test split of the run's data.
        samples: images in the map and among the neighbours; by default 1,500, fewer where they are large.
        progress: called as (what, done, total).

    Returns:
        The path of the report.

    Raises:
        UserError: no run lies in `run_dir`, a file of it is damaged, `data` cannot be opened or does not fit the
            model, or the report cannot be written.
    """
    record = read_record(run_dir)
    reasons = []
    if model is None:
        model = _found(lambda: _load(record), reasons)
    if not sections.of_images(record):
        return _write_world(record, model, data, reasons, progress)
    if images is None and model is not None:
        if data is not None:
            images = _open(data, model)
        else:
            images = _found(lambda: _open(record.config.get("data"), model), reasons)
    if model is None or images is None:
        looks = gallery.Looks("There are no pictures: " + "; ".join(reasons) + ".")
    else:
        looks = gallery.look(model, images, samples, progress)
    return _write(record, render(record, model, looks=looks, images=images))


def _write_world(
    record: Record, model: JEPA | None, data: Any, reasons: list[str], progress: Progress | None
) -> Path:
    """The report of a world model: windows of episodes in the place of images, and its plans."""
    from openjepa.report.world_models import page, planning

    found = planning.read_acting(record.path)
    shown = page.open_theatre(record, model, data, found.result if found else None, reasons, progress)
    return _write(record, render(record, model, acting=found, theatre=shown))


def render(
    record: Record,
    model: JEPA | None,
    *,
    looks: gallery.Looks | None = None,
    images: ImageSet | None = None,
    acting: Any = None,
    theatre: Any = None,
) -> str:
    """The page's text.

    Args:
        looks, images: of a run on images.
        acting, theatre: of a world model.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("openjepa.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("page.html.j2").render(
        name=record.path.resolve().name,
        path=record.path,
        config=record.config,
        facts=sections.facts(record, model),
        verdict=headline(record),
        scores=scores(record.probe) if record.probe else None,
        choices=sections.choices(record.config),
        of_images=sections.of_images(record),
        figures=curves.figures(record),
        events=record.kind("event"),
        looks=looks,
        acting=acting,
        theatre=theatre,
        data=sections.data(record, images),
        versions=sections.versions(record),
        command=record.about.get("command"),
        minimal=command_for(record.config),
        config_text=json.dumps(record.config, indent=2, ensure_ascii=False),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _load(record: Record) -> JEPA:
    from openjepa.training import load  # only here: a model that is given needs no training room

    return load(record.path)


LABELLED = 16
"""Images with a label below which a set that has others too is shown without labels."""


def _open(data: Any, model: JEPA) -> ImageSet:
    """The held-out part of the data where it has one, at the size that the model was trained on."""
    images = model.config.samples(data)
    images = model.config.samples(data, "test") if {"test", "val"} & set(images.splits) else images
    if images.labels is not None and (images.labels.values >= 0).sum() < LABELLED:
        images.labels = None  # too few to name the others by
    return labelled(images)


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
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UserError(
            f"{path} cannot be written ({error.strerror}); make room or allow writing there"
        ) from error
    return path
