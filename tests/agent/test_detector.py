"""Danger, learned from examples."""

import pytest
import torch

from openjepa.agent import Detector
from openjepa.errors import UserError


def test_a_rare_dangerous_disc_is_learned_from_latents() -> None:
    generator = torch.Generator().manual_seed(0)
    states = 2 * torch.rand(4000, 2, generator=generator) - 1
    danger = (states - 0.3).norm(dim=1) < 0.25
    assert danger.float().mean() < 0.1
    torch.manual_seed(0)
    detector = Detector((2,), hidden=64, layers=2)
    losses = detector.fit(states, danger, generator, updates=150, lr=1e-2)
    assert losses[-1] < 0.4 * losses[0]
    fresh = 2 * torch.rand(2000, 2, generator=generator) - 1
    gap = (fresh - 0.3).norm(dim=1)
    assert detector(fresh)[gap < 0.15].mean() > 0.9
    assert detector(fresh)[gap > 0.5].mean() < 0.05
    assert detector(fresh.reshape(4, 10, 50, 2)).shape == (4, 10, 50)


def test_examples_of_one_kind_teach_nothing() -> None:
    with pytest.raises(UserError, match="0 of 5 states are dangerous"):
        Detector((2,)).fit(torch.zeros(5, 2), torch.zeros(5), torch.Generator())
