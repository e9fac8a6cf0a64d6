"""Two tiny runs of a few steps, as `train` leaves them, and the images they saw."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import openjepa
from openjepa import cli
from openjepa.recipes import configure
from openjepa.report import write_report
from openjepa.signals.images import ImageSet, open_images
from openjepa.training import start

from .. import dots

CLASSES = ["stripes", "<b>dots</b>", "ramp & glow"]
SMALL = {
    "signal.size": "16",
    "signal.channels": "3",
    "signal.mean": "[0.5]",
    "signal.std": "[0.25]",
    "encoder.width": "16",
    "encoder.depth": "1",
    "encoder.heads": "2",
    "train.steps": "4",
    "train.batch_size": "16",
    "train.health_every": "0.5",
}
PRESETS = {"i-jepa": "tiny-vit", "lejepa": "tiny-vit"}
OWN = {
    "i-jepa": {"predictor.width": "8", "predictor.depth": "1", "predictor.heads": "1"},
    "lejepa": {
        "hiding.global_views": "2",
        "hiding.local_views": "2",
        "hiding.local_augment.size": "8",
        "head.hidden": "16",
        "head.width": "8",
        "guard.slices": "8",
    },
}


def pictures(count: int = 96, side: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """uint8 `[N, side, side, 3]` of three kinds, and their kinds' names."""
    rng = np.random.default_rng(0)
    kinds = np.arange(count) % 3
    row, column = np.mgrid[:side, :side]
    shift = rng.integers(0, side, (count, 1, 1))
    patterns = np.stack(
        [
            (row + shift) % 4 < 2,
            ((row - shift) % 6 < 3) & (column % 6 < 3),
            (row + column + shift) % side / side,
        ]
    )
    grey = patterns[kinds, np.arange(count)] * 200 + rng.uniform(0, 55, (count, side, side))
    return np.repeat(grey[..., None], 3, -1).astype(np.uint8), np.array(CLASSES)[kinds]


@pytest.fixture(scope="session")
def images() -> ImageSet:
    return open_images(pictures())


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, images: ImageSet) -> dict[str, Path]:
    """A finished run of each recipe; not to be written to."""
    runs = {}
    for recipe, own in OWN.items():
        runs[recipe] = tmp_path_factory.mktemp("runs") / recipe
        start(
            configure(recipe, PRESETS[recipe], SMALL | own),
            runs[recipe],
            data=images,
            command=f"openjepa train {recipe}",
        )
    return runs


@pytest.fixture(params=list(OWN))
def run(request: pytest.FixtureRequest, finished: dict[str, Path], tmp_path: Path) -> Path:
    """A run that the test may change; once for each recipe."""
    return Path(shutil.copytree(finished[request.param], tmp_path / "run"))


@pytest.fixture
def ijepa_run(finished: dict[str, Path], tmp_path: Path) -> Path:
    """An I-JEPA run that the test may change."""
    return Path(shutil.copytree(finished["i-jepa"], tmp_path / "run"))


@pytest.fixture(scope="session")
def world_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world model of a few steps that has planned, been surprised and been probed; not to be written to."""
    pytest.importorskip("h5py")
    folder = tmp_path_factory.mktemp("worlds")
    collect = ["collect", "two-rooms", "--episodes", "12", "--steps", "8", "--size", "16"]
    cli.main([*collect, "--out", str(folder / "episodes"), "--json"])
    run = folder / "run"
    openjepa.train(
        "pldm", data=str(folder / "episodes"), out=run, options=dots.options("pldm", train__steps=4)
    )
    words = [word for name, value in (dots.PLAN | {"budget": "6"}).items() for word in (f"--{name}", value)]
    cli.main(["plan", str(run), *words, "--surprise", "--probes", "1", "--json"])
    return run


@pytest.fixture(scope="session")
def world_page(world_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its report."""
    return write_report(shutil.copytree(world_run, tmp_path_factory.mktemp("page") / "run"))
