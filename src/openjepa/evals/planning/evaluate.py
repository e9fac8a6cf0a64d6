"""Playing a protocol: every model, and beside it what chance, imitation and the truth achieve on the same problems."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from openjepa.evals.features import Progress
from openjepa.evals.planning.clips import Violation
from openjepa.evals.planning.cloning import clone, open_windows
from openjepa.evals.planning.film import Camera
from openjepa.evals.planning.play import EpisodeOutcome, Player
from openjepa.evals.planning.players import Chance, Cloned, Expert, Planned, Simulating, Still
from openjepa.evals.planning.playing import play, problems
from openjepa.evals.planning.protocol import PlanningProtocol, WorldEvaluation
from openjepa.evals.planning.result import PlanningResult, PlayedRow
from openjepa.evals.planning.state import StateTable, probe_state
from openjepa.evals.planning.surprise import SurpriseTable, surprise
from openjepa.world_models.model import WorldJEPA
from openjepa.world_models.windows import EpisodeWindows
from openjepa.worlds import World
from openjepa.worlds.planar import Planar

if TYPE_CHECKING:
    from openjepa.worlds.third_party import ThirdParty

NAMES = {
    "nothing": "doing nothing",
    "random": "random policy",
    "cloning": "behaviour cloning",
    "expert": "expert",
    "oracle": "oracle planner",
}


def evaluate(
    protocol: PlanningProtocol, progress: Progress | None = None, *, camera: Camera | None = None
) -> PlanningResult:
    """Play all episodes; a function of the protocol alone, but for the seconds.

    Args:
        progress: called as (what, done, total).
        camera: is given the first model's player, to keep some of its episodes to be looked at (see `film.Films`).

    Raises:
        UserError: see `PlanningProtocol.world`, `PlanningProtocol.load` and `clone`; a planner for the other kind of
            actions.

    Warns:
        OpenJEPAWarning: a horizon far beyond what a model was trained for.
    """
    world = protocol.world()
    models = protocol.load(world)
    planned = [Planned(model, protocol) for model in models]
    samples = _samples(models, protocol)  # mistakes show before anything is played
    table = _EvaluationTable(protocol, world, progress)
    players: list[Player] = [*planned] if camera is None else [camera.of(planned[0]), *planned[1:]]
    rows = [table.row("planning", players)]
    for name in protocol.baselines:
        others: Iterable[Player] = (informed(name, protocol) for _ in models)
        if name == "cloning":
            others = (
                Cloned(model, clone(model, windows, protocol.cloning, protocol.seed, progress))
                for model, windows in zip(models, samples, strict=True)
            )
        rows.append(table.row(NAMES[name], others))
    return PlanningResult(protocol, tuple(rows))


def play_row(
    protocol: WorldEvaluation, name: str, players: Iterable[Player], progress: Progress | None = None
) -> PlayedRow:
    """Anyone's row on a protocol's problems: one player for each model's episodes."""
    return _EvaluationTable(protocol, protocol.world(), progress).row(name, players)


def surprises(
    protocol: PlanningProtocol, clips: int = 100, progress: Progress | None = None
) -> list[SurpriseTable]:
    """Violation of expectation, for each model (see `surprise`): teleports, and walls where the world has some."""
    world, found = protocol.world(), []
    violations: tuple[Violation, ...] = ("teleport", "wall") if isinstance(world, Planar) else ("teleport",)
    for trained, model in zip(protocol.models, protocol.load(world), strict=True):
        if progress is not None:
            progress("surprise", len(found), len(protocol.models))
        table = surprise(
            model, world, violations=violations, clips=clips, seed=protocol.seed, name=trained.run
        )
        found.append(table)
    return found


def states(protocol: PlanningProtocol, frames: int = 1, progress: Progress | None = None) -> list[StateTable]:
    """Physical variables read off each model's states of so many frames (see `probe_state`)."""
    models = protocol.load(protocol.world())
    return [
        probe_state(
            model, open_windows(model, protocol.data), frames=frames, seed=protocol.seed, progress=progress
        )
        for model in models
    ]


def _samples(models: Sequence[WorldJEPA], protocol: PlanningProtocol) -> list[EpisodeWindows]:
    """The episodes that each model's behaviour cloning learns from; runs on the same data share them."""
    if "cloning" not in protocol.baselines:
        return []
    opened: dict[str, EpisodeWindows] = {}
    for model in models:
        if model.config.data not in opened:
            opened[model.config.data] = open_windows(model, protocol.data)
    return [opened[model.config.data] for model in models]


def informed(name: str, protocol: WorldEvaluation) -> Player:
    """The baselines that no model enters."""
    if name == "nothing":
        return Still()
    if name == "random":
        return Chance(protocol.seed)
    if name == "expert":
        return Expert()
    assert isinstance(protocol, PlanningProtocol)
    return Simulating(protocol.oracle, protocol.seed)


class _EvaluationTable:
    """The table that all rows share."""

    def __init__(
        self, protocol: WorldEvaluation, world: "World | ThirdParty", progress: Progress | None
    ) -> None:
        self.protocol, self.world, self.progress = protocol, world, progress

    def row(self, name: str, players: Iterable[Player]) -> PlayedRow:
        """One player for each model's episodes."""
        outcomes: list[EpisodeOutcome] = []
        seconds: list[float] = []
        runs = 0
        for runs, player in enumerate(players, 1):
            for numbers in self.protocol.numbers(runs - 1):
                found, taken = self._group(name, player, numbers, len(outcomes))
                outcomes += found
                seconds += taken
        p50, p99 = np.percentile(seconds or [0.0], [50, 99]).tolist()
        return PlayedRow(name, tuple(outcomes), runs, p50, p99)

    def _group(
        self, name: str, player: Player, numbers: range, before: int
    ) -> tuple[list[EpisodeOutcome], list[float]]:
        protocol, total = self.protocol, self.protocol.episodes * len(self.protocol.models)

        def tick(done: int) -> None:
            if self.progress is not None:
                self.progress(f"episodes of {name}", before + done, total)

        given = problems(
            self.world, protocol.seed, numbers, protocol.factors, protocol.difficulty, protocol.steps_at_goal
        )
        watch = player.watch if isinstance(player, Camera) else None
        budget = protocol.budget or self.world.max_steps
        return play(player, given, budget, protocol.seed, tick, watch)
