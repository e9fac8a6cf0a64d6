"""Poolings: their sizes, their values, one sample's independence of the others."""

import math

import numpy as np
import pytest
import torch

from openjepa.errors import UserError
from openjepa.evals.features import Encoded, Pixels, pool, read


def test_poolings_on_offer_have_their_sizes(digit_sets, encoder):
    source = Encoded(encoder, digit_sets[0])
    assert source.poolings == {
        "mean": 12,
        "last4": 24,
        "grid2": 48,
        "grid3": 108,
        "grid4": 192,
        "blend4": 192,
    }  # grid4 is flat
    features = read(source, digit_sets[0], np.arange(5), source.poolings)
    assert {name: f.shape for name, f in features.items()} == {n: (5, d) for n, d in source.poolings.items()}


def test_wide_poolings_and_single_layers_are_not_offered(digit_sets, new_encoder):
    wide = Encoded(new_encoder(width=1000, depth=1), digit_sets[0])
    assert wide.poolings == {"mean": 1000, "grid2": 4000}


def test_a_blend_weighs_layers_alike_whatever_their_scale():
    last = torch.randn(2, 16, 8, generator=torch.Generator().manual_seed(0))
    pooled = pool([50 * last + 3, last], (4, 4), ["blend4", "grid4", "blend1"])
    expected = torch.nn.functional.layer_norm(last, (8,))
    assert torch.allclose(pooled["blend4"], expected.transpose(1, 2).flatten(1), atol=1e-3)
    assert torch.allclose(pooled["blend1"], expected.mean(1), atol=1e-3)


def test_pooled_values_are_averages_of_the_grid():
    tokens = torch.arange(16.0).view(1, 16, 1)  # a 4x4 grid in row order
    below = tokens + 100
    pooled = pool([below, tokens], (4, 4), ["mean", "grid2", "flat", "last4"])
    assert pooled["mean"].tolist() == [[7.5]]
    assert pooled["grid2"].tolist() == [[2.5, 4.5, 10.5, 12.5]]
    assert pooled["flat"].tolist() == [list(range(16))]
    assert pooled["last4"].tolist() == [[107.5, 7.5]]


def test_a_strip_is_pooled_along_its_length():
    tokens = torch.arange(6.0).view(1, 6, 1)
    assert pool([tokens], (1, 6), ["grid2", "grid3"])["grid3"].tolist() == [[0.5, 2.5, 4.5]]


def test_samples_are_independent_and_rows_arrive_in_order(digit_sets, encoder):
    train = digit_sets[0]
    rows = np.array([1, 5, 30, 31, 700])
    together = read(Encoded(encoder, train, batch_size=2), train, rows, ["grid3", "last4"])
    source = Encoded(encoder, train)
    for i, row in enumerate(rows):
        alone = read(source, train, rows[i : i + 1], ["grid3", "last4"])
        assert all(torch.allclose(together[name][i], alone[name][0], atol=1e-6) for name in alone), row


def test_progress_counts_to_the_end(digit_sets, encoder):
    told = []
    source = Encoded(encoder, digit_sets[0], batch_size=4, name="mine", progress=lambda *a: told.append(a))
    read(source, digit_sets[0], np.arange(10), ["mean"])
    assert told == [("features of mine", 4, 10), ("features of mine", 8, 10), ("features of mine", 10, 10)]


def test_nan_features_name_the_model_and_the_sample(digit_sets, encoder):
    train = digit_sets[0]
    layers = encoder.layers

    def broken(batch, count):
        outputs = layers(batch, count)
        outputs[-1][batch.flatten(1).float().sum(1) == batch_sum] = math.nan
        return outputs

    batch_sum = float(train.read([7]).sum())
    encoder.layers = broken
    first = next(i for i in range(1, 20) if float(train.read([i]).sum()) == batch_sum)
    with pytest.raises(UserError, match=f"run 3 gives NaN or infinite features for sample {first}"):
        read(Encoded(encoder, train, name="run 3"), train, np.arange(1, 20), ["mean"])


def test_pixels_are_scaled_and_large_images_shrunk(make_images):
    small = make_images(np.full((3, 4, 4), 255, np.uint8), None)
    assert read(Pixels(small), small, np.arange(3), ["pixels"])["pixels"].tolist() == [[1.0] * 16] * 3
    checks = (np.indices((64, 64)).sum(0) % 2 * 254).astype(np.uint8)
    large = make_images(np.stack([checks, checks]), None)
    features = read(Pixels(large), large, np.arange(2), ["pixels"])["pixels"]
    assert features.shape == (2, 32 * 32)
    assert torch.allclose(features, torch.tensor(127 / 255))
