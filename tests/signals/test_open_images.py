"""Folders, shards, arrays and torch data sets."""

import gzip
import io
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from openjepa.errors import OpenJEPAWarning, UserError
from openjepa.signals.images import image_set, open_images
from openjepa.signals.parts import labelled
from openjepa.signals.readers import arrays, shards


def photo(value: int, size=(12, 10), mode: str = "RGB") -> Image.Image:
    return Image.new(mode, size, (value,) * 3 if mode == "RGB" else value)


def encoded(value: int, format: str = "PNG") -> bytes:
    file = io.BytesIO()
    photo(value).save(file, format)
    return file.getvalue()


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def samples(values: range) -> dict[str, bytes]:
    return {
        f"{v:03}.{e}": d for v in values for e, d in (("png", encoded(v)), ("cls", f"{v % 3}\n".encode()))
    }


def values(images) -> list[int]:
    return images.read(range(len(images)))[:, 0, 5, 5].tolist()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two classes, nested folders, three sizes, a text file, half a PNG, half a JPEG."""
    for name, value in (("cat/a.png", 10), ("cat/deep/b.png", 20), ("dog/c.png", 30)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        photo(value, (12 + value, 14)).save(tmp_path / name)
    (tmp_path / "dog/notes.txt").write_text("good dog")
    (tmp_path / "dog/half.png").write_bytes(encoded(50)[:60])
    big = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(big, "JPEG")
    (tmp_path / "cat/half.jpg").write_bytes(big.getvalue()[: len(big.getvalue()) // 2])
    (tmp_path / ".DS_Store").write_bytes(b"\0")
    return tmp_path


@pytest.fixture(params=["held", "lazy"])
def budget(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both ways of keeping pixels; true for in memory."""
    if request.param == "lazy":
        monkeypatch.setattr(image_set, "IN_MEMORY_BYTES", 0)
    return request.param == "held"


@pytest.mark.filterwarnings("ignore::openjepa.OpenJEPAWarning")
def test_a_folder_of_anything(tree: Path, budget: bool):
    images = open_images(tree, size=8)
    assert images.in_memory == budget and images.shape == (3, 8, 8) and images.labels.names == ("cat", "dog")
    read = images.read(range(len(images)))
    assert read.dtype == torch.uint8 and read.shape[1:] == (3, 8, 8)
    assert sorted({s.name for s in images.skipped}) == ["cat/half.jpg", "dog/half.png", "dog/notes.txt"]
    assert {s.name: s.reason for s in images.skipped}["dog/notes.txt"] == "not an image"
    wanted = {10: 0, 20: 0, 30: 1}
    got = {
        int(pixel): int(label) for pixel, label in zip(read[:, 0, 4, 4], images.labels.values, strict=True)
    }
    assert got == wanted


@pytest.mark.filterwarnings("ignore::openjepa.OpenJEPAWarning")
def test_an_image_that_fails_late_is_replaced_by_one_of_its_class(
    tree: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(image_set, "IN_MEMORY_BYTES", 0)
    images = open_images(tree, size=8)
    assert len(images) == 4  # the half JPEG has a good header
    assert len(images.skipped) == 2
    first = images.read([0, 1, 2, 3])
    assert first[:, 0, 4, 4].tolist() == [10, 20, 10, 30]  # half.jpg, the last cat, gives way to the first
    assert len(images.skipped) == 3
    assert torch.equal(first, images.read([0, 1, 2, 3]))
    assert images.subset([2, 1]).read([0]).flatten()[0] == 20  # from its own rows only
    with pytest.raises(UserError, match="none of its images can be decoded"):
        images.subset([2]).read([0])


@pytest.mark.filterwarnings("ignore::openjepa.OpenJEPAWarning")
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_read_and_report_damage(tree: Path, monkeypatch: pytest.MonkeyPatch, context: str):
    monkeypatch.setattr(image_set, "IN_MEMORY_BYTES", 0)
    images, again = open_images(tree, size=8), open_images(tree, size=8)
    loader = torch.utils.data.DataLoader(
        range(4), batch_size=4, collate_fn=images.read, num_workers=1, multiprocessing_context=context
    )
    (batch,) = list(loader)
    assert torch.equal(batch, again.read(range(4)))
    assert [s.name for s in images.skipped].count("cat/half.jpg") == 1


@pytest.mark.filterwarnings("ignore::openjepa.OpenJEPAWarning")
def test_sets_are_picklable(tree: Path, budget: bool):
    images = open_images(tree, size=8)
    again = pickle.loads(pickle.dumps(images))
    assert torch.equal(again.read([0, 1]), images.read([0, 1])) and again.shape == images.shape


def test_splits_are_sub_folders_and_share_their_classes(tmp_path: Path):
    for name, value in (("train/a/1.png", 1), ("train/b/2.png", 2), ("train/c/3.png", 3), ("val/c/4.png", 4)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        photo(value).save(tmp_path / name)
    train, test = open_images(tmp_path), open_images(tmp_path, split="test")
    assert (
        train.splits == ("train", "val")
        and values(train) == [1, 2, 3]
        and train.labels.values.tolist() == [0, 1, 2]
    )
    assert values(test) == [4] and test.labels.values.tolist() == [2] and test.labels.names == ("a", "b", "c")


def test_a_class_may_be_called_test(tmp_path: Path):
    for name in ("exam", "test"):
        (tmp_path / name).mkdir()
        photo(5).save(tmp_path / name / "1.png")
    images = open_images(tmp_path)
    assert images.labels.names == ("exam", "test") and images.splits == ("train",)
    with pytest.raises(UserError, match="no split 'test', only 'train'"):
        open_images(tmp_path, split="test")


def test_a_flat_folder_has_no_labels_and_one_size(tmp_path: Path):
    for value in (3, 1, 2):
        photo(value, mode="L").save(tmp_path / f"{value}.png")
    images = open_images(tmp_path)
    assert images.labels is None and images.shape == (1, 10, 12) and values(images) == [1, 2, 3]
    photo(4).save(tmp_path / "4.png")
    photo(5, (30, 30)).save(tmp_path / "5.png")
    assert open_images(tmp_path).shape == (3, 224, 224)


def test_what_is_left_out_is_said(tree: Path):
    words = r"3 files are left out beside 3 images: cat/half\.jpg \(.*\), dog/half\.png \(.*\), dog/notes\.txt \(not an"
    with pytest.warns(OpenJEPAWarning, match=words):
        open_images(tree, size=8)


def test_damage_that_reading_finds_is_said_once(tree: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(image_set, "IN_MEMORY_BYTES", 0)
    with pytest.warns(OpenJEPAWarning, match="2 files are left out"):
        images = open_images(tree, size=8)
    images.read(range(len(images)))
    with pytest.warns(OpenJEPAWarning, match=r"1 file is left out beside 4 images: cat/half\.jpg"):
        images.tell()
    images.tell()


def test_files_beside_class_folders_are_used_where_no_labels_are_needed(tmp_path: Path):
    for name in ("a/1.png", "b/2.png", "3.png", "4.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        photo(int(name[-5])).save(tmp_path / name)
    images = open_images(tmp_path)
    assert values(images) == [3, 4, 1, 2] and images.labels.values.tolist() == [-1, -1, 0, 1]
    with pytest.warns(OpenJEPAWarning, match="2 of 4 images have no label and are left out here"):
        known = labelled(images)
    assert values(known) == [1, 2] and known.labels.values.tolist() == [0, 1]
    assert labelled(known) is known


@pytest.mark.filterwarnings("ignore::openjepa.OpenJEPAWarning")
def test_circular_links_end(tree: Path):
    (tree / "cat" / "loop").symlink_to(tree, target_is_directory=True)
    assert len(open_images(tree, size=8)) == 3


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_shards(tmp_path: Path, budget: bool, mode: str):
    suffix = ".tar.gz" if mode == "w:gz" else ".tar"
    for number, part in enumerate((range(0, 4), range(4, 6))):
        write_tar(tmp_path / f"train-{number:04}{suffix}", samples(part), mode)
    write_tar(tmp_path / f"test-0000{suffix}", samples(range(7, 9)), mode)
    train, test = open_images(tmp_path), open_images(tmp_path, split="test")
    assert train.in_memory == budget and train.splits == ("train", "test") and train.shape == (3, 10, 12)
    assert values(train) == [0, 1, 2, 3, 4, 5] and train.labels.values.tolist() == [0, 1, 2, 0, 1, 2]
    assert values(test) == [7, 8] and test.labels.values.tolist() == [1, 2] and test.skipped == []
    assert values(open_images(str(tmp_path / "train-*"))) == values(train)
    assert values(open_images(tmp_path / f"train-0001{suffix}")) == [4, 5]
    assert values(train.subset([5, 0, 0])) == [5, 0, 0]


def test_large_gzipped_shards_are_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shards, "HELD_BYTES", 100)
    monkeypatch.setenv("OPENJEPA_CACHE", str(tmp_path / "cache"))
    path = write_tar(tmp_path / "photos.tgz", samples(range(6)), "w:gz")
    assert values(open_images(path)) == [0, 1, 2, 3, 4, 5]
    (unpacked,) = [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]
    written = unpacked.stat().st_mtime_ns
    assert values(open_images(path)) == [0, 1, 2, 3, 4, 5] and unpacked.stat().st_mtime_ns == written
    write_tar(path, samples(range(7)), "w:gz")
    assert len(open_images(path)) == 7  # a changed shard is unpacked anew


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "cache").write_text("a file is in the way")
    monkeypatch.setattr(shards, "HELD_BYTES", 100)
    monkeypatch.setenv("OPENJEPA_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UserError, match="set OPENJEPA_CACHE"):
        open_images(write_tar(tmp_path / "photos.tgz", samples(range(6)), "w:gz"))


@pytest.mark.filterwarnings("ignore::openjepa.OpenJEPAWarning")
@pytest.mark.parametrize("packed", [False, True])
def test_a_truncated_shard_gives_what_it_holds(tmp_path: Path, packed: bool):
    whole = write_tar(tmp_path / "whole", samples(range(40)), "w").read_bytes()
    half = whole[: len(whole) // 2 + 700]
    path = tmp_path / ("half.tar.gz" if packed else "half.tar")
    path.write_bytes(gzip.compress(half)[:-4] if packed else half)
    images = open_images(path)
    assert 20 <= len(images) <= 24 and values(images) == list(range(len(images)))
    assert any(s.name == path.name and "truncated" in s.reason for s in images.skipped)


@pytest.mark.filterwarnings("ignore::openjepa.OpenJEPAWarning")
def test_nothing_is_written_where_a_shard_says(tmp_path: Path):
    members = samples(range(2)) | {"../../evil.png": encoded(9), "/tmp/openjepa-evil.png": encoded(9)}
    path = write_tar(
        tmp_path / "deep" / "x.tar" if (tmp_path / "deep").mkdir() is None else tmp_path, members
    )
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    images = open_images(path)
    assert images.labels.values.tolist() == [0, 1, -1, -1]  # the strays have no .cls
    assert {s.name.rsplit("/", 1)[1] for s in images.skipped} == {"link.png"}
    assert not (tmp_path / "evil.png").exists() and not Path("/tmp/openjepa-evil.png").exists()


def test_shards_without_labels_and_with_other_files(tmp_path: Path):
    path = write_tar(tmp_path / "x.tar", {"a.png": encoded(1), "b.JPG": encoded(2, "JPEG"), "c.json": b"{}"})
    with pytest.warns(
        OpenJEPAWarning, match=r"1 file is left out beside 2 images: x\.tar/c\.json \(not an image\)"
    ):
        images = open_images(path)
    assert images.labels is None and values(images) == [1, 2]
    assert [(s.name, s.reason) for s in images.skipped] == [("x.tar/c.json", "not an image")]


def test_a_label_that_is_no_number_is_named(tmp_path: Path):
    path = write_tar(tmp_path / "x.tar", {"a.png": encoded(1), "a.cls": b"dog"})
    with pytest.raises(UserError, match=r"a\.cls holds 'dog'"):
        open_images(path)


@pytest.mark.parametrize("torch_tensor", [False, True])
def test_arrays_of_every_layout(torch_tensor: bool, budget: bool):
    grey = np.arange(5 * 8 * 6, dtype=np.uint8).reshape(5, 8, 6)
    colour = np.stack([grey, grey // 2, grey // 3], -1)
    wrap = torch.from_numpy if torch_tensor else (lambda x: x)
    expected = torch.from_numpy(colour).permute(0, 3, 1, 2)
    for layout in (colour, colour.transpose(0, 3, 1, 2).copy(), colour.astype(np.float32)):
        images = open_images((wrap(layout), range(5)))
        assert (
            images.shape == (3, 8, 6)
            and images.in_memory == budget
            and images.labels.values.tolist() == [0, 1, 2, 3, 4]
        )
        assert torch.equal(images.read([4, 1]), expected[[4, 1]])
    assert open_images(wrap(grey)).shape == (1, 8, 6)
    assert open_images(wrap(grey.astype(np.int64)), channels=3, size=4).read([0]).shape == (1, 3, 4, 4)
    named = open_images((wrap(grey), ["cat", "ant", "cat", "bee", "ant"]))
    assert named.labels.names == ("ant", "bee", "cat") and named.labels.values.tolist() == [2, 0, 2, 1, 0]


def test_a_set_does_not_change_with_the_users_array():
    x = np.zeros((3, 8, 8), np.uint8)
    images = open_images(x)
    x[:] = 9
    assert images.read([0, 1, 2]).max() == 0


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (np.full((2, 8, 8), np.nan, np.float32), None, "images 0 hold values that are NaN"),
        (np.zeros((2, 8, 8), complex), None, "images are complex numbers: give their amplitudes"),
        (np.zeros((2, 8, 8), "datetime64[s]"), None, "of type datetime64"),
        (np.zeros((2, 8, 8), [("r", "u1"), ("g", "u1")]), None, "of type"),
        (np.zeros((2, 0, 8)), None, "shape"),
        (np.array(5), None, "shape"),
        (2e9 + np.arange(128).reshape(2, 8, 8), None, "too close together for float32: subtract 2000000000"),
        (np.ma.masked_less(np.arange(128.0).reshape(2, 8, 8), 5), None, "masked"),
        (np.zeros((5, 12, 40, 60)), None, r"may have 12 channels .* or 60"),
        (np.zeros((5, 28, 28, 28)), None, "may have 28 channels"),
        (np.zeros((2, 8)), None, "shape"),
        (np.zeros((0, 8, 8)), None, "no images"),
        (np.zeros((2, 8, 8)), [1], "one label per image"),
        (np.zeros((2, 8, 8)), [0.5, 1], "whole numbers"),
    ],
)
def test_wrong_arrays_are_explained(images, labels, words):
    with pytest.raises(UserError, match=words):
        open_images(images if labels is None else (images, labels))


def test_numpy_files(tmp_path: Path):
    x = np.arange(3 * 64, dtype=np.uint8).reshape(3, 8, 8)
    np.save(tmp_path / "x.npy", x)
    assert torch.equal(open_images(tmp_path / "x.npy").read([2])[0, 0], torch.from_numpy(x[2]))
    np.savez(tmp_path / "x.npz", x_train=x, y_train=[0, 1, 2], x_test=x[:1], y_test=[[2]])
    train, test = open_images(tmp_path / "x.npz"), open_images(tmp_path / "x.npz", split="test")
    assert (
        train.labels.values.tolist() == [0, 1, 2]
        and test.labels.values.tolist() == [2]
        and train.splits == ("train", "test")
    )
    np.savez(tmp_path / "plain.npz", images=x)
    assert open_images(tmp_path / "plain.npz").labels is None


def test_pickles_are_never_loaded(tmp_path: Path):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    np.save(tmp_path / "x.npy", np.array([Bomb()]), allow_pickle=True)
    np.savez(tmp_path / "x.npz", x=np.array([Bomb()]))
    for name in ("x.npy", "x.npz"):
        with pytest.raises(UserError, match="not a readable numpy file"):
            open_images(tmp_path / name)
    assert not (tmp_path / "executed").exists()


def test_links_stay_inside_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    for folder, value in ((outside, 9), (inside, 1)):
        (folder / "deep").mkdir(parents=True)
        photo(value).save(folder / "deep" / "a.png")
    (inside / "own.png").symlink_to("deep/a.png")
    (inside / "far.png").symlink_to(outside / "deep" / "a.png")
    (inside / "folder").symlink_to(outside)
    (inside / "nowhere.png").symlink_to("gone.png")
    (inside / "zero.png").symlink_to("/dev/zero")
    os.mkfifo(inside / "pipe.png")
    with pytest.warns(OpenJEPAWarning, match="5 files are left out beside 2 images"):
        images = open_images(inside)
    assert values(images) == [1, 1]
    reasons = {one.name: one.reason for one in images.skipped}
    assert set(reasons) == {"far.png", "folder/deep/a.png", "nowhere.png", "pipe.png", "zero.png"}
    assert "leads out of" in reasons["far.png"] and "pipe" in reasons["pipe.png"]
    monkeypatch.setenv("OPENJEPA_FOLLOW_LINKS", "1")
    with pytest.warns(OpenJEPAWarning, match="3 files are left out beside 4 images"):
        assert sorted(values(open_images(inside))) == [1, 1, 9, 9]
    assert values(open_images(outside.parent / "outside")) == [9]


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.tar", "x.tar.gz"])
def test_pipes_and_devices_are_not_read(tmp_path: Path, name: str):
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match=r"ordinary file|neither a folder"):
        open_images(tmp_path / name)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(UserError, match=r"ordinary file|neither a folder"):
        open_images(tmp_path / name)


def header(name: str, size: int, kind: bytes = b"0") -> bytes:
    """Of a tar member, of a size in base 256 where digits do not suffice."""
    info = tarfile.TarInfo(name)
    info.type = kind
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = size.to_bytes(12, "big", signed=size < 0)
    block[124] |= 0x80
    if size < 0:
        block[124] = 0xFF
    block[148:156] = b"        "
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("size", "kind"),
    [(2**88, b"0"), (2**62, b"0"), (-512, b"0"), (-(2**60), b"0"), (2**33, b"L"), (2**33, b"x")],
)
def test_a_shards_sizes_are_bounded(tmp_path: Path, packed: bool, size: int, kind: bytes):
    good = write_tar(tmp_path / "good", samples(range(3))).read_bytes().rstrip(b"\0")
    good += bytes(-len(good) % 512)
    data = good + header("b.png", size, kind) + bytes(2048)
    path = tmp_path / ("x.tar.gz" if packed else "x.tar")
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.warns(
        OpenJEPAWarning, match=r"left out beside 3 images: x\.tar.* \(truncated or damaged after 3 images"
    ):
        images = open_images(path)
    assert values(images) == [0, 1, 2]


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path: Path):
    path = write_tar(tmp_path / "x.tar", samples(range(3)))
    data = bytearray(path.read_bytes())
    data[data.index(b"001.cls") + 148] ^= 1  # its checksum
    path.write_bytes(bytes(data))
    with pytest.warns(OpenJEPAWarning, match="damaged after 2 images"):
        assert values(open_images(path)) == [0, 1]


def test_a_gzipped_shard_that_never_ends_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shards, "UNPACKED_BYTES", 5000)
    path = write_tar(
        tmp_path / "x.tgz", samples(range(6)) | {f"{i}.txt": bytes(2000) for i in range(3)}, "w:gz"
    )
    with pytest.raises(UserError, match=r"unpacks to more than .* give the \.tar file"):
        open_images(path)
    monkeypatch.setattr(shards, "HELD_BYTES", 100)
    monkeypatch.setenv("OPENJEPA_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UserError, match=r"unpacks to more than"):
        open_images(path)
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]


def test_arrays_in_npz_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros((40, 64, 64), np.uint8))
    monkeypatch.setattr(arrays, "MEMBER_BYTES", 100_000)
    with pytest.raises(UserError, match=r"x unpacks to 163,\d+ bytes, and at most 100,000 are read: save it"):
        open_images(tmp_path / "x.npz")
    claims = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        claims, {"descr": "|u1", "fortran_order": False, "shape": (90_000, 1, 1)}
    )
    with zipfile.ZipFile(tmp_path / "y.npz", "w") as archive:
        archive.writestr("x.npy", claims.getvalue() + bytes(64))
    with pytest.raises(UserError, match="x is cut off: 90,000 bytes are promised"):
        open_images(tmp_path / "y.npz")


class Items(torch.utils.data.Dataset):
    def __init__(self, items: list) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int):
        if isinstance(self.items[index], Exception):
            raise self.items[index]
        return self.items[index]


@pytest.mark.filterwarnings("ignore::openjepa.OpenJEPAWarning")
def test_torch_data_sets():
    labelled = Items(
        [(photo(7), 1), OSError("broken file"), (torch.full((3, 10, 12), 9, dtype=torch.uint8), 0)]
    )
    images = open_images(labelled)
    assert (
        images.shape == (3, 10, 12) and values(images) == [7, 9] and images.labels.values.tolist() == [1, 0]
    )
    assert [(s.name, s.reason) for s in images.skipped] == [("item 1", "broken file")]
    bare = open_images(Items([photo(1, mode="L"), photo(2, mode="L")]), size=6)
    assert bare.labels is None and bare.shape == (1, 6, 6)
    with pytest.raises(UserError, match="holds a dict"):
        open_images(Items([{"image": photo(1)}]))
    counts = torch.arange(192.0).view(3, 8, 8) * 5
    assert torch.equal(open_images(Items([counts, counts / 2])).read([0])[0], counts)


def test_a_torch_data_set_read_lazily_takes_its_labels_from_targets(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(image_set, "IN_MEMORY_BYTES", 0)
    items = Items([(photo(v), v) for v in range(100)])
    assert open_images(items).labels is None
    items.targets = list(range(100))
    assert open_images(items).labels.values.tolist() == list(range(100))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"data": "no/such/place"}, "does not exist"),
        ({"data": 3}, "cannot be read from a int"),
        ({"data": np.zeros((1, 8, 8)), "size": 0}, "at least 1 pixel"),
        ({"data": np.zeros((1, 8, 8)), "channels": 2}, "images of 1 channels where 2 are wanted"),
        ({"data": np.zeros((1, 8, 8)), "split": "test"}, "no split 'test'"),
    ],
)
def test_wrong_arguments_are_explained(arguments, words):
    with pytest.raises(UserError, match=words):
        open_images(**arguments)


def test_a_set_with_nothing_readable_is_an_error(tmp_path: Path):
    with pytest.raises(UserError, match="holds no files"):
        open_images(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"not a jpeg")
    with pytest.raises(UserError, match=r"none of its 1 files is a readable image \(a\.jpg: not an image\)"):
        open_images(tmp_path)
    (tmp_path / "x.tar").write_bytes(b"not a tar file" * 99)
    with pytest.raises(UserError, match=r"x\.tar"):
        open_images(tmp_path / "x.tar")
    (tmp_path / "a.txt").write_text("no image")
    with pytest.raises(UserError, match="neither a folder nor an image"):
        open_images(tmp_path / "a.txt")
