"""Perception: from frames to an estimate of the state, with a memory of past frames."""

from collections import deque
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from openjepa.agent.protocols import WorldModel
from openjepa.errors import UserError

if TYPE_CHECKING:
    from openjepa.world_models.proprioception import ProprioceptionJEPA


class Perception:
    """The world model's encoder over the last `history` frames, one model step apart.

    At an episode's start there are fewer frames, and the model is given those that there are. A model that holds
    proprioception in its states (`openjepa.world_models.proprioception`) is given that too.
    """

    def __init__(self, model: WorldModel) -> None:
        self.model = model
        self.device = device_of(model)
        self.proprio_dim = proprio_dim_of(model)
        self.reset()

    def reset(self) -> None:
        """Forget the frames: a new episode begins."""
        self._frames: deque[Tensor] = deque(maxlen=self.model.history)
        self._actions: deque[Tensor] = deque(maxlen=max(0, self.model.history - 1))
        self._known: deque[Tensor] = deque(maxlen=self.model.history)

    def observe(self, frames: Tensor, action: Tensor | None = None, known: Any = None) -> None:
        """Frames `[B, C, H, W]` one model step after the last ones, and the action `[B, A']` taken meanwhile.

        Args:
            known: `[B, P]`, the physical variables that the model's episodes record, at the same times.

        Raises:
            UserError: the model asks for them, and they are missing.
        """
        if self._frames and action is not None:
            self._actions.append(action.to(self.device))
        self._frames.append(frames.to(self.device))
        if self.proprio_dim:
            self._known.append(self._required(known))

    def state(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """States `[R, T, *L]` of these problems' frames, and the actions `[R, T-1, A']` between them."""
        rows = rows.to(self.device)
        frames = torch.stack(list(self._frames), 1)[rows]
        past = torch.stack(list(self._actions), 1)[rows] if self._actions else None
        known = torch.stack(list(self._known), 1)[rows] if self._known else None
        return self._encode(frames, past, known), past

    def look(self, frames: Tensor, known: Any = None) -> Tensor:
        """States `[N, *L]` of single frames `[N, C, H, W]`, such as goals, which are known by their picture alone."""
        state = None if known is None or not self.proprio_dim else self._required(known)[:, None]
        return self._encode(frames.to(self.device)[:, None], None, state)[:, -1]

    @torch.no_grad()
    def _encode(self, frames: Tensor, past: Tensor | None, known: Tensor | None) -> Tensor:
        return encode(self.model, frames, known, past)

    def _required(self, known: Any) -> Tensor:
        if known is None:
            raise UserError(
                "this world model takes proprioception: give it with every observation (Agent.step's `known`; "
                'an environment puts it into info["state"])'
            )
        return torch.as_tensor(known, dtype=torch.float32, device=self.device)


def encode(
    model: WorldModel, frames: Tensor, known: Tensor | None = None, past: Tensor | None = None
) -> Tensor:
    """States `[B, T, *L]` of frames `[B, T, C, H, W]`, as the model's `encode` gives them.

    Args:
        known: `[B, T, P]`, the physical variables recorded with the frames, for a model that holds proprioception in
            its states; any other ignores them, and what is not known is left out.

    Raises:
        UserError: other variables than those that the model was trained on.
    """
    if known is None or not proprio_dim_of(model):
        return model.encode(frames, past)
    return cast("ProprioceptionJEPA", model).encode(frames, past, known)


def as_goals(states: Tensor, proprio_dim: int) -> Tensor:
    """States `[..., *L]` as goals', known by their picture alone: without proprioception."""
    if not proprio_dim:
        return states
    return torch.cat([states[..., :-proprio_dim], torch.zeros_like(states[..., -proprio_dim:])], -1)


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
    """The device of a model's parameters; the CPU for one without any."""
    first = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return torch.device("cpu") if first is None else first.device


def proprio_dim_of(model: object) -> int:
    """Numbers of proprioception at the end of a state's last axis: a `ProprioceptionJEPA`'s, else 0."""
    return getattr(model, "proprio_dim", 0)
