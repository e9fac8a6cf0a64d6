"""The pictures show what the model does."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from openjepa.jepa import gather
from openjepa.recipes import build, configure
from openjepa.report import predictions, samples
from openjepa.signals.pictures import FAINT

from .conftest import OWN, PRESETS, SMALL


def model_of(recipe, **changes):
    return build(configure(recipe, PRESETS[recipe], SMALL | OWN[recipe] | changes), seed=0)


@pytest.fixture
def batch():
    return torch.randint(
        0, 256, (24, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def test_errors_add_up_to_the_energy(batch):
    model = model_of("i-jepa", **{"energy": "cosine"})
    shown = predictions.masked(model, batch, range(len(batch)))
    (pair, *_), s_x, s_y, guess = predictions._pass(model, batch)
    with torch.no_grad():
        whole = model.eval().targets([replace(pair, select=None)], s_x)[0][:, 0]
    baseline = model.energy.mean(gather(whole.mean(0, keepdim=True), pair.select), s_y[0])
    energy = model.energy.mean(guess[0], s_y[0])
    assert np.mean([sample.ratio for sample in shown]) == pytest.approx(float(energy / baseline), rel=1e-5)


def test_a_perfect_predictor_makes_no_error(batch, monkeypatch):
    model = model_of("i-jepa")
    _, _, s_y, _ = predictions._pass(model, batch)
    monkeypatch.setattr(model, "predict", lambda s_x, pairs: s_y)
    assert all(sample.ratio == 0 for sample in predictions.masked(model, batch, [0, 5]))


def test_masks_are_shown_as_they_are(batch):
    model = model_of("i-jepa")
    (sample,) = predictions.masked(model, batch, [3])
    (pair, *_), *_ = predictions._pass(model, batch)
    (part,) = sample.parts
    assert part.visible == pair.context.keep.shape[1]
    assert part.hidden == len(set(pair.select[3].flatten().tolist()))
    assert part.blocks == pair.select.shape[1] and sample.tokens == 16


def test_views_that_are_their_centre_have_no_distance(batch, monkeypatch):
    model = model_of("lejepa")
    _, _, (s_y, *_), _ = predictions._pass(model, batch)
    mean = s_y.mean(0, keepdim=True).expand_as(s_y)
    monkeypatch.setattr(model, "predict", lambda s_x, pairs: [s_y, mean, mean, mean])
    rows = predictions.viewed(model, batch, range(len(batch)))
    assert [seen.name for seen in rows[0]] == ["global", "global", "local", "local"]
    assert [seen.scale for seen in rows[0]] == [1, 1, 0.5, 0.5]
    assert all(row[0].ratio == 0 for row in rows)
    assert np.mean([row[1].ratio for row in rows]) == pytest.approx(
        1, rel=1e-4
    )  # the mean is as far as the mean


def test_dropped_patches_of_a_view_are_faint(batch):
    model = model_of("lejepa", **{"hiding.drop": "0.5"})
    (pair, *_), *_ = predictions._pass(model, batch)
    picture = predictions._picture(model, batch, pair.context, 5, predictions._dropped(pair.context, 5))
    assert picture.pixels.shape == (16, 16, 4)
    assert (picture.pixels[..., 3] == 255).mean() == pytest.approx(0.5)
    assert (picture.pixels[..., 3] == FAINT).mean() == pytest.approx(0.5)


def test_looking_does_not_change_the_model(batch):
    model = model_of("i-jepa").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    predictions.masked(model, batch, [0])
    predictions.token_colours(model, batch, [0])
    assert model.training and all(
        torch.equal(value, before[name]) for name, value in model.state_dict().items()
    )


def test_nearest_is_the_twin_and_never_oneself():
    features = torch.randn(20, 6, generator=torch.Generator().manual_seed(0)) + 100  # a large common part
    features[7] = features[2] + 1e-3
    rows, cosines = samples.nearest(features, [2, 7], 3)
    assert rows[0, 0] == 7 and rows[1, 0] == 2
    assert cosines[0, 0] > 0.99 > cosines[0, 1] and (np.diff(cosines, axis=1) <= 0).all()
    assert 2 not in rows[0] and 7 not in rows[1]


@pytest.mark.parametrize(
    ("count", "method"), [(12, "placed by PCA"), (80, "placed by PCA to 8 dimensions, then t-SNE")]
)
def test_the_map_keeps_groups_apart_and_says_how(count, method):
    group = np.arange(count) % 2
    features = (
        torch.randn(count, 8, generator=torch.Generator().manual_seed(0)) + 20 * torch.tensor(group)[:, None]
    )
    points, said = samples.flat_map(features)
    assert said == method and points.min() >= 0 and points.max() <= 1
    centres = np.stack([points[group == g].mean(0) for g in (0, 1)])
    nearest = np.linalg.norm(points[:, None] - centres, axis=-1).argmin(1)
    assert (nearest == group).mean() > 0.95


def test_constant_features_can_be_mapped():
    noise = 1e-8 * torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    for features in (torch.ones(60, 4), torch.zeros(60, 4), 1 + noise):
        points, said = samples.flat_map(features)
        assert (points == 0.5).all() and "equal" in said


def test_samples_come_from_as_many_classes_as_possible():
    labels = np.array([5] * 20 + [1] * 3 + [9])
    picked = samples.pick(labels, 24, 6)
    assert len(set(picked)) == 6 and set(labels[picked]) == {1, 5, 9}
    assert samples.pick(None, 4, 6) == [0, 1, 2, 3]


def test_names_on_the_map_do_not_overlap():
    places = np.array([[0.5, 0.5]] * 4 + [[0.55, 0.51], [0.9, 0.1]])
    moved = samples.apart(places)
    assert (moved[:, 0] == places[:, 0]).all() and (moved[5] == places[5]).all()
    assert np.diff(np.sort(moved[:5, 1])).min() >= 0.05


def test_a_diverged_model_is_said_to_be_one(images):
    model = model_of("i-jepa")
    with torch.no_grad():
        next(model.evaluated.parameters()).fill_(torch.nan)
    assert "diverged" in samples.look(model, images, images.labels, None, None).missing


@pytest.mark.parametrize("recipe", ["i-jepa", "lejepa"])
def test_a_collapsed_model_can_be_looked_at(recipe, images):
    model = model_of(recipe)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    found = samples.look(model, images, images.labels, None, None)
    assert found.map.method == "all in one place, since their features are equal"
    ratios = [s.ratio for s in found.masked] + [seen.ratio for row in found.views for seen in row]
    assert np.isnan(ratios).all()


def test_progress_counts_to_the_end(images):
    told = []
    samples.look(model_of("lejepa"), images, images.labels, 50, lambda *what: told.append(what))
    assert told[-1][1:] == (50, 50)


def test_unlabelled_images_have_no_right_neighbours(images):
    bare = images.subset(range(len(images)))
    bare.labels = None
    found = samples.look(model_of("i-jepa"), bare, None, None, None)
    assert "no labels" in found.agreement and found.map.names == []
    assert all(near.same is None for _, others in found.neighbours for near in others)
