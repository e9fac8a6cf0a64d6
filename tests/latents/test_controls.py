"""Controls tell an honest latent variable from one that cheats."""

import pytest
import torch
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.latents import Inferred, Latent, Predict
from openjepa.latents.controls import (
    active_set,
    best_of,
    candidates,
    capacity_curve,
    codebook_control,
    cycle_consistency,
    error_given_z,
    future_leak,
    precision,
    shuffled_contexts,
)

from .forks import fork, quarter

S, S_NEXT, SUCCESSORS = fork(400, 0)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


class Fixed(Latent):
    """No control asks how it is drawn in a rollout."""

    def noise(self, count: int, steps: int, generator: torch.Generator) -> Tensor:
        raise NotImplementedError

    def settle(self, s: Tensor, noise: Tensor) -> Tensor:
        raise NotImplementedError

    def expected(self, s: Tensor) -> Tensor:
        raise NotImplementedError


class Told(Fixed):
    """z as a function of the two states, from a normal prior."""

    finite = False

    def __init__(self, mode: str) -> None:
        super().__init__((2,), 2, 2)
        self.mode = mode

    def infer(
        self, s: Tensor, s_next: Tensor, predict: Predict | None = None, rng: Rng | None = None
    ) -> Inferred:
        z = {
            "frame": s_next,
            "change": s_next - s,
            "nothing": torch.zeros_like(s),
        }[self.mode]
        return Inferred(z, torch.zeros(()), {})

    def sample(self, n: int, s: Tensor, generator: torch.Generator) -> Tensor:
        return torch.randn(len(s), n, 2, generator=generator)

    def penalty(self, s: Tensor, z: Tensor) -> Tensor:
        return z.square().sum(-1) / 2


class Sides(Fixed):
    """The fork's own two values, of which the second is likelier."""

    finite = True

    def __init__(self) -> None:
        super().__init__((2,), 1, 1)

    def infer(
        self, s: Tensor, s_next: Tensor, predict: Predict | None = None, rng: Rng | None = None
    ) -> Inferred:
        assert predict is not None
        apart = (predict(s, self.enumerate(s)[0]) - s_next.unsqueeze(1)).square().sum(-1)
        return Inferred(apart.argmin(1, keepdim=True).float(), torch.zeros(()), {})

    def sample(self, n: int, s: Tensor, generator: torch.Generator) -> Tensor:
        return torch.randint(2, (len(s), n, 1), generator=generator).float()

    def penalty(self, s: Tensor, z: Tensor) -> Tensor:
        return torch.zeros(z.shape[:-1])

    def enumerate(self, s: Tensor) -> tuple[Tensor, Tensor]:
        values = torch.tensor([[0.0], [1.0]]).expand(len(s), -1, -1)
        return values, torch.tensor([0.3, 0.7]).log().expand(len(s), -1)


def ahead(s: Tensor, z: Tensor) -> Tensor:
    """The fork, by its rule: side z of state s, a little off."""
    s = s.unsqueeze(1)
    return s + (2 * z - 1) * quarter(s) + 0.05


def is_z(s: Tensor, z: Tensor) -> Tensor:
    return z + 0.05


def is_z_if_near(s: Tensor, z: Tensor) -> Tensor:
    s = s.unsqueeze(1)
    near = (z - s).norm(dim=-1, keepdim=True) <= 1.001 * s.norm(dim=-1, keepdim=True)
    return torch.where(near, z, s) + 0.05


def adds_z(s: Tensor, z: Tensor) -> Tensor:
    return s.unsqueeze(1) + z + 0.05


def test_a_z_that_carries_the_frame_leaks() -> None:
    assert future_leak(Told("frame"), is_z, S, S_NEXT, seeded()) == pytest.approx(1, abs=1e-3)
    assert future_leak(Sides(), ahead, S, S_NEXT, seeded()) > 2


def test_a_z_that_means_the_same_everywhere_survives_the_cycle() -> None:
    assert cycle_consistency(Told("change"), adds_z, S, S_NEXT, seeded()) < 6  # 0.05 twice, squared
    assert cycle_consistency(Sides(), ahead, S, S_NEXT, seeded()) == pytest.approx(1, abs=1e-3)
    assert cycle_consistency(Told("frame"), is_z_if_near, S, S_NEXT, seeded()) > 100


def test_error_told_and_the_capacity_curve() -> None:
    assert error_given_z(Sides(), ahead, S, S_NEXT) == pytest.approx(0.0025, rel=1e-3)
    blind = lambda s, z: SUCCESSORS.mean(1, keepdim=True)  # noqa: E731
    without = error_given_z(Sides(), blind, S, S_NEXT)
    models = [("none", Told("nothing"), blind), ("sides", Sides(), ahead)]
    curve = capacity_curve(models, S, S_NEXT, without=without, free=0.0)
    assert [point.name for point in curve] == ["none", "sides"]
    assert curve[0].share == pytest.approx(0, abs=1e-6)
    assert curve[1].share == pytest.approx(1 - 0.0025 / without, rel=1e-3)
    with pytest.raises(UserError, match="z explains nothing"):
        capacity_curve(models, S, S_NEXT, without=0.1, free=0.2)


def test_best_of_k_falls_with_k_and_begins_with_the_likeliest() -> None:
    latent = Sides()
    assert candidates(latent, S[:2], 2, seeded()).squeeze(-1).tolist() == [[1.0, 0.0], [1.0, 0.0]]
    one, two, more = best_of(latent, ahead, S, S_NEXT, [1, 2, 5], seeded())
    assert one > 100 * two and two == more == pytest.approx(0.0025, rel=1e-3)
    sampled = best_of(Told("change"), adds_z, S, S_NEXT, [1, 4, 16], seeded())
    assert sampled[0] > sampled[1] > sampled[2]
    assert sampled == best_of(Told("change"), adds_z, S, S_NEXT, [1, 4, 16], seeded())


def test_a_codebook_without_context_is_beaten_where_context_matters() -> None:
    train, held = S_NEXT[:300], S_NEXT[300:]
    errors = codebook_control(train, held, [1, 2, 8], seeded())
    assert errors[0] > errors[1] > errors[2]
    mean = (held - train.mean(0)).square().mean()
    assert errors[0] == pytest.approx(float(mean), rel=1e-4)
    assert best_of(Sides(), ahead, S[300:], held, [2], seeded())[0] < errors[1] / 10
    two = torch.tensor([[0.0, 1.0], [1.0, 0.0]])[torch.arange(300) % 2]
    assert codebook_control(two, two, [2], seeded())[0] == pytest.approx(0, abs=1e-9)


def test_shuffled_contexts_hurt_only_who_uses_the_context() -> None:
    assert shuffled_contexts(Sides(), ahead, S, S_NEXT, 2, seeded()) > 10
    assert shuffled_contexts(Told("frame"), is_z, S, S_NEXT, 8, seeded()) == pytest.approx(1, abs=1e-6)


def test_the_active_set_is_what_is_likelier_than_half_a_share() -> None:
    probability = torch.tensor([[0.7, 0.2, 0.05, 0.05], [0.25, 0.25, 0.25, 0.25]])
    assert active_set(probability.log()).tolist() == [[True, True, False, False], [True] * 4]


def test_precision_counts_active_predictions_near_any_successor() -> None:
    options = torch.cat([SUCCESSORS, SUCCESSORS[:, :1] + 5], 1)
    every, right = torch.ones(400, 3, dtype=torch.bool), torch.tensor([True, True, False]).expand(400, 3)
    assert precision(options, every, SUCCESSORS, 0.1) == pytest.approx(2 / 3)
    assert precision(options, right, SUCCESSORS, 0.1) == 1
    assert precision(options.flip(1), right.flip(1), SUCCESSORS, 0.1) == 1


def test_one_transition_has_no_other() -> None:
    with pytest.raises(UserError, match="at least two transitions"):
        future_leak(Sides(), ahead, S[:1], S_NEXT[:1], seeded())
