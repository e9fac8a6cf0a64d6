"""What imitation and regression find in latents whose meaning is known."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from openjepa.errors import UserError
from openjepa.evals.planning.cloning import blocks, clone, open_windows
from openjepa.evals.planning.protocol import Cloning
from openjepa.evals.planning.state import probe_state, targets_of
from openjepa.recipes import build, configure
from openjepa.recipes.worlds import WorldRecipe
from openjepa.world_models.model import WorldJEPA
from openjepa.world_models.windows import EpisodeWindows
from openjepa.worlds.actions import Box
from openjepa.worlds.episodes import Episode, Episodes
from openjepa.worlds.records import Raw, settle

from ... import dots


def untrained() -> tuple[WorldJEPA, EpisodeWindows]:
    texts = {name: str(value) for name, value in dots.options("pldm").items()}
    config = configure("pldm", "tiny", texts)
    assert isinstance(config, WorldRecipe)
    samples = config.open(dots.episodes(), adapt=True)
    model = build(config.adapt(samples))
    assert isinstance(model, WorldJEPA)
    return model.eval(), samples


def test_places_of_a_dot_are_read_off_its_pixels() -> None:
    model, samples = untrained()
    table = probe_state(model, samples, frames=1)
    assert [fit.row for fit in table.fits] == ["model"] * 2 + ["random init"] * 2 + ["raw pixels"] * 2
    for name in ("x", "y"):
        fit = table.fit("raw pixels", name)
        assert fit.r2 > 0.9 and fit.low <= fit.r2 <= fit.high
    assert table.fitted + table.tested == 20 and "R²" in str(table)
    assert table.fit("model", "x").r2 == table.fit("random init", "x").r2  # it is one: of seed 0
    other = probe_state(model, samples, seed=1)
    assert other.fit("model", "x").r2 != other.fit("random init", "x").r2
    assert probe_state(model, samples, frames=1) == table
    with pytest.raises(UserError, match="frames=0"):
        probe_state(model, samples, frames=0)
    with pytest.raises(UserError, match="longer episodes"):
        probe_state(model, samples, frames=30)


def test_angles_become_sine_and_cosine() -> None:
    names, columns = targets_of(["x", "angle", "angle velocity"], np.array([[1.0, np.pi / 2, 3.0]]))
    assert names == ["x", "sin angle", "cos angle", "angle velocity"]
    assert columns[0] == pytest.approx([1, 1, 0, 3], abs=1e-6)


class Place(nn.Module):
    """A model whose latent is the place of the dot."""

    def __init__(self, config: WorldRecipe, block: int) -> None:
        super().__init__()
        self.config, self.block, self.history, self.horizon = config, block, 1, 1
        self.actions = Box.symmetric(1.0, 2)
        self.unused = nn.Parameter(torch.zeros(()))

    def encode(self, frames: Tensor, actions: Tensor | None = None) -> Tensor:
        light, grid = frames[:, :, 0].float(), torch.arange(16) + 0.5
        total = light.sum((2, 3))
        x, y = (light.sum(2) * grid).sum(2) / total, (light.sum(3) * grid).sum(2) / total
        return torch.stack([x, y], 2)


def straight(count: int = 40, steps: int = 12) -> Episodes:
    """Dots that go straight on, each in its own direction, half a pixel a step."""
    random = np.random.default_rng(0)
    raws, walks = [], []
    for i in range(count):
        angle = random.uniform(-np.pi, np.pi)
        actions = np.tile(0.5 * np.array([np.cos(angle), np.sin(angle)], np.float32), (steps, 1))
        walk = 8 - actions[0] * steps / 2 + np.cumsum(np.concatenate([np.zeros((1, 2)), actions]), 0)
        walks.append(walk)
        raws.append(Raw(f"walk {i}", steps + 1, actions, walk.astype(np.float32)))
    return Episodes(
        settle("straight", raws, dots.Drawn(walks), [], Box.symmetric(1.0, 2), variables=("x", "y"))
    )


def test_a_clone_goes_towards_its_goal() -> None:
    samples = EpisodeWindows(straight(), 3, 1)
    model = Place(untrained()[0].config, 1)
    settings = Cloning(frames=400, updates=400, batch=64, hidden=32, layers=1, lr=1e-2)
    policies = [clone(model, samples, settings, seed=0) for _ in range(2)]  # ty: ignore[invalid-argument-type]
    goals = torch.tensor([[11.0, 8], [5, 8], [8, 11], [8, 5]])
    actions = policies[0].act(torch.full((4, 2), 8.0), goals)
    assert torch.cosine_similarity(actions, goals - 8).min() > 0.9
    assert torch.equal(actions, policies[1].act(torch.full((4, 2), 8.0), goals))


def test_blocks_leave_out_missing_actions() -> None:
    actions = np.arange(10, dtype=np.float32).reshape(5, 2)
    actions[2] = np.nan
    episode = Episode(np.zeros((6, 1, 1, 1), np.uint8), actions, np.zeros((6, 0), np.float32))
    taken, begin = blocks(episode, 2)
    assert begin.tolist() == [0, 3] and taken.tolist() == [[0, 1, 2, 3], [6, 7, 8, 9]]
    assert blocks(episode, 6)[0].shape == (0, 12)


def test_a_model_without_its_episodes_says_so() -> None:
    model, _ = untrained()
    with pytest.raises(UserError, match="--data"):
        open_windows(model)
