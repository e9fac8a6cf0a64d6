"""Contact and sight among boxes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openjepa.worlds.geometry import SKIN, clears, inside, sees, shortest, travel

WALL = np.array([[[4.0, 0.0, 6.0, 10.0]]])


def go(
    start: tuple[float, float], step: tuple[float, float], boxes: np.ndarray = WALL, slide: bool = False
) -> list:
    return travel(np.array([start]), np.array([step], float), boxes, slide)[0].tolist()


def test_a_free_step_is_made_whole() -> None:
    assert go((1, 5), (2, 1)) == [3, 6]


def test_a_step_into_a_face_ends_at_it() -> None:
    assert go((1, 5), (6, 3)) == pytest.approx([4 - SKIN, 6.5])
    assert go((9, 5), (-8, 0)) == pytest.approx([6 + SKIN, 5])
    assert go((5, 12), (0, -5)) == pytest.approx([5, 10 + SKIN])


def test_a_fast_step_does_not_tunnel() -> None:
    assert go((1, 5), (1000, 0))[0] < 4


def test_sliding_keeps_what_is_along_the_face() -> None:
    assert go((1, 5), (6, 3), slide=True) == pytest.approx([4 - SKIN, 8])


def test_sliding_into_a_corner_stops_there() -> None:
    corner = np.array([[[4.0, 0.0, 6.0, 10.0], [0.0, 9.0, 10.0, 11.0]]])
    assert go((1, 5), (6, 12), corner, slide=True) == pytest.approx([4 - SKIN, 9 - SKIN])


def test_one_may_leave_a_face_and_go_along_it() -> None:
    held = go((1, 5), (6, 0))
    assert go(tuple(held), (0, 3)) == pytest.approx([4 - SKIN, 8])
    assert go(tuple(held), (-2, 0)) == pytest.approx([2 - SKIN, 5])
    assert go(tuple(held), (1, 0)) == held


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_nothing_ever_gets_into_a_box(seed: int, slide: bool) -> None:
    """Coordinates in eighths make points, faces and corners coincide, where exactness is hardest."""
    rng = np.random.default_rng(seed)
    low = (
        rng.integers(-6, 6, (64, 5, 2)) + np.arange(5)[:, None] / 8
    )  # no two boxes leave a gap narrower than that
    boxes = np.concatenate([low, low + rng.integers(1, 5, low.shape)], -1)
    position = rng.integers(-64, 65, (64, 2)) / 8
    free = ~inside(position, boxes)
    boxes, position = boxes[free], position[free]
    for _ in range(8):
        step = np.where(
            rng.random(position.shape) < 0.5, rng.integers(-32, 33, position.shape) / 8, rng.normal(size=2)
        )
        after = travel(position, step, boxes, slide)
        assert not inside(after, boxes).any()
        middles = position + np.linspace(0, 1, 9)[:, None, None] * (after - position)
        if not slide:
            assert not any(inside(m, boxes + SKIN * np.array([1, 1, -1, -1])).any() for m in middles)
        assert np.all(np.abs(after - position) <= np.abs(step) + SKIN)
        position = after


def test_sight_is_blocked_by_boxes_and_not_by_their_faces() -> None:
    a, b = np.array([[1.0, 5.0]]), np.array([[9.0, 5.0]])
    assert not sees(a, b, WALL)[0]
    assert sees(a, np.array([[4.0, 5.0]]) - SKIN, WALL)[0]
    assert sees(np.array([[4.0, -3.0]]), np.array([[4.0, 13.0]]), WALL)[0]


def test_discs_are_cleared_by_their_radius() -> None:
    a, b = np.array([[0.0, 0.0]] * 3), np.array([[10.0, 0.0]] * 3)
    discs = np.array([[5.0, 2.0, 1.9], [5.0, 2.0, 2.1], [15.0, 0.0, 4.0]])
    assert clears(a, b, discs).tolist() == [True, False, True]


def test_the_shortest_way_goes_round_the_nearer_end() -> None:
    start, end, corners = [1.0, 2.0], [9.0, 2.0], [[4.0, -1.0], [6.0, -1.0], [4.0, 11.0], [6.0, 11.0]]
    length, first = shortest(np.array([[start, *corners, end]]), WALL)
    assert length[0] == pytest.approx(2 * np.hypot(3, 3) + 2)
    assert first[0].tolist() == [4, -1]


def test_who_stands_on_a_node_goes_on_to_the_next() -> None:
    start, end, corners = [4.0, -1.0], [9.0, 2.0], [[4.0, -1.0], [6.0, -1.0]]
    first = shortest(np.array([[start, *corners, end]]), WALL)[1]
    assert first[0].tolist() == [6, -1]


def test_there_may_be_no_way() -> None:
    ring = np.array([[[-1.0, -9, 0, 9], [3, -9, 4, 9], [-9, -1, 9, 0], [-9, 3, 9, 4]]])
    assert np.isinf(shortest(np.array([[[1.0, 1.0], [9.0, 9.0]]]), ring)[0][0])
