"""What points share whose agents have several tasks or learned modules: their runs, who plays, and what stands beside.

What an agent plays, and how well it did, is kept by all that it depends on: the model's weights, its number, the
protocol, the task, and what is learned and how.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.acting import common, two_rooms
from benchmarks.acting.common import Data, Settings, Trained
from benchmarks.acting.modules import Learner, Learning
from openjepa.agent import Task
from openjepa.evals.planning import Explored, PlanningProtocol, PlayedRow, explore, play_row, write
from openjepa.evals.planning.play import Player
from openjepa.evals.planning.players import Planned
from openjepa.evals.planning.playing import problems

RECIPE = "pldm"
HAZARDS = Data(
    "two-rooms",
    {"size": 32, "vary": ["wall", "door", "hazard"]},
    "wall-seeking-walk",
    episodes=4000,
    steps=100,
)
BASELINES = ["nothing", "random", "cloning", "expert", "oracle"]
QUICK: Mapping[str, Any] = {"planner__samples": 32, "planner__iterations": 3, "planner__elites": 8}
"""A fifth of point 1's candidates, for points that play many ways."""
LEARNING = Learning()
ALL = "policy", "critic", "danger"
"""Modules of an agent that plans from its policy's proposals, a short way ahead."""
NOISE = LEARNING.exploration_noise
TIMES = 4
"""How many times as long as a short horizon a long one is."""
CRITIC = 0.1
"""Weight of the critic, whose unit is a step, beside the distance to the goal."""


def near(horizon: int, **weights: float) -> Task:
    """Reach the goal with a short horizon and a critic."""
    return Task({"goal": 1.0, "critic": CRITIC, **weights}, horizon=horizon)


def runs(settings: Settings, data: Data, options: Mapping[str, Any] | None = None) -> list[Trained]:
    """Of the first recipe, as point 1 trains it but for `options`."""
    recipe = settings.recipes[0] if settings.recipes else RECIPE
    return common.trained(settings, recipe, common.collected(settings, data), options)


def protocol(settings: Settings, found: Sequence[Trained], **changes: Any) -> PlanningProtocol:
    """As point 1 plans, with all baselines."""
    planner = {"planner": settings.planners[0] if settings.planners else "cem"}
    chosen = {"baselines": BASELINES, **planner, **two_rooms.PLAN, **changes}
    return common.protocol(settings, found, **chosen)


def beside(settings: Settings, chosen: PlanningProtocol) -> tuple[dict[str, Any], dict[str, Any]]:
    """Summaries of a protocol: of planning at its cost, and of its baselines by their names."""
    first, *others = common.played(settings, {"planning": chosen})["planning"].rows
    return common.summary(first), {row.method: common.summary(row) for row in others}


@dataclass(frozen=True)
class Way:
    """An agent with a task, and what it has learned for it."""

    task: Task
    learned: tuple[str, ...] = ()
    """Names of modules (see `modules.Learner`)."""
    exploring: int = 0
    """Environment steps to look around in, from each start, in the place of the problems."""

    def reads(self, learning: Learning) -> dict[str, Any]:
        """What of it the way depends on: a detector alone hangs on the unit that comes with it."""
        if {"policy", "critic"} & {*self.learned}:
            return asdict(learning)
        return {"relabelled": learning.relabelled} if self.learned else {}


@dataclass(frozen=True)
class Turn:
    """What one model is to play: its part of a protocol, and the ways, each with where it is kept."""

    part: PlanningProtocol
    seed: int
    learning: Learning
    modules: Path
    """Where those are kept that take long to learn."""
    ways: Mapping[str, tuple[Way, Path]]


def played(
    settings: Settings, chosen: PlanningProtocol, found: Sequence[Trained], ways: Mapping[str, Way]
) -> dict[str, Any]:
    """Each way's summary, or what it `Explored`; a job for each run, and what was played before is read."""
    turns = []
    for part, run in zip(chosen.model_copy(update={"baselines": ()}).parts(), found, strict=True):
        key = {"protocol": part.model_dump(mode="json"), "seed": run.seed}
        kept = {
            name: (way, common.place(settings, {**key, "learning": way.reads(LEARNING), "way": asdict(way)}))
            for name, way in ways.items()
        }
        turns.append(Turn(part, run.seed, LEARNING, settings.runs / "modules", kept))
    common.each(settings, _play, [turn for turn in turns if _missing(turn)])
    return {name: _joined(name, [turn.ways[name][1] for turn in turns]) for name in ways}


def row(name: str, chosen: PlanningProtocol, player: Player) -> dict[str, Any]:
    """Summary of one who needs no model, and so no long time; on every model's problems."""
    return common.summary(play_row(chosen, name, [player] * len(chosen.models)))


def explored(chosen: PlanningProtocol, model: int, player: Player, steps: int) -> list[float]:
    """Shares that a player saw, from the starts of that model's problems."""
    world, shares = chosen.world(), []
    for numbers in chosen.numbers(model):
        given = problems(world, chosen.seed, numbers, chosen.factors, chosen.difficulty)
        shares += explore(player, given, steps, chosen.seed).tolist()
    return shares


def _missing(turn: Turn) -> dict[str, tuple[Way, Path]]:
    return {name: way for name, way in turn.ways.items() if not way[1].is_file()}


def _play(turn: Turn) -> None:
    """Ways with the same modules are one agent, which is given its tasks in sequence, at the protocol's
    prediction-error cost."""
    (model,) = turn.part.load(turn.part.world())
    learner = Learner(model, turn.part, turn.seed, turn.learning, turn.modules)
    players: dict[tuple[str, ...], Planned] = {}
    for name, (way, path) in _missing(turn).items():
        if way.learned not in players:
            common.tell(f"seed {turn.seed}: learning {', '.join(way.learned) or 'nothing'}")
            players[way.learned] = Planned(model, turn.part, **learner.modules(way.learned))
        player = players[way.learned]
        weights = {"prediction_error": turn.part.cost.prediction_error, **way.task.weights}
        player.agent.configure(replace(way.task, weights=weights))
        common.tell(f"seed {turn.seed}: {name}")
        if way.exploring:
            write(path, {"shares": explored(turn.part, 0, player, way.exploring)})
        else:
            write(path, play_row(turn.part, name, [player]).to_dict())


def _joined(name: str, paths: Sequence[Path]) -> Any:
    parts = [json.loads(path.read_text()) for path in paths]
    if "shares" in parts[0]:
        return Explored(name, tuple(share for part in parts for share in part["shares"]))
    found = common.summary(PlayedRow.joined([PlayedRow.from_dict(part) for part in parts]))
    common.tell(f"{name}: {common.percent(found)} %")
    return found
