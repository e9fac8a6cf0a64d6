"""Fashion-MNIST (Xiao et al., arXiv:1708.07747): 60,000 + 10,000 grey images, 28x28, ten classes; MIT licence.

Looked for in five places, in this order: a folder that the user names, the user's cache, the folder of the Debian
package `dataset-fashion-mnist`, that package (downloaded and unpacked without root), the authors' web mirror. Whatever
the place, the decompressed bytes must have the right SHA-256.
"""

import gzip
import hashlib
import http.client
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from openjepa.errors import UserError
from openjepa.signals.images.arrays import open_arrays
from openjepa.signals.images.image_set import ImageSet
from openjepa.signals.readers.cache import cache_dir
from openjepa.signals.readers.splits import pick_split

CLASSES = [
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
]
PACKAGE = "dataset-fashion-mnist"
PACKAGE_FOLDER = Path("/usr/share/datasets/fashion-mnist")
MIRROR = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
SECONDS = 300  # for any one download

FILES = {  # name -> bytes and SHA-256 of the decompressed file (gzip streams of equal content may differ)
    "train-images-idx3-ubyte": (
        47040016,
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    "train-labels-idx1-ubyte": (60008, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    "t10k-images-idx3-ubyte": (7840016, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
    "t10k-labels-idx1-ubyte": (10008, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
}
FAILURES = (OSError, EOFError, zlib.error, http.client.HTTPException, subprocess.SubprocessError)
_PREFIX = {"train": "train", "test": "t10k"}


def holds(folder: Path) -> bool:
    """Whether a folder looks like Fashion-MNIST: it has one of the four files, gzipped or not."""
    return any((folder / name).is_file() or (folder / f"{name}.gz").is_file() for name in FILES)


def open_fashion_mnist(
    split: str = "train", size: int | None = None, channels: int | None = None, *, folder: Path | None = None
) -> ImageSet:
    """The 60,000 images of split `train` or the 10,000 of `test`, in memory.

    Raises:
        UserError: there is no such split, the named folder's files are damaged, or none of the five places serves.
    """
    split = pick_split("Fashion-MNIST", ("train", "test"), split)
    images, labels = (
        np.frombuffer(data, np.uint8) for data in (_from_folder(folder, split) if folder else _find(split))
    )
    found = open_arrays(images[16:].reshape(-1, 28, 28), labels[8:], size, channels, "Fashion-MNIST")
    assert found.labels is not None
    found.labels, found.splits = replace(found.labels, names=tuple(CLASSES)), ("train", "test")
    return found


def _from_folder(folder: Path, split: str) -> list[bytes]:
    try:
        return _read(folder, split)
    except FAILURES as error:
        raise UserError(
            f"Fashion-MNIST in {folder}: {error}; delete its files or download them anew"
        ) from None


def _find(split: str) -> list[bytes]:
    cache = cache_dir() / "fashion-mnist"
    places: list[tuple[str, Callable[[], Path]]] = [
        (f"cache {cache}", lambda: cache),
        (f"folder {PACKAGE_FOLDER}", lambda: PACKAGE_FOLDER),
        (f"Debian package {PACKAGE}", lambda: _fill(cache, _fetch_package)),
        (f"web mirror {MIRROR}", lambda: _fill(cache, _fetch_mirror)),
    ]
    failures = ["--data: names no folder"]
    for place, folder in places:
        try:
            return _read(folder(), split)
        except FAILURES as error:
            failures.append(f"{place}: {_reason(error)}")
    numbered = "; ".join(f"({i}) {failure}" for i, failure in enumerate(failures, 1))
    raise UserError(
        f"Fashion-MNIST was found in none of five places: {numbered}. Connect to the network, or install the Debian "
        f"package {PACKAGE}, or put the four files of github.com/zalandoresearch/fashion-mnist into a folder and "
        "name it with --data"
    )


def _read(folder: Path, split: str) -> list[bytes]:
    """The split's two files, decompressed and checked."""
    prefix = _PREFIX[split]
    return [_read_file(folder, name) for name in FILES if name.startswith(prefix)]


def _read_file(folder: Path, name: str) -> bytes:
    size, digest = FILES[name]
    plain, packed = folder / name, folder / f"{name}.gz"
    if not plain.is_file() and not packed.is_file():
        raise FileNotFoundError(f"no file {name}.gz")
    with gzip.open(packed) if packed.is_file() else plain.open("rb") as file:
        data = file.read(size + 1)  # one more than right, never a gigabyte
    if hashlib.sha256(data).hexdigest() != digest:
        raise OSError(f"{name} is damaged (wrong checksum)")
    return data


def _fill(cache: Path, fetch: Callable[[Path], Path]) -> Path:
    """Fetch into a folder of our own, check, then move the files into the cache, each in one step."""
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache) as private:
        folder = fetch(Path(private))
        for name in FILES:
            _read_file(folder, name)
        for name in FILES:
            os.replace(folder / f"{name}.gz", cache / f"{name}.gz")
    return cache


def _fetch_package(folder: Path) -> Path:
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise FileNotFoundError(f"no {tool} on this machine")
    try:
        _run(["apt-get", "download", PACKAGE], folder)
    except subprocess.CalledProcessError:  # package lists absent or out of date: fetch our own
        lists = [f"-oDir::State::Lists={folder}/lists", f"-oDir::Cache={folder}/cache"]
        (folder / "lists" / "partial").mkdir(parents=True)
        (folder / "cache" / "archives" / "partial").mkdir(parents=True)
        _run(
            ["apt-get", *lists, "update"], folder, check=False
        )  # any one of the user's other sources may fail
        _run(["apt-get", *lists, "download", PACKAGE], folder)
    package = next(folder.glob(f"{PACKAGE}_*.deb"), None)
    if package is None:
        raise FileNotFoundError("apt-get download left no .deb file")
    _run(["dpkg-deb", "-x", package.name, "unpacked"], folder)
    return folder / "unpacked" / PACKAGE_FOLDER.relative_to("/")


def _run(command: list[str], folder: Path, *, check: bool = True) -> None:
    environment = {**os.environ, "LC_ALL": "C"}
    subprocess.run(
        command, cwd=folder, env=environment, check=check, capture_output=True, text=True, timeout=SECONDS
    )


def _fetch_mirror(folder: Path) -> Path:
    for name, (size, _) in FILES.items():
        with urllib.request.urlopen(f"{MIRROR}/{name}.gz", timeout=30) as answer:
            (folder / f"{name}.gz").write_bytes(answer.read(size + 1024))  # never an endless page
    return folder


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = [line for line in str(error.stderr or "").splitlines() if line.startswith("E:")]
        return f"{' '.join(error.cmd[:1])} failed: {lines[-1][3:] if lines else f'status {error.returncode}'}"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"no answer in {error.timeout:.0f} s"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return str(error) or type(error).__name__
