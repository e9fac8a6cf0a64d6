"""Data for every recipe, and a training of it that takes no time."""

from pathlib import Path

import numpy as np

from openjepa.recipes import registered

from .. import dots
from .words import flags

IMAGES = {
    "signal.size": 16,
    "encoder.width": 16,
    "encoder.depth": 1,
    "encoder.heads": 2,
    "train.steps": 2,
    "train.batch_size": 8,
    "train.health_every": 0.5,
    "train.save_every": 0.5,
}
OF_IMAGES = {
    "i-jepa": {"preset": "tiny-vit", "predictor.width": 16, "predictor.depth": 1, "predictor.heads": 2},
    "dmt-jepa": {
        "preset": "tiny-vit",
        "head.heads": 2,
        "predictor.width": 16,
        "predictor.depth": 1,
        "predictor.heads": 2,
    },
    "lejepa": {"encoder": "vit", "head.hidden": 16, "head.width": 8, "hiding.global_augment.size": 16},
    "sar-jepa": {"signal.patch": 2, "predictor.width": 16, "predictor.depth": 1, "predictor.heads": 2},
}
OTHERS = {
    "v-jepa": "clips.npz",
    "v-jepa-2": "clips.npz",
    "v-jepa-2-1": "clips.npz",
    "a-jepa": "sounds.npz",
    "audio-jepa": "sounds.npz",
    "signal-jepa": "windows.npz",
    "ts-jepa": "series.npz",
    "point-jepa": "clouds.npz",
}
"""Their data: neither images nor episodes."""
OF_WORLDS = [name for name in registered() if name not in OF_IMAGES and name not in OTHERS]


def data_of(recipe: str) -> str:
    """The file or folder that it is trained on."""
    if recipe in OF_IMAGES:
        return "images.npz"
    return OTHERS.get(recipe, "pole" if recipe == "remote-jepa" else "rooms")


def write_samples(folder: Path, random: np.random.Generator) -> None:
    """The files of samples that are no episodes."""
    pixels, labels = random.integers(0, 256, (40, 16, 16), np.uint8), np.arange(40) % 2
    half = np.arange(20) % 2
    np.savez(folder / "images.npz", x_train=pixels, y_train=labels, x_test=pixels[:12], y_test=labels[:12])
    np.savez(folder / "clips.npz", x=random.integers(0, 256, (20, 16, 24, 32), np.uint8), y=half)
    np.savez(folder / "sounds.npz", x=random.normal(0, 0.1, (20, 16_000)).astype(np.float32), y=half)
    channels = ["Fp1", "Fp2", "C3", "C4", "O1", "O2"]
    windows = random.normal(0, 20, (20, len(channels), 2304)).astype(np.float32)
    np.savez(
        folder / "windows.npz", x=windows, y=half, groups=np.arange(20) // 4, channels=channels, rate=128
    )
    np.savez(folder / "series.npz", x=random.normal(0, 1, (20, 2, 256)), y=half)
    np.savez(folder / "clouds.npz", x=random.normal(0, 1, (20, 200, 3)), y=half)


def training(recipe: str, data: str | None = None) -> list[str]:
    """A command, by default on the data above; its model is tiny, where the recipe has one of its own."""
    if recipe in OF_IMAGES:
        options: dict[str, object] = IMAGES | OF_IMAGES[recipe]
    else:
        known = recipe in dots.RECIPES
        options = (
            dots.options(recipe)
            if known
            else {"train.steps": 2, "train.batch_size": 4, "train.precision": "fp32"}
        )
    return ["train", recipe, "--data", data or data_of(recipe), "--out", "out", *flags(options), "--json"]
