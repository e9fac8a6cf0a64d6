"""The future of an episode: what comes after the frames that were seen (world models)."""

from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.hiding.base import HidingChoice
from openjepa.jepa import Pair, Tokens, View
from openjepa.signals.frames import FrameSignal, Window


class Future(HidingChoice):
    """Every frame of a window is encoded; from earlier states and the actions later states are predicted.

    Two ways, which add up: teacher-forced, each state from the true ones before it (LeWM, DINO-WM), and as a rollout on
    its own predictions (PLDM), as in planning. V-JEPA 2-AC has both.
    """

    kind: Literal["future"] = "future"
    frames: int = Field(4, ge=2, le=1000)
    """T, of a window; those that nothing predicts still enter guard and terms."""
    forced: bool = True
    """Predict frames 2 to T, teacher-forced."""
    rollout: int = Field(0, ge=0, le=1000)
    """H: steps of a rollout, predicted on the predictor's own predictions; 0 for none."""
    seen: int = Field(1, ge=1, le=1000)
    """Frames that a rollout begins with."""

    @model_validator(mode="after")
    def _something(self) -> "Future":
        if not self.forced and not self.rollout:
            raise ValueError("nothing would be predicted: set forced to true, or rollout to some steps")
        if self.rollout and self.seen + self.rollout > self.frames:
            raise ValueError(
                f"seen {self.seen} + rollout {self.rollout} are more than the window's {self.frames} frames"
            )
        return self

    @property
    def hides(self) -> bool:
        return False

    @property
    def predicted(self) -> list[int]:
        """The frames that are predicted, from 0: teacher-forced, then of the rollout."""
        forced = list(range(1, self.frames)) if self.forced else []
        return forced + list(range(self.seen, self.seen + self.rollout))

    @property
    def known(self) -> list[int]:
        """Numbers of the last frame that was seen before each predicted frame."""
        forced = list(range(self.frames - 1)) if self.forced else []
        return forced + [self.seen - 1] * self.rollout

    @property
    def horizon(self) -> int:
        """Steps ahead that are trained for."""
        return max(self.rollout, 1)

    def build(self, signal: FrameSignal) -> "FutureHiding":
        return FutureHiding(self, signal)


class FutureHiding:
    """Windows to a pair: the frames of their B * T states in a row, each state's one raw token, and the actions as
    condition.

    Where a state is of several frames (`signal.stack`), a window has as many more before its T.
    """

    def __init__(self, config: Future, signal: FrameSignal) -> None:
        self.config, self.signal = config, signal

    def __call__(self, window: Window, rng: Rng) -> list[Pair]:
        """Raises UserError where windows have another length or frames another shape than those trained on."""
        before = self.signal.stack - 1
        wanted = self.config.frames + before
        if window.frames.dim() != 5 or window.frames.shape[1] != wanted:
            raise UserError(
                f"windows of frames {list(window.frames.shape)} are not [B, {wanted}, C, H, W]: cut the episodes into "
                f"windows of hiding.frames{f' and the {before} before them' if before else ''}"
            )
        view = self.view(self.signal.stacked(window.frames)[:, before:].flatten(0, 1))
        return [Pair(view, (view,), condition=self.signal.normalise_actions(window.actions[:, before:]))]

    def view(self, frames: Tensor) -> View:
        """`[N, stack, C, H, W]`, uint8 or float in 0..1: one token each, whose raw values are all the pixels."""
        pixels = self.signal.normalise(frames).flatten(1).unsqueeze(1)
        return View(Tokens(pixels, pixels.new_zeros(1, 1, 2), (1, 1)))
