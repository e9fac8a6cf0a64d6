"""What is published of a run: its model, a config without the folders of this machine, and a card."""

from pathlib import Path
from typing import Any

from openjepa.common import files
from openjepa.common.hub import HUB, on_hub, repository
from openjepa.errors import UserError, warn
from openjepa.hub import licences, store
from openjepa.report.card import UNKNOWN, published, write_card
from openjepa.training import load
from openjepa.training.initial import licence_of


def prepare(run: str, name: str, folder: Path, licence: str | None = None) -> list[str]:
    """Write what is published of a run under `owner/name` into a folder; the names of the files.

    Args:
        run: a run's or exported model's directory.
        licence: as the Hub calls it; `None`: that of the weights that it started from, if it is known.

    Raises:
        UserError: no model lies there, the folder holds other things, or another licence than that of non-commercial
            weights that it started from.
    """
    repository(HUB + name)
    if on_hub(run):
        raise UserError(f"{run} is published already: name a run or an exported model of yours")
    store.require_vacant(folder)
    model = load(run)
    inherited = inherited_licence(run, model.config)
    if inherited and licences.is_non_commercial(inherited) and licence not in (None, inherited):
        raise UserError(
            f"{run} started from weights that are licensed {inherited}, so it cannot be published as {licence}: leave "
            "out --licence"
        )
    licence = licence or inherited or UNKNOWN
    if licence == UNKNOWN:
        warn("no licence is stated, so nobody may use it: name one with --licence, such as apache-2.0")
    card = write_card(run, model, name, licence)
    plain: dict[str, Any] = published(model.config.model_dump(mode="json"))
    model.config = type(model.config).parse(plain)
    store.save_model(model, folder, {licences.CARD: card})
    return sorted(path.name for path in folder.iterdir())


def inherited_licence(run: str | Path, config: Any) -> str | None:
    """The licence of weights that a run has begun from, by `init`, as its frozen encoder or to be fine-tuned."""
    found = [licence_of(str(run))]
    sources = [getattr(config, "source", ""), *(getattr(part, "source", "") for _, part in config.within())]
    for source in filter(None, sources):
        if on_hub(source):
            found.append(licences.licence_of(Path(source), repository(source)[0]))
        elif (Path(source) / files.CONFIG).is_file():
            found.append(licence_of(source))
    known = [licence for licence in found if licence]
    return next(filter(licences.is_non_commercial, known), next(iter(known), None))
