"""The readings of a world model, on models whose predictions the test chooses."""

import pytest
import torch
from torch import Tensor

from openjepa.nets.dynamics.base import Markov
from openjepa.recipes import build, configure
from openjepa.signals.frames import Window
from openjepa.world_models.model import WorldJEPA
from openjepa.world_models.monitor import WorldMonitor

from .. import dots

B, T = 32, 5


class Knowing(Markov):
    """State and action are pixels; what it makes of them is the test's."""

    def __init__(self, rule: str) -> None:
        super().__init__((4,), 2)
        self.rule = rule

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        moved = state.clone()
        moved[:, :2] += action
        return {"moves": moved, "stays": state, "blind": torch.zeros_like(state)}[self.rule]


class Corner(torch.nn.Module):
    """The state is read off four pixels, which are what the test wrote there."""

    places, width, frame = (1, 1), 4, (3, 16, 16)

    def forward(self, view) -> Tensor:  # type: ignore[no-untyped-def]
        return view.tokens.values.view(-1, 3, 16, 16)[:, 0, 0, :4].unsqueeze(1)

    def grid(self, grid: tuple[int, int]) -> tuple[int, int]:
        return 1, 1


def moving() -> Window:
    """Two numbers in each frame go with the actions, two more tell the windows apart."""
    random = torch.Generator().manual_seed(0)
    actions = torch.randn(B, T - 1, 2, generator=random)
    start = torch.randn(B, 1, 4, generator=random)
    steps = torch.cat([actions, torch.zeros(B, T - 1, 2)], -1).cumsum(1)
    frames = torch.zeros(B, T, 3, 16, 16)
    frames[..., 0, 0, :4] = torch.cat([start, start + steps], 1)
    return Window(frames, actions, torch.zeros(B, T, 0))


def model_of(rule: str, **changes: object) -> WorldJEPA:
    plain = {"signal__mean": [0.0], "signal__std": [1.0], **changes}
    texts = {name: str(value) for name, value in dots.options("pldm", **plain).items()}
    model = build(configure("pldm", "tiny", texts | {"encoder.width": "4"}))
    assert isinstance(model, WorldJEPA)
    model.encoder, model.predictor = Corner(), Knowing(rule)
    return model


@pytest.mark.parametrize("forced", [False, True])
def test_who_moves_with_the_actions_beats_every_trivial_prediction(forced: bool) -> None:
    rollout = {} if not forced else {"hiding__forced": True, "hiding__rollout": 0}
    reading = WorldMonitor(moving()).measure(model_of("moves", **rollout), step=3)
    assert reading["step"] == 3
    assert reading["energy/model"] == pytest.approx(0, abs=1e-10)
    steps = 1 if forced else 2  # how many the copied state is old, on average
    assert reading["energy/persistence"] == pytest.approx(steps / 2, rel=0.25)
    assert reading["energy/permuted_actions"] == pytest.approx(steps, rel=0.3)
    assert reading["energy/permuted"] > 1
    assert reading["energy/mean"] > 1


def test_who_stands_still_ignores_the_actions_but_not_the_state() -> None:
    reading = WorldMonitor(moving()).measure(model_of("stays"), step=0)
    assert reading["energy/model"] == reading["energy/persistence"] == reading["energy/permuted_actions"]
    assert reading["energy/permuted"] > reading["energy/model"]


def test_a_blind_model_ignores_both() -> None:
    reading = WorldMonitor(moving()).measure(model_of("blind"), step=0)
    assert reading["energy/model"] == reading["energy/permuted"] == reading["energy/permuted_actions"]


def test_a_window_is_a_sample_and_its_frames_are_views() -> None:
    model = model_of("moves")
    reading = WorldMonitor(moving(), lidar_views=3).measure(model, step=0)
    assert (reading["lidar/n"], reading["lidar/q"]) == (B, 3)
    assert reading["lidar/within"] < reading["lidar/between"]
    assert reading["rank/limit"] == 4 and 3 < reading["rank/embedding"] <= 4
    parts = [reading[f"power/{name}"] for name in ("constant", "position", "content")]
    assert sum(parts) == pytest.approx(1)
    assert WorldMonitor(moving(), lidar_views=9).measure(model, step=0)["lidar/q"] == T


def test_a_model_that_is_trained_both_ways_is_measured_both_ways() -> None:
    found = WorldMonitor(moving()).measure(model_of("stays", hiding__forced=True), 0)
    for name in ("model", "persistence", "permuted_actions"):
        both = found[f"energy/forced/{name}"] + found[f"energy/rollout/{name}"]
        assert both == pytest.approx(found[f"energy/{name}"])
    assert found["energy/forced/model"] == pytest.approx(found["energy/forced/persistence"])
    assert (
        found["energy/rollout/model"] > 1.5 * found["energy/forced/model"]
    )  # three steps go farther than one
    assert not any("forced/" in key for key in WorldMonitor(moving()).measure(model_of("moves"), 0))
