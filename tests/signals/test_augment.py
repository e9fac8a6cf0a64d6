"""Batch augmentation against slow, plain references."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from pydantic import ValidationError

from openjepa.common.rng import Rng
from openjepa.signals.images.augment import (
    Augment,
    colour_matrix,
    gaussian_blur,
    recolour,
    resized_crop,
)

STRONG = Augment.lejepa(scale=(0.05, 0.9))


def batch(count: int = 8, channels: int = 3, height: int = 32, width: int = 32) -> torch.Tensor:
    """Smooth random images, so that resampling has something to agree on."""
    coarse = torch.rand(count, channels, 6, 6, generator=torch.Generator().manual_seed(0))
    return F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)


def crops(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor(rows)


NO_FLIP = torch.tensor([False])


def test_the_whole_image_at_its_own_size_is_unchanged():
    images = batch(3, height=20, width=28)
    whole = crops([[0, 0, 1, 1]] * 3)
    assert torch.allclose(
        resized_crop(images, whole, torch.zeros(3, dtype=torch.bool), (20, 28)), images, atol=1e-5
    )
    assert torch.allclose(
        resized_crop(images, whole, torch.ones(3, dtype=torch.bool), (20, 28)), images.flip(3), atol=1e-5
    )


def test_a_crop_on_pixel_borders_is_a_slice():
    images = batch(2, height=16, width=32)
    out = resized_crop(images, crops([[0.25, 0.5, 0.5, 0.25]] * 2), torch.tensor([False, True]), (8, 8))
    assert torch.allclose(out[0], images[0, :, 4:12, 16:24], atol=1e-5)
    assert torch.allclose(out[1], images[1, :, 4:12, 16:24].flip(2), atol=1e-5)


@pytest.mark.parametrize(("side", "size"), [(24, 40), (40, 32), (64, 16), (250, 32)])
def test_resizing_agrees_with_pillow(side: int, size: int):
    images = batch(1, 1, side, side)
    ours = resized_crop(images, crops([[0, 0, 1, 1]]), NO_FLIP, (size, size))[0, 0]
    image = Image.fromarray(images[0, 0].numpy())
    theirs = np.array(image.resize((size, size), Image.Resampling.BILINEAR))
    assert np.abs(ours.numpy() - theirs).max() < 0.06


def test_shrinking_does_not_alias():
    """Stripes finer than the result's pixels must turn grey, not into other stripes."""
    stripes = (torch.arange(256) % 2).float().expand(1, 1, 256, 256)
    for size in (128, 100, 64, 32):
        out = resized_crop(stripes, crops([[0, 0, 1, 1]]), NO_FLIP, (size, size))
        assert (out - 0.5).abs().max() < 0.05, size


def test_each_image_gets_the_reduction_that_its_own_crop_needs():
    images = batch(3, height=128, width=128)
    shapes = crops([[0, 0, 1, 1], [0.1, 0.2, 0.25, 0.25], [0.3, 0.1, 0.5, 0.6]])
    together = resized_crop(images, shapes, torch.tensor([False, True, False]), (32, 32))
    for i in range(3):
        alone = resized_crop(images[i : i + 1], shapes[i : i + 1], torch.tensor([i == 1]), (32, 32))
        assert torch.allclose(together[i], alone[0], atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (48, 96)])
def test_crops_have_the_stated_area_and_aspect(height: int, width: int):
    augment = Augment(scale=(0.2, 0.6))
    crop = augment.draw(torch.empty(4000, 3, height, width), Rng(0, 0)).crop
    top, left, tall, wide = crop.unbind(1)
    area, ratio = tall * wide, wide * width / (tall * height)
    assert area.min() >= 0.2 - 1e-4 and area.max() <= 0.6 + 1e-4
    assert area.min() < 0.21 and area.max() > 0.55  # both ends are reached
    assert 0.749 < ratio.min() < 0.77 and 1.3 < ratio.max() < 1.334
    assert (
        (top >= 0).all()
        and (left >= 0).all()
        and (top + tall <= 1 + 1e-6).all()
        and (left + wide <= 1 + 1e-6).all()
    )
    centre = (top + tall / 2).mean(), (left + wide / 2).mean()
    assert all(abs(float(c) - 0.5) < 0.01 for c in centre)
    if height == width:  # every shape fits, so none is rejected
        assert abs(float(torch.corrcoef(torch.stack([area, ratio.log()]))[0, 1])) < 0.05


def test_shapes_that_never_fit_are_clamped():
    crop = Augment(scale=(1, 1), ratio=(3, 3)).draw(torch.empty(5, 1, 32, 32), Rng(0, 0)).crop
    assert (crop[:, 2:] <= 1).all() and torch.isfinite(crop).all()


def reference_colours(
    image: torch.Tensor, brightness: float, contrast: float, saturation: float
) -> torch.Tensor:
    """torchvision's definitions, one after the other, without its clamps."""
    luma = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    image = image * brightness
    image = contrast * image + (1 - contrast) * (image * luma).sum(0).mean()
    return saturation * image + (1 - saturation) * (image * luma).sum(0)


def test_colours_agree_with_one_operation_after_the_other():
    images = batch(16) * 0.4 + 0.3  # so that nothing is clamped
    augment = Augment(jitter=1.0, brightness=0.2, contrast=0.3, saturation=0.5, hue=0.0)
    parameters = augment.draw(images, Rng(0, 0))
    assert len(set(parameters.brightness.tolist())) == 16
    ours = recolour(images, parameters)
    for i, image in enumerate(images):
        factors = (float(f[i]) for f in (parameters.brightness, parameters.contrast, parameters.saturation))
        assert torch.allclose(ours[i], reference_colours(image, *factors), atol=1e-5)


def test_hue_turns_colours_and_spares_greys():
    images = torch.tensor([[0.6, 0.3, 0.3], [0.5, 0.5, 0.5]])[:, :, None, None].repeat(1, 1, 2, 2)
    parameters = Augment(jitter=1.0, brightness=0, contrast=0, saturation=0, hue=0.5).draw(images, Rng(0, 0))
    object.__setattr__(parameters, "hue", torch.tensor([1 / 3, 1 / 3]))
    out = recolour(images, parameters)[:, :, 0, 0]
    assert torch.allclose(out[1], images[1, :, 0, 0], atol=1e-3)
    assert out[0].argmax() != 0 and float(out[0] @ torch.tensor([0.299, 0.587, 0.114])) == pytest.approx(
        0.3897, abs=1e-3
    )
    object.__setattr__(parameters, "hue", torch.tensor([1.0, 1.0]))
    assert torch.allclose(colour_matrix(parameters), torch.eye(3).expand(2, 3, 3), atol=1e-5)


def test_grey_images_have_equal_channels():
    images = batch()
    augment = Augment(grey=1.0, scale=(1, 1), ratio=(1, 1))
    out = augment(images, Rng(0, 0))
    expected = (images * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    assert torch.allclose(out, expected.expand_as(out), atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_blur_agrees_with_a_plain_convolution(channels: int):
    images = batch(4, channels)
    sigma = torch.tensor([0.0, 0.3, 1.0, 1.7])
    out = gaussian_blur(images, sigma)
    assert torch.equal(out[0], images[0])
    for i in (1, 2, 3):
        place = torch.arange(-6, 7).float()
        line = torch.exp(-place.square() / (2 * sigma[i] ** 2)) * (place.abs() <= 3 * sigma[i])
        kernel = torch.outer(line, line)[None, None] / line.sum() ** 2
        padded = F.pad(images[i][:, None], (6, 6, 6, 6), mode="reflect")
        assert torch.allclose(out[i], F.conv2d(padded, kernel)[:, 0], atol=1e-5)


def test_blur_on_images_smaller_than_its_kernel():
    assert torch.isfinite(gaussian_blur(batch(2, 3, 5, 3), torch.tensor([2.0, 1.0]))).all()


def test_solarisation_inverts_the_bright_half():
    images = batch()
    out = Augment(solarize=1.0, scale=(1, 1), ratio=(1, 1))(images, Rng(0, 0))
    assert torch.allclose(out, torch.where(images > 0.5, 1 - images, images), atol=1e-5)


def test_each_operation_strikes_with_its_probability_and_independently():
    parameters = STRONG.draw(torch.empty(20000, 3, 8, 8), Rng(3, 1))
    jittered = parameters.brightness != 1
    rates = torch.stack(
        [
            v.float()
            for v in (parameters.flip, jittered, parameters.grey, parameters.blur > 0, parameters.solarize)
        ]
    )
    assert torch.allclose(rates.mean(1), torch.tensor([0.5, 0.8, 0.2, 0.5, 0.2]), atol=0.015)
    assert (torch.corrcoef(rates) - torch.eye(5)).abs().max() < 0.03
    for factor, strength in (
        (parameters.brightness, 0.4),
        (parameters.contrast, 0.4),
        (parameters.saturation, 0.2),
    ):
        assert (
            1 - strength <= factor.min() < 1 - 0.98 * strength
            and 1 + 0.98 * strength < factor.max() <= 1 + strength
        )


@pytest.mark.parametrize("channels", [1, 3])
def test_the_result_keeps_its_range_and_shape(channels: int):
    out = STRONG.model_copy(update={"size": 14})(batch(64, channels), Rng(0, 0))
    assert out.shape == (64, channels, 14, 14) and out.dtype == torch.float32
    assert out.min() >= -1e-5 and out.max() <= 1 + 1e-5


def test_the_same_step_gives_the_same_views_and_another_step_others():
    images = batch()
    assert torch.equal(STRONG(images, Rng(0, 5)), STRONG(images, Rng(0, 5)))
    assert not torch.equal(STRONG(images, Rng(0, 5)), STRONG(images, Rng(0, 6)))
    assert not torch.equal(STRONG(images, Rng(1, 5)), STRONG(images, Rng(0, 5)))


def test_a_ranks_slice_is_augmented_as_in_the_global_batch():
    images = batch(12, height=70, width=70)
    augment = Augment.lejepa(size=20, scale=(0.05, 1))
    whole = augment(images, Rng(0, 7))
    for start, count in ((0, 5), (5, 7), (11, 1)):
        part = augment(images[start : start + count], Rng(0, 7, start=start, total=12))
        assert torch.allclose(part, whole[start : start + count], atol=1e-6)


def test_parameters_can_be_kept_and_applied_again():
    images = batch()
    parameters = STRONG.draw(images, Rng(0, 5))
    assert torch.equal(STRONG.apply(images, parameters), STRONG(images, Rng(0, 5)))


def test_the_defaults_only_crop():
    images = torch.full((4, 3, 16, 16), 0.7)
    assert torch.allclose(Augment()(images, Rng(0, 0)), images)


def test_gradients_flow_to_the_images():
    images = batch().requires_grad_()
    STRONG(images, Rng(0, 0)).sum().backward()
    assert images.grad is not None and torch.isfinite(images.grad).all() and images.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"scale": (0.5, 0.2)},
        {"scale": (0.5, 1.5)},
        {"ratio": (0, 1)},
        {"flip": 1.5},
        {"hue": 0.7},
        {"blurr": 1},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        Augment(**wrong)


def test_area_reduction_covers_odd_sizes():
    images = batch(1, 1, 101, 101)
    out = resized_crop(images, crops([[0, 0, 1, 1]]), NO_FLIP, (25, 25))
    assert math.isclose(float(out.mean()), float(images.mean()), abs_tol=5e-3)
