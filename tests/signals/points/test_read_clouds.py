"""Files of clouds and meshes: every format gives the same points, damage gives one sentence."""

from pathlib import Path

import numpy as np
import pytest

from openjepa.errors import OpenJEPAWarning, UserError
from openjepa.signals.points import PointSignal, open_clouds
from openjepa.signals.readers.clouds import SUFFIXES, Shape, on_surface, read_shape

from .shapes import CUBE, FACES, clouds, write_las, write_obj, write_off, write_pcd, write_ply

POINTS = clouds(1, 300)[0][0]


@pytest.mark.parametrize("kind", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_ply(tmp_path: Path, kind: str) -> None:
    path = write_ply(tmp_path / "a.ply", POINTS, kind)
    assert np.allclose(read_shape(path).points, POINTS, atol=1e-6) and read_shape(path).triangles is None
    mesh = read_shape(write_ply(tmp_path / "b.ply", CUBE, kind, FACES))
    assert len(mesh.triangles) == 12 and np.allclose(mesh.points, CUBE)
    (tmp_path / "c.ply").write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"it is cut off|cannot be read"):
        read_shape(tmp_path / "c.ply")


@pytest.mark.parametrize("kind", ["ascii", "binary", "binary_compressed"])
def test_pcd(tmp_path: Path, kind: str) -> None:
    path = write_pcd(tmp_path / "a.pcd", POINTS, kind)
    assert np.allclose(read_shape(path).points, POINTS, atol=1e-6)
    (tmp_path / "c.pcd").write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match="it is cut off"):
        read_shape(tmp_path / "c.pcd")


def test_las_and_laz(tmp_path: Path) -> None:
    path = write_las(tmp_path / "a.las", POINTS.astype(float) + 500_000)
    assert np.allclose(read_shape(path).points, POINTS + 500_000.0, atol=1e-3)
    (tmp_path / "c.las").write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match="300 points are promised and not there"):
        read_shape(tmp_path / "c.las")
    laspy = pytest.importorskip("laspy")
    pytest.importorskip("lazrs")
    laspy.read(path).write(tmp_path / "b.laz")
    assert np.allclose(read_shape(tmp_path / "b.laz").points, POINTS + 500_000.0, atol=1e-3)


def test_off_obj_xyz_and_npy(tmp_path: Path) -> None:
    for path in (
        write_off(tmp_path / "a.off"),
        write_off(tmp_path / "b.off", joined=True),
        write_obj(tmp_path / "c.obj"),
    ):
        mesh = read_shape(path)
        assert np.allclose(mesh.points, CUBE) and len(mesh.triangles) == 12
    (tmp_path / "d.xyz").write_text("# x y z r\n0 0 0 9\n1,2,3,9\n")
    assert read_shape(tmp_path / "d.xyz").points.tolist() == [[0, 0, 0], [1, 2, 3]]
    np.save(tmp_path / "e.npy", POINTS)
    assert np.allclose(read_shape(tmp_path / "e.npy").points, POINTS)


def test_points_lie_evenly_on_the_surface_of_a_mesh() -> None:
    points = np.array([[0, 0, 0], [3, 0, 0], [0, 1, 0], [3, 1, 0], [0, 0, 1]], float)
    mesh = Shape(points, np.array([[0, 1, 2], [1, 2, 3], [0, 2, 4]]))  # areas 1.5, 1.5, 0.5
    found = on_surface(mesh, 7000, np.random.default_rng(0))
    flat = np.isclose(found[:, 2], 0)
    assert (~flat).sum() == pytest.approx(1000, abs=120) and np.allclose(found[~flat, 0], 0)
    below = (found[:, 0] / 3 + found[:, 1] < 1) & flat
    assert below.sum() == pytest.approx(3000, abs=200)


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("a.off", "OFF\n9 1 0\n0 0 0\n", "9 points are promised and not there"),
        ("a.off", "OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n", "a face names a corner that is not there"),
        ("a.off", "solid", "does not begin with OFF"),
        ("a.off", "COFF\n1 0 0\n0 0 0 255 0 0 255\n", r"more than places \(COFF\): save it as plain OFF"),
        ("a.obj", "v 1 2 x\n", "cut off or damaged"),
        ("a.obj", "v 1 2 3\nv 4 5 6\nv 7 8 8\nf 1 2\n", "line 4 has 2 numbers, fewer than 3"),
        ("a.obj", "# nothing\n", "has no points"),
        ("a.ply", "ply\nformat ascii 1.0\n", "no whole PLY header"),
        ("a.pcd", "VERSION 0.7\nFIELDS x", "no whole PCD header"),
        ("a.las", "LASF", "no whole LAS header"),
        ("a.npy", "x", "cut off or damaged"),
        ("a.glb", "x", "is no cloud"),
        ("a.xyz", "1 2\n3 4\n", "cut off or damaged"),
    ],
)
def test_damaged_files_get_one_sentence(tmp_path: Path, name: str, text: str, match: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=match) as caught:
        read_shape(tmp_path / name)
    assert "\n" not in str(caught.value) and name in str(caught.value)


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".npz"])
def test_empty_files_and_noise_get_one_sentence(tmp_path: Path, suffix: str) -> None:
    for name, held in (("empty", b""), ("noise", bytes(range(256)) * 3)):
        (tmp_path / f"{name}{suffix}").write_bytes(held)
        with pytest.raises(UserError, match=name) as caught:
            open_clouds(tmp_path / f"{name}{suffix}", count=64)
        assert "\n" not in str(caught.value)


def test_folders_give_classes_and_splits_and_name_what_is_damaged(tmp_path: Path) -> None:
    x, y = clouds(12)
    for i, (cloud, label) in enumerate(zip(x, y, strict=True)):
        folder = tmp_path / ("box", "ball")[label] / ("train" if i < 8 else "test")
        folder.mkdir(parents=True, exist_ok=True)
        write_ply(folder / f"{i}.ply", cloud, "binary_little_endian")
    write_off(tmp_path / "box" / "train" / "flat.off", CUBE * 0 + 3.0)
    with pytest.warns(OpenJEPAWarning, match=r"flat.off \(its 8 points are all in one place\)"):
        train = open_clouds(tmp_path, count=64)
    test = open_clouds(tmp_path, count=64, split="test")
    assert (len(train), len(test)) == (8, 4) and train.labels.names == ("ball", "box")
    assert train.key(0) == "ball/train/1.ply" and train.labels.values.tolist() == [0] * 4 + [1] * 4


def test_numpy_files_and_arrays(tmp_path: Path) -> None:
    x, y = clouds(12)
    whole = np.round(x * 1000).astype(np.int16)
    np.savez(tmp_path / "m-train.npz", points=whole, label=y, classes=np.array(["box", "ball"]), groups=y)
    np.savez(tmp_path / "m-test.npz", points=whole[:4], label=y[:4], classes=np.array(["box", "ball"]))
    for path in (tmp_path, tmp_path / "m-train.npz"):
        train, test = (open_clouds(path, count=64, split=split) for split in ("train", "test"))
        assert (len(train), len(test)) == (12, 4) and train.labels.names == ("ball", "box")
        assert train.labels.values.tolist() == (1 - y).tolist() and len(set(train.labels.groups)) == 2
    ragged = [cloud[: 50 + 10 * i] for i, cloud in enumerate(x)]
    found = open_clouds((ragged, y), count=64)
    assert len(found) == 12 and found.labels.names == ("0", "1") and found.shape == (64, 3)


def refused(match: str, data: object) -> None:
    with pytest.raises(UserError, match=match):
        PointSignal(count=64, groups=8, size=8).open(data)


def test_bad_arrays_get_one_sentence() -> None:
    x, y = clouds(8)
    refused("all in one place", np.ones((3, 10, 3)))
    refused("it is a single point", np.ones((3, 1, 3)))
    refused("none of its .* points is a number", np.full((3, 10, 3), np.nan))
    refused(r"give points \[N, P, 3\]", x[..., :2])
    refused("labels have shape", (x, y[:3]))
    refused("a dict is no set", {})
    refused("holds no clouds", np.zeros((0, 5, 3)))


def test_flat_clouds_and_lost_points_are_said() -> None:
    x, _ = clouds(8)
    x[2, :, 2] = 0
    x[3, :5] = np.nan
    with pytest.warns(OpenJEPAWarning) as caught:
        found = open_clouds(x, count=64)
    said = " ".join(str(w.message) for w in caught)
    assert "1 of 8 clouds are flat" in said and "5 points whose places are no numbers" in said
    assert found.read(range(8)).points.isfinite().all()
