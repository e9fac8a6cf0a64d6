"""Gradients by ratio, against a slow version by the paper's kernels, and what they do not see."""

import math

import numpy as np
import pytest
import torch

from openjepa.errors import UserError
from openjepa.signals.images.gradient_ratio import GradientRatios, gradient_ratio


def slow(image: np.ndarray, r: int, offset: float) -> np.ndarray:
    """Pixel by pixel, of one image in double precision."""
    around = np.pad(image.astype(np.float64), r, mode="reflect") + offset
    found = np.zeros_like(image, dtype=np.float64)
    for i in range(image.shape[0]):
        for j in range(image.shape[1]):
            square = around[i : i + 2 * r + 1, j : j + 2 * r + 1]
            across = math.log(square[:, : r + 1].sum() / square[:, r:].sum())
            down = math.log(square[: r + 1].sum() / square[r:].sum())
            found[i, j] = math.hypot(across, down)
    return found


def speckle(rows: int = 19, columns: int = 23) -> torch.Tensor:
    random = np.random.default_rng(0)
    scene = np.where(np.arange(columns) < 9, 0.1, 0.6)[None, :] * np.ones((rows, 1))
    return torch.from_numpy((scene * random.gamma(4, 0.25, (rows, columns))).clip(0, 1)).float()


@pytest.mark.parametrize("r", [1, 5, 17])
def test_it_is_the_papers_operator(r: int) -> None:
    image = speckle()
    found = gradient_ratio(image[None, None], (r,))[0, 0]
    np.testing.assert_allclose(found.numpy(), slow(image.numpy(), r, 0.01), atol=2e-5)


def test_scales_follow_one_another_and_channels_stay_apart() -> None:
    images = torch.stack([speckle(), speckle().T[:19, :19].repeat(1, 2)[:, :23]])[None]
    found = gradient_ratio(images, (2, 3))
    for i, (r, channel) in enumerate([(2, 0), (2, 1), (3, 0), (3, 1)]):
        torch.testing.assert_close(found[0, i], gradient_ratio(images[:, channel : channel + 1], (r,))[0, 0])


def test_gain_changes_nothing_where_the_offset_is_small() -> None:
    image = 1 + 9 * speckle()[None, None]
    one, two = (gradient_ratio(gain * image, (3, 5), offset=1e-6) for gain in (1.0, 7.0))
    torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)
    assert float(one.max()) > 0.3
    dim = gradient_ratio(1e-3 * image, (3, 5))  # what the offset is for: near darkness contrasts fade
    assert float(dim.max()) < 0.5 * float(one.max())


def test_even_areas_have_no_gradient_and_an_edge_has_its_ratio() -> None:
    assert float(gradient_ratio(torch.full((1, 1, 20, 20), 0.3), (4,)).max()) < 1e-5
    edge = torch.full((1, 1, 21, 21), 0.1)
    edge[..., 11:] = 0.8
    found = gradient_ratio(edge, (4,), offset=1e-9)[0, 0]
    assert found[10, 10] == pytest.approx(math.log((0.1 + 4 * 0.8) / 5 / 0.1), abs=1e-4)
    assert float(found[:, :6].max()) < 1e-5


def test_too_large_a_scale_is_refused() -> None:
    with pytest.raises(UserError, match="17 px far, and an image has 16"):
        gradient_ratio(torch.rand(1, 1, 16, 20), (5, 17))


def test_its_features_tell_an_edge_from_none() -> None:
    class Images:
        shape = (1, 80, 80)

        def __len__(self) -> int:
            return 2

        def read(self, rows: object) -> torch.Tensor:
            images = torch.full((2, 1, 80, 80), 50, dtype=torch.uint8)
            images[1, :, :, 40:] = 250
            return images

    source = GradientRatios().fit(Images())
    ((_, found),) = source.stream(Images(), np.arange(2), list(source.poolings))
    assert {name: values.shape[1] for name, values in found.items()} == source.poolings
    assert all(float(values[0].abs().max()) < 1e-4 < float(values[1].max()) for values in found.values())
