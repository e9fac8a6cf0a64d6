"""Everything of a world model's page that needs the model and episodes; and what is missing, in a sentence."""

from dataclasses import dataclass, field
from typing import cast

from openjepa.errors import UserError
from openjepa.evals.planning import PlanningResult, fingerprint
from openjepa.evals.planning.cloning import open_windows
from openjepa.evals.planning.film import EpisodeFilms, films_beside
from openjepa.jepa import JEPA
from openjepa.report.record import Record
from openjepa.report.shown import Section, Shown, render
from openjepa.report.world_models.decoding import StateViewer
from openjepa.report.world_models.episodes import EpisodeCard, MemoryCard, episode_cards
from openjepa.report.world_models.planning import FILE, PlanningReport, read_acting
from openjepa.report.world_models.rollouts import Rollouts, roll_out
from openjepa.world_models.model import WorldJEPA


def planning(shown: Shown) -> Section | None:
    """The section on planning: the worth of plans, episodes, memory, and what the model knows of its world."""
    if not shown.of_episodes:
        return None
    acting, world_page = _opened(shown)
    links = [("planning", "Planning")]
    links += [("episodes", "Episodes")] if world_page.episode_cards else []
    links += [("memory", "Memory")] if world_page.memory else []
    links += [("knows", "What it knows")] if acting and (acting.surprise or acting.state) else []
    return Section(render("planning", acting=acting, world_page=world_page, path=shown.record.path), links)


def rollouts(shown: Shown) -> Section | None:
    """The section on rollouts: what the model imagines of held-out windows."""
    if not shown.of_episodes:
        return None
    made = render("rollouts", world_page=_opened(shown)[1])
    return Section(made, [("prediction", "Prediction")])


def _opened(shown: Shown) -> tuple[PlanningReport | None, "WorldPage"]:
    def make() -> tuple[PlanningReport | None, WorldPage]:
        acting = read_acting(shown.record.path)
        result = acting.result if acting else None
        return acting, open_world_page(shown, result)

    return shown.once("world_page", make)


@dataclass
class WorldPage:
    """The parts of a world model's page.

    Attributes:
        missing: why there are no episodes, or nothing imagined of them.
        blind: why there are no windows.
        how: how imagination is drawn, in words.
    """

    missing: str = ""
    blind: str = ""
    how: str = ""
    episode_cards: list[EpisodeCard] = field(default_factory=list)
    memory: MemoryCard | None = None
    rollouts: Rollouts | None = None


def open_world_page(shown: Shown, result: PlanningResult | None) -> WorldPage:
    """The parts of a run's page that can be shown.

    Args:
        result: of its evaluation, where there was one.

    Raises:
        UserError: data were named and cannot be opened or do not fit, or the films are damaged.
    """
    record, model, data, blind = shown.record, shown.model, shown.data, shown.missing
    found, viewer = WorldPage(), None
    if model is not None:
        try:
            world = cast(WorldJEPA, model)
            viewer = StateViewer.of(world, open_windows(world, data or ""), shown.progress)
            found.rollouts = roll_out(viewer)
        except UserError as error:
            if data is not None:
                raise
            viewer, blind = None, f"There are no pictures: {error}."
    if viewer is None:
        found.blind = blind
    if result is not None:
        _add_episodes(found, record, model, result, viewer)
    return found


def _add_episodes(
    found: WorldPage,
    record: Record,
    model: JEPA | None,
    result: PlanningResult,
    viewer: StateViewer | None,
) -> None:
    path = films_beside(record.path / FILE)
    if not path.is_file():
        found.missing = f"No episodes were filmed: openjepa plan {record.path} plays them again, and does."
        return
    if viewer is None:
        found.missing = f"What was imagined cannot be shown. {found.blind}"
    elif model is not None and fingerprint(model) != result.protocol.models[0].weights:
        found.missing = "What was imagined cannot be shown: these episodes were played with other weights."
        viewer = None
    found.episode_cards, found.memory = episode_cards(result, EpisodeFilms.read(path), viewer)
    found.how = _how(viewer, result)


def _how(viewer: StateViewer | None, result: PlanningResult) -> str:
    if viewer is None:
        return ""
    steps = result.protocol.planner.horizon
    said = (
        f"Imagined: from the actions that were taken, with a look at the true frame only every {steps} steps of the "
        "model; drawn by a small decoder that is fitted after training, for looking only."
    )
    if viewer.reading is None:
        return said
    r2 = min(viewer.r2[:2])
    return f"{said} Planned paths are places read linearly off the imagined states (R² {r2:.2f} on held-out episodes)."
