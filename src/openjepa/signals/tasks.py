"""What a signal asks of features without labels, to tell whether they are worth more than at the start of a run."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Tasks:
    """Questions about B samples; a signal leaves out those that it does not have.

    Attributes:
        samples: a batch of them, as they are.
        view: the same samples in another view, in their order: which belong together?
        turned: the same samples, each batch transformed in another way (images turned by 90, 180 and 270 degrees, clips
            backwards): which way, or not at all?
        coarse: `[B, K]` numbers that describe each sample coarsely, to be decoded linearly.
    """

    samples: Any
    view: Any = None
    turned: list[Any] = field(default_factory=list)
    coarse: Tensor | None = None

    @property
    def encoded(self) -> int:
        """Samples that an encoder must see to answer all of them."""
        return len(self.samples) * (1 + (self.view is not None) + len(self.turned))
