"""Playing in Gymnasium environments, which run and cannot be put into a state."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from openjepa.agent.environments import Arrival, Several
from openjepa.errors import UserError
from openjepa.evals.planning.play import TASKS, Arrived, Player, Problems, Underway
from openjepa.worlds.factors import unknown
from openjepa.worlds.third_party import ThirdParty


@dataclass(frozen=True, eq=False)
class LiveProblems(Problems):
    """n environments at their starts; an episode of each can be begun once.

    Attributes:
        environments: that run.
        errors: `[n]`, what could not be reset and why; empty where it could.
    """

    environments: Several
    errors: list[str] = field(default_factory=list)

    def begin(self, player: Player, seed: int) -> "LiveUnderway":
        return LiveUnderway(player, self, np.random.default_rng(seed))


def live_problems(
    world: ThirdParty,
    seed: int,
    numbers: Sequence[int],
    factors: dict[str, Any],
    difficulty: dict[str, Any],
) -> LiveProblems:
    """Starts and goals, each a function of seed and number.

    Raises:
        UserError: factors, which are our own worlds' alone, or an unknown difficulty.
    """
    if factors:
        raise UserError(f"{world.name} has no named factors of variation: leave factors out")
    for name in difficulty:
        if name not in world.difficulty:
            raise unknown(f"difficulty of {world.name}", name, world.difficulty)
    seeds = [int(np.random.default_rng([seed, TASKS, number]).integers(2**31)) for number in numbers]
    environments = Several(world.environments(len(numbers)))
    arrivals = environments.reset(seeds, {**world.difficulty, **difficulty})
    blank = np.zeros(world.frame, np.uint8), np.zeros(len(world.variables), np.float32)
    begun = [_settled(arrival, *blank) for arrival in arrivals]
    infos = [arrival.info for arrival in begun]
    start = world.state([arrival.observation for arrival in begun], infos)
    there = [{"state": info["goal_state"], "success": True} for info in infos]
    goal = world.state([info["goal_frame"] for info in infos], there)
    errors = [arrival.error or "" for arrival in arrivals]
    return LiveProblems(cast(Any, world), list(numbers), start, goal, environments, errors)


class LiveUnderway(Underway):
    """Episodes of running environments; each ends by itself, too."""

    given: LiveProblems

    def __init__(self, player: Player, given: LiveProblems, rng: np.random.Generator) -> None:
        super().__init__(player, given, rng)
        self.errors = list(given.errors)
        self.active &= [not error for error in self.errors]

    def go_on(self, rows: NDArray, actions: NDArray) -> None:
        arrivals = self.given.environments.step(actions, self.active.tolist())
        for row in rows:
            arrival = arrivals[row]
            assert arrival is not None
            if arrival.error is not None:
                self.errors[row], self.active[row] = arrival.error, False
                continue
            world, at = cast(ThirdParty, self.given.world), row[None]
            state = world.state([arrival.observation], [arrival.info])
            solved = world.solved(state, self.given.goal.take(at))
            danger = np.array([bool(arrival.info.get("danger", False))])
            self.take_in(at, Arrived(state, world.render(state), solved, danger))
            self.active[row] &= not (arrival.terminated or arrival.truncated)


def _settled(arrival: Arrival, frame: NDArray, state: NDArray) -> Arrival:
    """An arrival with something to look at where there was an error."""
    if arrival.error is None:
        return arrival
    info = {"state": state, "goal_state": state, "goal_frame": frame, "success": False}
    return Arrival(frame, info=info)
