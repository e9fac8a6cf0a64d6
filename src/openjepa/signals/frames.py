"""Frames and actions: what a world model is given, and how it is scaled.

A sample is a window of an episode: T frames, and the actions that led from each to the next. It has no tokens of its
own; an encoder of frames makes them, or one vector a frame.
"""

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from openjepa.config import Choice, Positive
from openjepa.errors import UserError
from openjepa.signals.base import Batch, finite
from openjepa.signals.tasks import Tasks


@dataclass(frozen=True, eq=False)
class Window(Batch):
    """A batch of B windows of T frames.

    Attributes:
        frames: uint8 `[B, T, C, H, W]`.
        actions: float32 `[B, T-1, block * A]`; entry t is what was done between frames t and t+1: `block` actions of
            the environment in its own units, flattened time first. Discrete actions are one-hot, A of them.
        state: float32 `[B, T, P]`, physical variables that go with the frames, for probes and scores alone.
    """

    frames: Tensor
    actions: Tensor
    state: Tensor

    def finite(self) -> Tensor:
        """Which windows hold finite frames and actions, `[B]` bool; states may lack a variable."""
        return finite(self.frames) & finite(self.actions)


class FrameSignal(Choice):
    """Square frames and blocks of actions, with the numbers that scale them."""

    kind: Literal["frames"] = "frames"
    size: int = Field(64, ge=1, le=4096)
    """Side of a frame in pixels."""
    camera: tuple[str, ...] = ()
    """Camera whose pictures are the frames, where the data have several; or several, whose pictures go together."""
    camera_as: Literal["channels", "views"] = "channels"
    """How the pictures of several cameras are one frame: behind one another, each of full size (channels); or side by
    side on a square grid, each of half the size or less (views), for encoders of three channels."""
    white: float | None = Field(None, gt=0)
    """Value of white in frames of floating numbers: 1 or 255, found in the data where it is none."""
    channels: int = Field(3, ge=1, le=4096)
    action_dim: int = Field(2, ge=1, le=4096)
    """A: numbers in one action of the environment, or how many discrete actions there are."""
    block: int = Field(1, ge=1, le=1000)
    """Environment steps, and so actions, in one step of the model."""
    block_actions: Literal["each", "mean"] = "each"
    """How a block's actions are given to the model: each of them (LeWM), or their mean, for plans that repeat one
    action through a block (PLDM's action repeat)."""
    stack: int = Field(1, ge=1, le=64)
    """Frames that one state is of, as more channels: the newest, and those before it, a step of the model apart. 2
    where one picture does not show what moves (TS-JEPA for remote control)."""
    state_dim: int = Field(0, ge=0, le=65_536)
    """P: physical variables recorded with each frame."""
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    """Per channel, of pixels in 0..1; one number serves all channels."""
    std: tuple[Positive, ...] = (0.229, 0.224, 0.225)
    action_mean: tuple[float, ...] = (0.0,)
    """Per number of an action, in the environment's units; one serves all."""
    action_std: tuple[Positive, ...] = (1.0,)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for name, count in (
            ("mean", self.channels),
            ("std", self.channels),
            ("action_mean", self.action_dim),
            ("action_std", self.action_dim),
        ):
            values = getattr(self, name)
            if len(values) not in (1, count):
                raise ValueError(f"{name} has {len(values)} numbers where {count} or one are needed")
        return self

    @property
    def frame(self) -> tuple[int, int, int]:
        """Channels, rows, columns."""
        return self.channels, self.size, self.size

    @property
    def pictures(self) -> int:
        """Pictures that lie behind one another in a frame: of how many cameras."""
        return max(1, len(self.camera)) if self.camera_as == "channels" else 1

    @property
    def seen(self) -> tuple[int, int, int]:
        """Channels, rows, columns of what the encoder is given: `stack` frames."""
        return self.stack * self.channels, self.size, self.size

    @property
    def action_width(self) -> int:
        """Numbers of a step's actions as the model is given them: `block * A`, or A where it is their mean."""
        return self.action_dim * (self.block if self.block_actions == "each" else 1)

    def stacked(self, frames: Tensor) -> Tensor:
        """Each of `[B, T, C, H, W]` with those before it, `[B, T, stack, C, H, W]`, the newest last.

        Before the first there are none, and it stands for them: as if nothing had moved.
        """
        before = [frames[:, :1]] * (self.stack - 1)
        return torch.cat([*before, frames], 1).unfold(1, self.stack, 1).movedim(-1, 2)

    def changed(self, before: "FrameSignal") -> str:
        """What the data have decided and a reader should know, in a sentence; empty where that says nothing new."""
        said = []
        if len(self.camera) > 1 and self.channels != before.channels:
            said.append(f"{' and '.join(self.camera)} are {self.channels} channels of one frame")
        if self.white is not None and before.white is None:
            said.append(f"frames are floating numbers in 0..{self.white:g} (signal.white)")
        return "; ".join(said)

    def side_by_side(self, frames: Tensor) -> Tensor:
        """Frames `[..., C, H, W]` to look at, `[..., c, H, n * W]`: the n cameras' pictures beside one another."""
        return torch.cat(frames.chunk(self.pictures, -3), -1)

    def normalise(self, frames: Tensor) -> Tensor:
        """float32 `[..., C, H, W]` with the data's mean and spread taken out, from uint8 or float in 0..1.

        Raises:
            UserError: frames of another shape.
        """
        if frames.dim() < 4 or tuple(frames.shape[-3:]) != self.frame:
            raise UserError(
                f"frames of shape {list(frames.shape)} are not [..., {', '.join(map(str, self.frame))}]: "
                "open the episodes with the size of signal.size"
            )
        top = 255 if frames.dtype == torch.uint8 else 1
        mean, std = (_column(values, frames.device)[:, None, None] for values in (self.mean, self.std))
        return frames.float().mul_(1 / (top * std)).sub_(mean / std) if top > 1 else (frames - mean) / std

    def classical(self, level: str = "all") -> list[Any]:
        """Features of images, of the frames that a state is of beside one another (see `Signal.classical`)."""
        from openjepa.signals.frame_pictures import OfFramePictures
        from openjepa.signals.images.classical import classical

        return [OfFramePictures(kind, self.side_by_side) for kind in classical(level)]

    def normalise_actions(self, actions: Tensor) -> Tensor:
        """z-scores of `[..., block * A]`, `[..., action_width]`.

        Raises:
            UserError: actions of another width.
        """
        width = self.block * self.action_dim
        if actions.shape[-1] != width:
            raise UserError(
                f"actions of width {actions.shape[-1]} do not fit: a step is {self.block} actions of "
                f"{self.action_dim} numbers, {width} in all"
            )
        mean, std = (_column(values, actions.device) for values in (self.action_mean, self.action_std))
        scores = (actions.float().unflatten(-1, (self.block, self.action_dim)) - mean) / std
        return scores.mean(-2) if self.block_actions == "mean" else scores.flatten(-2)


def z_score(actions: ArrayLike) -> dict[str, Any]:
    """`action_mean` and `action_std` of a `FrameSignal`, from actions `[N, A]`; rows that are not finite are left out.

    A number that never changes has a spread of 1, so that it becomes 0 and not infinite.

    Raises:
        UserError: no finite row.
    """
    rows = np.asarray(actions, np.float64)
    rows = rows[np.isfinite(rows).all(1)]
    if len(rows) == 0:
        raise UserError("there is no action to take the mean and spread of: all are missing (NaN)")
    std = rows.std(0)
    std[std < 1e-6 * np.maximum(1, np.abs(rows).max(0))] = 1
    return {"action_mean": tuple(rows.mean(0).tolist()), "action_std": tuple(std.tolist())}


def _column(values: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device)


def window_tasks(window: Window) -> Tasks:
    """Tasks without labels for the state of the last frame: where things are.

    That is the physical variables where they were recorded (each by its own spread), else the frame's brightness on
    4 x 4 cells.
    """
    if window.state.shape[-1]:
        state = window.state[:, -1].double()
        spread = state.std(0, correction=0)
        varies = spread > 1e-9 * state.abs().amax(0).clamp_min(1e-9)
        if varies.any():
            return Tasks(window, coarse=state[:, varies] / spread[varies])
    return Tasks(window, coarse=adaptive_avg_pool2d(window.frames[:, -1].float().mean(1), 4).flatten(1))
