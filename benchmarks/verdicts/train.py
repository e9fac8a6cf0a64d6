"""Trains a case and keeps the weights at every reading, so that health can be measured on them again."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.verdicts.cases import Case, damaged, options
from openjepa.health import Verdict
from openjepa.jepa import JEPA
from openjepa.recipes import Recipe, build, configure
from openjepa.signals.images import ImageSet, open_images
from openjepa.training.loop import Trainer

TRAINED_ON = 25_600
"""2 % are held out: 512."""
PRESETS = {
    "i-jepa": {"fashion-mnist": "tiny-vit", "cifar10": "tiny-cifar10-vit"},
    "lejepa": {"fashion-mnist": "tiny-vit", "cifar10": "tiny-cifar10-vit"},
}
"""All of them transformers."""
ENDED = "ended.json"


@cache
def pictures(data: str, split: str, root: Path) -> tuple[Tensor, np.ndarray]:
    """uint8 `[N, C, H, W]` and labels."""
    images = open_images(data if data == "fashion-mnist" else str(root / data), split=split)
    count = min(len(images), TRAINED_ON)
    assert images.labels is not None
    return torch.as_tensor(images.read(np.arange(count))), images.labels.values[:count]


def samples(case: Case, split: str, root: Path) -> tuple[Tensor, np.ndarray]:
    """The case's images, spoilt as it says."""
    images, labels = pictures(case.data, split, root)
    return damaged(images, case.fault.damage, case.seed + (split == "test")), labels


def config_of(case: Case) -> Recipe:
    """The case's recipe."""
    return configure(case.recipe, PRESETS[case.recipe][case.data], options(case))


class Recorder(Trainer):
    """A trainer that keeps weights where health would be measured."""

    folder: Path

    def look(self) -> Verdict:
        """Keep the weights."""
        weights = {
            name: value.detach().clone().contiguous() for name, value in self.state.model.state_dict().items()
        }
        save_file(weights, self.folder / f"{self.state.step:06d}.safetensors")
        return Verdict("warming up", "not judged here", "", self.state.step)


def train(case: Case, folder: Path, root: Path) -> None:
    """Into `folder`: weights, and `ended.json` once it is done."""
    if (folder / ENDED).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    images, _ = samples(case, "train", root)
    recipe = config_of(case)
    trainer = Recorder(recipe, as_set(images), torch.device("cpu"), None, None)
    trainer.folder = folder
    trainer.run_to_end(False)
    (folder / ENDED).write_text(json.dumps({"steps": trainer.state.step}))


def as_set(images: Tensor) -> ImageSet:
    return open_images(images.numpy())


def steps(folder: Path) -> list[int]:
    """At which weights were kept."""
    return sorted(int(path.stem) for path in folder.glob("*.safetensors"))


def model_at(case: Case, folder: Path, step: int) -> JEPA:
    """The model as it was."""
    model = build(config_of(case), case.seed)
    model.load_state_dict(load_file(folder / f"{step:06d}.safetensors"))
    return model.eval()
