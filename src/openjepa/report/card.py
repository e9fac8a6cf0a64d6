"""A model card: what a published run is, for people on the Hub, as Markdown; from the run's own record."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openjepa.common.files import library_version
from openjepa.errors import UserError
from openjepa.hub.licences import is_non_commercial
from openjepa.jepa import JEPA
from openjepa.recipes.table import CHOICES, as_dicts
from openjepa.report.headline import headline
from openjepa.report.record import Record, read_record
from openjepa.report.scores import probe_table

UNKNOWN = "unknown"
"""The Hub's word for a licence that nobody has stated."""
TASKS = {"image": "image-feature-extraction"}
"""The Hub's names for what models of a signal do."""
PATHS = ("data", "init", "source")
"""Options that may hold a path of this machine, of which only the last part is published."""


def published(config: Mapping[str, Any]) -> dict[str, Any]:
    """Plain config data without the folders of the machine it was trained on."""
    return {key: _published(key, value) for key, value in config.items()}


def _published(key: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return published(value)
    return last_part(value) if key in PATHS and isinstance(value, str) else value


def last_part(name: str) -> str:
    """A path's last part; names of the Hub and of data sets stay."""
    return name if name.startswith("hub:") else Path(name).name


def write_card(run: str | Path, model: JEPA, name: str, licence: str) -> str:
    """The card of a run's or exported model's folder, as it is published under `owner/name`.

    Raises:
        UserError: a file of the run is damaged.
    """
    record = read_record(run) if (Path(run) / "config.json").is_file() else None
    plain = published(model.config.model_dump(mode="json"))
    sections = [
        _front(plain, licence),
        f"# {name.partition('/')[2]}",
        _idea(plain),
        _use(model, name),
        _choices(plain),
        *([] if record is None else [_data(record), _training(record), _verdict(record), _scores(record)]),
        _licence(record, licence),
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def _front(plain: Mapping[str, Any], licence: str) -> str:
    signal = _part(plain, "signal").get("kind", "")
    tags = ["openjepa", "jepa", plain["recipe"], *([signal] if signal else [])]
    lines = [f"license: {licence}", "library_name: openjepa", f"tags: {json.dumps(tags)}"]
    lines += [f"pipeline_tag: {TASKS[signal]}"] if signal in TASKS else []
    return "\n".join(["---", *lines, "---"])


def _idea(plain: Mapping[str, Any]) -> str:
    known = next((row for row in as_dicts() if row["recipe"] == plain["recipe"]), None)
    said = f"A model of OpenJEPA's recipe `{plain['recipe']}`, preset `{plain['preset']}`"
    return f"{said}: {known['idea']} ({known['paper']})." if known else f"{said}."


def _use(model: JEPA, name: str) -> str:
    given = "..."
    if hasattr(model.signal, "traced_input"):
        try:
            samples = model.signal.traced_input(1)
            shape = ", ".join(map(str, ["B", *samples.shape[1:]]))
            given = (
                f"...  # {str(samples.dtype).removeprefix('torch.')} [{shape}]: {model.signal.traced_meaning}"
            )
        except UserError:
            pass
    lines = ["```python", "import openjepa", "", f'model = openjepa.load("hub:{name}")']
    if hasattr(model, "embed"):
        lines += [f"samples = {given}", "features = model.embed(samples)  # [B, D]"]
    return "\n".join(["## Use", "", *lines, "```"])


def _choices(plain: Mapping[str, Any]) -> str:
    rows = [
        (choice, _part(plain, choice)) for choice in (*CHOICES, "encoder", "head", "predictor", "classifier")
    ]
    found = [(choice, part["kind"], _sizes(part)) for choice, part in rows if part.get("kind")]
    lines = [f"| {choice} | {kind} | {sizes} |" for choice, kind, sizes in found]
    head = ["## The choices", "", "| choice | kind | options |", "| --- | --- | --- |"]
    return "\n".join([*head, *lines]) if lines else ""


def _sizes(part: Mapping[str, Any]) -> str:
    plain = {k: v for k, v in part.items() if k != "kind" and isinstance(v, int | float | str) and v != ""}
    return ", ".join(f"{key} {value}" for key, value in plain.items())


def _data(record: Record) -> str:
    data = record.about.get("data")
    if not isinstance(data, Mapping):
        return ""
    count = data.get(record.noun)
    if not isinstance(count, int):
        return ""
    said = f"Trained on {count:,} {record.noun} of `{last_part(str(data.get('name', '')))}`"
    said += f", of shape {data['shape']}" if data.get("shape") else ""
    said += f"; {len(data['skipped'])} files could not be read" if data.get("skipped") else ""
    return f"## Data\n\n{said}. The data are no part of this repository."


def _training(record: Record) -> str:
    train, versions = _part(record.config, "train"), _part(record.about, "versions")
    known = [
        (name, train.get(name)) for name in ("steps", "batch_size", "lr", "weight_decay", "precision", "seed")
    ]
    said = [f"{name.replace('_', ' ')} {value}" for name, value in known if value is not None]
    seconds = [line.get("cpu_seconds") for kind in ("train", "verdict") for line in record.kind(kind)]
    spent = sum(value for value in seconds if isinstance(value, int | float))
    text = f"{', '.join(said)}."
    text += f" {spent / 60:.1f} minutes of processor time." if spent else ""
    text += f" OpenJEPA {versions.get('openjepa', library_version())}, PyTorch {versions.get('torch', '?')}."
    began = record.about.get("init")
    if isinstance(began, Mapping):
        text += f" It started from the weights of `{last_part(str(began.get('source')))}`."
    for change in record.about.get("lengths") or ():
        text += f" After {change['at']} steps its length was changed from {change['before']} to {change['steps']}."
    return f"## Training\n\n{text[:1].upper()}{text[1:]}"


def _verdict(record: Record) -> str:
    said = headline(record)
    return f"## Verdict\n\n**{said.word}**: {said.reason}"


def _scores(record: Record) -> str:
    if record.probe is None:
        return "## Scores\n\nIt has not been probed."
    table = probe_table(record.probe)
    lines = []
    for score in table.scores:
        labels = f"{score.per_class} a class" if score.per_class else f"{score.labels:.3g}"
        unit = f"{score.metric}{', %' if score.is_share else ''}"
        lines.append(
            f"| {score.row} | {score.kind} | {score.task} | {labels} | {score.told} | {unit} | {score.method} |"
        )
    head = "| features | probe | task | labels | score [95 %] | unit | interval |\n|" + " --- |" * 7
    notes = [f"- {_without_folders(note)}" for note in table.notes]
    text = "Probes on frozen features, by `openjepa probe`; settings were chosen on validation data."
    return "\n".join(["## Scores", "", text, "", head, *lines, *(["", *notes] if notes else [])])


def _licence(record: Record | None, licence: str) -> str:
    if licence == UNKNOWN:
        return "## Licence\n\nThe owner has stated none."
    began = record.about.get("init") if record else None
    came = (
        f" It comes from the weights it started from, `{last_part(str(began['source']))}`."
        if (isinstance(began, Mapping) and began.get("licence") == licence)
        else ""
    )
    only = " For non-commercial use." if is_non_commercial(licence) else ""
    return f"## Licence\n\n{licence}.{only}{came}"


def _without_folders(text: str) -> str:
    """A sentence in which paths are their last parts."""
    return " ".join(
        Path(word).name if word.startswith("/") and len(word) > 1 else word for word in text.split(" ")
    )


def _part(plain: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = plain.get(name)
    return found if isinstance(found, Mapping) else {}
