"""Smooth-edged shapes: their areas and places."""

import numpy as np
import pytest

from openjepa.worlds import raster


def box(*edges: float) -> np.ndarray:
    return np.array([[edges]])


@pytest.mark.parametrize("size", [32, 64, 65])
def test_a_box_covers_its_area(size: int) -> None:
    mask = raster.boxes_mask(box(10.2, 20.7, 30.1, 25.3), size, 64.0)[0]
    assert mask.sum() * (64 / size) ** 2 == pytest.approx(19.9 * 4.6, rel=1e-4)
    assert mask.min() == 0 and mask.max() <= 1


def test_boxes_that_overlap_cover_a_pixel_once() -> None:
    twice = np.array([[[10.0, 10, 20, 20], [10, 10, 20, 20]]])
    assert raster.boxes_mask(twice, 64, 64.0).max() == 1


def test_pixel_i_has_its_centre_at_i_where_size_is_arena() -> None:
    assert raster.centres(65, 65.0).tolist() == list(range(65))
    mask = raster.boxes_mask(box(6.5, 8.5, 7.5, 9.5), 65, 65.0)[0]
    assert mask[9, 7] == 1 and mask.sum() == 1


@pytest.mark.parametrize("size", [48, 64, 96])
def test_a_disc_lies_where_it_should(size: int) -> None:
    rng = np.random.default_rng(0)
    centre, radius = rng.uniform(8, 56, (20, 2)), rng.uniform(2, 4, 20)
    canvas = np.zeros((20, 3, size, size), np.float32)
    raster.disc(canvas, centre, radius, np.full((20, 3), 255.0), 64.0)
    share = canvas[:, 0] / 255
    assert share.sum((1, 2)) * (64 / size) ** 2 == pytest.approx(np.pi * radius**2, rel=0.06)
    axis = raster.centres(size, 64.0)
    x, y = ((share.sum(k) * axis).sum(1) / share.sum((1, 2)) for k in (1, 2))
    assert np.abs(np.stack([x, y], 1) - centre).max() < 0.15


def test_a_disc_at_the_edge_is_cut() -> None:
    canvas = np.zeros((1, 3, 64, 64), np.float32)
    raster.disc(canvas, np.array([[0.0, 63.0]]), np.array([3.0]), np.full((1, 3), 255.0), 64.0)
    assert canvas[0, 0, 63, 0] == 255 and canvas[0, 0, :50].max() == 0


def test_a_capsule_covers_a_line_and_its_ends() -> None:
    mask = raster.capsule_mask(np.array([[10.0, 10]]), np.array([[30.0, 10]]), np.array([3.0]), 64, 64.0)[0]
    assert mask.sum() == pytest.approx(6 * 20 + np.pi * 9, rel=0.03)


def test_paint_and_blend_give_the_colours_asked_for() -> None:
    mask = np.zeros((1, 4, 4), np.float32)
    mask[0, 0, 0], mask[0, 1, 1] = 1, 0.5
    canvas = raster.paint(mask, np.array([[0.0, 100, 200]]), np.array([[255.0, 255, 255]]))
    raster.blend(canvas, mask * (mask == 1), np.array([[10.0, 20, 30]]))
    frame = raster.finish(canvas)[0]
    assert frame[:, 0, 0].tolist() == [10, 20, 30]
    assert frame[:, 1, 1].tolist() == [128, 178, 228]
    assert frame[:, 3, 3].tolist() == [0, 100, 200]
