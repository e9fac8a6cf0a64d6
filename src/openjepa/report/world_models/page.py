"""Everything of a world model's page that needs the model and episodes; and what is missing, in a sentence."""

from dataclasses import dataclass, field
from typing import cast

from openjepa.errors import UserError
from openjepa.evals.planning import PlanningResult, fingerprint
from openjepa.evals.planning.cloning import open_windows
from openjepa.evals.planning.film import Films, films_beside
from openjepa.jepa import JEPA
from openjepa.report.record import Record
from openjepa.report.shown import Section, Shown, render
from openjepa.report.world_models.decoding import Imagining
from openjepa.report.world_models.episodes import Recollection, Screening, screenings
from openjepa.report.world_models.planning import FILE, Acting, read_acting
from openjepa.report.world_models.rollouts import Foresight, foresee
from openjepa.world_models.model import WorldJEPA


def planning(shown: Shown) -> Section | None:
    """What its plans are worth, episodes, memory, and what it knows of its world."""
    if not shown.of_episodes:
        return None
    acting, theatre = _opened(shown)
    links = [("planning", "Planning")]
    links += [("episodes", "Episodes")] if theatre.screenings else []
    links += [("memory", "Memory")] if theatre.memory else []
    links += [("knows", "What it knows")] if acting and (acting.surprise or acting.state) else []
    return Section(render("planning", acting=acting, theatre=theatre, path=shown.record.path), links)


def foresight(shown: Shown) -> Section | None:
    """What it imagines of held-out windows."""
    if not shown.of_episodes:
        return None
    made = render("foresight", theatre=_opened(shown)[1])
    return Section(made, [("prediction", "Prediction")])


def _opened(shown: Shown) -> tuple[Acting | None, "Theatre"]:
    def make() -> tuple[Acting | None, Theatre]:
        acting = read_acting(shown.record.path)
        result = acting.result if acting else None
        return acting, open_theatre(shown, result)

    return shown.once("theatre", make)


@dataclass
class Theatre:
    """Attributes:
    missing: why there are no episodes, or nothing imagined of them.
    blind: why there are no windows.
    how: how imagination is drawn, in words.
    """

    missing: str = ""
    blind: str = ""
    how: str = ""
    screenings: list[Screening] = field(default_factory=list)
    memory: Recollection | None = None
    foresight: Foresight | None = None


def open_theatre(shown: Shown, result: PlanningResult | None) -> Theatre:
    """What can be shown of a run.

    Args:
        result: of its evaluation, where there was one.

    Raises:
        UserError: data were named and cannot be opened or do not fit, or the films are damaged.
    """
    record, model, data, blind = shown.record, shown.model, shown.data, shown.missing
    found, imagining = Theatre(), None
    if model is not None:
        try:
            world = cast(WorldJEPA, model)
            imagining = Imagining.of(world, open_windows(world, data or ""), shown.progress)
            found.foresight = foresee(imagining)
        except UserError as error:
            if data is not None:
                raise
            imagining, blind = None, f"There are no pictures: {error}."
    if imagining is None:
        found.blind = blind
    if result is not None:
        _screen(found, record, model, result, imagining)
    return found


def _screen(
    found: Theatre,
    record: Record,
    model: JEPA | None,
    result: PlanningResult,
    imagining: Imagining | None,
) -> None:
    path = films_beside(record.path / FILE)
    if not path.is_file():
        found.missing = f"No episodes were filmed: openjepa plan {record.path} plays them again, and does."
        return
    if imagining is None:
        found.missing = f"What was imagined cannot be shown. {found.blind}"
    elif model is not None and fingerprint(model) != result.protocol.models[0].weights:
        found.missing = "What was imagined cannot be shown: these episodes were played with other weights."
        imagining = None
    found.screenings, found.memory = screenings(result, Films.read(path), imagining)
    found.how = _how(imagining, result)


def _how(imagining: Imagining | None, result: PlanningResult) -> str:
    if imagining is None:
        return ""
    steps = result.protocol.planner.horizon
    said = (
        f"Imagined: from the actions that were taken, with a look at the true frame only every {steps} steps of the "
        "model; drawn by a small decoder that is fitted after training, for looking only."
    )
    if imagining.reading is None:
        return said
    r2 = min(imagining.r2[:2])
    return f"{said} Planned paths are places read linearly off the imagined states (R² {r2:.2f} on held-out episodes)."
