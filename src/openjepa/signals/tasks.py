"""What a signal asks of features without labels, to tell whether they are worth more than at the start of a run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from openjepa.common.rng import Rng


@dataclass(frozen=True, eq=False)
class Tasks:
    """Questions about B samples; a signal leaves out those that it does not have.

    Attributes:
        samples: a batch of them, as they are.
        look: `[B, K]`, what each sample looks like by classical features: do its nearest neighbours look like it?
        view: makes another view of each sample of a part of the batch: does it find its own sample?
        coarse: `[B, K]` numbers that describe each sample coarsely: can they be decoded linearly?
    """

    samples: Any
    look: Tensor | None = None
    view: Callable[[Any, Rng], Any] | None = None
    coarse: Tensor | None = None

    @property
    def encoded(self) -> int:
        """Samples that an encoder must see to answer all of them."""
        return len(self.samples) * (1 + (self.view is not None))
