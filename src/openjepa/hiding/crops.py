"""Views: several augmented crops of the same image; each must predict the mean of the global ones (LeJEPA)."""

from typing import Literal

from pydantic import Field
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.hiding.base import HidingChoice
from openjepa.jepa import Pair, View
from openjepa.signals.images.augment import Augment
from openjepa.signals.images.signal import ImageSignal


class Crops(HidingChoice):
    """`global_views` large crops and `local_views` small ones, augmented independently.

    Every view is a context; the global ones are the targets (arXiv:2511.08544, section 5: the centre of the global
    views). With a shared target each view is encoded once.
    """

    kind: Literal["crops"] = "crops"
    global_views: int = Field(2, ge=1, le=64)
    local_views: int = Field(6, ge=0, le=256)
    drop: float = Field(0.0, ge=0, lt=1)
    """Share of each view's patches that the encoder does not see, at random (the released launch scripts: 0.3)."""
    global_augment: Augment = Augment.lejepa()
    """Its views have `signal.size`, unless it has a `size`: smaller views cost less, and a convolutional encoder's
    features fit larger images too."""
    local_augment: Augment = Augment.lejepa(size=96, scale=(0.05, 0.3))

    @property
    def hides(self) -> bool:
        return self.drop > 0

    def build(self, signal: ImageSignal) -> "CropHiding":
        """Raises UserError when a view is smaller than a patch."""
        views = {"global_augment": self.global_views, "local_augment": self.local_views}
        for name, count in views.items():
            size = getattr(self, name).size
            if count and size is not None and size < signal.patch:
                raise UserError(f"hiding.{name}.size {size} px is smaller than a patch of {signal.patch} px")
        return CropHiding(self, signal)


class CropHiding:
    """Images to pairs: one a view, all with the global views as targets."""

    def __init__(self, config: Crops, signal: ImageSignal) -> None:
        self.config, self.signal = config, signal
        size = config.global_augment.size or signal.size
        self.large = config.global_augment.model_copy(update={"size": size})

    def __call__(self, batch: Tensor, rng: Rng) -> list[Pair]:
        images = self.signal.to_float(batch)
        config = self.config
        large = [self._view(images, self.large, rng) for _ in range(config.global_views)]
        small = [self._view(images, config.local_augment, rng) for _ in range(config.local_views)]
        return [Pair(view, tuple(large)) for view in (*large, *small)]

    def _view(self, images: Tensor, augment: Augment, rng: Rng) -> View:
        tokens = self.signal.cut(augment(images, rng))
        if self.config.drop == 0:
            return View(tokens)
        count = tokens.values.shape[1]
        kept = max(1, round(count * (1 - self.config.drop)))
        keep = rng.uniform(len(images), count).topk(kept).indices.sort(1).values
        return View(tokens, keep=keep.to(images.device))
