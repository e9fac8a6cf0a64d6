"""A curriculum of two hidings: from blocks anywhere to blocks that take their time or frequency with them (A-JEPA)."""

import math
from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.hiding.base import HidingChoice, TargetSees
from openjepa.hiding.grid_blocks import GridBlocks
from openjepa.jepa import Pair, Tokens

EARLY = GridBlocks()
LATE = GridBlocks(targets=3, target_scale=(0.05, 0.075), extend=("time",))


class TimeFrequency(HidingChoice):
    """Each step hides as `late` says with probability `min(1, sqrt((1 - start²) s + start²))`, s the share of the run
    that is done, else as `early` says: the root pacing of Platanios et al. (arXiv:1903.09848).
    """

    ragged: ClassVar[bool] = True

    kind: Literal["time-frequency"] = "time-frequency"
    early: GridBlocks = EARLY
    """Random blocks."""
    late: GridBlocks = LATE
    """Time-frequency-aware blocks: no source that we could read says what they are; here contexts lose the blocks'
    times, see `extend`."""
    order: Literal["rising", "falling"] = "rising"
    """`falling`: early and late change places (the paper's inverse curriculum)."""
    start: float = Field(0.01, ge=0, le=1)
    """Probability of `late` at the first step."""
    target_sees: TargetSees = "all"
    """What the target's encoder sees, as of blocks; it holds for both."""

    def build(self, signal: Any) -> "TimeFrequencyHiding":
        """Raises UserError as blocks do."""
        return TimeFrequencyHiding(self, signal)

    def chance(self, progress: float) -> float:
        """Of `late`, when this share of the run is done, 0..1."""
        paced = min(1.0, math.sqrt((1 - self.start**2) * progress + self.start**2))
        return paced if self.order == "rising" else 1 - paced


class TimeFrequencyHiding:
    """Batches to a pair, by one of two hidings a step."""

    def __init__(self, config: TimeFrequency, signal: Any) -> None:
        self.config, self.signal = config, signal
        self.early, self.late = (
            part.model_copy(update={"target_sees": config.target_sees}).build(signal)
            for part in (config.early, config.late)
        )

    def __call__(self, batch: Any, rng: Rng) -> list[Pair]:
        return self._chosen(rng)(batch, rng)

    def apply(
        self, tokens: Tokens, rng: Rng, target: Tokens | None = None, place: Tensor | None = None
    ) -> list[Pair]:
        """See `TokenHiding.apply`."""
        return self._chosen(rng).apply(tokens, rng, target, place)

    def _chosen(self, rng: Rng) -> Any:
        drawn = float(rng.stream("curriculum").shared(1))
        return self.late if drawn < self.config.chance(rng.progress) else self.early
