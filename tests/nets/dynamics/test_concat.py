"""DINO-WM's predictor: its size, and that every patch is told the action."""

import torch

from openjepa.nets.dynamics.concat import ConcatPredictor


def test_parameters_at_the_papers_size() -> None:
    with torch.device("meta"):
        net = ConcatPredictor().build(
            384 + 10, 50, (14, 14)
        )  # DINOv2 ViT-S/14 on 196 px, own state of 10 numbers
    assert 19 < sum(p.numel() for p in net.parameters()) / 1e6 < 21


def test_the_action_stands_beside_every_patch_and_is_not_predicted() -> None:
    torch.manual_seed(0)
    net = ConcatPredictor(history=2, action=4, depth=0 + 1, heads=2, head_width=4, hidden=8).build(
        6, 3, (2, 2)
    )
    net.eval()
    states, actions = torch.randn(1, 2, 4, 6), torch.randn(1, 2, 3).requires_grad_()
    out = net(states, actions)
    assert out.shape == states.shape
    for patch in range(4):
        (slope,) = torch.autograd.grad(out[0, 1, patch].sum(), actions, retain_graph=True)
        assert slope[0].any(1).all()
