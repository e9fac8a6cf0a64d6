"""Batches are a function of seed and step, on any number of processes and workers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from openjepa.errors import UserError
from openjepa.recipes.base import Training
from openjepa.signals.base import hold_out
from openjepa.signals.images import image_set, open_images
from openjepa.training.data import Batches

from . import small


def batches(count: int, rank: int = 0, world: int = 1, **settings: object) -> Batches:
    images = small.images(count)
    return Batches(images, torch.arange(count), Training(**settings), rank, world)  # ty: ignore


@given(st.integers(2, 60), st.integers(2, 20), st.integers(0, 3))
def test_an_epoch_shows_every_image_at_most_once_and_drops_the_tail(count: int, size: int, seed: int) -> None:
    if size > count:
        return
    steps = count // size
    source = batches(count, batch_size=size, seed=seed)
    for epoch in range(2):
        seen = torch.cat([source.rows(epoch * steps + i) for i in range(steps)])
        assert len(seen) == steps * size == len(seen.unique())


def test_order_depends_on_seed_and_epoch_alone() -> None:
    first, again, other = (batches(60, batch_size=8, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.rows(17), again.rows(17))
    assert not torch.equal(first.rows(17), other.rows(17))
    assert not torch.equal(first.rows(0), first.rows(7))  # the second epoch


@pytest.mark.parametrize("world", [2, 4])
def test_processes_split_the_same_global_batch(world: int) -> None:
    whole = next(batches(60, batch_size=8).stream(5))
    parts = [next(batches(60, rank, world, batch_size=8).stream(5)) for rank in range(world)]
    assert torch.equal(torch.cat(parts), whole)


def test_workers_continue_in_mid_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_set, "IN_MEMORY_BYTES", 0)
    for i, image in enumerate(small.pixels(24)):
        Image.fromarray(image[..., 0]).save(tmp_path / f"{i:02}.png")
    images = open_images(tmp_path)
    assert not images.in_memory
    streams = []
    for workers, first in ((0, 0), (2, 0), (2, 2)):
        training = Training(steps=5, batch_size=8, workers=workers)
        streams.append(list(Batches(images, torch.arange(24), training).stream(first)))
    alone, both, later = streams
    assert len(both) == 5
    assert all(torch.equal(a, b) for a, b in zip(alone, both, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(alone[2:], later, strict=True))


def test_a_mistake_in_a_worker_stays_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_set, "IN_MEMORY_BYTES", 0)
    for i, image in enumerate(small.pixels(16)):
        Image.fromarray(image[..., 0]).save(tmp_path / f"{i:02}.png")
    images = open_images(tmp_path)
    for file in tmp_path.iterdir():
        file.write_bytes(b"gone")
    with pytest.raises(UserError, match="none of its images can be decoded") as caught:
        next(Batches(images, torch.arange(16), Training(batch_size=8, workers=1)).stream(0))
    assert "\n" not in str(caught.value)


def test_held_out_images_are_never_trained_on_and_mixed() -> None:
    images = open_images((np.zeros((1000, 4, 4), np.uint8), np.repeat(np.arange(10), 100)))
    rows, held_out = hold_out(images)
    assert len(held_out) == 20
    assert sorted([*rows.tolist(), *held_out.tolist()]) == list(range(1000))
    assert images.labels is not None
    assert len(set(images.labels.values[held_out.numpy()])) > 5


def test_what_cannot_be_divided_is_named() -> None:
    with pytest.raises(UserError, match="at most 40"):
        batches(40, batch_size=64)
    with pytest.raises(UserError, match="multiple of 6"):
        batches(40, world=2, batch_size=8, accumulate=3)
    with pytest.raises(UserError, match="has 12 images: give at least 16"):
        hold_out(small.images(12))
