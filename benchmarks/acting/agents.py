"""What points 4, 5 and 7 share: runs in two rooms with and without hazards, and modules learned from their episodes."""

from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.acting import common, two_rooms
from benchmarks.acting.common import Data, Settings, Trained
from openjepa.agent import Critic, Detector, Late, ShortTermMemory, live, relive
from openjepa.agent.experience import Lived
from openjepa.evals.planning import Protocol, play_row
from openjepa.evals.planning.cloning import open_windows
from openjepa.evals.planning.play import Player
from openjepa.world_model import WorldJEPA

RECIPE = "pldm"
HAZARDS = Data("two-rooms", {"vary": ["wall", "door", "hazard"]}, steps=90)
RELIVED, GOALS = 500, 4
"""Episodes that critics learn from, and goals that each is relived for."""
UPDATES = 4000
"""Of critics and policies."""


def runs(settings: Settings, data: Data) -> list[Trained]:
    """Of the first recipe, as point 1 trains it."""
    recipe = settings.recipes[0] if settings.recipes else RECIPE
    return common.trained(settings, recipe, common.collected(settings, data), two_rooms.TRAIN.get(recipe, {}))


def protocol(settings: Settings, found: Sequence[Trained], **changes: Any) -> Protocol:
    """As point 1 plans with that recipe; no baselines unless they are named."""
    recipe = settings.recipes[0] if settings.recipes else RECIPE
    planner = {"planner": settings.planners[0]} if settings.planners else {}
    own = {"baselines": [], **planner, **two_rooms.PLAN.get(recipe, {}), **changes}
    return common.protocol(settings, found, **own)


def row(name: str, chosen: Protocol, players: Sequence[Player]) -> dict[str, Any]:
    """One method's summary; a player for each run."""
    common.tell(f"playing {name}")
    found = common.summary(play_row(chosen, name, players))
    common.tell(f"{name}: {common.percent(found)} %")
    return found


def experience(model: WorldJEPA, episodes: int = RELIVED) -> list[Lived]:
    """Latents of the first episodes that the model was trained on."""
    samples = open_windows(model)
    train, _ = samples.split()
    return live(model, (samples.episodes[int(number)] for number in train[:episodes]))


def critic(lived: Sequence[Lived], seed: int) -> Critic:
    """The time to a goal for who acts as was recorded."""
    generator = torch.Generator().manual_seed(seed)
    memory = ShortTermMemory(sum(len(one.states) for one in lived) * GOALS)
    relive(memory, lived, generator, goals=GOALS, term=Late)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = Critic(tuple(lived[0].states.shape[1:]), goal=True)
    made.fit(memory, generator, updates=UPDATES)
    return made


def detector(lived: Sequence[Lived], seed: int) -> Detector:
    """Of danger, from episodes that say where it was."""
    told = [one for one in lived if one.danger is not None]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = Detector(tuple(told[0].states.shape[1:]))
    states, danger = (torch.cat(side) for side in zip(*((o.states, o.danger) for o in told), strict=True))
    made.fit(states, danger, torch.Generator().manual_seed(seed))
    return made


def unit(lived: Sequence[Lived]) -> float:
    """A typical squared distance of two states, mean over the latent: what weights beside it are in units of."""
    return 2 * float(torch.cat([one.states for one in lived]).var(0).mean())
