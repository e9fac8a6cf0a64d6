"""The five places where Fashion-MNIST may be, each with a small stand-in for the real files."""

import gzip
import hashlib
import io
import shutil
import subprocess
import urllib.error
from pathlib import Path

import numpy as np
import pytest

from openjepa.errors import UserError
from openjepa.signals.images import fashion_mnist as module
from openjepa.signals.images import open_images

COUNT = {"train": 5, "t10k": 3}


def idx_files() -> dict[str, bytes]:
    """The four files with few images; image i is filled with i."""
    files = {}
    for prefix, count in COUNT.items():
        images = np.repeat(np.arange(count, dtype=np.uint8), 28 * 28).tobytes()
        files[f"{prefix}-images-idx3-ubyte"] = bytes(16) + images
        files[f"{prefix}-labels-idx1-ubyte"] = bytes(8) + bytes(range(count))
    return files


def put(folder: Path, *, gzipped: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in idx_files().items():
        path = folder / (f"{name}.gz" if gzipped else name)
        path.write_bytes(gzip.compress(data) if gzipped else data)
    return folder


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the places serves: empty folders, failing commands, no network."""
    digests = {name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in idx_files().items()}
    monkeypatch.setattr(module, "FILES", digests)
    monkeypatch.setattr(module, "PACKAGE_FOLDER", tmp_path / "usr")
    monkeypatch.setenv("OPENJEPA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(shutil, "which", lambda tool: f"/usr/bin/{tool}")
    monkeypatch.setattr(module.urllib.request, "urlopen", no_network)
    monkeypatch.setattr(subprocess, "run", Apt(tmp_path).broken)


def no_network(url: str, timeout: float) -> None:
    raise urllib.error.URLError("name resolution failed")


class Apt:
    """A stand-in for apt-get and dpkg-deb that records what it was asked."""

    def __init__(self, tmp_path: Path, *, stale: bool = False) -> None:
        self.calls: list[list[str]] = []
        self.stale, self.folder = stale, tmp_path / "usr"

    def broken(self, command: list[str], **options) -> None:
        raise subprocess.CalledProcessError(100, command, stderr="W: unsigned\nE: Unable to locate package\n")

    def __call__(self, command: list[str], *, cwd: Path, check: bool, **options) -> None:
        self.calls.append(command)
        private = any(part.startswith("-oDir::State::Lists=") for part in command)
        if command[0] == "dpkg-deb":
            put(cwd / command[-1] / self.folder.relative_to("/"))
        elif "update" in command:
            assert not check and private
            self.stale = False
        elif self.stale:
            self.broken(command)
        else:
            (cwd / f"{module.PACKAGE}_1_all.deb").write_bytes(b"deb")


def check(images, count: int = 5) -> None:
    assert len(images) == count and images.shape == (1, 28, 28) and images.in_memory
    assert images.read(range(count))[:, 0, 9, 9].tolist() == list(range(count))
    assert images.labels.values.tolist() == list(range(count)) and images.labels.names[9] == "Ankle boot"
    assert images.splits == ("train", "test") and images.name == "Fashion-MNIST"


@pytest.mark.parametrize("gzipped", [True, False])
def test_place_1_a_named_folder(tmp_path: Path, gzipped: bool):
    folder = put(tmp_path / "mine", gzipped=gzipped)
    check(open_images(folder))
    check(open_images(folder, split="test"), 3)
    assert open_images(folder, size=32, channels=3).shape == (3, 32, 32)


def test_place_1_damaged_does_not_fall_through(tmp_path: Path):
    put(tmp_path / "usr")
    folder = put(tmp_path / "mine")
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"other images"))
    with pytest.raises(UserError, match="train-images-idx3-ubyte is damaged"):
        open_images(folder)
    good = gzip.compress(idx_files()["train-images-idx3-ubyte"])
    for damaged in (b"\x1f\x8b", good[:-9], good[:30] + b"\xff" * 9 + good[39:]):
        (folder / "train-images-idx3-ubyte.gz").write_bytes(damaged)
        with pytest.raises(UserError, match="delete its files"):
            open_images(folder)


def test_place_2_the_cache(tmp_path: Path):
    put(tmp_path / "cache" / "fashion-mnist")
    check(open_images())


def test_the_cache_defaults_to_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OPENJEPA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    put(tmp_path / "xdg" / "openjepa" / "fashion-mnist")
    check(open_images("fashion-mnist"))


def test_place_3_the_packages_folder(tmp_path: Path):
    put(tmp_path / "usr")
    check(open_images())
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("stale", [False, True])
def test_place_4_the_package_without_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stale: bool):
    apt = Apt(tmp_path, stale=stale)
    monkeypatch.setattr(subprocess, "run", apt)
    check(open_images())
    assert [next(p for p in call if p in ("update", "download", "-x")) for call in apt.calls] == (
        ["download", "update", "download", "-x"] if stale else ["download", "-x"]
    )
    kept = sorted(path.name for path in (tmp_path / "cache" / "fashion-mnist").iterdir())
    assert kept == sorted(f"{name}.gz" for name in module.FILES)
    monkeypatch.setattr(subprocess, "run", apt.broken)
    check(open_images())  # from the cache


def test_place_5_the_mirror(monkeypatch: pytest.MonkeyPatch):
    files = {f"{module.MIRROR}/{name}.gz": gzip.compress(data) for name, data in idx_files().items()}
    monkeypatch.setattr(module.urllib.request, "urlopen", lambda url, timeout: io.BytesIO(files[url]))
    check(open_images(split="test"), 3)


def test_damaged_downloads_never_reach_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    page = gzip.compress(b"<html>log in to this wireless network</html>")
    monkeypatch.setattr(module.urllib.request, "urlopen", lambda url, timeout: io.BytesIO(page))
    with pytest.raises(UserError, match="wrong checksum"):
        open_images()
    assert list((tmp_path / "cache" / "fashion-mnist").iterdir()) == []


def test_a_damaged_cache_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = put(tmp_path / "cache" / "fashion-mnist")
    (folder / "train-images-idx3-ubyte.gz").write_bytes(b"half")
    monkeypatch.setattr(subprocess, "run", Apt(tmp_path))
    check(open_images())
    check(open_images(folder))


def test_when_none_serves_all_five_are_named(tmp_path: Path):
    with pytest.raises(UserError) as caught:
        open_images()
    message = str(caught.value)
    for part in (
        "(1) --data: names no folder",
        f"(2) cache {tmp_path / 'cache'}",
        f"(3) folder {tmp_path / 'usr'}: no file train-images-idx3-ubyte.gz",
        "(4) Debian package dataset-fashion-mnist: apt-get failed: Unable to locate package",
        "(5) web mirror http://fashion-mnist",
        "name resolution failed",
        "name it with --data",
    ):
        assert part in message
    assert "\n" not in message


def test_reasons_of_other_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "which", lambda tool: None)
    with pytest.raises(UserError, match="no apt-get on this machine"):
        open_images()
    monkeypatch.setattr(shutil, "which", lambda tool: tool)

    def slow(command: list[str], **options) -> None:
        raise subprocess.TimeoutExpired(command, 300)

    monkeypatch.setattr(subprocess, "run", slow)
    with pytest.raises(UserError, match="no answer in 300 s"):
        open_images()
    (tmp_path / "blocked").write_text("a file")
    monkeypatch.setenv("OPENJEPA_CACHE", str(tmp_path / "blocked"))
    with pytest.raises(UserError, match="blocked"):
        open_images()


def test_unknown_splits_are_named():
    with pytest.raises(UserError, match="no split 'val', only 'train', 'test'"):
        open_images(split="val")
