"""What a world model's loss holds besides energy and guard; the formulas are in tests/parity/test_world_losses.py."""

import torch

from openjepa.world_models.terms import Terms


def test_no_weight_no_term() -> None:
    terms = Terms().build((4,), 2)
    loss, named = terms(torch.randn(3, 5, 4), torch.randn(3, 4, 2))
    assert loss == 0 and named == {} and not list(terms.parameters())


def test_terms_are_named_and_detached_and_teach_the_states() -> None:
    terms = Terms(similarity=1, inverse=2, motion=3).build((2, 3), 2)
    states = torch.randn(3, 5, 2, 3, requires_grad=True)
    loss, named = terms(states, torch.randn(3, 4, 2))
    assert list(named) == ["similarity", "inverse", "motion"]
    assert not any(value.requires_grad for value in named.values())
    expected = named["similarity"] + 2 * named["inverse"] + 3 * named["motion"]
    torch.testing.assert_close(loss.detach(), expected)
    loss.backward()
    assert states.grad is not None and states.grad.count_nonzero() == states.numel()


def test_what_stands_still_is_similar_and_without_motion() -> None:
    terms = Terms(similarity=1, motion=1).build((4,), 2)
    still = torch.randn(3, 1, 4).expand(-1, 5, -1)
    _, named = terms(still, torch.zeros(3, 4, 2))
    assert named["similarity"] == 0
    assert named["motion"] > 0.98  # a hinge at 1, less the root of 1e-4
    _, moving = terms(3 * torch.randn(3, 50, 4), torch.zeros(3, 49, 2))
    assert moving["motion"] == 0
