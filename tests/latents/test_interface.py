"""What every latent variable promises, whatever its kind."""

import copy
import math

import pytest
import torch
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.config import Config
from openjepa.errors import UserError
from openjepa.latents import Latent, LatentAction, LatentChoice, Mixture, Predict, one_step
from openjepa.nets.dynamics.gru import GRU
from openjepa.nets.dynamics.mlp import MLP

KINDS: dict[str, dict[str, object]] = {
    "kl": {"kind": "action", "width": 4, "hidden": 8},
    "sparse": {"kind": "action", "width": 4, "hidden": 8, "capacity": {"kind": "sparse"}},
    "codebook": {"kind": "action", "width": 4, "hidden": 8, "capacity": {"kind": "codebook", "codes": 5}},
    "mixture": {"kind": "mixture", "heads": 4, "hidden": 8},
}
FINITE = {"kl": None, "sparse": None, "codebook": 5, "mixture": 4}
every_kind = pytest.mark.parametrize("kind", KINDS)
shapes = pytest.mark.parametrize("shape", [(6,), (2, 3)])


class Recipe(Config):
    latent: LatentChoice = LatentAction()


def build(kind: str, shape: tuple[int, ...] = (6,)) -> Latent:
    torch.manual_seed(0)
    latent = Recipe.parse({"latent": KINDS[kind]}).latent.build(shape)
    latent.infer(*pair(shape), predict(shape), Rng(0, 0))  # so that something has been inferred
    return latent.eval()


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pair(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    return draw(5, 3, *shape), draw(5, 3, *shape, seed=1)


def predict(shape: tuple[int, ...]) -> Predict:
    """A state moved by z along its last axis, as far as z goes."""

    def move(s: Tensor, z: Tensor) -> Tensor:
        moved = s.unsqueeze(-len(shape) - 1).expand(*z.shape[:-1], *shape).clone()
        moved.flatten(-len(shape))[..., :4] += z
        return moved

    return move


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(7)


@every_kind
@shapes
def test_shapes(kind: str, shape: tuple[int, ...]) -> None:
    latent, (s, s_next) = build(kind, shape), pair(shape)
    inferred = latent.infer(s, s_next, predict(shape), Rng(0, 1))
    assert inferred.z.shape == (5, 3, latent.width)
    assert inferred.loss.shape == () and all(term.shape == () for term in inferred.terms.values())
    assert latent.sample(7, s, seeded()).shape == (5, 3, 7, latent.width)
    assert latent.penalty(s, latent.sample(7, s, seeded())).shape == (5, 3, 7)
    best, value = latent.optimise(lambda z: z.square().sum(-1), s, seeded(), steps=1, samples=3)
    assert best.shape == (5, 3, latent.width) and value.shape == (5, 3)


@every_kind
def test_terms_carry_no_gradient_and_the_loss_does(kind: str) -> None:
    latent, (s, s_next) = build(kind).train(), pair((6,))
    inferred = latent.infer(s, s_next, predict((6,)), Rng(0, 1))
    assert inferred.loss.requires_grad
    assert not any(term.requires_grad for term in inferred.terms.values())


@every_kind
def test_inference_without_rng_is_the_same_twice(kind: str) -> None:
    latent, (s, s_next) = build(kind), pair((6,))
    first, second = (latent.infer(s, s_next, predict((6,))).z for _ in range(2))
    assert torch.equal(first, second)


@every_kind
def test_inference_in_eval_mode_changes_nothing(kind: str) -> None:
    latent, (s, s_next) = build(kind), pair((6,))
    before = copy.deepcopy(latent.state_dict())
    latent.infer(s, s_next, predict((6,)), Rng(0, 5))
    assert all(torch.equal(before[name], value) for name, value in latent.state_dict().items())


@every_kind
def test_samples_follow_their_generator(kind: str) -> None:
    latent, s = build(kind), pair((6,))[0]
    torch.manual_seed(1)
    first = latent.sample(6, s, seeded())
    torch.manual_seed(2)
    assert torch.equal(first, latent.sample(6, s, seeded()))
    assert not torch.equal(first, latent.sample(6, s, torch.Generator().manual_seed(8)))
    assert first.flatten(0, -2).unique(dim=0).shape[0] > 1


@every_kind
def test_enumeration_is_all_values_or_refused(kind: str) -> None:
    latent, s = build(kind), pair((6,))[0]
    assert latent.finite == (FINITE[kind] is not None)
    if not latent.finite:
        with pytest.raises(UserError, match="cannot be enumerated"):
            latent.enumerate(s)
        return
    z, probability = latent.enumerate(s)
    assert z.shape == (5, 3, FINITE[kind], latent.width) and probability.shape == (5, 3, FINITE[kind])
    torch.testing.assert_close(probability.exp().sum(-1), torch.ones(5, 3))
    torch.testing.assert_close(latent.penalty(s, z), -probability)
    drawn = latent.sample(4000, s[:1, :1], seeded())[0, 0]
    share = (drawn[:, None] == z[0, 0]).all(-1).float().mean(0)
    torch.testing.assert_close(share, probability[0, 0].exp(), atol=0.04, rtol=0)


@every_kind
def test_noise_settles_to_what_sampling_draws(kind: str) -> None:
    latent, s = build(kind), pair((6,))[0]
    noise = latent.noise(2000, 3, seeded())
    assert noise.shape == (2000, 3, latent.chance)
    settled = latent.settle(s[:1].expand(2000, -1, -1), noise)
    assert settled.shape == (2000, 3, latent.width)
    drawn = latent.sample(2000, s[0], seeded())
    expected = latent.expected(s[0])
    torch.testing.assert_close(drawn.mean(1), expected, atol=0.1, rtol=0)
    torch.testing.assert_close(settled.mean(0), expected, atol=0.1, rtol=0)
    torch.testing.assert_close(settled.std(0), drawn.std(1), atol=0.1, rtol=0)
    assert torch.equal(noise, latent.noise(2000, 3, seeded()))


def test_a_mixture_s_futures_are_spread_evenly() -> None:
    latent, s = build("mixture"), pair((6,))[0][:1, :1]
    share = latent.settle(s.expand(8, 5, -1), latent.noise(8, 5, seeded())).mean(0)
    assert (share - latent.expected(s)[0]).abs().max() < 2 / 8  # by chance alone a head of 1/2 can be missed


@every_kind
def test_the_penalty_of_a_value_does_not_depend_on_its_company(kind: str) -> None:
    latent, s = build(kind), pair((6,))[0]
    z = latent.sample(4, s, seeded())
    torch.testing.assert_close(latent.penalty(s, z)[:, :, 2:3], latent.penalty(s, z[:, :, 2:3]))


@every_kind
def test_optimising_finds_the_least(kind: str) -> None:
    latent, s = build(kind), pair((6,))[0]
    wanted = latent.sample(1, s, torch.Generator().manual_seed(3))

    def objective(z: Tensor) -> Tensor:
        return (z - wanted).square().sum(-1)

    best, value = latent.optimise(objective, s, seeded(), steps=200)
    torch.testing.assert_close(best, wanted[:, :, 0], atol=0.02, rtol=0)
    assert value.max() < 1e-3
    with torch.no_grad():
        again, _ = latent.optimise(objective, s, seeded(), steps=200)
    assert torch.equal(again, best)


@pytest.mark.parametrize("kind", ["kl", "codebook", "mixture"])  # of a sparse z no single value is expected
def test_a_heavy_penalty_makes_the_expected_best(kind: str) -> None:
    latent, s = build(kind), pair((6,))[0]

    def objective(z: Tensor) -> Tensor:
        return -z.sum(-1)

    best, _ = latent.optimise(objective, s, seeded(), weight=1e6, steps=100)
    if latent.finite:
        values, probability = latent.enumerate(s)
        wanted = values.take_along_dim(probability.argmax(-1)[..., None, None], 2)[:, :, 0]
        torch.testing.assert_close(best, wanted)
    else:
        assert best.norm(dim=-1).max() < 0.5


def test_optimising_never_ends_above_the_best_sample() -> None:
    latent, s = build("kl"), pair((6,))[0]
    cliff = lambda z: torch.where(z[..., 0] > 0, z[..., 0], 100 * z.square().sum(-1))  # noqa: E731
    start = cliff(latent.sample(32, s, seeded())).amin(-1)
    _, value = latent.optimise(cliff, s, seeded(), steps=3, rate=10.0)
    assert (value <= start).all()


def test_one_step_tells_the_predictor_actions_and_z() -> None:
    torch.manual_seed(0)
    dynamics = GRU().build(6, 2 + 3)
    s, actions, z = draw(4, 2, 6), draw(4, 2, 2, seed=1), draw(4, 2, 5, 3, seed=2)
    options = one_step(dynamics, actions)(s, z)
    assert options.shape == (4, 2, 5, 6)
    alone = dynamics(s[1:2, :1], torch.cat([actions[1:2, :1], z[1:2, :1, 3]], -1))[0, 0]
    torch.testing.assert_close(options[1, 0, 3], alone)
    plain = MLP(hidden=(8,)).build(6, 3)
    torch.testing.assert_close(
        one_step(plain)(s[:, 0], z[:, 0])[2, 4], plain(s[2:3, :1], z[2:3, :1, 4])[0, 0]
    )


def test_a_mixture_needs_predictions() -> None:
    with pytest.raises(UserError, match="infer needs predict"):
        build("mixture").infer(*pair((6,)))


def test_a_sparse_latent_cannot_be_drawn_before_it_is_trained() -> None:
    latent = Recipe.parse({"latent": KINDS["sparse"]}).latent.build((6,))
    with pytest.raises(UserError, match="there are none: train it"):
        latent.sample(1, draw(2, 6), seeded())


def test_defaults_are_the_papers() -> None:
    action, mixture = LatentAction(), Mixture()
    assert action.width == 128 and action.capacity.kind == "kl"
    assert (mixture.heads, mixture.distance, mixture.balance) == (8, "cosine", 0.0)
    sparse = Recipe.parse({"latent": KINDS["sparse"]}).latent.capacity  # ty: ignore
    assert (sparse.floor, sparse.variance, sparse.covariance, sparse.mean) == (1.0, 0.1, 0.001, 0.1)
    assert math.isclose(sparse.l1, 0.01)
