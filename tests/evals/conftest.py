"""A small real data set and encoders that are quick enough to examine by hand."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from openjepa.signals.images import ImageSet, open_images


class Patches(nn.Module):
    """A frozen random encoder of 2x2 patches with `depth` layers: `[B, 16, D]` for the digits' 8x8 pixels."""

    def __init__(self, seed: int = 0, width: int = 12, depth: int = 2) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        self.weights = nn.ParameterList(
            torch.randn(4 if i == 0 else width, width, generator=random) for i in range(depth)
        )
        self.place = nn.Parameter(torch.randn(16, width, generator=random))
        self.layout = (4, 4)

    @torch.no_grad()
    def layers(self, batch: Tensor, count: int) -> list[Tensor]:
        patches = batch.float().unfold(2, 2, 2).unfold(3, 2, 2)[:, 0]
        x, outputs = patches.flatten(1, 2).flatten(2) / 255, []
        for i, weight in enumerate(self.weights):
            x = (x @ weight + (self.place if i == 0 else 0)).tanh()
            outputs.append(x)
        return outputs[-count:]

    def embed(self, batch: Tensor) -> Tensor:
        return self.layers(batch, 1)[-1].mean(1)


def images(pixels: np.ndarray, labels: np.ndarray | None) -> ImageSet:
    return open_images(pixels if labels is None else (pixels, labels))


@pytest.fixture(scope="session")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """uint8 [1797, 8, 8] and int64 [1797]."""
    data = load_digits()
    return (data.images * 15.9).astype(np.uint8), data.target.astype(np.int64)


@pytest.fixture(scope="session")
def digit_sets(digits: tuple[np.ndarray, np.ndarray]) -> tuple[ImageSet, ImageSet]:
    """1,200 digits to fit on, 597 to test on."""
    pixels, labels = digits
    return images(pixels[:1200], labels[:1200]), images(pixels[1200:], labels[1200:])


@pytest.fixture
def encoder() -> Patches:
    return Patches()


@pytest.fixture
def new_encoder() -> type[Patches]:
    """Called with a seed: another initialisation."""
    return Patches


@pytest.fixture
def make_images():
    return images
