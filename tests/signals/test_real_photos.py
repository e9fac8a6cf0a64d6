"""CIFAR-10 from real gzipped shards."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from openjepa.common.rng import Rng
from openjepa.signals.images import image_set, open_images
from openjepa.signals.images.augment import Augment
from openjepa.signals.images.values import scale
from openjepa.signals.readers import shards

FOLDER = Path(os.environ.get("OPENJEPA_TEST_DATA", "/nonexistent")) / "cifar10"
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="set OPENJEPA_TEST_DATA to a folder with cifar10/ shards"),
]


@pytest.fixture(scope="module")
def photos() -> image_set.ImageSet:
    return open_images(FOLDER, split="test")


def test_the_test_split_is_complete(photos: image_set.ImageSet):
    assert len(photos) == 10000 and photos.shape == (3, 32, 32) and photos.in_memory and photos.skipped == []
    assert np.bincount(photos.labels.values).tolist() == [1000] * 10 and photos.splits == ("train", "test")
    pixels = scale(photos.read(range(10000)), None)
    assert torch.allclose(pixels.mean((0, 2, 3)), torch.tensor([0.491, 0.482, 0.447]), atol=0.01)
    assert torch.allclose(pixels.std((0, 2, 3)), torch.tensor([0.245, 0.243, 0.261]), atol=0.01)


def test_unpacked_and_decoded_lazily_it_is_the_same(
    photos: image_set.ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shards, "HELD_BYTES", 1000)
    monkeypatch.setattr(image_set, "IN_MEMORY_BYTES", 0)
    monkeypatch.setenv("OPENJEPA_CACHE", str(tmp_path))
    lazy = open_images(FOLDER / "test-0000.tar.gz", split="test")
    some = [0, 17, 9999]
    assert not lazy.in_memory and torch.equal(lazy.read(some), photos.read(some))
    assert np.array_equal(lazy.labels.values, photos.labels.values)


def test_views_still_show_the_photo(photos: image_set.ImageSet):
    """An augmented photo is nearer to its own original than to others, in mean colour, far above chance (1 in 200)."""
    originals = scale(photos.read(range(200)), None)
    views = Augment(flip=0.5)(originals, Rng(0, 0))
    coarse = [torch.nn.functional.adaptive_avg_pool2d(x, 2).flatten(1) for x in (views, originals)]
    nearest = torch.cdist(*coarse).argmin(1)
    assert (nearest == torch.arange(200)).float().mean() > 0.2
