"""The transformer keeps scikit-learn's contract and sees images as images."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from openjepa.errors import UserError
from openjepa.estimator import JEPATransformer
from openjepa.signals.images.fitting import suited_patch

SMALL = {"encoder.depth": 1, "encoder.width": 8, "encoder.heads": 1, "train.health_every": 1.0}


def small(**settings) -> JEPATransformer:
    options = SMALL | settings.pop("options", {})
    return JEPATransformer(**{"steps": 1} | settings, options=options)


@pytest.mark.filterwarnings("ignore::openjepa.OpenJEPAWarning")  # it transforms what is far from what it fits
@parametrize_with_checks([small(), small(recipe="lejepa", options={"encoder": "vit"})])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    """Float images [1797, 8, 8] in 0..16 and labels."""
    data = load_digits()
    return data.images, data.target


def test_flat_and_shaped_input_are_the_same_images(digits):
    images = digits[0][:100]
    shaped, flat = small().fit(images), small().fit(images.reshape(100, 64))
    assert np.array_equal(shaped.transform(images), flat.transform(images.reshape(100, 64)))
    assert shaped.transform(images).shape == (100, 8)
    assert shaped.transform(images).dtype == np.float32


def test_image_shape_describes_flat_rows():
    rows = np.random.default_rng(0).random((40, 8 * 12 * 3))
    model = small(image_shape=(8, 12, 3)).fit(rows)
    assert model.config_.signal.channels == 3
    assert model.model_.tokens(torch.zeros(1, 3, 8, 12)).shape[1] == 8 * 12 // model.config_.signal.patch**2
    shaped = small().fit(rows.reshape(40, 8, 12, 3))
    assert np.array_equal(model.transform(rows), shaped.transform(rows.reshape(40, 8, 12, 3)))


def test_bytes_and_the_same_numbers_as_floats_agree():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 12, 12), dtype=np.uint8)
    pixels[0, 0, :2] = 0, 255
    as_bytes, as_floats = small().fit(pixels), small().fit(pixels / 255)
    assert np.allclose(as_bytes.transform(pixels), as_floats.transform(pixels / 255), atol=1e-3)


def test_a_sample_means_the_same_alone() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 12, 12)).astype(float)
    pixels[7] = pixels[7] > 128  # zeros and ones, which alone could be fractions
    model = small().fit(pixels)
    assert np.allclose(model.transform(pixels)[7:8], model.transform(pixels[7:8]), atol=1e-4)
    channels_first = np.random.default_rng(0).random((40, 3, 12, 12))
    same = small().fit(channels_first).transform(channels_first)
    assert np.array_equal(
        same,
        small().fit(channels_first.transpose(0, 2, 3, 1)).transform(channels_first.transpose(0, 2, 3, 1)),
    )


def test_other_vectors_are_padded_and_not_cropped():
    model = small().fit(np.random.default_rng(0).random((40, 20)))
    assert model.config_.signal.size == 5
    assert model.config_.hiding.augment.scale == (1.0, 1.0)
    assert small().fit(np.random.default_rng(0).random((40, 25))).config_.hiding.augment.scale != (1.0, 1.0)


def test_the_data_set_the_sizes_and_options_have_the_last_word(digits):
    config = small().fit(digits[0][:60]).config_
    assert (config.signal.size, config.signal.patch, config.signal.channels) == (8, 1, 1)
    assert config.train.batch_size == 52
    assert config.signal.range == (0, 16)  # of so few levels that 0..255 would waste
    assert config.signal.mean[0] == pytest.approx(digits[0][:60].mean() / 16, abs=0.01)
    config = small(options={"signal.patch": 2, "train.batch_size": 16}).fit(digits[0][:60]).config_
    assert (config.signal.patch, config.train.batch_size) == (2, 16)


@pytest.mark.parametrize(
    ("side", "preferred", "patch"),
    [(28, 4, 4), (224, 16, 16), (32, 4, 4), (8, 4, 1), (224, 4, 28), (5, 4, 1), (96, 16, 16)],
)
def test_patches_suit_the_image(side, preferred, patch):
    assert suited_patch(side, preferred) == patch


def test_features_follow_the_seed_and_nothing_else(digits):
    images = digits[0][:60]
    torch.manual_seed(0)
    first = small(steps=3).fit(images).transform(images)
    torch.manual_seed(1)
    assert np.array_equal(first, small(steps=3).fit(images).transform(images))
    assert not np.allclose(first, small(steps=3, seed=1).fit(images).transform(images))


def test_training_changes_the_features(digits):
    images = digits[0][:60]
    assert not np.allclose(
        small(steps=1).fit(images).transform(images), small(steps=20).fit(images).transform(images)
    )


def test_in_a_pipeline_it_serves_a_classifier(digits):
    images, labels = digits
    flat = images.reshape(-1, 64)
    model = make_pipeline(
        JEPATransformer(steps=30, options={"signal.patch": 2, "encoder.width": 32, "encoder.depth": 2}),
        StandardScaler(),
        LogisticRegression(max_iter=1000),
    ).fit(flat[:1200], labels[:1200])
    assert model.score(flat[1200:], labels[1200:]) > 0.6
    assert list(model[:1].get_feature_names_out())[:2] == ["jepatransformer0", "jepatransformer1"]
    assert clone(model[0]).get_params() == model[0].get_params()


@pytest.mark.parametrize(
    ("settings", "X", "message"),
    [
        ({"recipe": "ijepa"}, np.ones((20, 64)), "did you mean 'i-jepa'"),
        ({"preset": "huge"}, np.ones((20, 64)), "has no preset 'huge'"),
        ({"options": {"guards": "sigreg"}}, np.ones((20, 64)), "unknown option 'guards'"),
        (
            {"image_shape": (7, 9)},
            np.ones((20, 64)),
            r"image_shape=\(7, 9\) does not describe rows of 64 numbers",
        ),
        ({}, np.ones((20, 2, 2, 2, 2)), r"give \[N, H, W\]"),
        ({}, np.ones((20, 64)), "every value of every image is 1"),
        ({}, np.random.default_rng(0).random((20, 12, 16, 20)), "may have 12 channels"),
        ({"options": {"train.batch_size": 50}}, np.eye(20, 64), "fewer than train.batch_size 50"),
    ],
)
def test_mistakes_are_named(settings, X, message):
    with pytest.raises(UserError, match=message):
        small(**settings).fit(X)


def test_another_shape_is_refused(digits):
    model = small().fit(digits[0][:40])
    with pytest.raises(UserError, match=r"samples of shape \(8, 9\), fitted on \(8, 8\)"):
        model.transform(np.ones((3, 8, 9)))
