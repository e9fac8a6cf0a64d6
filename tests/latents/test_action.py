"""The three limits of a latent action's capacity, number by number and in training."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from openjepa.common.rng import Rng
from openjepa.latents import LatentAction
from openjepa.latents.action import LatentActions
from openjepa.latents.capacity import KL, Codebook, Codes, Sparse, SparseCode
from openjepa.latents.controls import error_given_z
from openjepa.nets.dynamics.mlp import MLP

from .. import ranks
from .forks import MIDDLE, SHAPE, fork, train


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_kl_is_the_divergence_from_a_standard_normal() -> None:
    limit = KL(weight=0.5).build(3)
    raw = draw(4, 6)
    inferred = limit(raw, None)
    mean, logarithm = raw.chunk(2, -1)
    q = torch.distributions.Normal(mean, (logarithm / 2).exp())
    nats = torch.distributions.kl_divergence(q, torch.distributions.Normal(0, 1)).sum(-1).mean()
    torch.testing.assert_close(inferred.terms["latent/nats"], nats)
    torch.testing.assert_close(inferred.loss, nats / 2)
    torch.testing.assert_close(inferred.z, mean)
    z = draw(2, 3)
    prior = -torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    torch.testing.assert_close(limit.penalty(z), prior - 1.5 * math.log(2 * math.pi))


@pytest.mark.parametrize("free", [0.5, 5.0])
def test_free_nats_cost_nothing_and_those_above_as_before(free: float) -> None:
    raw = draw(4, 6).requires_grad_()
    all_of_them, spent = (KL(weight=0.5, free=given).build(3)(raw, None).loss for given in (0.0, free))
    assert 0.5 * 0.5 < float(all_of_them) < 0.5 * 5.0
    before, (gradient,) = torch.autograd.grad(all_of_them, raw)[0], torch.autograd.grad(spent, raw)
    torch.testing.assert_close(spent, (all_of_them - 0.5 * free).clamp(min=0))
    torch.testing.assert_close(gradient, before if free < 1 else torch.zeros_like(before))


def test_kl_draws_with_its_mean_and_deviation_and_passes_gradients() -> None:
    limit = KL().build(1)
    raw = torch.tensor([2.0, 2 * math.log(0.5)]).repeat(4000, 1).requires_grad_()
    z = limit(raw, Rng(0, 0)).z
    assert abs(z.mean() - 2) < 0.03 and abs(z.std() - 0.5) < 0.03
    (gradient,) = torch.autograd.grad(z.sum(), raw)
    torch.testing.assert_close(gradient[:, 0], torch.ones(4000))
    torch.testing.assert_close(gradient[:, 1], (z - 2).squeeze(1) / 2, atol=1e-5, rtol=1e-5)


def test_noise_is_drawn_for_the_global_batch() -> None:
    limit, raw = KL().build(2), torch.zeros(6, 3, 4)
    whole = limit(raw, Rng(0, 0)).z
    parts = [limit(raw[i : i + 3], Rng(0, 0, start=i, total=6)).z for i in (0, 3)]
    torch.testing.assert_close(torch.cat(parts), whole)


def test_the_sparse_loss_number_by_number() -> None:
    config = Sparse(l1=0.3, floor=2.0, variance=0.5, covariance=0.7, mean=0.9)
    limit, z = config.build(3), 0.4 * draw(8, 3) + 0.2
    each = [2.0 * max(math.sqrt(3) - float((row**2).sum()), 0) + 0.3 * float(row.abs().sum()) for row in z]
    covariance = torch.cov(z.T)
    hinge = sum(max(0, 1 - math.sqrt(float(v) + 1e-4)) for v in covariance.diagonal()) / 3
    off = sum(float(covariance[i, j]) ** 2 for i in range(3) for j in range(3) if i != j) / 6
    mean = sum(float(m) ** 2 for m in z.mean(0)) / 3
    expected = sum(each) / 8 + 0.5 * hinge + 0.7 * off + 0.9 * mean
    assert float(limit(z, None).loss) == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(limit.penalty(z), torch.tensor(each))


def test_a_sparse_latent_is_drawn_from_the_last_inferred() -> None:
    limit = Sparse(kept=5).build(2)
    assert isinstance(limit, SparseCode)
    rows = torch.arange(16.0).view(8, 2)
    limit(rows[:2].unsqueeze(0), None)
    assert {tuple(z) for z in limit.sample((50,), torch.Generator().manual_seed(0)).tolist()} == {
        (0, 1),
        (2, 3),
    }
    limit(rows[2:], None)
    drawn = {tuple(z) for z in limit.sample((200,), torch.Generator().manual_seed(0)).tolist()}
    assert drawn == {tuple(row) for row in rows[2:7].tolist()}
    fresh = Sparse(kept=5).build(2)
    fresh.load_state_dict(limit.state_dict())
    draws = (net.sample((9,), torch.Generator().manual_seed(0)) for net in (limit, fresh))
    assert torch.equal(*draws)


def codes(**settings: Any) -> Codes:
    limit = Codebook(**({"codes": 3} | settings)).build(2)
    assert isinstance(limit, Codes)
    with torch.no_grad():
        limit.codes.copy_(torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]]))
    limit.use.fill_(1 / 3)
    return limit


def test_a_codebook_gives_the_nearest_code_straight_through() -> None:
    limit = codes(commitment=0.5)
    raw = torch.tensor([[1.0, 0.5], [3.0, 1.0]], requires_grad=True)
    inferred = limit.eval()(raw, None)
    torch.testing.assert_close(inferred.z, torch.tensor([[0.0, 0.0], [4.0, 0.0]]))
    (straight,) = torch.autograd.grad(inferred.z.sum(), raw, retain_graph=True)
    torch.testing.assert_close(straight, torch.ones(2, 2))
    error = (1.0 + 0.25 + 1.0 + 1.0) / 4
    assert inferred.loss.item() == pytest.approx(1.5 * error)
    by_raw, by_code = torch.autograd.grad(inferred.loss, (raw, limit.codes))
    difference = torch.tensor([[1.0, 0.5], [-1.0, 1.0]])
    torch.testing.assert_close(by_raw, 0.5 * 2 * difference / 4)
    torch.testing.assert_close(by_code[:2], -2 * difference / 4)
    assert not by_code[2].any()


def test_codes_out_of_use_start_anew_from_the_batch() -> None:
    limit = codes(dead=0.5).train()
    limit.use.copy_(torch.tensor([0.6, 0.4, 0.01]))
    raw = torch.tensor([[9.0, 9.0], [9.5, 9.0]])
    limit(raw, Rng(0, 0))
    assert limit.codes[2].tolist() in raw.tolist()
    assert limit.codes[:2].tolist() == [[0.0, 0.0], [4.0, 0.0]]
    before = limit.codes.detach().clone()
    limit(raw, Rng(0, 1))
    assert torch.equal(limit.codes, before)  # it has been used since


def test_the_first_batch_places_all_codes() -> None:
    limit = Codebook(codes=4).build(2).train()
    raw = draw(50, 2) + 20
    limit(raw, Rng(0, 0))
    assert isinstance(limit, Codes) and (limit.codes > 15).all()


def test_use_is_counted_and_drawn() -> None:
    limit = codes(decay=0.5).train()
    for step in range(30):
        limit(torch.tensor([[0.1, 0.0], [0.0, 0.1], [4.0, 0.1], [0.0, 3.9]]), Rng(0, step))
    torch.testing.assert_close(
        limit.log_probability().exp(), torch.tensor([0.5, 0.25, 0.25]), atol=1e-3, rtol=0
    )
    torch.testing.assert_close(
        limit.penalty(torch.tensor([[0.0, 0.3]])), torch.tensor([math.log(2)]), atol=1e-2, rtol=0
    )


def trained(capacity: dict[str, object]) -> tuple[LatentActions, float]:
    torch.manual_seed(0)
    latent = LatentAction.parse({"width": 4, "hidden": 32, "capacity": capacity}).build(SHAPE)
    predict = train(latent, MLP(hidden=(64,)).build(2, 4))
    s, s_next, _ = fork(500, 10_000)
    return latent, error_given_z(latent, predict, s, s_next)


def test_the_price_of_nats_decides_what_is_told() -> None:
    dear, cheap = (trained({"kind": "kl", "weight": weight}) for weight in (10.0, 1e-3))
    assert dear[1] > 0.8 * MIDDLE
    assert cheap[1] < 0.1 * MIDDLE


def test_sparse_codes_are_sparse_and_still_tell() -> None:
    sparse, loose = (trained({"kind": "sparse", "l1": l1}) for l1 in (0.3, 0.0))
    s, s_next, _ = fork(500, 20_000)

    def busy(latent: LatentActions) -> float:
        z = latent.infer(s, s_next).z.abs()
        return float((z > 0.1 * z.amax(1, keepdim=True)).float().sum(1).mean())

    assert busy(sparse[0]) < busy(loose[0]) - 0.5
    assert max(sparse[1], loose[1]) < 0.3 * MIDDLE


def test_four_codes_tell_which_branch() -> None:
    latent, error = trained({"kind": "codebook", "codes": 4})
    assert error < 0.25 * MIDDLE
    s, s_next, _ = fork(400, 20_000)
    z, _ = latent.enumerate(s)
    assert (latent.infer(s, s_next).z.unsqueeze(1) - z).norm(dim=-1).amin(1).max() < 1e-5


def test_dead_codes_come_to_use_in_training() -> None:
    torch.manual_seed(0)
    capacity = {"kind": "codebook", "codes": 8}
    latent = LatentAction.parse({"width": 2, "hidden": 32, "capacity": capacity}).build(SHAPE)
    nn.init.constant_(latent.limit.get_parameter("codes"), 100.0)
    train(latent, MLP(hidden=(32,)).build(2, 2), 30)
    assert (latent.limit.get_buffer("use") > 0.2 / 8).sum() >= 4


def test_two_processes_limit_capacity_as_one_does() -> None:
    both = ranks.run(_share, count=2)
    alone = _share(None)
    for codes, use, sparse in both:
        assert torch.equal(codes, both[0][0])
        torch.testing.assert_close(use, alone[1])
        assert sparse == pytest.approx(alone[2], rel=1e-5)
    rows = {tuple(row) for row in draw(8, 2).tolist()}
    assert all(tuple(code) in rows for code in both[0][0].tolist())


def _share(rank: int | None) -> tuple[Tensor, Tensor, float]:
    """Codes after they were placed, use of placed codes, and the sparse loss's moments: on 8 rows, or 4 for each."""
    own = draw(8, 2) if rank is None else draw(8, 2)[4 * rank : 4 * rank + 4]
    torch.manual_seed(0)
    fresh = Codebook(codes=3).build(2).train()
    fresh(own, Rng(0, 0))
    counted = codes(dead=0.0).train()
    counted(own, Rng(0, 0))
    moments = Sparse(l1=0, floor=0).build(2)(own, None).loss
    return fresh.get_parameter("codes").detach(), counted.use, float(moments)
