"""Everything of a world model's page that needs the model and episodes; and what is missing, in a sentence."""

from dataclasses import dataclass, field
from typing import Any, cast

from openjepa.errors import UserError
from openjepa.evals.planning import PlanningResult, fingerprint
from openjepa.evals.planning.cloning import open_windows
from openjepa.evals.planning.film import Films, films_beside
from openjepa.jepa import JEPA
from openjepa.report.record import Record
from openjepa.report.world_models.decoding import Imagining, Progress
from openjepa.report.world_models.episodes import Recollection, Screening, screenings
from openjepa.report.world_models.planning import FILE
from openjepa.report.world_models.rollouts import Foresight, foresee
from openjepa.world_models.model import WorldJEPA


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


def open_theatre(
    record: Record,
    model: JEPA | None,
    data: Any,
    result: PlanningResult | None,
    reasons: list[str],
    progress: Progress | None,
) -> Theatre:
    """What can be shown of a run.

    Args:
        data: a path of episodes; `None`: those of the run.
        result: of its evaluation, where there was one.
        reasons: why there is no model.

    Raises:
        UserError: `data` is given and cannot be opened or does not fit, or the films are damaged.
    """
    found, imagining = Theatre(), None
    if model is not None:
        try:
            world = cast(WorldJEPA, model)
            imagining = Imagining.of(world, open_windows(world, data or ""), progress)
            found.foresight = foresee(imagining)
        except UserError as error:
            if data is not None:
                raise
            imagining = None
            reasons.append(str(error))
    if imagining is None:
        found.blind = "There are no pictures: " + "; ".join(reasons) + "."
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
