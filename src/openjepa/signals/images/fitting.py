"""What training images decide of their signal: channels, range, mean and spread."""

import math
from collections.abc import Sequence
from typing import Any, Protocol

from openjepa.errors import UserError, warn
from openjepa.signals.images.image_set import ImageSet

MEASURABLE = ("range", "mean", "std")
"""Numbers of the signal that are measured on the training images."""
NEAR = 0.02
"""A configured mean or std is kept if it differs from the measured one by less than this, in stds."""
LEAST_STD = 1e-5
"""Smallest std of a channel that is normalised, in units of the range."""
OUTLYING = 0.02
"""A few values seem to be outliers if nearly all others keep within this part of the range."""
OTHER_UNITS = 0.1
"""Images with less than this part of the training images' spread are probably in other units."""


class Scaled(Protocol):
    """What is read of a signal (`openjepa.signals.images.signal.ImageSignal`)."""

    @property
    def range(self) -> tuple[float, float] | None: ...
    @property
    def mean(self) -> tuple[float, ...]: ...
    @property
    def std(self) -> tuple[float, ...]: ...
    @property
    def measure(self) -> tuple[str, ...]: ...


def fitted(signal: Scaled, images: ImageSet) -> dict[str, Any]:
    """The changes to a signal that images decide: their channels, and what `signal.measure` names, measured on them.

    Raises:
        UserError: images that are all one value, or numbers set by hand for another number of channels.
    """
    found, channels = images.statistics, images.shape[0]
    changed: dict[str, Any] = {"channels": channels}
    if signal.measure:
        _check_values(images)
    limits = found.limits if "range" in signal.measure else signal.range
    changed["range"] = limits
    bottom, top = limits or ((0.0, 255.0) if found.whole else (0.0, 1.0))
    mean = [(value - bottom) / (top - bottom) for value in found.mean]
    std = [value / (top - bottom) for value in found.std]
    std = [value if value >= LEAST_STD else 1.0 for value in std]
    known = {"mean": signal.mean, "std": signal.std}
    for name, values in (("mean", mean), ("std", std)):
        if name in signal.measure:
            near = len(known[name]) == channels and all(
                abs(a - b) < NEAR * s for a, b, s in zip(known[name], values, std, strict=True)
            )
            changed[name] = known[name] if near else [float(f"{value:.4g}") for value in values]
        elif len(known[name]) not in (1, channels):
            raise UserError(
                f"signal.{name} has {len(known[name])} numbers, the images have {channels} channels: give one number "
                f"or one for each channel, or have them measured with --signal.measure '[mean, std]'"
            )
    return changed


def _check_values(images: ImageSet) -> None:
    found = images.statistics
    if found.low == found.high:
        raise UserError(
            f"{images.name}: every value of every image is {found.low:g}, so there is nothing to learn"
        )
    if found.constant:
        some = ", ".join(map(str, found.constant[:8])) + (", ..." if len(found.constant) > 8 else "")
        warn(
            f"{images.name}: {len(found.constant):,} images hold one value all over and teach nothing ({some})"
        )
    limits = found.limits
    low, high = found.bulk
    if limits is not None and high - low < OUTLYING * (limits[1] - limits[0]):
        warn(
            f"{images.name}: nearly all values lie in {low:g} to {high:g}, a few in {limits[0]:g} to {limits[1]:g}: if "
            "these are outliers, set signal.range by hand"
        )


def check_units(images: ImageSet, signal: Scaled) -> None:
    """Warn where images have so little spread beside the training images' that their units must differ."""
    found = images.statistics
    bottom, top = signal.range or ((0.0, 255.0) if found.whole else (0.0, 1.0))
    spread = max(found.std) / (top - bottom)
    if 0 < spread < OTHER_UNITS * max(signal.std):
        warn(
            f"{images.name}: its values, {found.low:g} to {found.high:g}, have {max(signal.std) / spread:.0f} times "
            f"less spread than the training images', on a scale of {bottom:g} to {top:g}: are they in other units?"
        )


def shortened(values: Sequence[float]) -> str:
    return str(list(values)) if len(values) <= 4 else f"of {len(values)} channels"


TOKENS_PER_SIDE = 8
"""Aimed at where a patch does not suit the images."""


def suited_patch(side: int, preferred: int) -> int:
    """The preferred patch where it cuts `side` into 6 to 16, else the one nearest to 8 a side with little left over."""
    if 6 <= side / preferred <= 16:
        return preferred

    def cost(patch: int) -> float:
        return abs(math.log(side // patch / TOKENS_PER_SIDE)) + side % patch / side

    return min(range(1, side + 1), key=cost)
