"""Starts with their goals in any world, and their episodes to the end."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from openjepa.evals.planning.play import TASKS, EpisodeOutcome, Player, Problems
from openjepa.worlds import State, World

if TYPE_CHECKING:
    from openjepa.worlds.third_party import ThirdParty


def problems(
    world: "World | ThirdParty",
    seed: int,
    numbers: Sequence[int],
    factors: dict[str, Any],
    difficulty: dict[str, Any],
    steps_at_goal: int = 1,
) -> Problems:
    """Starts and goals, each a function of seed and number.

    Raises:
        UserError: an unknown factor or difficulty, or no goal of that difficulty.
    """
    if not isinstance(world, World):
        from openjepa.evals.planning.live import live_problems  # needs gymnasium

        return replace(live_problems(world, seed, numbers, factors, difficulty), steps_at_goal=steps_at_goal)
    found = [
        world.task(1, np.random.default_rng([seed, TASKS, number]), factors, **difficulty)
        for number in numbers
    ]
    starts, goals = (State.concatenate(side) for side in zip(*found, strict=True))
    return Problems(world, list(numbers), starts, goals, steps_at_goal=steps_at_goal)


def play(
    player: Player,
    given: Problems,
    budget: int,
    seed: int,
    tick: Callable[[int], None] = lambda done: None,
    watch: Callable[[State], None] | None = None,
) -> tuple[list[EpisodeOutcome], list[float]]:
    """One episode of each problem.

    Args:
        budget: environment steps.
        seed: of what the world leaves to chance.
        tick: called with the number of episodes that are over.
        watch: called with the states of the n worlds after every step.

    Returns:
        Their outcomes, and the seconds of every call of `act`.
    """
    tick(0)
    episodes = given.begin(player, seed)
    while episodes.active.any() and len(episodes.seconds) < budget:
        episodes.step()
        if watch is not None:
            watch(episodes.state)
        tick(int((~episodes.active).sum()))
    return episodes.outcomes(), episodes.seconds
