"""What a signal asks of features without labels, to tell whether they are worth more than at the start of a run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from openjepa.rng import Rng


@dataclass(frozen=True, eq=False)
class Tasks:
    """Questions about B samples; a signal leaves out those that it does not have.

    Attributes:
        samples: a batch of them, as they are.
        view: makes another view of each sample of a part of the batch: which belong together?
        turns: each transforms the samples of a part of the batch in its own way (images turned by 90, 180 and 270
            degrees, clips backwards): which way, or not at all?
        coarse: `[B, K]` numbers that describe each sample coarsely, to be decoded linearly.
    """

    samples: Any
    view: Callable[[Any, Rng], Any] | None = None
    turns: tuple[Callable[[Any], Any], ...] = ()
    coarse: Tensor | None = None

    @property
    def encoded(self) -> int:
        """Samples that an encoder must see to answer all of them."""
        return len(self.samples) * (1 + (self.view is not None) + len(self.turns))
