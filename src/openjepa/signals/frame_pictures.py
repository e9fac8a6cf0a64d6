"""Classical features of images for frames: what several cameras and several frames show, beside one another."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

SideBySide = Callable[[Tensor], Tensor]
"""Puts the pictures of several cameras in `[..., C, H, W]` beside one another."""


class FramePictures:
    """Windows of frames as images: uint8 `[C, H, W]` of each, all its frames and cameras beside one another."""

    def __init__(self, samples: Any, beside: SideBySide) -> None:
        self._samples, self._beside = samples, beside
        self.shape: tuple[int, int, int] = tuple(self.read(np.arange(1)).shape[1:])  # ty: ignore[invalid-assignment]

    def __len__(self) -> int:
        return len(self._samples)

    def read(self, indices: Sequence[int] | NDArray[np.int64]) -> Tensor:
        frames = self._beside(self._samples.read(indices).frames)  # [B, T, C, H, W]
        return frames.movedim(1, -2).flatten(-2)


@dataclass(frozen=True)
class OfFramePictures:
    """A classical feature of images, as one of frames (`openjepa.evals.features.Classical`)."""

    inner: Any
    beside: SideBySide

    @property
    def name(self) -> str:
        return self.inner.name

    def fit(self, samples: Any, **options: Any) -> "FramePictureFeatures":
        return FramePictureFeatures(
            self.inner.fit(FramePictures(samples, self.beside), **options), self.beside
        )


@dataclass(frozen=True)
class FramePictureFeatures:
    """A source of features of images, as one of frames (`openjepa.evals.features.FeatureSource`)."""

    inner: Any
    beside: SideBySide

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in ("inner", "beside"):
            raise AttributeError(name)
        return getattr(self.inner, name)

    def stream(
        self, samples: Any, rows: NDArray[np.int64], names: Sequence[str]
    ) -> Iterator[tuple[NDArray[np.int64], dict[str, Tensor]]]:
        """Batches of float32 features by name."""
        return self.inner.stream(FramePictures(samples, self.beside), rows, names)
