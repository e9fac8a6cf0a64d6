"""JEPA as a scikit-learn transformer: `make_pipeline(JEPATransformer(), LogisticRegression()).fit(X, y)`."""

import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from openjepa.config import as_text
from openjepa.errors import UserError
from openjepa.recipes import configure
from openjepa.recipes.tokens import TokenRecipe, require_tokens
from openjepa.signals.base import LEAST_HELD_OUT, hold_out, move
from openjepa.signals.parts import part
from openjepa.training import fit
from openjepa.training.progress import Console

LEAST_SAMPLES = 2 * LEAST_HELD_OUT
"""What training asks for; fewer are repeated."""
LEAST_SIDE = 4
"""Smallest square that vectors are folded into: masks need some tokens to choose from."""


class JEPATransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Learns features of samples without labels, then gives one vector per sample.

    Args:
        recipe: a recipe's name, as `openjepa recipes` lists them; of images, or of any other signal that opens arrays.
        preset: its sizes; `None` for `tiny`, of I-JEPA `tiny-vit`, whose masks fit images of any size. What the signal
            takes from the data is set from `X` (of images the size, the patch where the preset's does not suit, the
            range of values and the normalisation), and a batch no larger than the data; `options` go on top.
        steps: optimiser steps; `None` for the preset's.
        options: dotted overrides, e.g. `{"guard": "sigreg", "train.lr": 1e-3}`.
        seed: of initialisation, order, masks.
        image_shape: (H, W) or (H, W, C) of the images in rows of a flat `X`, for recipes of images. By default a row
            whose length is a square number is a square grey image; any other is padded with the smallest of all numbers
            to the next square (4x4 at least) and not augmented, since its neighbours mean nothing.
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
            X: samples as the recipe's signal opens an array; images as `[N, H, W]`, `[N, H, W, C]`, `[N, C, H, W]` or
                flat `[N, F]` of any whole numbers or floats. At least two samples; fewer than 16 are repeated.
            y: ignored.

        Raises:
            UserError: shapes or options that do not fit (a `ValueError`).
        """
        X = validate_data(self, X, allow_nd=True, ensure_min_samples=2)
        self._shape_in = X.shape[1:]
        self._signal = require_tokens("JEPATransformer", configure(self.recipe, self._preset())).signal
        self._filler, self._bytes = X.min(), False
        data = self._samples(X)
        first = data.read([0])
        self._bytes = getattr(first, "dtype", None) == torch.uint8
        if len(data) < LEAST_SAMPLES:
            data = part(data, np.arange(LEAST_SAMPLES) % len(data))
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
        samples = self._samples(X)
        parts = np.array_split(np.arange(len(samples)), math.ceil(len(samples) / 256))
        device = next(self.model_.parameters()).device
        return (
            torch.cat([self.model_.embed(move(samples.read(rows), device)) for rows in parts]).cpu().numpy()
        )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        assert tags.transformer_tags is not None
        tags.transformer_tags.preserves_dtype = []  # always float32
        return tags

    def _samples(self, X: NDArray) -> Any:
        """What the signal makes of an array."""
        shape, images = self._shape_in, self._signal.axes == ("row", "column")
        if images and len(shape) > 3:
            raise UserError(
                f"samples of shape {shape}: give [N, H, W], [N, H, W, C], [N, C, H, W] or flat [N, F]"
            )
        if images and len(shape) == 1:
            shape = self._folded()
            missing = math.prod(shape) - X.shape[1]
            X = np.pad(X, ((0, 0), (0, missing)), constant_values=self._filler)
        if self._bytes and X.dtype.kind == "f" and X.min() >= 0 and X.max() <= 255:
            X = X.astype(np.uint8) if (np.round(X) == X).all() else X  # also where all are zeros and ones
        return self._signal.from_array(X.reshape(-1, *shape), self.options or {}, "X")

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

    def _config(self, samples: Any) -> TokenRecipe:
        """The recipe with what follows from the data, and the caller's options on top."""
        options = {key: as_text(value) for key, value in (self.options or {}).items()}
        preset = require_tokens("JEPATransformer", configure(self.recipe, self._preset()))
        derived: dict[str, object] = preset.signal.suited(samples, options) | {
            "train.batch_size": min(preset.train.batch_size, len(hold_out(samples)[0])),
            "train.seed": self.seed,
        }
        if self.steps is not None:
            derived["train.steps"] = self.steps
        if preset.hiding.kind == "crops" and preset.hiding.local_augment.size:
            size, patch = (int(str(derived[f"signal.{name}"])) for name in ("size", "patch"))
            local = round(size * preset.hiding.local_augment.size / preset.signal.size / patch) * patch
            derived["hiding.local_augment.size"] = max(patch, local)
        if preset.hiding.kind == "blocks" and self._is_padded():
            derived |= {"hiding.augment.scale": [1.0, 1.0], "hiding.augment.ratio": [1.0, 1.0]}
        changes = {key: as_text(value) for key, value in derived.items()} | options
        return require_tokens("JEPATransformer", configure(self.recipe, self._preset(), changes)).adapt(
            samples
        )

    def _is_padded(self) -> bool:
        return len(self._shape_in) == 1 and math.prod(self._folded()) != self._shape_in[0]
