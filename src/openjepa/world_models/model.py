"""A JEPA whose context is the past, whose target is the future, and whose condition is what was done in between.

    window ──hiding──▶ frames, actions          s_t = head(encoder(frame t))
    ŝ_{t+1} = predictor(s_1..s_t, a_1..a_t)     teacher-forced, or on its own predictions
    loss = energy(ŝ, s) + guard(s) + terms(s, a)

LeCun 2022, sections 4.6 to 4.9. The six choices and everything that works on them are `JEPA`'s: a batch's B * T frames
are views, one raw token each. What planning needs of it is `openjepa.agent.protocols.WorldModel`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.jepa import JEPA, Output, Pair, Parts, View, evaluating
from openjepa.nets.dynamics.base import Dynamics, Grid
from openjepa.signals.frames import FrameSignal, Window
from openjepa.world_models.terms import TermsOf


class StateLayout:
    """The layout of a frame's n tokens as the state that a predictor takes: `[..., n, D]` and `[..., *L]`.

    One token is a vector `[D]`, several are tokens `[n, D]`, or a map `[D, h, w]` for predictors of maps.
    """

    def __init__(self, grid: Grid, width: int, maps: bool) -> None:
        self.grid, count = grid, grid[0] * grid[1]
        self.kind = "vector" if count == 1 and not maps else "map" if maps else "tokens"
        self.shape = {"vector": (width,), "map": (width, *grid), "tokens": (count, width)}[self.kind]

    def state(self, tokens: Tensor) -> Tensor:
        if self.kind == "map":
            return tokens.transpose(-1, -2).unflatten(-1, self.grid)
        return tokens.squeeze(-2) if self.kind == "vector" else tokens

    def tokens(self, state: Tensor) -> Tensor:
        if self.kind == "map":
            return state.flatten(-2).transpose(-1, -2)
        return state.unsqueeze(-2) if self.kind == "vector" else state


class PredictionHead(nn.Module):
    """The last layer of predictions `[N, *L]`, as of states: a projector for them alone, or the encoder's last norm."""

    def __init__(
        self, layout: StateLayout, projector: nn.Module | None, finish: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.layout, self.projector = layout, projector
        self._finish = (finish,)  # the encoder's: neither trained nor saved here

    def forward(self, x: Tensor) -> Tensor:
        end = self.projector or self._finish[0]
        return self.layout.state(end(self.layout.tokens(x)))


class WorldJEPA(JEPA):
    """A batch is a `Window`; a state is `[*L]`, what encoder and head make of one frame.

    In `Output`, M counts predicted frames and T is a frame's tokens; `s_x` holds the states of all B * T frames,
    `[B * T, n, D]`.

    Args:
        parts: as a `JEPA`'s; the predictor is a `Dynamics`, hiding a `hiding.future.FutureHiding`.
        layout: of the states.
        terms: what the loss holds besides.
    """

    signal: FrameSignal

    def __init__(self, config: Any, parts: Parts, layout: StateLayout, terms: TermsOf) -> None:
        super().__init__(config, parts)
        self.state_layout, self.terms = layout, terms
        self.future = self.hiding.config

    def forward(self, batch: Any, rng: Rng) -> Output:
        """One training pass over a `Window`.

        Raises:
            UserError: windows, frames or actions of another shape than the model's.
        """
        output = super().forward(batch, rng)
        actions = self.signal.normalise_actions(batch.actions[:, self.signal.stack - 1 :])
        penalty, named = self.terms(self.states(output.s_x[0]), actions)
        return replace(output, loss=output.loss + penalty, terms=output.terms | named)

    def states(self, s: Tensor) -> Tensor:
        """`[B * T, n, D]` of a batch of windows as `[B, T, *L]`."""
        return self.state_layout.state(s.unflatten(0, (-1, self.future.frames)))

    def finish_targets(self, raw: Sequence[Tensor], pairs: Sequence[Pair]) -> list[Tensor]:
        """`[B * T, n, D]` to the frames that are predicted, `[B, M, n, D]`."""
        return [self.everywhere(raw[0])[:, self.future.predicted]]

    def everywhere(self, raw: Tensor) -> Tensor:
        """Targets of all frames, `[B, T, n, D]`."""
        return self.target.normalise(raw).unflatten(0, (-1, self.future.frames))

    def predict(self, s_x: Sequence[Tensor], pairs: Sequence[Pair]) -> list[Tensor]:
        """`[B, M, n, D]`: the teacher-forced predictions, then the rollout's."""
        states, actions = self.states(s_x[0]), pairs[0].condition
        assert actions is not None
        dynamics, future, found = self.dynamics, self.future, []
        if future.forced:
            found.append(dynamics(states[:, :-1], actions))
        if future.rollout:
            steps = future.seen - 1 + future.rollout
            found.append(dynamics.unroll(states[:, : future.seen], actions[:, :steps]))
        return [self.state_layout.tokens(torch.cat(found, 1))]

    def compare(self, prediction: Sequence[Tensor], s_y: Sequence[Tensor], pairs: Sequence[Pair]) -> Tensor:
        """The energy: of teacher forcing plus of the rollout."""
        return torch.stack(list(self.ways(prediction[0], s_y[0]).values())).sum()

    def ways(self, prediction: Tensor, s_y: Tensor) -> dict[str, Tensor]:
        """Energies of predictions `[B, M, n, D]`: `forced`, `rollout`, or both, each the mean over its frames."""
        forced = self.future.frames - 1 if self.future.forced else 0
        parts = {"forced": slice(None, forced), "rollout": slice(forced, None)}
        return {
            way: self.energy.mean(prediction[:, part], s_y[:, part])
            for way, part in parts.items()
            if s_y[:, part].shape[1]
        }

    @property
    def block(self) -> int:
        """Environment steps in one step of the model."""
        return self.signal.block

    @property
    def action_repeat(self) -> bool:
        """Whether plans are to repeat one action through a block, since the model takes the mean alone."""
        return self.signal.block_actions == "mean"

    @property
    def history(self) -> int:
        """The most frames that a prediction looks back on."""
        return cast(Dynamics, self.predictor).history + self.signal.stack - 1

    @property
    def horizon(self) -> int:
        """Steps that it was trained to predict."""
        return self.future.horizon

    @property
    def actions(self) -> Any:
        """The space of one environment action: a `worlds.Box`, or the count of discrete actions."""
        return self.config.condition.space

    @property
    def layout(self) -> Grid:
        """Rows and columns of a state's tokens; (1, 1) of a vector."""
        return self.state_layout.grid

    def encode(self, frames: Tensor, actions: Tensor | None = None) -> Tensor:
        """States `[B, T, *L]` of frames `[B, T, C, H, W]`, whatever the actions between them.

        Each by itself; with `signal.stack` with the frames before it, of which the first state has none.
        """
        view = self.hiding.view(self.signal.stacked(frames).flatten(0, 1))
        return self.state_layout.state(self.represent([view])[0].unflatten(0, frames.shape[:2]))

    def rollout(
        self, state: Tensor, actions: Tensor, z: Tensor | None = None, past: Tensor | None = None
    ) -> Tensor:
        """`[B, S, H, *L]` after each of the actions `[B, S, H, block * A]`, in the environment's units.

        Args:
            state: `[B, T, *L]`, the newest last; equal for all S candidates.
            past: `[B, T-1, block * A]`, between the states; without it the newest state alone is used.

        Raises:
            UserError: `z` is given: this model has one future; or shapes that do not fit.
        """
        if z is not None:
            raise UserError("this world model has one future: it takes no latent variable z")
        return self.dynamics.unroll(*self._past_and_plan(state, actions, past))

    @property
    def dynamics(self) -> Dynamics:
        return cast(Dynamics, self.predictor)

    def _past_and_plan(self, state: Tensor, actions: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """The states that the predictor looks back on, `[B, T, *L]`, and their conditions from the first of them on,
        `[B, S, T - 1 + H, A']`."""
        kept = 1 if past is None else min(state.shape[1], self.dynamics.history)
        state, condition = state[:, -kept:], self.signal.normalise_actions(actions)
        if past is not None and kept > 1:
            before = self.signal.normalise_actions(past[:, 1 - kept :])
            condition = torch.cat([before.unsqueeze(1).expand(-1, condition.shape[1], -1, -1), condition], 2)
        return state, condition

    def layers(self, batch: Any, count: int) -> list[Tensor]:
        """The encoder's last `count` layers on frames `[N, C, H, W]` (of a `Window`: its last), `[N, n, D]` each."""
        view = self._last(batch)
        with evaluating(self), torch.no_grad():
            return self.evaluated.layers(view, count)  # ty: ignore[not-callable]

    def embed(self, batch: Any) -> Tensor:
        """The state of each frame `[N, C, H, W]` (of a `Window`: of its last), mean over its tokens: `[N, D]`."""
        view = self._last(batch)
        with evaluating(self), torch.no_grad():
            return self.represent([view])[0].mean(1)

    def present(self, batch: Any) -> None:
        """Every token of a frame is there."""
        return None

    def _last(self, batch: Window | Tensor | np.ndarray) -> View:
        if isinstance(batch, Window):
            frames = batch.frames[:, -self.signal.stack :]
        else:
            frames = torch.as_tensor(batch).unsqueeze(1)
        return self.hiding.view(self.signal.stacked(frames.to(next(self.parameters()).device))[:, -1])
