"""What the numbers in an image mean: one place for arrays, files, tensors, and whatever command reads them.

Pixels are kept as they come, in one of two ways. *Bytes* (uint8) are whole numbers in 0..255. *Numbers* (float32) are
everything else: fractions, counts, 12 and 16 bits. A model scales both to what it was trained on, by `scale`.
"""

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from openjepa.errors import UserError, warn

Limits = tuple[float, float]
Kept = Literal["bytes", "numbers"]
Kind = Literal["bytes", "whole", "either", "numbers"]
"""`bytes`: whole-number types. `whole`: floats, but whole numbers in 0..255. `either`: zeros and ones as floats, which
both could be. `numbers`: anything else."""

SLACK = 0.1
"""How far fractions may lie outside 0..1: resizing overshoots."""
FAR = 1.0
"""How far values may lie outside the range of the training set, in widths of it."""
LEAST_STEPS = 256
"""Steps of float32 that the range of a set must have."""


def to_tensor(images: Any, first: int = 0) -> Tensor:
    """Any array as a tensor of uint8 or float32; its first image is number `first`, for messages.

    uint8: bytes, truth values as 0 and 255, and other whole-number types whose values all lie in 0..255.

    Raises:
        UserError: values that are no numbers, masked, NaN or infinite, or too close together for float32.
    """
    array = _array(images)
    if array.dtype == bool:
        return torch.from_numpy(array.astype(np.uint8) * 255)
    if array.dtype.kind == "c":
        raise UserError("images are complex numbers: give their amplitudes, numpy.abs of them")
    if array.dtype.kind not in "iuf":
        raise UserError(
            f"images are of type {array.dtype}: give whole numbers or floats, one a pixel and channel"
        )
    whole = array.dtype.kind in "iu"
    if array.dtype == np.uint8 or (whole and array.size > 0 and array.min() >= 0 and array.max() <= 255):
        return torch.from_numpy(np.array(array, dtype=np.uint8, order="C"))
    with np.errstate(over="ignore"):
        numbers = np.array(array, dtype=np.float32, order="C")
    _check_finite(numbers, first)
    _check_precision(array)
    return torch.from_numpy(numbers)


def _array(images: Any) -> np.ndarray:
    if not isinstance(images, Tensor):
        if isinstance(images, np.ma.MaskedArray) and np.ma.is_masked(images):
            raise UserError("images have masked values: fill them in first (numpy.ma.filled)")
        return np.asarray(images)
    if images.layout != torch.strided or images.is_quantized:
        raise UserError("images are a sparse or quantised tensor: make it dense first")
    images = images.detach().cpu()
    small = images.is_floating_point() and images.dtype != torch.float64  # numpy knows no bfloat16
    return (images.float() if small else images.resolve_conj().resolve_neg()).numpy()


def _check_finite(numbers: np.ndarray, first: int) -> None:
    finite = np.isfinite(numbers)
    if finite.all():
        return
    bad = np.flatnonzero(~finite.reshape(len(numbers), -1).all(1)) + first
    shown = ", ".join(map(str, bad[:8].tolist())) + (f", ... ({len(bad)})" if len(bad) > 8 else "")
    raise UserError(f"images {shown} hold values that are NaN or infinite: mend or remove them")


def _check_precision(array: np.ndarray) -> None:
    """float32 has 24 bits: what differs by less than these show would be crushed."""
    if array.dtype.itemsize < 4 or array.dtype == np.float32 or array.size == 0:
        return
    low, high = float(array.min()), float(array.max())
    step = float(np.spacing(np.float32(max(abs(low), abs(high)))))
    if low < high and (high - low) < LEAST_STEPS * step:
        raise UserError(
            f"images have values from {low:.17g} to {high:.17g}, too close together for float32: subtract {low:.17g}"
        )


def kind_of(images: Tensor) -> Kind:
    """What a tensor from `to_tensor` holds."""
    if images.dtype == torch.uint8:
        return "bytes"
    if images.numel() == 0:
        return "either"
    low, high = (float(v) for v in images.aminmax())
    if low < 0 or high > 255 or not bool((images == images.round()).all()):
        return "numbers"
    return "either" if high <= 1 else "whole"


def together(kinds: Iterable[Kind]) -> Kept:
    """What parts of one array are as a whole."""
    found = set(kinds)
    return "bytes" if "numbers" not in found and found & {"bytes", "whole"} else "numbers"


def stored(images: Tensor, kind: Kept) -> Tensor:
    """A part of a set in the way that the whole set is kept."""
    if kind == "numbers":
        return images.float()
    if images.dtype != torch.uint8 and kind_of(images) == "numbers":
        low, high = (float(v) for v in images.aminmax())
        raise UserError(
            f"images have values from {low:g} to {high:g} among others that are whole numbers in 0..255: "
            "give them one scale"
        )
    return images.to(torch.uint8)


def scale(images: Any, limits: Limits | None) -> Tensor:
    """float32, 0 and 1 where `limits` lie, of images in any type.

    Without limits (a model of bytes and fractions) bytes, and other whole numbers in 0..255, are divided by 255, and
    fractions in 0..1 stay. With limits numbers of any type are in the units of the limits; a warning says where they
    are far outside.

    Raises:
        UserError: neither bytes nor fractions, where there are no limits.
    """
    values = images if isinstance(images, Tensor) else to_tensor(images)
    if values.dtype != torch.uint8 and not values.is_floating_point():
        values = to_tensor(values).to(values.device)
    if values.dtype == torch.uint8 and limits in (None, (0.0, 255.0)):
        return values.float() / 255
    if values.numel() == 0:
        return values.float()
    low, high = (float(v) for v in values.detach().aminmax())  # NaN passes: it is for the caller to name
    if limits is None:
        if high > 1 and kind_of(values.detach()) in ("bytes", "whole"):
            return values.float() / 255
        if low < -SLACK or high > 1 + SLACK:
            raise UserError(
                f"images have values from {low:g} to {high:g}, the model was trained on bytes or fractions: give whole "
                "numbers in 0..255 or floats in 0..1, rescaled as its training images were"
            )
        return values.float()
    bottom, top = limits
    width = top - bottom
    if low < bottom - FAR * width or high > top + FAR * width:
        warn(
            f"images have values far outside {bottom:g} to {top:g}, the range of the images that the model was "
            "trained on: are they in the same units?"
        )
    values = values if values.dtype == torch.float64 else values.float()
    return ((values - bottom) / width).float()
