"""The mixture of predictors: assignment, router, balance, and a fork that it learns."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openjepa.latents import Mixture, Predict
from openjepa.latents.controls import active_set, best_of, precision
from openjepa.latents.mixture import MixtureLatent
from openjepa.nets.dynamics.branches import Branches
from openjepa.nets.dynamics.mlp import MLP

from .forks import MIDDLE, SHAPE, fork, train

HEADS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])


def fixed(s: Tensor, z: Tensor) -> Tensor:
    """Heads that always say the same."""
    return z @ HEADS


def small(**settings: object) -> MixtureLatent:
    torch.manual_seed(0)
    return Mixture.parse({"heads": 3, "hidden": 8} | settings).build((2,))


@pytest.mark.parametrize(("kind", "best"), [("cosine", [0, 1, 2, 0]), ("l2", [0, 1, 2, 1])])
def test_the_nearest_head_is_the_one_that_was_right(kind: str, best: list[int]) -> None:
    s_next = torch.tensor([[2.0, 0.1], [0.1, 0.9], [-0.2, -0.3], [0.05, 0.04]])
    s_next[3] = torch.tensor([9.0, 8.0]) if kind == "cosine" else torch.tensor([0.2, 0.3])
    inferred = small(distance=kind).infer(torch.randn(4, 2), s_next, fixed)
    assert inferred.z.argmax(1).tolist() == best
    assert torch.equal(inferred.z, F.one_hot(torch.tensor(best), 3).float())


def test_the_router_learns_which_head_it_was_from_the_state_alone() -> None:
    latent = small(router=0.5)
    s, s_next = torch.randn(6, 2), torch.randn(6, 2)
    s.requires_grad_()
    inferred = latent.infer(s, s_next, fixed)
    logits = latent.router(s.detach())
    expected = F.cross_entropy(logits, inferred.z.argmax(1))
    torch.testing.assert_close(inferred.loss, 0.5 * expected)
    inferred.loss.backward()
    assert s.grad is None or not s.grad.any()  # the router does not shape the state
    assert latent.router[0].weight.grad.any()


def test_balance_is_the_divergence_from_equal_use() -> None:
    latent = small(balance=2.0, router=0.0, distance="l2")
    options = torch.randn(50, 3, 2, requires_grad=True)
    s_next = torch.zeros(50, 2)
    inferred = latent.infer(torch.randn(50, 2), s_next, lambda s, z: options)
    apart = options.square().mean(-1)
    share = F.softmax(-apart / apart.detach().mean(), 1).mean(0)
    torch.testing.assert_close(inferred.loss, 2 * (share * (3 * share).log()).sum())
    near = torch.cat([options[:, :1] * 0, options[:, 1:] + 9], 1)
    unequal = latent.infer(torch.randn(50, 2), s_next, lambda s, z: near).terms["latent/balance"]
    assert unequal > inferred.terms["latent/balance"]
    (gradient,) = torch.autograd.grad(inferred.loss, options)
    assert gradient.any()


def learned(count: int, balance: float = 0.0, lost: int = 0) -> tuple[MixtureLatent, Predict]:
    """Trained on the fork, whose two branches are linear maps, as the heads are; some of these begin far away."""
    torch.manual_seed(0)
    latent = Mixture(heads=count, hidden=16, distance="l2", balance=balance).build(SHAPE)
    members = [MLP(hidden=()).build(2, 0) for _ in range(count)]
    for member in members[:lost]:
        nn.init.constant_(member.mlp[-1].bias, 8.0)  # ty: ignore
    return latent, train(latent, Branches(members), steps=120, rate=0.1)


def test_it_learns_both_branches_and_that_both_are_open() -> None:
    latent, predict = learned(2)
    s, s_next, successors = fork(500, 30_000)
    one, two = best_of(latent, predict, s, s_next, [1, 2], torch.Generator())
    assert one > 0.8 * MIDDLE and two < 0.05 * MIDDLE
    z, probability = latent.enumerate(s)
    active = active_set(probability)
    assert active.float().mean() > 0.95
    assert precision(predict(s, z), active, successors, radius=0.3) > 0.95


def test_balance_brings_lost_heads_back() -> None:
    s, s_next, _ = fork(300, 40_000)

    def used(balance: float) -> int:
        latent, predict = learned(2, balance, lost=1)
        return int(latent.infer(s, s_next, predict).z.any(0).sum())

    assert used(0.0) == 1
    assert used(1.0) == 2
