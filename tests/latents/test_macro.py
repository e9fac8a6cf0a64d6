"""Macro-actions: where they are planned, and what they cost."""

import pytest
import torch

from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.latents.capacity import KL, Capacity, Codebook, Sparse
from openjepa.latents.macro import MacroAction, MacroActions


def macro(capacity: Capacity, condition_dim: int = 6) -> MacroActions:
    torch.manual_seed(0)
    return MacroAction(width=3, hidden=(8,), capacity=capacity, kept=64).build(condition_dim)


@pytest.mark.parametrize("capacity", [KL(), Sparse(), Codebook(codes=4)])
def test_gradients_reach_the_encoder_and_the_price_is_paid(capacity: Capacity) -> None:
    model = macro(capacity)
    inferred = model(torch.randn(5, 2, 6), Rng(0, 0))
    assert inferred.z.shape == (5, 2, 3)
    (inferred.z.square().sum() + inferred.loss).backward()
    assert all(p.grad is not None and p.grad.count_nonzero() for p in model.mlp.parameters())
    assert not any(term.requires_grad for term in inferred.terms.values())


def test_the_space_is_between_percentiles_of_what_training_saw() -> None:
    model = macro(KL())
    with pytest.raises(UserError, match="train level 2"):
        model.space  # noqa: B018
    model.eval()(torch.randn(9, 6))
    assert int(model.filled) == 0  # only training counts
    model.train()
    seen = torch.cat([model(torch.randn(4, 8, 6), Rng(0, step)).z.flatten(0, 1) for step in range(3)])
    kept, space = seen[-64:].detach(), model.space
    for side, share in ((space.low, 0.02), (space.high, 0.98)):
        torch.testing.assert_close(torch.from_numpy(side), kept.quantile(share, 0))
    again = macro(KL(), 6)
    again.load_state_dict(model.state_dict())
    assert (again.space.low == space.low).all() and (again.space.high == space.high).all()


def test_a_codebook_is_planned_by_choice() -> None:
    model = macro(Codebook(codes=4))
    assert model.space == 4
    chosen = torch.eye(4)[torch.tensor([[2, 0], [3, 3]])]
    assert torch.equal(model.decode(chosen), model.limit.codes[torch.tensor([[2, 0], [3, 3]])])  # type: ignore[index]
    assert model.penalty(chosen).shape == (2, 2)


def test_unusual_ones_cost_more() -> None:
    model = macro(KL())
    usual, unusual = torch.zeros(3), torch.full((3,), 4.0)
    assert model.penalty(unusual) > model.penalty(usual) + 20
