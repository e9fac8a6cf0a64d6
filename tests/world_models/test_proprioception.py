"""World models on frozen encoders, and those whose state holds proprioception: training, rollout, acting."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import openjepa
from openjepa.agent import Agent, Task
from openjepa.agent.cost import Goal
from openjepa.agent.planners import CEM
from openjepa.check import check_jepa
from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.hub.store import save_model
from openjepa.recipes import build, configure
from openjepa.signals.frames import Window
from openjepa.training import Run, train
from openjepa.world_models.model import WorldJEPA
from openjepa.world_models.proprioception import ProprioceptionJEPA

from .. import dots
from ..nets.test_frozen import SMALL
from ..training.test_loop import InterruptedAt

ARCHITECTURE = {
    "kind": "ours",
    "signal": {"size": 16, "channels": 3, "patch": 4},
    "encoder": {"kind": "vit", "width": 16, "depth": 1, "heads": 2},
}
SHARED = {
    "signal.size": 16,
    "encoder.pretrained": False,
    "encoder.architecture": ARCHITECTURE,
    "train.steps": 10,
    "train.batch_size": 8,
    "train.precision": "fp32",
    "train.save_every": 0.3,
    "train.health_every": 0.5,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "dino-wm": {
        "signal.block": 2,
        "predictor.depth": 1,
        "predictor.heads": 2,
        "predictor.head_width": 8,
        "predictor.hidden": 16,
    },
    "vjepa2-ac": {
        "signal.block": 1,
        "predictor.width": 24,
        "predictor.depth": 1,
        "predictor.heads": 2,
    },
}
OPTIONS["dino-wm with proprioception"] = {**OPTIONS["dino-wm"], "condition": "proprioception"}
every = pytest.mark.parametrize("name", OPTIONS)


def options(name: str, **changes: object) -> dict[str, object]:
    return SHARED | OPTIONS[name] | {key.replace("__", "."): value for key, value in changes.items()}


def recipe(name: str) -> str:
    return name.split(" ")[0]


def model_of(name: str, **changes: object) -> WorldJEPA:
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in options(name, **changes).items()}
    config = configure(recipe(name), "tiny", texts)
    model = build(config.adapt(config.open(dots.episodes(), adapt=True)))
    assert isinstance(model, WorldJEPA)
    return model.eval()


def windows(model: WorldJEPA, count: int = 8) -> Window:
    return dots.windows(count, model.future.frames, model.block)


@every
def test_the_contract_holds(name: str) -> None:
    model = model_of(name)
    check_jepa(model, windows(model))


@every
def test_a_run_learns_resumes_and_is_loaded(name: str, tmp_path: Path) -> None:
    data, changes = dots.episodes(), options(name, train__steps=24, train__lr=5e-3)
    model = train(recipe(name), data=data, out=tmp_path / "run", options=changes)
    readings = Run.open(tmp_path / "run").readings()
    assert readings[-1]["energy/model"] < 0.9 * readings[0]["energy/model"]
    assert readings[-1]["energy/permuted_actions"] > 0
    loaded = openjepa.load(tmp_path / "run")
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in model.state_dict().items())
    with pytest.raises(KeyboardInterrupt):
        train(recipe(name), data=data, out=tmp_path / "cut", options=changes, progress=InterruptedAt(15))
    again = train(recipe(name), data=data, out=tmp_path / "cut", options=changes, resume=True)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())


def test_a_run_stands_without_its_source(tmp_path: Path) -> None:
    source = tmp_path / "images"
    save_model(build(configure("i-jepa", "tiny-vit", SMALL), seed=5), source)
    named = options("dino-wm", encoder__source=str(source), encoder__pretrained=True, train__steps=4)
    model = train("dino-wm", data=dots.episodes(), out=tmp_path / "run", options=named)
    assert model.config.encoder.source == str(source)
    assert model.signal.mean == openjepa.load(source).signal.mean
    frames = dots.frames_of(3)
    tokens = model.embed(frames)
    for path in source.iterdir():
        path.unlink()
    loaded = openjepa.load(tmp_path / "run")
    assert torch.equal(loaded.embed(frames), tokens)
    assert loaded.config.encoder == model.config.encoder
    with pytest.raises(UserError, match="holds neither a run"):
        build(loaded.config)  # to train anew needs the source


def test_a_source_is_asked_for() -> None:
    with pytest.raises(UserError, match=r"give --encoder\.source a run"):
        train("dino-wm", data=dots.episodes(), options=options("dino-wm", encoder__pretrained=True))
    with pytest.raises(UserError, match="use target shared"):
        train("dino-wm", data=dots.episodes(), options=options("dino-wm", target="ema"))


def proprioceptive(name: str = "vjepa2-ac", **changes: object) -> ProprioceptionJEPA:
    model = model_of(name, **changes)
    assert isinstance(model, ProprioceptionJEPA)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.predictor.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def test_proprioception_stands_beside_every_patch_in_z_scores() -> None:
    model, episodes = proprioceptive(), dots.episodes()
    config = model.config.open(episodes, adapt=True)
    rows = torch.from_numpy(config.trained.states())
    window = windows(model)
    states = model.encode(window.frames, state=window.state)
    scores = (window.state - rows.mean(0)) / rows.std(0, correction=0)
    torch.testing.assert_close(states[:, :, 3, -2:], scores.float(), rtol=1e-3, atol=1e-3)
    assert states.shape[2:] == (16, 18) and not model.encode(window.frames)[..., -2:].any()
    torch.testing.assert_close(states[..., :16], model.encode(window.frames)[..., :16])
    with pytest.raises(UserError, match="trained on states of 2 variables, these have 3"):
        model.encode(window.frames, state=torch.zeros(len(window), window.frames.shape[1], 3))


@pytest.mark.parametrize("name", ["vjepa2-ac", "dino-wm with proprioception"])
def test_proprioception_reaches_the_prediction(name: str) -> None:
    model = proprioceptive(name)
    window = windows(model)
    one, other = (model.encode(window.frames, state=window.state + shift) for shift in (0, 2))
    actions = torch.rand(len(window), 2, 3, 2 * model.block) * 2 - 1
    seen = [model.rollout(states[:, :1], actions)[..., :16] for states in (one, other)]
    assert (seen[0] - seen[1]).abs().max() > 1e-3


def test_poses_go_on_as_the_actions_say_in_training_and_in_planning() -> None:
    model = proprioceptive()
    window = windows(model)
    states = model.encode(window.frames, state=window.state)
    imagined = model.rollout(states[:, :1], window.actions[:, None])[:, 0]
    inside = window.state[:, 1:].flatten(1).abs().max(1).values < 100
    torch.testing.assert_close(
        imagined[inside][..., 0, -2:], states[inside, 1:, 0, -2:], rtol=1e-3, atol=1e-3
    )
    pairs = model.pairs(window, Rng(0, 0))
    trained = model.state_layout.state(model.predict(model.represent([pairs[0].context]), pairs)[0])
    torch.testing.assert_close(imagined[:, :2], trained[:, -2:], rtol=1e-4, atol=1e-4)


def test_the_energy_is_of_what_is_predicted() -> None:
    window = windows(proprioceptive())
    for name, counts in (("vjepa2-ac", False), ("dino-wm with proprioception", True)):
        model = proprioceptive(name)
        guess = torch.randn(len(window), len(model.future.predicted), 16, 18)
        other = guess.clone()
        other[..., -2:] += 1
        differs = not torch.equal(
            model.compare([guess], [torch.zeros_like(guess)], []), model.compare([other], [guess], [])
        )
        assert differs
        assert bool(model.compare([other], [guess], []) > 0) == counts


def test_choices_that_do_not_fit_are_named() -> None:
    wrong = {
        "not 'pose'": {"condition.variables": '["pose"]'},
        "set predictor.state": {"predictor": "block-causal", "predictor.state": 4},
        "to a state of 1": {"condition.variables": '["x"]'},
        "goes with tokens or vectors of a frozen encoder": {"guard": "vicreg"},
        "set signal.block_actions to each": {"signal.block_actions": "mean", "signal.block": 2},
    }
    for message, changes in wrong.items():
        name = "dino-wm with proprioception"
        given = {
            k: v
            for k, v in options(name).items()
            if not (k.startswith("predictor.") and "predictor" in changes)
        }
        if "guard" not in changes:
            given["condition.future"] = "moved"
        with pytest.raises(UserError, match=message):
            train("dino-wm", data=dots.episodes(), options=given | changes)


def test_some_of_the_variables_may_be_proprioception() -> None:
    model = proprioceptive("dino-wm with proprioception", condition__variables=["y"])
    window = windows(model)
    assert model.proprio_dim == 1 and model.config.condition.columns == (1,)
    states = model.encode(window.frames, state=window.state)
    assert torch.equal(states, model.encode(window.frames, state=window.state * torch.tensor([0.0, 1.0])))


def test_goals_are_compared_by_what_is_seen() -> None:
    goal, states = torch.randn(2, 4, 5), torch.randn(2, 3, 6, 4, 5)
    moved = states.clone()
    moved[..., -2:] += 9
    cost = Goal(goal, proprio_dim=2)
    assert torch.equal(cost(states), cost(moved))
    torch.testing.assert_close(
        cost(states), (states - goal[:, None, None])[..., :3].square().flatten(3).mean(3)
    )


class Room:
    """A Gymnasium environment of dots that tells its state."""

    def __init__(self, tells: bool = True) -> None:
        self.tells = tells

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        self.place, self.steps = np.array([4.0, 5.0]), 0
        return self._seen(), {"goal_frame": dots.draw(np.array([[10.0, 10.0]]))[0], **self._variables()}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.place, self.steps = self.place + action, self.steps + 1
        return self._seen(), 0.0, False, self.steps == 5, self._variables()

    def _seen(self) -> np.ndarray:
        return dots.draw(self.place[None])[0]

    def _variables(self) -> dict[str, Any]:
        return {"state": self.place.astype(np.float32)} if self.tells else {}


def test_an_agent_perceives_proprioception() -> None:
    model = proprioceptive()
    agent = Agent(model, CEM(horizon=2, execute=1, samples=8, iterations=2, elites=2), Task.reach())
    result = agent.run(Room(), record=True)
    assert result.steps == 5 and result.ended == "truncated"
    last = agent.memory.states[-1]
    scores = model.hiding.proprioception(torch.tensor(np.array([4.0, 5.0]) + np.sum(result.actions, 0)))
    torch.testing.assert_close(last[0, -2:], scores.float(), rtol=1e-3, atol=1e-3)
    alone = Agent(model, CEM(horizon=2, execute=1, samples=8, iterations=2, elites=2), Task.reach())
    room = Room()
    frame, info = room.reset()
    alone.begin(1, info["goal_frame"][None], [0])
    assert np.array_equal(alone.step(frame, known=info["state"]), result.actions[0])
    with pytest.raises(UserError, match=r'takes proprioception: .* info\["state"\]'):
        agent.run(Room(tells=False))
