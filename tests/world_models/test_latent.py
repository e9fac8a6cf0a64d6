"""World models that are told z: what shapes what, what a rollout makes of z, and the contract."""

from typing import Any

import pytest
import torch
from torch import Tensor

from openjepa.agent.objective import Imagination, Risk
from openjepa.agent.protocols import Situation, Uncertain
from openjepa.check import check_jepa
from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.evals.planning.counted import Counted
from openjepa.recipes import build, configure
from openjepa.signals.frames import Window
from openjepa.world_models.latent import LatentWorldJEPA

from .. import dots

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "kl": ("latent-action", {}),
    "sparse": ("latent-action", {"condition.latent.capacity": "sparse"}),
    "codebook": ("latent-action", {"condition.latent.capacity": "codebook", "condition.latent.capacity.codes": 4}),
    "video alone": ("latent-action", {"condition.video": True, "terms.inverse": 0}),
    "mixture": ("mixture", {}),
    "mixture of video alone": ("mixture", {"condition.video": True, "terms.inverse": 0}),
    "swapped": ("pldm", {"condition": "latent", "condition.latent": "mixture", "condition.latent.heads": 3}),
    "with a history": ("lewm", {"condition": "latent", "condition.latent": "mixture", "condition.latent.heads": 3}),
    "z with a history": ("lewm", {"condition": "latent", "condition.latent": "action", "condition.latent.width": 5}),
}  # fmt: skip
every_case = pytest.mark.parametrize("case", CASES)
MIXTURES = ["mixture", "mixture of video alone", "swapped", "with a history"]


def model_of(case: str, seed: int = 0) -> LatentWorldJEPA:
    recipe, changes = CASES[case]
    wanted = {name: str(value) for name, value in (dots.options(recipe) | changes).items()}
    model = build(configure(recipe, "tiny", wanted), seed)
    assert isinstance(model, LatentWorldJEPA)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in [*model.predictor.parameters(), *model.latent.parameters()]:
            parameter += 0.1 * torch.randn(parameter.shape, generator=random)
    model.train()(window_for(model), Rng(0, 0))  # so that something has been inferred
    return model.eval()


def window_for(model: LatentWorldJEPA, count: int = 8) -> Window:
    return dots.windows(count, model.future.frames, model.block)


def seeded(count: int, first: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(first + i) for i in range(count)]


@pytest.mark.parametrize("case", ["sparse", "codebook", "mixture of video alone", "with a history"])
def test_the_contract_holds(case: str) -> None:
    model = model_of(case)
    check_jepa(model, window_for(model))


@every_case
def test_a_rollout_from_the_inferred_z_is_what_training_predicts(case: str) -> None:
    model = model_of(case)
    window = window_for(model)
    states, actions = model.encode(window.frames), window.actions
    z = model.inferred(states, actions).z
    assert z.shape == (*actions.shape[:2], model.latent.width)
    pairs = model.pairs(window, Rng(0, 0))
    trained = model.state_layout.state(model.predict(model.represent([pairs[0].context]), pairs)[0])
    imagined = model.rollout(states[:, :1], actions[:, None], z[:, None])
    torch.testing.assert_close(imagined[:, 0, 0], trained[:, 0], rtol=1e-4, atol=1e-5)
    if steps := model.future.rollout:
        torch.testing.assert_close(imagined[:, 0, :steps], trained[:, -steps:], rtol=1e-4, atol=1e-5)


@every_case
def test_noise_becomes_the_z_of_the_states_that_are_predicted(case: str) -> None:
    """Step by step from explicit values of z, the same futures come out as of the noise at once."""
    model = model_of(case)
    window = window_for(model, 3)
    state, actions = model.encode(window.frames)[:, :1], window.actions[:, None].expand(-1, 4, -1, -1)
    steps = min(actions.shape[2], model.dynamics.history) if model.dynamics.history > 1 else 3
    actions = actions[:, :, :steps]
    noise = model.draw_z(state, 4, steps, seeded(3))
    futures = model.rollout(state, actions, noise)
    now, settled = state.expand(-1, 4, *state.shape[2:]), []
    for t in range(steps):
        settled.append(model.latent.settle(now, noise[:, :, t]))
        now = model.rollout(state, actions[:, :, : t + 1], torch.stack(settled, 2))[:, :, -1]
        torch.testing.assert_close(now, futures[:, :, t], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(futures[:, 0], futures[:, 1])


@pytest.mark.parametrize("case", MIXTURES)
def test_without_z_a_mixture_gives_the_router_s_mean(case: str) -> None:
    model = model_of(case)
    window = window_for(model, 3)
    state, actions = model.encode(window.frames)[:, 0], window.actions[:, 0]
    mean = model.rollout(state[:, None], actions[:, None, None])[:, 0, 0]
    z, probability = model.latent.enumerate(state)
    options = model.one_step(actions)(state, z)
    torch.testing.assert_close(mean, torch.einsum("bk,bk...->b...", probability.exp(), options))


def test_the_past_s_z_is_inferred_from_the_past() -> None:
    model = model_of("with a history")
    window = window_for(model)
    states, actions = model.encode(window.frames), window.actions
    pairs = model.pairs(window, Rng(0, 0))
    trained = model.state_layout.state(model.predict(model.represent([pairs[0].context]), pairs)[0])
    z = model.inferred(states, actions).z[:, None, -1:]
    given = model.rollout(states[:, :-1], actions[:, None, -1:], z, actions[:, :-1])[:, 0, 0]
    torch.testing.assert_close(given, trained[:, -1], rtol=1e-4, atol=1e-5)
    drawn = model.draw_z(states, 1, 1, seeded(len(states)))
    assert model.rollout(states[:, :-1], actions[:, None, -1:], drawn, actions[:, :-1]).isfinite().all()


@every_case
def test_inference_shapes_no_state(case: str) -> None:
    model = model_of(case)
    window = window_for(model)
    states = model.encode(window.frames).detach().requires_grad_()
    inferred = model.train().inferred(states, window.actions, Rng(0, 0))
    (inferred.loss + inferred.z.sum()).backward()
    assert states.grad is None or not states.grad.any()
    assert any(p.grad is not None and p.grad.any() for p in model.latent.parameters())


@every_case
def test_futures_of_a_problem_do_not_depend_on_others(case: str) -> None:
    """Drawn from one generator a problem, so that a problem alone and among others meets the same."""
    model = model_of(case)
    assert isinstance(model, Uncertain) and isinstance(Counted(model), Uncertain)
    state = model.encode(window_for(model, 3).frames)[:, :1]
    together = model.draw_z(state, 4, 3, seeded(3))
    assert together.shape == (3, 4, 3, model.latent.chance)
    assert torch.equal(together[1:2], model.draw_z(state[1:2], 4, 3, seeded(1, 1)))


def test_actions_reach_the_predictor_only_where_it_takes_them() -> None:
    for case, heard in (("kl", True), ("video alone", False), ("mixture of video alone", False)):
        model = model_of(case)
        window = window_for(model, 3)
        state, actions = model.encode(window.frames)[:, :1], window.actions[:, None]
        z = model.draw_z(state, 1, actions.shape[2], seeded(3))
        same = torch.allclose(model.rollout(state, actions, z), model.rollout(state, -actions, z))
        assert same is not heard


def test_risk_is_judged_over_the_drawn_futures() -> None:
    model = model_of("mixture")
    window = window_for(model, 2)
    state, candidates = model.encode(window.frames)[:, :1], torch.randn(2, 5, 3, 2)

    def far(states: Tensor, actions: Tensor | None = None) -> Tensor:
        return states.square().flatten(3).mean(3).sum(2)

    def judge(weight: float) -> Tensor:
        situation = Situation(state, None, None, far, seeded(2))  # ty: ignore[invalid-argument-type]
        return Imagination(model, situation, 3, Risk(weight, samples=6))(candidates)

    indifferent, averse = judge(0.0), judge(2.0)
    assert indifferent.shape == (2, 5) and (averse > indifferent).all()
    torch.testing.assert_close(judge(1.0), (indifferent + averse) / 2)


def test_mistakes_are_named() -> None:
    model = model_of("mixture")
    window = window_for(model, 2)
    state, actions = model.encode(window.frames)[:, :1], window.actions[:, None]
    with pytest.raises(UserError, match="give one of 1 or 3 numbers for each"):
        model.rollout(state, actions, torch.zeros(2, 1, actions.shape[2], 2))
    with pytest.raises(UserError, match="does not fit actions"):
        model.rollout(state, actions, torch.zeros(2, 2, actions.shape[2], 3))
    with pytest.raises(UserError, match=r"set terms\.inverse to 0"):
        configure("latent-action", "tiny", {"condition.video": "true"})
