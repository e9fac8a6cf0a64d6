"""What flows through a model: several pairs all count, and what is padded changes nothing."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.jepa import JEPA, Pair, View, encode, mean_of
from openjepa.recipes import build

from .training import small


def batch() -> Tensor:
    return torch.from_numpy(small.pixels(4)).permute(0, 3, 1, 2)


def with_pairs(model: JEPA, pairs: list[Pair]) -> JEPA:
    model.hiding = lambda batch, rng: pairs
    return model


def test_the_energy_is_the_mean_over_pairs() -> None:
    model = build(small.config()).eval()
    (first,), (second,) = (model.pairs(batch(), Rng(0, step)) for step in (0, 1))
    alone = [with_pairs(model, [pair])(batch(), Rng(0, 0)).loss for pair in (first, second)]
    together = with_pairs(model, [first, second])(batch(), Rng(0, 0))
    torch.testing.assert_close(together.loss, torch.stack(alone).mean())
    assert len(together.s_x) == len(together.s_y) == len(together.prediction) == 2


def test_pairs_of_one_target_view_share_its_pass() -> None:
    model, passes = build(small.config(target__layers=1)), []
    (pair,) = model.pairs(batch(), Rng(0, 0))
    other = replace(pair, select=None)
    model.target.encoder.register_forward_hook(lambda *_: passes.append(1))
    output = with_pairs(model, [pair, other])(batch(), Rng(0, 0))
    assert len(passes) == 1 and output.s_y[1].shape[1:3] == (1, 16)
    assert model.passes([pair, other]) == 12  # two contexts and one target of four images


def test_weights_multiply_the_energy_of_their_tokens() -> None:
    model = build(small.config()).eval()
    (pair,) = model.pairs(batch(), Rng(0, 0))
    assert pair.select is not None
    whole = with_pairs(model, [pair])(batch(), Rng(0, 0))
    energies = model.energy(whole.prediction[0], whole.s_y[0])
    weight = torch.rand(pair.select.shape)
    weighed = with_pairs(model, [replace(pair, weight=weight)])(batch(), Rng(0, 0))
    torch.testing.assert_close(weighed.loss, (weight * energies).mean())


def test_only_what_is_asked_for_counts() -> None:
    model = build(small.config()).eval()
    (pair,) = model.pairs(batch(), Rng(0, 0))
    assert pair.select is not None
    valid = torch.rand(pair.select.shape) < 0.5
    valid[0] = False  # a sample may ask for nothing
    output = with_pairs(model, [replace(pair, valid=valid)])(batch(), Rng(0, 0))
    energies = model.energy(output.prediction[0], output.s_y[0])
    torch.testing.assert_close(output.loss, energies[valid].mean())


@pytest.mark.parametrize("options", [{}, {"encoder__hide": "replace"}], ids=["drop", "replace"])
def test_padding_changes_no_feature_of_what_is_there(options: dict[str, object]) -> None:
    """A sample of 10 tokens gives the same features, alone and padded to the others' 16."""
    model = build(small.config(**options)).eval()
    tokens = model.signal.tokenise(model.signal.batch(batch()))
    valid = torch.ones(4, 16, dtype=torch.bool)
    valid[1, 10:] = False
    noisy = torch.where(valid[..., None], tokens.values, 1e3)
    padded = View(replace(tokens, values=noisy, valid=valid, layout=None))
    short = View(
        replace(tokens, values=tokens.values[1:2, :10], positions=tokens.positions[:, :10], layout=None)
    )
    together, alone = model.encoder(padded), model.encoder(short)
    torch.testing.assert_close(together[1, :10], alone[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(mean_of(together, valid)[1], alone[0].mean(0), atol=1e-5, rtol=0)
    assert not torch.allclose(together[1].mean(0), alone[0].mean(0), atol=1e-3)


def test_kept_tokens_that_are_not_there_are_not_looked_at() -> None:
    model = build(small.config()).eval()
    tokens = model.signal.tokenise(model.signal.batch(batch()))
    keep = torch.rand(4, 16).argsort(1)[:, :9]
    valid = torch.ones(4, 9, dtype=torch.bool)
    valid[2, 5:] = False
    alone = model.encoder(View(replace(tokens, values=tokens.values[2:3]), keep[2:3, :5]))
    together = model.encoder(View(tokens, keep, valid))
    torch.testing.assert_close(together[2, :5], alone[0], atol=1e-5, rtol=0)


def test_a_head_that_pools_leaves_out_what_is_not_there() -> None:
    model = build(small.config("lejepa")).eval()
    tokens = model.signal.tokenise(model.signal.batch(batch()))
    valid = torch.ones(4, 16, dtype=torch.bool)
    valid[0, 3:] = False
    view = View(replace(tokens, valid=valid))
    (seen,) = encode(model.encoder, model.head, [view])
    expected = model.head(mean_of(model.encoder(view), valid).unsqueeze(1))
    torch.testing.assert_close(seen, expected)


@pytest.mark.parametrize("name", ["l1", "l2", "smooth-l1", "cosine"])
def test_the_mean_energy_is_the_mean_of_the_tokens_energies(name: str) -> None:
    energy = build(small.config(energy=name)).energy
    a, b = torch.randn(2, 3, 4, 5, 6).unbind(0)
    assert energy(a, b).shape == (3, 4, 5)
    torch.testing.assert_close(energy.mean(a, b), energy(a, b).mean())
