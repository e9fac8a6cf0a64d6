"""A world model whose state holds proprioception, such as the pose of a robot's hand, beside what is seen.

    state = [features of the frame, z-scores of proprioception]     at every token

So whatever takes states (planner, critic, policy, memory) meets it without knowing of it. DINO-WM predicts it with the
features; V-JEPA 2-AC's predictor takes it as a condition, and adds the actions to it (`nets.dynamics.motion`).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.hiding.future import FutureHiding
from openjepa.jepa import Pair, Parts, Tokens, View
from openjepa.nets.dynamics.motion import with_proprioception
from openjepa.nets.frames import FrameEncoder
from openjepa.signals.frames import Window
from openjepa.world_models.model import StateLayout, WorldJEPA
from openjepa.world_models.terms import TermsOf


class ProprioceptionScores:
    """Proprioception among the P recorded variables, as z-scores of Q numbers.

    Args:
        columns: which of the variables, `[Q]`.
        mean, std: of them, `[Q]`.
        recorded: P.
    """

    def __init__(
        self, columns: Sequence[int], mean: Sequence[float], std: Sequence[float], recorded: int
    ) -> None:
        self.columns, self.mean, self.std, self.recorded = list(columns), mean, std, recorded

    @property
    def size(self) -> int:
        """Q."""
        return len(self.columns)

    def __call__(self, state: Tensor) -> Tensor:
        """`[..., P]` to `[..., Q]`; UserError where there are other variables than those recorded."""
        if state.shape[-1] != self.recorded:
            raise UserError(
                f"the world model was trained on states of {self.recorded} variables, these have {state.shape[-1]}: "
                "give what its episodes record"
            )
        chosen = state[..., self.columns].float()
        return (chosen - chosen.new_tensor(self.mean)) / chosen.new_tensor(self.std)


class ProprioceptionEncoder(FrameEncoder):
    """Features of a frame, with the numbers after its pixels put beside every token's features."""

    def __init__(self, inner: FrameEncoder, size: int) -> None:
        super().__init__(inner.frame, inner.width + size, inner.grid)
        self.net, self.size = inner, size

    def forward(self, view: View) -> Tensor:
        values = view.tokens.values
        pixels = View(Tokens(values[..., : -self.size], view.tokens.positions, view.tokens.layout))
        return with_proprioception(self.net(pixels), values[:, 0, -self.size :])

    def layers(self, view: View, count: int) -> list[Tensor]:
        """The inner encoder's layers, without proprioception."""
        values = view.tokens.values[..., : -self.size]
        return self.net.layers(View(Tokens(values, view.tokens.positions, view.tokens.layout)), count)  # ty: ignore

    def finish(self, tokens: Tensor) -> Tensor:
        features, proprioception = tokens.split([self.width - self.size, self.size], -1)
        return torch.cat([self.net.finish(features), proprioception], -1)  # ty: ignore[not-callable]


class ProprioceptionHiding(FutureHiding):
    """A `FutureHiding` that puts proprioception after a frame's pixels; zeros, the mean, where it is unknown."""

    def __init__(self, hiding: FutureHiding, proprioception: ProprioceptionScores) -> None:
        super().__init__(hiding.config, hiding.signal)
        self.proprioception = proprioception

    def __call__(self, window: Window, rng: Rng) -> list[Pair]:
        (pair,) = super().__call__(window, rng)
        known = self.proprioception(window.state[:, self.signal.stack - 1 :]).flatten(0, 1)
        pair.context.tokens.values[:, 0, -self.proprioception.size :] = known
        return [pair]

    def view(self, frames: Tensor, state: Tensor | None = None) -> View:
        tokens = super().view(frames).tokens
        size = *tokens.values.shape[:2], self.proprioception.size
        known = tokens.values.new_zeros(size) if state is None else self.proprioception(state).unsqueeze(1)
        return View(Tokens(torch.cat([tokens.values, known], -1), tokens.positions, tokens.layout))


class ProprioceptionJEPA(WorldJEPA):
    """A `WorldJEPA` with proprioception in the last numbers of every token.

    Attributes:
        proprio_dim: how many numbers, Q; goals are compared without them, since a picture does not tell them.

    Args:
        moved: whether the actions move it, so that nothing predicts it and it is no part of the energy.
    """

    hiding: ProprioceptionHiding

    def __init__(
        self,
        config: Any,
        parts: Parts,
        layout: StateLayout,
        terms: TermsOf,
        proprioception: ProprioceptionScores,
        moved: bool,
    ) -> None:
        parts.hiding = ProprioceptionHiding(parts.hiding, proprioception)
        super().__init__(config, parts, layout, terms)
        self.proprio_dim, self.moved = proprioception.size, moved

    def ways(self, prediction: Tensor, s_y: Tensor) -> dict[str, Tensor]:
        kept = -self.proprio_dim if self.moved else None
        return super().ways(prediction[..., :kept], s_y[..., :kept])

    def encode(self, frames: Tensor, actions: Tensor | None = None, state: Tensor | None = None) -> Tensor:
        """States `[B, T, *L]` of frames `[B, T, C, H, W]` and the variables `[B, T, P]` recorded with them.

        Without `state` proprioception is unknown: features alone count, as of goals.
        """
        known = None if state is None else state.to(frames.device).flatten(0, 1)
        view = self.hiding.view(self.signal.stacked(frames).flatten(0, 1), known)
        return self.state_layout.state(self.represent([view])[0].unflatten(0, frames.shape[:2]))
