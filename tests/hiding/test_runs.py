"""Runs over a sequence: contiguous, never seen and asked for at once, of what is there alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.hiding import Runs
from openjepa.jepa import Tokens


def tokens(batch: int, number: int, counts: list[int] | None = None) -> Tokens:
    valid = None if counts is None else torch.arange(number) < torch.tensor(counts)[:, None]
    return Tokens(torch.zeros(batch, number, 3), torch.zeros(batch, number, 3), None, valid)


class Plain:
    axes = ("x", "y", "z")


def drawn(config: Runs, given_: Tokens, step: int = 0):
    """Of each sample: what its context sees, and its runs."""
    keep, kept, select, asked = config.build(Plain()).sample(given_, Rng(0, step))
    kept = torch.ones_like(keep, dtype=torch.bool) if kept is None else kept
    asked = torch.ones_like(select, dtype=torch.bool) if asked is None else asked
    seen = [row[there].tolist() for row, there in zip(keep, kept, strict=True)]
    runs = [
        [run[there].tolist() for run, there in zip(sample, valid, strict=True)]
        for sample, valid in zip(select, asked, strict=True)
    ]
    return seen, runs


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 80), st.integers(1, 5), st.integers(0, 1000), st.booleans(), st.randoms())
def test_runs_cover_what_they_should_and_never_leak(
    number: int, targets: int, step: int, ragged: bool, random
) -> None:
    counts = [random.randint(2, number) for _ in range(6)] if ragged else None
    config = Runs(targets=targets, scale=(0.1, 0.19))
    seen, runs = drawn(config, tokens(6, number, counts), step)
    for i, (context, blocks) in enumerate(zip(seen, runs, strict=True)):
        there = number if counts is None else counts[i]
        hidden = {index for block in blocks for index in block}
        assert len(blocks) == targets and context and not hidden & set(context)
        assert max([*hidden, *context]) < there
        for block in blocks:
            assert block == list(range(block[0], block[0] + len(block)))
            assert max(1, int(0.1 * there) - 1) <= len(block) <= max(1, int(0.19 * there) + 1)
        free = [index for index in range(there) if index not in hidden]
        at = free.index(context[0])
        assert context == free[at : at + len(context)]  # a run of what is in no target
        assert int(0.4 * len(free)) - 1 <= len(context) <= max(1, 0.75 * len(free))


def test_lengths_and_places_spread_over_their_ranges() -> None:
    config, lengths, starts = Runs(), set(), set()
    for step in range(40):
        _, runs = drawn(config, tokens(16, 64), step)
        sizes = {len(block) for blocks in runs for block in blocks}
        assert len(sizes) == 1  # one draw a batch
        lengths |= sizes
        starts |= {block[0] for blocks in runs for block in blocks}
    assert lengths == {9, 10, 11, 12} and min(starts) == 0 and max(starts) >= 64 - 10 and len(starts) > 50


def test_draws_are_those_of_the_global_batch() -> None:
    hiding = Runs().build(Plain())
    whole = hiding.sample(tokens(8, 64), Rng(3, 5))[2]
    halves = [hiding.sample(tokens(4, 64), Rng(3, 5, start=i, total=8))[2] for i in (0, 4)]
    assert torch.equal(whole, torch.cat(halves))


def test_runs_that_can_hide_all_are_refused() -> None:
    with pytest.raises(UserError, match="can hide all of them"):
        Runs(targets=5, scale=(0.1, 0.2)).build(Plain())
    with pytest.raises(ValueError, match="ascending order"):
        Runs(scale=(0.3, 0.2))
