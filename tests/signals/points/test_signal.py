"""Clouds as tokens: groups, their order, draws of points, what clouds are asked and shown as."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest
import torch

from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.signals.pictures import Marks
from openjepa.signals.points import Clouds, PointSignal, open_clouds
from openjepa.signals.points.groups import farthest, greedy, neighbours, ordered
from openjepa.signals.points.signal import turned

from .shapes import clouds

SIGNAL = PointSignal(count=128, groups=16, size=12)


def batch(count: int = 8) -> Clouds:
    return open_clouds(clouds(count)[0], count=128).read(range(count))


def test_farthest_points_are_those_of_the_definition() -> None:
    points = batch().points
    found = farthest(points, 10)
    for cloud, chosen in zip(points.numpy(), found.tolist(), strict=True):
        seen = [0]
        while len(seen) < 10:
            away = np.linalg.norm(cloud[:, None] - cloud[seen], axis=2).min(1)
            seen.append(int(away.argmax()))
        assert chosen == seen
    alone = torch.cat([farthest(points[i : i + 1], 10) for i in range(len(points))])
    assert torch.equal(alone, found)


def test_neighbours_are_the_nearest() -> None:
    points = batch(2).points
    found = neighbours(points, points[:, :3], 5)
    away = torch.cdist(points[:, :3], points)
    assert (
        torch.equal(away.gather(2, found).amax(2), away.sort(2).values[..., 4])
        and (found[:, :, 0] == torch.arange(3)).all()
    )


def test_the_greedy_path_goes_to_the_nearest_that_is_left() -> None:
    centres = torch.randn(5, 20, 3, generator=torch.Generator().manual_seed(0))
    for cloud, path in zip(centres.numpy(), greedy(centres).tolist(), strict=True):
        seen = [int(cloud.sum(1).argmin())]
        while len(seen) < 20:
            left = [i for i in range(20) if i not in seen]
            seen.append(min(left, key=lambda i: np.linalg.norm(cloud[i] - cloud[seen[-1]])))
        assert path == seen


def test_curves_visit_every_cell_of_a_grid_once_and_hilberts_steps_are_short() -> None:
    grid = torch.cartesian_prod(*[torch.arange(8.0)] * 3)[None]
    for order in ("z-order", "hilbert"):
        path = ordered(grid, order)
        assert (path.sort(1).values == torch.arange(512)).all()
        steps = grid[0][path[0]].diff(dim=0).norm(dim=1)
        assert float(steps.mean()) < 1.8
    assert (steps == 1).all()  # Hilbert's
    corner = grid[0][ordered(grid, "z-order")[0]][:8]
    assert corner.amax() == 1  # the first eight are the cells of a corner


@pytest.mark.parametrize("order", ["greedy", "z-order", "hilbert"])
def test_tokens_do_not_depend_on_the_order_of_points_but_for_the_first(order: str) -> None:
    signal = PointSignal(count=128, groups=16, size=12, order=order)
    points = batch(4).points
    mixed = points[:, torch.cat([torch.zeros(1, dtype=torch.long), 1 + torch.randperm(127)])]
    one, two = signal.tokenise(Clouds(points)), signal.tokenise(Clouds(mixed))
    assert torch.equal(one.positions, two.positions) and torch.allclose(one.values, two.values)


def test_groups_are_points_about_their_centres() -> None:
    clouds_ = batch(3)
    tokens = SIGNAL.tokenise(clouds_)
    assert (
        tokens.values.shape == (3, 16, 36) and tokens.positions.shape == (3, 16, 3) and tokens.layout is None
    )
    groups = tokens.values.unflatten(-1, (12, 3))
    assert (groups[:, :, 0] == 0).all()  # the nearest point to a centre is the centre
    back = SIGNAL.restored(tokens)
    away = (back.points[:, :, None] - clouds_.points[:, None]).norm(dim=-1)
    assert away.amin(2).max() < 1e-6
    assert back.token.unique().tolist() == list(range(16))


def test_points_are_drawn_by_the_step_and_the_same_without_one() -> None:
    x, _ = clouds(6, points=300)
    found = open_clouds(x, count=100)
    assert torch.equal(found.read(range(6)).points, found.read(range(6)).points)
    drawn = found.read(range(6), Rng(0, 3)).points
    assert not torch.equal(drawn, found.read(range(6), Rng(0, 4)).points)
    halves = [found.read(range(i, i + 3), Rng(0, 3, start=i, total=6)).points for i in (0, 3)]
    assert torch.equal(drawn, torch.cat(halves))
    assert all(len(np.unique(cloud, axis=0)) == 100 for cloud in drawn.numpy())  # without repetition
    assert drawn.norm(dim=-1).amax() <= 1 + 1e-6
    cuts = found.cuts([0, 1])
    assert len(cuts) == 3 and not (cuts[0].points[0, :, None] == cuts[1].points[0, None]).all(-1).any()


def test_small_clouds_repeat_their_points() -> None:
    x, _ = clouds(4, points=30)
    found = open_clouds(x, count=100)
    for cloud in (found.read([1]).points[0], found.read([1], Rng(0, 0)).points[0]):
        assert len(np.unique(cloud.numpy(), axis=0)) == 30
    ragged = open_clouds([x[0], x[1][:10]], count=64)
    drawn = ragged.read([0, 1], Rng(0, 0)).points
    assert torch.equal(ragged.read([1], Rng(0, 0, start=1, total=2)).points, drawn[1:])
    assert [len(np.unique(cloud, axis=0)) for cloud in drawn.numpy()] == [30, 10]


def test_augmentation_is_each_samples_own_and_keeps_the_size() -> None:
    clouds_ = batch(8)
    one, again, other = (SIGNAL.augmented(clouds_, Rng(0, step)).context.positions for step in (0, 0, 1))
    assert torch.equal(one, again) and not torch.equal(one, other)
    halves = [
        SIGNAL.augmented(clouds_[i : i + 4], Rng(0, 0, start=i, total=8)).context.positions for i in (0, 4)
    ]
    assert torch.allclose(torch.cat(halves), one, atol=1e-6)
    plain = PointSignal(count=128, groups=16, size=12, turn=0, stretch=(1, 1), mirror=0)
    middle = clouds_.points - clouds_.points.mean(1, keepdim=True)
    whole = Clouds(middle / middle.norm(dim=-1).amax(1)[:, None, None])
    seen = plain.augmented(clouds_, Rng(0, 0)).context
    assert torch.allclose(seen.positions, plain.tokenise(whole).positions, atol=1e-6)


def test_turns_are_about_the_upright_axis() -> None:
    points = batch(2).points
    angle = torch.tensor([np.pi / 2, -np.pi / 2], dtype=torch.float32)
    found = turned(points, angle, 2)
    assert torch.equal(found[..., 2], points[..., 2])
    assert torch.allclose(found[0, :, 1], points[0, :, 0], atol=1e-6) and torch.allclose(
        found[1, :, 1], -points[1, :, 0], atol=1e-6
    )


def test_a_users_clouds_of_any_unit_and_size() -> None:
    x, _ = clouds(3, points=90)
    one, two = SIGNAL.batch(x), SIGNAL.batch([cloud * 100 + 7 for cloud in x])
    assert one.points.shape == (3, 128, 3) and torch.allclose(one.points, two.points, atol=1e-4)
    assert SIGNAL.batch(x[0]).points.shape == (1, 128, 3)
    with pytest.raises(UserError, match="all in one place"):
        SIGNAL.batch(np.ones((2, 5, 3)))
    with pytest.raises(UserError, match=r"not \[P, 3\]"):
        SIGNAL.batch(np.ones((2, 5, 4)))
    with pytest.raises(UserError, match="clouds of 8 points have no 16 groups"):
        SIGNAL.tokenise(Clouds(one.points[:, :8]))


def test_tasks_ask_without_labels() -> None:
    clouds_ = batch(8)
    tasks = SIGNAL.tasks(clouds_)
    assert tasks.look.shape == (8, 512) and tasks.coarse.shape == (8, 27)
    seen = tasks.view(clouds_, Rng(0, 0))
    assert seen.points.shape == clouds_.points.shape and not torch.equal(seen.points, clouds_.points)
    assert torch.cdist(seen.points, clouds_.points).amin(2).max() < 0.15


def test_classical_rows_stream_what_they_promise() -> None:
    found = open_clouds(clouds(20), count=128)
    assert [len(SIGNAL.classical(level)) for level in ("none", "quick", "all")] == [0, 2, 5]
    for kind in SIGNAL.classical():
        source = kind.fit(found, total=20, seed=0, progress=None)
        for name, dims in source.poolings.items():
            ((rows, features),) = list(source.stream(found, np.arange(20), [name]))
            assert features[name].shape == (len(rows), dims) and features[name].isfinite().all()
            assert features[name].std(0).max() > 0


def test_a_picture_shows_points_and_marks() -> None:
    clouds_ = batch(4)
    drawing = ET.fromstring(SIGNAL.picture(clouds_, 1).drawing)
    dots = "".join(path.get("d") for path in drawing.iter("path")).count("M")
    assert dots == 128
    hidden = np.arange(16) < 8
    some = SIGNAL.picture(clouds_, 1, Marks(hidden=hidden)).drawing.count("M")
    faint = SIGNAL.picture(clouds_, 1, Marks(hidden=hidden, faint=True)).drawing.count("M")
    assert 0 < some < 128 == faint
    error = np.where(hidden, 2.0, np.nan)
    assert "rgb(200 80 30)" in SIGNAL.picture(clouds_, 1, Marks(error=error)).drawing
    assert "var(--s1)" in SIGNAL.picture(clouds_, 1, Marks(blocks=hidden[None])).drawing
    tokens = SIGNAL.augmented(clouds_, Rng(0, 0)).context
    restored = SIGNAL.restored(tokens)
    whole = SIGNAL.picture(restored, 1).drawing.count("M")
    half = SIGNAL.picture(restored, 1, Marks(hidden=hidden)).drawing.count("M")
    assert (half, whole) == (96, 192)
