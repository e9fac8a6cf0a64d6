"""Surprise: clips that cannot be, and how they are told from those that can."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from openjepa.errors import UserError
from openjepa.evals.planning.clips import make_clips
from openjepa.evals.planning.surprise import auroc, auroc_interval, errors
from openjepa.worlds import CartPole, Maze, TwoRooms

WORLD = TwoRooms(size=64, vary=())


class Centre(torch.nn.Module):
    """A world model whose latent is where the agent is, and which knows of no walls."""

    history, block = 1, 1

    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(()))

    def encode(self, frames: Tensor, actions: Tensor | None = None) -> Tensor:
        colour = torch.tensor([38.0, 100, 210])
        weight = (frames.float() - colour[:, None, None]).abs().sum(2).lt(60).float()
        grid = torch.arange(64.0) * 65 / 64
        total = weight.sum((2, 3)).clamp(min=1)
        x, y = (weight.sum(2) * grid).sum(2) / total, (weight.sum(3) * grid).sum(2) / total
        return torch.stack([x, y], 2)

    def rollout(self, state: Tensor, actions: Tensor, z=None, past=None) -> Tensor:
        return state[:, None, -1:] + actions.cumsum(2)


def test_teleports_differ_from_their_twins_from_one_step_on() -> None:
    clips = make_clips(WORLD, "teleport", 10, 5, 2, np.random.default_rng(0))
    assert clips.frames.shape == (20, 6, 3, 64, 64) and clips.actions.shape == (20, 5, 4)
    assert clips.possible.tolist() == [True] * 10 + [False] * 10
    real, odd = clips.frames[:10], clips.frames[10:]
    assert torch.equal(clips.actions[:10], clips.actions[10:])
    differ = (real != odd).flatten(2).any(2)
    assert not differ[:, :2].any() and differ[:, -1].all()


def test_a_model_of_motion_is_surprised_by_teleports() -> None:
    clips = make_clips(WORLD, "teleport", 30, 4, 1, np.random.default_rng(1))
    found = errors(Centre(), clips.frames, clips.actions).amax(1).numpy()  # ty: ignore
    assert auroc(found[~clips.possible], found[clips.possible]) > 0.95


@pytest.mark.parametrize("world", [WORLD, Maze(size=64), TwoRooms(headings=8, vary=())])
def test_a_way_through_a_wall_is_one_that_the_world_does_not_allow(world: TwoRooms) -> None:
    clips = make_clips(world, "wall", 8, 6, 1, np.random.default_rng(0))
    assert clips.possible.tolist() == [True] * 16 + [False] * 8
    stopped, free, through = clips.frames[:8], clips.frames[8:16], clips.frames[16:]
    assert torch.equal(stopped[:, 0], through[:, 0]) and torch.equal(clips.actions[:8], clips.actions[16:])
    assert (stopped[:, -1] != through[:, -1]).flatten(1).any(1).all()
    if isinstance(world.actions, int):
        assert torch.equal(clips.actions.sum(2), torch.ones(24, 6))
    else:
        model = Centre()
        places = model.encode(torch.cat([free, through]))
        ordered = torch.cat([clips.actions[8:16], clips.actions[16:]]).sum(1)
        if world is WORLD:  # those that pass and those that are free move as ordered, to within a pixel
            assert ((places[:, -1] - places[:, 0] - ordered).norm(dim=1) < 1.5).all()


def test_worlds_without_walls_and_too_few_clips_say_so() -> None:
    with pytest.raises(UserError, match="cart-pole has no walls"):
        make_clips(CartPole(size=16), "wall", 4, 4, 1, np.random.default_rng(0))
    with pytest.raises(UserError, match="at least 2"):
        make_clips(WORLD, "teleport", 4, 1, 1, np.random.default_rng(0))
    clips = make_clips(CartPole(size=16), "teleport", 4, 4, 2, np.random.default_rng(0))
    assert clips.actions.shape == (8, 4, 2)


def test_auroc_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    positive, negative = random.integers(0, 9, 40), random.integers(0, 7, 30)
    labels = np.r_[np.ones(40), np.zeros(30)]
    assert auroc(positive, negative) == pytest.approx(roc_auc_score(labels, np.r_[positive, negative]))


def test_the_interval_covers_and_has_a_width_at_one() -> None:
    low, high = auroc_interval(1.0, 100, 100)
    assert high == 1 and 0.94 < low < 0.995
    low, high = auroc_interval(0.8, 50, 50)
    assert low < 0.8 < high and auroc_interval(0.2, 50, 50) == pytest.approx((1 - high, 1 - low))
    random, hits, truth = np.random.default_rng(0), 0, 0.7601  # of two normals one standard deviation apart
    for _ in range(300):
        value = auroc(random.normal(1, 1, 60), random.normal(0, 1, 60))
        low, high = auroc_interval(value, 60, 60)
        hits += low <= truth <= high
    assert 0.91 < hits / 300 < 0.99
