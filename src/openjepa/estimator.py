"""JEPA as a scikit-learn transformer: `make_pipeline(JEPATransformer(), LogisticRegression()).fit(X, y)`."""

import json
import math
from collections.abc import Mapping
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from openjepa.errors import UserError
from openjepa.recipes import configure
from openjepa.recipes.images import ImageRecipe, require_images
from openjepa.signals.base import LEAST_HELD_OUT, hold_out
from openjepa.signals.images import ImageSet
from openjepa.signals.images.arrays import open_arrays
from openjepa.training import fit
from openjepa.training.progress import Console

LEAST_SAMPLES = 2 * LEAST_HELD_OUT
"""What training asks for; fewer are repeated."""
TOKENS_PER_SIDE = 8
"""Aimed at where the preset's patch does not suit the images."""
LEAST_SIDE = 4
"""Smallest square that vectors are folded into: masks need some tokens to choose from."""


class JEPATransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Learns features of images without labels, then gives one vector per image.

    Args:
        recipe: a recipe's name, as `openjepa recipes` lists them.
        preset: its sizes; `None` for `tiny`, of I-JEPA `tiny-vit`, whose masks fit images of any size. The image size,
            the patch where the preset's does not suit, the range of values, the normalisation and a batch no larger
            than the data are set from `X`; `options` go on top.
        steps: optimiser steps; `None` for the preset's.
        options: dotted overrides, e.g. `{"guard": "sigreg", "train.lr": 1e-3}`.
        seed: of initialisation, order, masks.
        image_shape: (H, W) or (H, W, C) of the images in rows of a flat `X`. By default a row whose length is a
            square number is a square grey image; any other is padded with the smallest of all numbers to the next
            square (4x4 at least) and not augmented, since its neighbours mean nothing.
        verbose: whether to show progress on standard error.

    Attributes:
        model_: the trained `openjepa.JEPA`.
        config_: its whole config.
        n_features_in_: columns of a flat `X` (of images: their rows).
    """

    def __init__(
        self,
        recipe: str = "i-jepa",
        *,
        preset: str | None = None,
        steps: int | None = None,
        options: Mapping[str, object] | None = None,
        seed: int = 0,
        image_shape: tuple[int, ...] | None = None,
        verbose: bool = False,
    ) -> None:
        self.recipe = recipe
        self.preset = preset
        self.steps = steps
        self.options = options
        self.seed = seed
        self.image_shape = image_shape
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Train on `X`.

        Args:
            X: `[N, H, W]`, `[N, H, W, C]`, `[N, C, H, W]` or flat `[N, F]` of any whole numbers or floats, read as
                `open_images` reads an array. At least two samples; fewer than 16 are repeated.
            y: ignored.

        Raises:
            UserError: shapes or options that do not fit (a `ValueError`).
        """
        X = validate_data(self, X, allow_nd=True, ensure_min_samples=2)
        self._shape_in = X.shape[1:]
        self._filler, self._bytes = X.min(), False
        data = self._images(X)
        self._bytes = data.read([0]).dtype == torch.uint8
        if len(data) < LEAST_SAMPLES:
            data = data.subset(torch.arange(LEAST_SAMPLES) % len(data))
        self.config_ = self._config(data)
        self.model_ = fit(self.config_, data, progress=Console() if self.verbose else None).cpu()
        self._n_features_out = len(self.model_.embed(data.read([0]))[0])
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """Features `[N, D]` of samples shaped as in `fit`.

        Raises:
            UserError: samples of another shape (a `ValueError`).
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, allow_nd=True)
        if X.shape[1:] != self._shape_in:
            raise UserError(
                f"samples of shape {X.shape[1:]}, fitted on {self._shape_in}: give the same shape"
            )
        images = self._images(X)
        parts = torch.arange(len(images)).split(256)
        return torch.cat([self.model_.embed(images.read(part)) for part in parts]).numpy()

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        assert tags.transformer_tags is not None
        tags.transformer_tags.preserves_dtype = []  # always float32
        return tags

    def _images(self, X: NDArray) -> ImageSet:
        shape = self._shape_in
        if len(shape) > 3:
            raise UserError(
                f"samples of shape {shape}: give [N, H, W], [N, H, W, C], [N, C, H, W] or flat [N, F]"
            )
        if len(shape) == 1:
            shape = self._folded()
            missing = math.prod(shape) - X.shape[1]
            X = np.pad(X, ((0, 0), (0, missing)), constant_values=self._filler)
        if self._bytes and X.dtype.kind == "f" and X.min() >= 0 and X.max() <= 255:
            X = X.astype(np.uint8) if (np.round(X) == X).all() else X  # also where all are zeros and ones
        wanted = (self.options or {}).get("signal.channels")
        channels = None if wanted is None else int(str(wanted))
        return open_arrays(X.reshape(-1, *shape), None, None, channels, "X")

    def _folded(self) -> tuple[int, ...]:
        """(H, W) or (H, W, C) of flat rows."""
        length = self._shape_in[0]
        if self.image_shape is None:
            side = max(LEAST_SIDE, math.ceil(math.sqrt(length)))
            return side, side
        if len(self.image_shape) not in (2, 3) or math.prod(self.image_shape) != length:
            raise UserError(
                f"image_shape={self.image_shape} does not describe rows of {length} numbers: "
                f"give (H, W) or (H, W, C) with a product of {length}"
            )
        return self.image_shape

    def _preset(self) -> str:
        return self.preset or ("tiny-vit" if self.recipe == "i-jepa" else "tiny")

    def _config(self, images: ImageSet) -> ImageRecipe:
        """The recipe with what follows from the data, and the caller's options on top."""
        options = {key: _text(value) for key, value in (self.options or {}).items()}
        preset = require_images("JEPATransformer", configure(self.recipe, self._preset()))
        side = min(images.shape[1:])
        patch = int(options.get("signal.patch", _patch(side, preset.signal.patch)))
        size = max(patch, side // patch * patch)
        derived: dict[str, object] = {
            "signal.size": size,
            "signal.patch": patch,
            "signal.channels": images.shape[0],
            "train.batch_size": min(preset.train.batch_size, len(hold_out(images)[0])),
            "train.seed": self.seed,
        }
        if self.steps is not None:
            derived["train.steps"] = self.steps
        if preset.hiding.kind == "crops" and preset.hiding.local_augment.size:
            local = round(size * preset.hiding.local_augment.size / preset.signal.size / patch) * patch
            derived["hiding.local_augment.size"] = max(patch, local)
        if preset.hiding.kind == "blocks" and self._is_padded():
            derived |= {"hiding.augment.scale": [1.0, 1.0], "hiding.augment.ratio": [1.0, 1.0]}
        changes = {key: _text(value) for key, value in derived.items()} | options
        return require_images("JEPATransformer", configure(self.recipe, self._preset(), changes)).adapt(
            images
        )

    def _is_padded(self) -> bool:
        return len(self._shape_in) == 1 and math.prod(self._folded()) != self._shape_in[0]


def _patch(side: int, preferred: int) -> int:
    """The preset's patch where it cuts `side` into 6 to 16, else the one nearest to 8 a side with little left over."""
    if 6 <= side / preferred <= 16:
        return preferred

    def cost(patch: int) -> float:
        return abs(math.log(side // patch / TOKENS_PER_SIDE)) + side % patch / side

    return min(range(1, side + 1), key=cost)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
