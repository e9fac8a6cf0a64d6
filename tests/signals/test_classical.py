"""Classical image features on pictures whose features are known."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import unfold

from openjepa.evals import probe
from openjepa.evals.features import read
from openjepa.signals.images import open_images
from openjepa.signals.images.classical import Hog, ImagePixels, classical, hog
from openjepa.signals.images.dictionary import CONTRAST, RATE, PatchDictionary, Size, fitting, kmeans


def noise(count: int = 40, side: int = 12, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, channels)).astype(np.uint8)


def test_pixels_are_scaled_and_large_images_shrunk():
    small = open_images(np.full((3, 4, 4), 255, np.uint8))
    source = ImagePixels().fit(small)
    assert read(source, small, np.arange(3), ["pixels"])["pixels"].tolist() == [[1.0] * 16] * 3
    checks = (np.indices((64, 64)).sum(0) % 2 * 254).astype(np.uint8)
    large = open_images(np.stack([checks, checks]))
    features = read(ImagePixels().fit(large), large, np.arange(2), ["pixels"])["pixels"]
    assert features.shape == (2, 32 * 32)
    assert torch.allclose(features, torch.tensor(127 / 255))


def test_gradients_fall_into_the_bin_of_their_direction():
    ramp = torch.arange(16.0).div(16).expand(1, 1, 16, 16)  # brighter to the right
    right = hog(ramp, 8).view(9, 2, 2)
    assert torch.allclose(right[0], torch.full((2, 2), 0.5), atol=0.05)
    assert right[1:].abs().max() < 1e-6
    down = hog(ramp.transpose(2, 3), 8).view(9, 2, 2)  # a quarter turn lies between two of nine bins
    assert down[4].min() > 0.3 and torch.allclose(down[4], down[5], atol=1e-5)


def test_gradients_know_neither_brightness_nor_sign_and_take_the_strongest_channel():
    picture = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)) / 2
    expected = hog(picture, 4)
    assert torch.allclose(hog(picture + 0.3, 4), expected, atol=1e-4)
    assert torch.allclose(hog(1 - picture, 4), expected, atol=1e-4)
    colour = torch.cat([picture * 0.1, picture, picture * 0.3], 1)
    assert torch.allclose(hog(colour, 4), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("side", "sizes"),
    [
        (32, {"cells of 8 px": 324, "cells of 4 px": 1764}),
        (28, {"cells of 8 px": 144, "cells of 4 px": 1296}),
        (96, {"cells of 16 px": 324, "cells of 8 px": 1764}),
        (8, {"cells of 4 px": 36}),
    ],
)
def test_cells_follow_the_size_of_the_images(side, sizes):
    images = open_images(noise(2, side, 1)[..., 0])
    source = Hog().fit(images)
    assert source.poolings == sizes
    found = read(source, images, np.arange(2), sizes)
    assert {name: f.shape[1] for name, f in found.items()} == sizes


def test_codes_are_the_triangle_of_distances_to_the_centroids():
    """Against the definition, step by step."""
    images = open_images(noise())
    source = PatchDictionary([Size(7, 1), Size(5, 2)]).fit(images)
    found = read(source, images, np.arange(3), source.poolings)
    assert source.poolings == {"7 centroids": 28, "5 centroids": 20}
    pixels = images.read([0, 1, 2]).float() / 255
    for name, (centroids, step) in source.dictionaries.items():
        patches = unfold(pixels, 6, stride=step).transpose(1, 2)
        patches = patches - patches.mean(2, keepdim=True)
        patches = patches / (patches.var(2, correction=0, keepdim=True) + CONTRAST).sqrt()
        distance = torch.cdist(patches @ source.whiten - source.shift, centroids)
        codes = (distance.mean(2, keepdim=True) - distance).clamp_min(0)
        side = round(codes.shape[1] ** 0.5)
        image = codes.transpose(1, 2).unflatten(2, (side, side))
        expected = torch.nn.functional.adaptive_avg_pool2d(image, 2).permute(0, 2, 3, 1).flatten(1)
        assert torch.allclose(found[name], expected, atol=1e-4)


def test_codes_know_neither_brightness_nor_contrast():
    pixels = noise(60, 16) // 2
    images, other = open_images(pixels), open_images(pixels + 60)
    source = PatchDictionary([Size(10, 1)]).fit(images)
    name = source.default
    ours, theirs = (read(source, s, np.arange(60), [name])[name] for s in (images, other))
    assert torch.allclose(ours, theirs, atol=2e-3)


def test_the_dictionary_is_a_function_of_its_seed():
    images = open_images(noise())
    first, again, other = (
        PatchDictionary([Size(8, 1)]).fit(images, seed=seed).dictionaries["8 centroids"][0]
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_kmeans_finds_clusters():
    random = torch.Generator().manual_seed(0)
    middles = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    points = middles.repeat(50, 1) + 0.1 * torch.randn(150, 2, generator=random)
    found = kmeans(points, 3, 10, [5])
    inertia = torch.cdist(points, found).min(1).values.square().mean()
    assert len(found) == 3 and inertia < 30


def test_the_work_stays_within_the_minutes():
    for minutes in (100.0, 2.0, 0.2):
        for size, rounds in fitting((Size(400, 1), Size(1600, 2)), (32, 32), 108, 60_000, minutes):
            side = (32 - 6) // size.step + 1
            encoding = 2.0 * 60_000 * side**2 * 120 * size.centroids
            k_means = 2.0 * 100_000 * 120 * size.centroids * rounds
            assert rounds == 1 or encoding + k_means <= 60 * minutes * RATE / 2
    generous = fitting((Size(400, 1), Size(1600, 2)), (32, 32), 108, 60_000, 20.0)
    assert [size for size, _ in generous] == [Size(400, 1), Size(1600, 2)]


def test_what_was_left_out_is_told():
    source = PatchDictionary([Size(50, 1)], minutes=1e-3).fit(open_images(noise()), total=100_000)
    assert "instead of 50 at every 1, to stay within 0.001 CPU minutes" in source.notes[0]


def test_large_and_tiny_images_have_codes():
    for side in (4, 100):
        images = open_images(noise(5, side, 1)[..., 0])
        source = PatchDictionary([Size(6, 1)]).fit(images)
        codes = read(source, images, np.arange(5), [source.default])[source.default]
        assert codes.shape == (5, source.poolings[source.default]) and codes.isfinite().all()


def test_levels_hold_one_another():
    names = {level: [kind.name for kind in classical(level)] for level in ("none", "quick", "all")}
    assert names == {
        "none": [],
        "quick": ["raw pixels", "HOG"],
        "all": ["raw pixels", "HOG", "k-means patches"],
    }


@pytest.mark.data
@pytest.mark.slow
def test_on_cifar_the_dictionary_is_above_gradients_and_these_above_pixels():
    root = os.environ.get("OPENJEPA_TEST_DATA")
    if root is None or not (folder := Path(root) / "cifar10").is_dir():
        pytest.skip("OPENJEPA_TEST_DATA names no folder with cifar10")
    train, test = (open_images(str(folder / f"{s}-0000.tar.gz"), split=s) for s in ("train", "test"))
    train, test = train.subset(range(3000)), test.subset(range(2000))
    dictionary = PatchDictionary([Size(200, 2)])
    table = probe(None, train, test, kinds=("linear",), classical=[ImagePixels(), Hog(), dictionary])
    pixels, gradients, patches = (table.score(kind, "linear").mean for kind in table.costs)
    assert patches > gradients + 0.02 > pixels + 0.04
