"""Poolings: their sizes, their values, one sample's independence of the others."""

import math
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from openjepa.errors import UserError
from openjepa.evals.features import EncodedFeatures, Joined, LoadedFeatures, read
from openjepa.evals.pooling import MAX_DIMS, Projection, offered
from openjepa.evals.probes import Logistic, accuracy
from openjepa.evals.spaces import Standard


def test_poolings_on_offer_have_their_sizes(digit_sets, encoder):
    source = EncodedFeatures(encoder, digit_sets[0])
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


def pool(layers, grid, names, valid=None, axes=("row", "column")):
    shapes = [(layer.shape[1], layer.shape[2]) for layer in layers]
    on_offer = offered(shapes, grid, axes)
    return {name: on_offer[name].take(layers, valid) for name in names}


def test_wide_poolings_are_offered_through_a_projection(digit_sets, new_encoder):
    wide = EncodedFeatures(new_encoder(width=1000, depth=1), digit_sets[0])
    assert wide.poolings == {"mean": 1000, "grid2": 4000, "grid3": MAX_DIMS, "grid4": MAX_DIMS}
    assert wide.projections.keys() == {"grid3", "grid4"}
    first, again = (
        read(
            EncodedFeatures(new_encoder(width=1000, depth=1), digit_sets[0], seed=seed),
            digit_sets[0],
            np.arange(3),
            ["grid4"],
        )
        for seed in (0, 0)
    )
    assert torch.equal(first["grid4"], again["grid4"])


def test_a_projection_keeps_inner_products_and_is_orthogonal():
    sample = (
        torch.randn(500, 900, generator=torch.Generator().manual_seed(0)) * torch.logspace(-0.5, 0.5, 900) + 5
    )
    project = Projection(sample, 300)
    standard = (sample - sample.mean(0)) / sample.std(0, correction=0)
    assert torch.allclose(project(sample).square().sum(1) * 3, standard.square().sum(1), rtol=0.4)
    matrix = project(
        torch.diag(sample.std(0, correction=0)) + sample.mean(0)
    )  # the image of each unit vector
    assert torch.allclose(matrix.T @ matrix, torch.eye(300), atol=1e-3)


def test_a_projection_keeps_accuracy(digits):
    """Logistic regression on all products of two pixels, and on a sixth as many dimensions."""
    pixels, labels = digits
    x = torch.from_numpy(pixels.reshape(-1, 64).astype(np.float32))[:, ::2]
    wide, y = (x[:, :, None] * x[:, None]).flatten(1), torch.from_numpy(labels)
    scores = []
    for features in (wide, Projection(wide[:256], 170)(wide)):
        standard = Standard.of(features[:1200])
        solution = Logistic(standard(features[:1200]), y[:1200], 10).solve(0.06)
        scores.append(accuracy(solution.predict(standard(features[1200:])), y[1200:]))
    assert scores[0] > 0.85 and scores[1] > scores[0] - 0.04


def test_stages_of_unequal_maps_are_offered_by_themselves_and_together():
    stages = [
        torch.arange(64.0).view(1, 64, 1).repeat(2, 1, 3),
        torch.arange(16.0).view(1, 16, 1).repeat(2, 1, 5),
    ]
    found = offered([(64, 3), (16, 5)], (4, 4))
    sizes = {"mean": 5, "grid2": 20, "grid3": 45, "grid4": 80, "last4": 8}
    sizes |= {
        "stage1 mean": 3,
        "stage1 grid2": 12,
        "stage1 grid4": 48,
        "stages grid2": 32,
        "stages grid4": 128,
    }
    assert {name: pooling.dims for name, pooling in found.items()} == sizes
    assert all(pooling.take(stages, None).shape == (2, sizes[name]) for name, pooling in found.items())
    assert found["stage1 mean"].take(stages, None).tolist() == [[31.5] * 3] * 2
    assert found["stage1 grid2"].take(stages, None)[0, :4].tolist() == [13.5, 17.5, 45.5, 49.5]
    assert torch.equal(found["grid2"].take(stages, None), found["grid2"].take(stages[-1:], None))


def test_a_blend_weighs_layers_alike_whatever_their_scale():
    last = torch.randn(2, 16, 8, generator=torch.Generator().manual_seed(0))
    pooled = pool([50 * last + 3, last], (4, 4), ["blend4", "grid4"])
    expected = torch.nn.functional.layer_norm(last, (8,))
    assert torch.allclose(pooled["blend4"], expected.transpose(1, 2).flatten(1), atol=1e-3)


def test_pooled_values_are_averages_of_the_grid():
    tokens = torch.arange(16.0).view(1, 16, 1)  # a 4x4 grid in row order
    below = tokens + 100
    pooled = pool([below, tokens], (4, 4), ["mean", "grid2", "grid4", "last4"])
    assert pooled["mean"].tolist() == [[7.5]]
    assert pooled["grid2"].tolist() == [[2.5, 4.5, 10.5, 12.5]]
    assert pooled["grid4"].tolist() == [list(range(16))]
    assert pooled["last4"].tolist() == [[107.5, 7.5]]


def test_a_strip_is_pooled_along_its_length():
    tokens = torch.arange(6.0).view(1, 6, 1)
    assert pool([tokens], (1, 6), ["grid2", "grid3"])["grid3"].tolist() == [[0.5, 2.5, 4.5]]


def test_a_grid_of_any_rank_is_pooled_in_cells_and_along_each_axis():
    """2 x 2 x 4 tokens, numbered in row order: cells of time, row and column."""
    tokens = torch.arange(16.0).view(1, 16, 1)
    axes = ("time", "row", "column")
    pooled = pool([tokens], (2, 2, 4), ["grid2", "each time", "each column", "grid4"], axes=axes)
    assert pooled["grid2"].tolist() == [[0.5, 2.5, 4.5, 6.5, 8.5, 10.5, 12.5, 14.5]]
    assert pooled["each time"].tolist() == [[3.5, 11.5]]
    assert pooled["each column"].tolist() == [[6, 7, 8, 9]]
    assert pooled["grid4"].tolist() == [list(range(16))]


def test_tokens_without_a_grid_have_a_mean_and_a_largest():
    found = offered([(5, 3)] * 2, None)
    assert {name: pooling.dims for name, pooling in found.items()} == {
        "mean": 3,
        "blend1": 3,
        "max": 6,
        "last4": 6,
    }


@pytest.mark.parametrize("layout", [(2, 3), (6,), (1, 2, 3), None])
def test_tokens_that_are_not_there_change_no_pooling(layout):
    """Padded with NaN: means are over those that are there, alike in every rank."""
    random = torch.Generator().manual_seed(0)
    layers = [torch.randn(3, 6, 2, generator=random) for _ in range(2)]
    valid = torch.arange(6) < torch.tensor([[6], [4], [1]])
    broken = [torch.where(valid[..., None], layer, torch.nan) for layer in layers]
    found = offered([(6, 2)] * 2, layout)
    for name, pooling in found.items():
        values = pooling.take(broken, valid)
        assert values.isfinite().all(), name
        assert torch.allclose(values[0], pooling.take(layers, None)[0], atol=1e-6), name
    assert torch.allclose(found["mean"].take(broken, valid)[1], layers[-1][1, :4].mean(0))
    if layout is None:
        assert torch.equal(found["max"].take(broken, valid)[1, 2:], layers[-1][1, :4].amax(0))
    if layout == (2, 3):  # the second row has one token of three, the third of its cells none
        assert torch.allclose(found["grid2"].take(broken, valid)[1].view(2, 2, 2)[:, 1, 0], layers[-1][1, 3])
        assert found["grid2"].take(broken, valid)[2].view(2, 2, 2)[:, 1].tolist() == [[0, 0], [0, 0]]


class Recordings:
    """A ragged set of a dataclass batch: sample i has 1 + i % 3 tokens; two cuts of each, one of them shifted."""

    name, noun, in_memory = "recordings", "recordings", True

    def __init__(self, count=30):
        self.values = torch.randn(count, 3, 4, generator=torch.Generator().manual_seed(0))
        self.counts = 1 + torch.arange(count) % 3
        self.labels = None

    def __len__(self):
        return len(self.values)

    def read(self, indices, rng=None):
        rows = torch.as_tensor(indices)
        longest = int(self.counts[rows].max())
        valid = torch.arange(longest) < self.counts[rows][:, None]
        return Recording(torch.where(valid[..., None], self.values[rows, :longest], torch.nan), valid)

    def cuts(self, indices):
        batch = self.read(indices)
        yield batch
        yield replace(batch, values=batch.values + 1)


@dataclass(frozen=True)
class Recording:
    values: torch.Tensor
    valid: torch.Tensor

    def to(self, device):
        return self


class Listener:
    """An encoder that gives its tokens back."""

    layout = None

    def layers(self, batch, count):
        return [batch.values]

    def present(self, batch):
        return batch.valid


def test_samples_of_several_sizes_are_read_as_their_own_batches():
    samples = Recordings()
    source = EncodedFeatures(Listener(), samples, batch_size=7)
    features = read(source, samples, np.arange(30), ["mean"])["mean"]
    for i in range(30):
        assert torch.allclose(features[i], samples.values[i, : 1 + i % 3].mean(0), atol=1e-6)


def test_features_of_several_cuts_are_their_mean():
    samples = Recordings()
    one, several = (
        read(EncodedFeatures(Listener(), samples, cuts=cuts), samples, np.arange(30), ["mean", "max"])
        for cuts in (False, True)
    )
    assert all(torch.allclose(several[name], one[name] + 0.5, atol=1e-6) for name in one)
    with pytest.raises(UserError, match="digits: its images are read in one cut: leave out --cuts"):
        EncodedFeatures(Listener(), SimpleNamespace(name="digits", noun="images"), cuts=True)


def test_samples_are_independent_and_rows_arrive_in_order(digit_sets, encoder):
    train = digit_sets[0]
    rows = np.array([1, 5, 30, 31, 700])
    together = read(EncodedFeatures(encoder, train, batch_size=2), train, rows, ["grid3", "last4"])
    source = EncodedFeatures(encoder, train)
    for i, row in enumerate(rows):
        alone = read(source, train, rows[i : i + 1], ["grid3", "last4"])
        assert all(torch.allclose(together[name][i], alone[name][0], atol=1e-6) for name in alone), row


def test_progress_counts_to_the_end(digit_sets, encoder):
    told = []
    source = EncodedFeatures(encoder, digit_sets[0], batch_size=4, name="mine")
    read(source, digit_sets[0], np.arange(10), ["mean"], lambda *a: told.append(a))
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
        read(EncodedFeatures(encoder, train, name="run 3"), train, np.arange(1, 20), ["mean"])


def test_joined_features_are_those_of_the_rows_asked_for_also_where_one_set_fits_and_tests(digit_sets):
    train = digit_sets[0]
    values = torch.arange(10.0)[:, None]
    some, all_ = (
        LoadedFeatures(np.array([2, 5]), values[[2, 5]].half()),
        LoadedFeatures(np.arange(10), values),
    )
    joined = Joined("both", train, {"a + b": (some, all_)}, {"a + b": (all_, all_)})
    assert joined.poolings == {"a + b": 2} and joined.blocks == {"a + b": (1, 1)}
    assert read(joined, train, np.array([2, 5]), ["a + b"])["a + b"].tolist() == [[2, 2], [5, 5]]
    assert read(joined, train, np.arange(3), ["a + b"])["a + b"].tolist() == [[0, 0], [1, 1], [2, 2]]


def test_longer_samples_and_finer_maps_keep_their_axes():
    layers = [torch.arange(19.0 * 2).view(1, 38, 1)]
    found = offered([(38, 1)], (19, 4), ("channel", "second"))  # a window half as long as in training
    each = found["each channel"].take(layers, None)
    assert torch.equal(each, (torch.arange(19.0) * 2 + 0.5).view(1, 19))
    stages = offered([(2 * 8 * 12, 3), (2 * 4 * 6, 3)], (2, 4, 6), ("time", "row", "column"))
    fine = torch.arange(2.0).view(2, 1, 1, 1).expand(2, 8, 12, 3).reshape(1, -1, 3)
    cells = stages["stage1 grid2"].take([fine, fine[:, :48]], None).view(3, 2, 2, 2)
    assert (cells[:, 0] == 0).all() and (cells[:, 1] == 1).all()
