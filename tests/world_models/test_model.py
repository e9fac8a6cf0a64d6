"""World models: what is predicted from what, and what planning asks of them."""

import pytest
import torch
from torch import Tensor

from openjepa.agent.planners import CEM, as_space, streams
from openjepa.check import check_jepa
from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.recipes import build, configure
from openjepa.signals.frames import Window
from openjepa.world_models.model import StateLayout, WorldJEPA
from openjepa.worlds import Box

from .. import dots

LATENTS: dict[str, tuple[str, dict[str, object]]] = {
    "vector": ("pldm", {}),
    "normless": ("pldm", {"encoder.norm": False}),
    "map": ("pldm", {"encoder.output": "map", "predictor": "maps", "predictor.channels": 8}),
    "projected": ("lewm", {}),
    "patches": (
        "lewm",
        {"encoder": "vit", "encoder.patch": 8, "encoder.depth": 1, "encoder.heads": 2, "head": "none"},
    ),
    "patches to one vector": (
        "lewm",
        {"encoder": "vit", "encoder.patch": 4, "encoder.depth": 1, "encoder.heads": 2},
    ),
    "moving target": ("pldm", {"target": "ema"}),
    "two levels": ("h-jepa", {}),
    "both ways": ("pldm", {"hiding.forced": True}),
    "of two frames": ("remote-jepa", {}),
    "the mean of a block": (
        "pldm",
        {
            "signal.block": 2,
            "signal.block_actions": "mean",
            "predictor": "mlp",
            "predictor.hidden": [16, 16],
            "predictor.steer": "film",
            "terms.inverse_layers": 0,
        },
    ),
}


def model_of(case: str, seed: int = 0) -> WorldJEPA:
    recipe, changes = LATENTS[case]
    wanted = dots.options(recipe) | changes
    gone = {
        "vit": ("encoder.channels", "encoder.blocks"),
        "none": ("head.hidden", "head.width"),
    }
    for kind in (changes.get("encoder"), changes.get("head")):
        wanted = {k: v for k, v in wanted.items() if k not in gone.get(str(kind), ())}
    config = configure(recipe, "tiny", {name: str(value) for name, value in wanted.items()})
    model = build(config, seed)
    assert isinstance(model, WorldJEPA)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():  # LeWM's predictor is told nothing by the actions before its first step
        for parameter in model.predictor.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=random)
    return model.eval()


def window_for(model: WorldJEPA, count: int = 8) -> Window:
    return dots.windows(count, model.future.frames + model.signal.stack - 1, model.block)


@pytest.mark.parametrize("case", LATENTS)
def test_the_contract_holds(case: str) -> None:
    model = model_of(case)
    check_jepa(model, window_for(model))


def test_a_model_of_the_mean_plans_with_one_action_a_block() -> None:
    model = model_of("the mean of a block")
    state = model.encode(window_for(model).frames)[:, :1]
    actions = torch.randn(len(state), 5, 3, 4, generator=torch.Generator().manual_seed(1))
    swapped = actions[..., [2, 3, 0, 1]]
    torch.testing.assert_close(model.rollout(state, swapped), model.rollout(state, actions))
    assert not torch.allclose(model.rollout(state, actions + 0.1), model.rollout(state, actions), atol=1e-4)
    space = as_space(Box.symmetric(1.0, 2), model.block, action_repeat=model.action_repeat)
    target = actions[:, 0].clamp(-0.5, 0.5)
    plan = CEM(horizon=3, samples=32, iterations=3, elites=4).plan(
        lambda a: (a - target[:, None]).square().sum((2, 3)), space, streams(0, len(state))
    )
    assert torch.equal(plan.actions[..., :2], plan.actions[..., 2:])


@pytest.mark.parametrize("case", LATENTS)
def test_a_rollout_is_what_training_predicts(case: str) -> None:
    """From the encoded past, actions in the environment's units, as many candidates as one likes."""
    model = model_of(case)
    window = window_for(model)
    before = model.signal.stack - 1
    states, actions = model.encode(window.frames)[:, before:], window.actions[:, before:]
    pairs = model.pairs(window, Rng(0, 0))
    trained = model.state_layout.state(model.predict(model.represent([pairs[0].context]), pairs)[0])
    steps = 3
    several = torch.stack([actions[:, :steps], -actions[:, :steps]], 1)
    imagined = model.rollout(states[:, :1], several)
    assert imagined.shape == (len(window), 2, steps, *model.state_layout.shape)
    first = 0 if not model.future.rollout else -model.future.rollout
    torch.testing.assert_close(imagined[:, 0, 0], trained[:, first], rtol=1e-4, atol=1e-5)
    if model.future.rollout:
        torch.testing.assert_close(imagined[:, 0], trained[:, -steps:], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(imagined[:, 0], imagined[:, 1])


def test_a_rollout_remembers_the_past() -> None:
    model = model_of("projected")
    window = window_for(model)
    states, steps = model.encode(window.frames), model.future.frames - 1
    pairs = model.pairs(window, Rng(0, 0))
    forced = model.state_layout.state(model.predict(model.represent([pairs[0].context]), pairs)[0])
    past, coming = window.actions[:, : steps - 1], window.actions[:, None, steps - 1 :]
    imagined = model.rollout(states[:, :steps], coming, past=past)
    torch.testing.assert_close(imagined[:, 0, 0], forced[:, -1], rtol=1e-4, atol=1e-5)
    forgetful = model.rollout(states[:, :steps], coming)
    torch.testing.assert_close(forgetful, model.rollout(states[:, steps - 1 : steps], coming))
    longer = model.rollout(states, coming, past=window.actions)  # more than its history: the newest count
    torch.testing.assert_close(longer, model.rollout(states[:, 1:], coming, past=window.actions[:, 1:]))


def test_a_state_of_two_frames_sees_what_moves() -> None:
    model = model_of("of two frames")
    frames = window_for(model).frames
    states = model.encode(frames)
    for t in range(1, frames.shape[1]):  # the two frames alone make the state
        torch.testing.assert_close(model.encode(frames[:, t - 1 : t + 1])[:, 1], states[:, t])
    other = torch.cat([frames[:, 1:2], frames[:, 1:2]], 1)
    assert not torch.allclose(model.encode(other)[:, 1], states[:, 1], atol=1e-3)
    still = model.encode(frames[:, 1:2])[:, 0]  # before the first nothing has moved
    torch.testing.assert_close(still, model.encode(other)[:, 1])
    torch.testing.assert_close(model.embed(frames[:, 1]), still)
    torch.testing.assert_close(model.embed(window_for(model)), states[:, -1])
    assert model.history == 2


def test_what_it_tells_of_itself() -> None:
    model = model_of("projected")
    assert (model.block, model.history, model.horizon) == (2, 3, 1)
    assert model_of("vector").horizon == 3


def test_only_the_future_is_predicted_and_only_from_the_past() -> None:
    """Later frames change no teacher-forced prediction of earlier ones, and no rollout at all."""
    for case in ("projected", "patches", "vector", "both ways"):
        model = model_of(case)
        window = window_for(model)
        other = dots.windows(len(window) + 3, model.future.frames, model.block)[3:]
        changed = torch.cat([window.frames[:, :-1], other.frames[:, -1:]], 1)

        def guess(frames: Tensor, model: WorldJEPA = model, window: Window = window) -> Tensor:
            pairs = model.pairs(Window(frames, window.actions, window.state), Rng(0, 0))
            return model.predict(model.represent([pairs[0].context]), pairs)[0]

        torch.testing.assert_close(guess(changed), guess(window.frames))


def test_targets_are_the_encoded_frames() -> None:
    model = model_of("both ways")
    window = window_for(model)
    output = model(window, Rng(0, 0))
    states = model.state_layout.tokens(model.encode(window.frames))
    assert model.future.predicted == [1, 2, 3, 4, 1, 2, 3]
    assert model.future.known == [0, 1, 2, 3, 0, 0, 0]
    torch.testing.assert_close(output.s_y[0], states[:, model.future.predicted], rtol=1e-4, atol=1e-5)
    forced, rolled = output.prediction[0][:, :4], output.prediction[0][:, 4:]
    s_y = output.s_y[0]
    expected = model.energy.mean(forced, s_y[:, :4]) + model.energy.mean(rolled, s_y[:, 4:])
    torch.testing.assert_close(output.terms["energy"], expected.detach())


def test_mistakes_are_named() -> None:
    model = model_of("vector")
    window = window_for(model)
    with pytest.raises(UserError, match=r"hiding\.frames"):
        model(dots.windows(4, 3), Rng(0, 0))
    with pytest.raises(UserError, match="and the 1 before them"):
        model_of("of two frames")(window, Rng(0, 0))
    with pytest.raises(UserError, match=r"signal\.size"):
        model.encode(window.frames[..., :-1])
    states = model.encode(window.frames)
    with pytest.raises(UserError, match="one future"):
        model.rollout(states, window.actions[:, None], z=torch.zeros(1))
    with pytest.raises(UserError, match="actions of width 3"):
        model.rollout(states, torch.zeros(len(window), 1, 2, 3))


@pytest.mark.parametrize("maps", [False, True])
def test_forms_are_undone(maps: bool) -> None:
    tokens = torch.randn(2, 3, 6, 4)
    layout = StateLayout((2, 3), 4, maps)
    state = layout.state(tokens)
    assert state.shape[2:] == layout.shape
    assert torch.equal(layout.tokens(state), tokens)
    if maps:
        assert torch.equal(state[0, 0, :, 1, 2], tokens[0, 0, 5])
