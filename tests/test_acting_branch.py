"""Point 6 of acting: which steps are forks, and what is written of them."""

from itertools import pairwise

import numpy as np
import torch
from benchmarks.acting import branch

from openjepa.evals.world_models.transitions import Transitions
from openjepa.worlds import Branch
from openjepa.worlds.branch import MIDDLE, MOUTH

NOTHING = torch.zeros(0)


def steps(before: np.ndarray, after: np.ndarray) -> Transitions:
    sides = (torch.from_numpy(side.astype(np.float32)) for side in (before, after))
    return Transitions(NOTHING, NOTHING, NOTHING, *sides)


def test_forks_are_steps_into_a_branch_that_nothing_told() -> None:
    world, rng = Branch(size=16), np.random.default_rng(0)
    state = world.place(world.reset(40, rng, risky=0), (MOUTH - 1.5, MIDDLE, 0))
    track = [world.observe(state)]
    for _ in range(6):
        state = world.step(state, np.tile(np.float32([2, 0]), (40, 1)), rng)
        track.append(world.observe(state))
    found = torch.stack([branch.forks(steps(a, b)) for a, b in pairwise(track)])
    assert (found.sum(0) == 1).all()  # every one forks once ...
    when = int(found[:, 0].nonzero()[0])
    taken = track[when + 1][:, 2]
    assert (
        set(taken.tolist()) == {1, 2} and np.ptp(track[when][:, :2], 0).max() < 1e-6
    )  # ... from the same place
    land = world.observe(world.place(state, (MOUTH - 9, MIDDLE, 0)))
    assert not branch.forks(steps(land, land + np.array([1, 0, 0]))).any()


def test_everything_measured_is_written_down() -> None:
    control = {"name": "future leak", "value": 3.2, "wanted": "at least 2", "verdict": "holds well"}
    best = {"steps": 7, "latent": [0.4, 0.1], "codebook": [0.9, 0.5], "deterministic": 0.3}
    row = {"success": 0.5, "low": 0.4, "high": 0.6, "final": 3.0}
    text = branch.as_markdown(
        {
            "latent": {"mixture": [{"seed": 4, "forks": best, "controls": {"controls": [control]}}]},
            "acting": {"mixture, told to avoid it": {**row, "entered": {**row, "success": 0.45}}},
            "baselines": {"expert": {**row, "entered": row}},
        }
    )
    assert "7 held-out forks" in text and "| mixture, seed 4 | z | 0.4 | 0.1 |" in text
    assert (
        "holds well" in text
        and "| expert | 50.0" in text
        and "| 50.0 [40.0, 60.0] | 45.0 [40.0, 60.0] | 3.0 |" in text
    )
