"""Attention: plain products give what the fused kernel gives, values and gradients."""

import pytest
import torch

from openjepa.nets.attention import attend, plain_products


@pytest.mark.parametrize("masked", [None, (7, 9), (3, 1, 7, 9), (3, 1, 1, 9)])
def test_both_kernels_give_the_same_values_and_gradients(masked):
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(3, 2, 7, 8, generator=generator, requires_grad=True)
    k, v = (torch.randn(3, 2, 9, 8, generator=generator, requires_grad=True) for _ in range(2))
    mask = None
    if masked is not None:
        mask = torch.rand(masked, generator=generator) < 0.6
        mask[..., 0] = True  # every query looks somewhere
    found = []
    for plain in (False, True):
        if plain:
            with plain_products():
                out = attend(q, k, v, mask)
        else:
            out = attend(q, k, v, mask)
        found.append((out, *torch.autograd.grad(out.square().sum(), (q, k, v))))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_dropout_leaves_out_weights():
    q, k, v = torch.ones(3, 1, 1, 400, 4)
    with plain_products():
        torch.manual_seed(0)
        out = attend(q, k, v, dropout=0.5)
    assert 0.02 < float(out.std()) < 0.2
    assert float(out.mean()) == pytest.approx(1, abs=0.05)
