"""Perception: from frames to an estimate of the state, with a memory of past frames."""

from collections import deque

import torch
from torch import Tensor, nn

from openjepa.agent.protocols import WorldModel
from openjepa.errors import UserError


class Perception:
    """The world model's encoder over the last `history` frames, one model step apart.

    At an episode's start there are fewer frames, and the model is given those that there are.
    """

    def __init__(self, model: WorldModel) -> None:
        self.model = model
        self.device = device_of(model)
        self.reset()

    def reset(self) -> None:
        """Forget the frames: a new episode begins."""
        self._frames: deque[Tensor] = deque(maxlen=self.model.history)
        self._actions: deque[Tensor] = deque(maxlen=max(0, self.model.history - 1))

    def observe(self, frames: Tensor, action: Tensor | None = None) -> None:
        """Frames `[B, C, H, W]` one model step after the last ones, and the action `[B, A']` taken meanwhile."""
        if self._frames and action is not None:
            self._actions.append(action.to(self.device))
        self._frames.append(frames.to(self.device))

    def state(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """Latents `[R, T, *L]` of these problems' frames, and the actions `[R, T-1, A']` between them."""
        rows = rows.to(self.device)
        frames = torch.stack(list(self._frames), 1)[rows]
        past = torch.stack(list(self._actions), 1)[rows] if self._actions else None
        return self._encode(frames, past), past

    def look(self, frames: Tensor) -> Tensor:
        """Latents `[N, *L]` of single frames `[N, C, H, W]`, such as goals."""
        return self._encode(frames.to(self.device)[:, None], None)[:, -1]

    @torch.no_grad()
    def _encode(self, frames: Tensor, past: Tensor | None) -> Tensor:
        return self.model.encode(frames, past)


def as_frames(frames: object, what: str) -> Tensor:
    """`[C, H, W]` or `[B, C, H, W]`, array or tensor, as a tensor.

    Raises:
        UserError: of another number of dimensions, named `what`.
    """
    tensor = torch.as_tensor(frames)
    if tensor.dim() not in (3, 4):
        raise UserError(
            f"{what} of shape {list(tensor.shape)} is no picture: give [C, H, W], or [B, C, H, W] for B of them"
        )
    return tensor


def device_of(model: object) -> torch.device:
    """Where a model's parameters are; the CPU for one without any."""
    first = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return torch.device("cpu") if first is None else first.device
