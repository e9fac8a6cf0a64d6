"""Which recorded actions led to a recorded goal? A predictor's choice among many sequences, the true one among them."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openjepa.evals.world_models.open_loop_table import Preference, interval
from openjepa.evals.world_models.situations import Situations

ANY, ALIKE = "of other episodes", "of other episodes, beginning alike"
"""Where the other sequences come from: drawn from other episodes, or those of them whose first actions are nearest."""

Costs = Callable[[NDArray[np.int64], Tensor], Tensor]
"""Distances `[G, S]` from a goal to what is predicted of S plans: of situations `[G]` and actions `[G, S, K, A']`."""


def preferences(
    tested: Situations, ways: Mapping[str, Costs], goals: int, candidates: int, seed: int
) -> tuple[list[Preference], int, int]:
    """How each way to predict ranks the true actions; for how many goals, among how many sequences."""
    rng = np.random.default_rng([seed, 2])
    rows = np.sort(rng.permutation(len(tested))[:goals])
    largest = np.bincount(np.unique(tested.episode, return_inverse=True)[1]).max()
    count = min(candidates, len(tested) - int(largest) + 1)
    found = []
    for kind in (ANY, ALIKE):
        if kind == ANY:
            others = of_other_episodes(tested.episode, rows, count - 1, rng)
        else:
            others = _alike(tested, rows, count - 1)
        plans = tested.actions[np.concatenate([rows[:, None], others], 1)]
        for name, costs in ways.items():
            cost = costs(rows, plans)
            rest = cost[:, 1:]
            rank = 1 + (rest < cost[:, :1]).sum(1) + 0.5 * (rest == cost[:, :1]).sum(1)
            first = torch.stack([(rank == 1).double(), torch.ones(len(rank)).double()], 1)
            found.append(
                Preference(name, kind, *interval(first, tested.episode[rows]), float(rank.double().mean()))
            )
    return found, len(rows), count


def of_other_episodes(
    episode: NDArray, rows: NDArray, count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """For each of `rows`, `count` different numbers of another episode, `[len(rows), count]`."""
    return np.stack(
        [rng.choice(np.flatnonzero(episode != episode[row]), count, replace=False) for row in rows]
    )


def _alike(tested: Situations, rows: NDArray, count: int) -> NDArray[np.int64]:
    """For each of `rows`, the windows of other episodes whose first actions are nearest, the nearest first."""
    first = tested.actions[:, 0].double()
    first = first / first.std(0).clamp_min(1e-6)
    gaps = torch.cdist(first[rows], first)
    gaps[torch.from_numpy(tested.episode[rows][:, None] == tested.episode[None])] = torch.inf
    return gaps.argsort(dim=1, stable=True)[:, :count].numpy()
