"""Radar chips: amplitudes as they are, from 0 to 1."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from torch import Tensor

from openjepa.config import Positive
from openjepa.errors import UserError
from openjepa.signals.images import ImageSet
from openjepa.signals.images.signal import ImageSignal


class RadarSignal(ImageSignal):
    """A chip of one band, whose amplitudes become 0 to 1 by their largest and are not normalised further.

    What is 0 stays 0, so that ratios of amplitudes are kept.
    """

    noun: ClassVar[str] = "radar chips"

    kind: Literal["radar"] = "radar"  # ty: ignore[incompatible-attribute-override]
    channels: Literal[1] = 1
    mean: tuple[float, ...] = (0.0,)
    std: tuple[Positive, ...] = (1.0,)

    def classical(self, level: str = "all") -> list[Any]:
        """Those of images, and gradients by ratio."""
        from openjepa.signals.images.gradient_ratio import GradientRatios

        found = super().classical(level)
        return [*found[:1], GradientRatios(), *found[1:]] if found else found

    @classmethod
    def by_hand(
        cls, plain: Mapping[str, Any], saved: Mapping[str, Any], changes: Mapping[str, str]
    ) -> dict[str, Any]:
        """The range alone is measured."""
        signal = super().by_hand(plain, saved, changes)
        return signal | {"measure": [name for name in signal["measure"] if name == "range"]}

    def open(self, data: Any, split: str = "train", *, adapt: bool = False) -> ImageSet:
        """Chips of `size` and one band. Raises UserError for several bands that are not the colours of a picture."""
        return super().open(data, split)

    def lit(self, image: Tensor) -> Tensor:
        """The roots of amplitudes, as a few glints are many times brighter than all else."""
        return image.clamp(0, 1).sqrt()

    def fitted(self, samples: ImageSet) -> Self:
        """The largest amplitude becomes 1, unless all lie in 0..1 or are bytes."""
        low = samples.statistics.low
        if low < 0:
            raise UserError(
                f"{samples.name}: amplitudes are not negative, and these go down to {low:g}: of decibels take "
                "10 ** (x / 20), of complex chips the absolute value"
            )
        found = super().fitted(samples)
        if found.range is None or "range" not in self.measure:
            return found
        return found.model_copy(update={"range": (0.0, found.range[1])})
