"""The base of world models' predictors: from states and conditions to the next states.

A state is an encoder's output for one frame, of any shape `*L`: a vector `[D]`, a map `[D, h, w]`, tokens `[N, D]`.
The condition of a step is `[A']` numbers, `actions` below: the (block of) actions, and where a recipe has them
proprioception or a latent variable, one after the other.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from openjepa.errors import UserError
from openjepa.nets.transformer import spread

Grid = tuple[int, int]


class Memory:
    """A predictor's memory of the steps it has seen.

    Attributes:
        steps: how many.
        parts: keys and values per attention layer (or, of several predictors, one memory each).
    """

    def __init__(self, parts: list[Any]) -> None:
        self.steps, self.parts = 0, parts


class Borrowed(nn.Module):
    """A module that belongs to another: called here, trained and saved there."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._owner = (module,)  # a tuple, so that its parameters are not registered twice

    def forward(self, x: Tensor) -> Tensor:
        return self._owner[0](x)


class Dynamics(nn.Module, ABC):
    """Next states from states and actions.

    Args:
        shape: `L`, of one state.
        condition_dim: A', the numbers of a condition.
        history: the most states it looks back on, the newest included.
        head: what every prediction ends in, `[N, *L] -> [N, *L]` (the encoder's last norm, a projector); `None` for
            nothing. Give `Borrowed(encoder.norm)` for a module that the encoder owns.
    """

    def __init__(
        self, shape: tuple[int, ...], condition_dim: int, history: int, head: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.shape, self.condition_dim, self.history = shape, condition_dim, history
        self.head = nn.Identity() if head is None else head

    @abstractmethod
    def predict(self, states: Tensor, actions: Tensor, memory: Memory, newest: bool) -> Tensor:
        """Predictions before the head: `[N, k, *L]` and `[N, k, A']`, k steps after those in `memory`, give `[N, k,
        *L]`, or the last of them alone, `[N, 1, *L]`.

        Adds the steps' keys and values to `memory`, which may have fewer rows than N (see `KeysValues`).
        """

    def memory(self) -> Memory:
        """An empty memory."""
        return Memory([])

    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        """Teacher-forced: `[B, T, *L]` and `[B, T, A']` give `[B, T, *L]`, where number t predicts state t + 1 from
        states and actions up to t.

        A predictor that looks back on one state predicts from each by itself.

        Raises:
            UserError: shapes that do not fit, or more steps than the history.
        """
        self._check(states, actions, states.shape[1] == actions.shape[1], "as many as states")
        if self.history > 1:
            return self.extend(states, actions, self.memory())
        alone = [side.flatten(0, 1).unsqueeze(1) for side in (states, actions)]
        return self.extend(alone[0], alone[1], self.memory()).reshape(states.shape)

    def unroll(self, states: Tensor, actions: Tensor) -> Tensor:
        """A rollout on the predictor's own predictions, with gradients: `[B, T, *L]` observed states and `[B, T - 1 +
        H, A']` actions, the T - 1 past ones first, give the H states that follow, `[B, H, *L]`.

        For S candidates a problem: actions `[B, S, T - 1 + H, A']` give `[B, S, H, *L]`. The past, equal for all
        candidates, is read from the first of them and computed once a problem. Steps are remembered while they fit in
        the history; from then on the window slides, and its steps, whose place and context change, are computed anew.
        So the result is that of `forward` on the last `history` states, repeated.

        Raises:
            UserError: shapes that do not fit.
        """
        observed = states.shape[1]
        self._check(states, actions, actions.shape[-2] >= observed, "at least as many as states")
        past = actions if actions.dim() == 3 else actions[:, 0]
        condition = actions if actions.dim() == 3 else actions.flatten(0, 1)
        memory, begin = self.memory(), max(0, observed - self.history)
        if begin < observed - 1:
            self.advance(states[:, begin:-1], past[:, begin : observed - 1], memory, newest=True)
        known = list(states.unbind(1))
        for now in range(observed - 1, condition.shape[1]):
            if memory.steps == self.history:
                memory = self.memory()
            begin = now if memory.steps else max(0, now + 1 - self.history)
            window = torch.stack([spread(state, len(condition)) for state in known[begin:]], 1)
            known.append(self.extend(window, condition[:, begin : now + 1], memory, newest=True).squeeze(1))
        future = torch.stack(known[observed:], 1)
        return future if actions.dim() == 3 else future.unflatten(0, actions.shape[:2])

    def extend(self, states: Tensor, actions: Tensor, memory: Memory, newest: bool = False) -> Tensor:
        """Predictions for k steps that follow those in `memory`, which is added to: `[N, k, *L]`, or the last alone."""
        raw = self.advance(states, actions, memory, newest)
        return self.head(raw.flatten(0, 1)).unflatten(0, raw.shape[:2])

    def advance(self, states: Tensor, actions: Tensor, memory: Memory, newest: bool) -> Tensor:
        """`predict`, counting the steps."""
        steps = memory.steps + states.shape[1]
        if steps > self.history:
            raise UserError(
                f"{steps} steps at once, but the predictor looks back on {self.history}: "
                f"train on windows of {self.history + 1} frames, or raise its history"
            )
        prediction = self.predict(states, actions, memory, newest)
        memory.steps = steps
        return prediction

    def _check(self, states: Tensor, actions: Tensor, enough: bool, wanted: str) -> None:
        if states.shape[2:] != self.shape:
            raise UserError(
                f"the predictor was built for states of shape {list(self.shape)}, these have {list(states.shape[2:])}"
            )
        if actions.shape[-1] != self.condition_dim:
            raise UserError(
                f"the predictor was built for conditions of {self.condition_dim} numbers a step, "
                f"these have {actions.shape[-1]}"
            )
        if len(states) != len(actions) or not enough:
            raise UserError(
                f"states {list(states.shape)} and actions {list(actions.shape)} do not fit: "
                f"give {wanted}, for equally many samples"
            )


class Markov(Dynamics):
    """A predictor to which the last state is all there is."""

    def __init__(self, shape: tuple[int, ...], condition_dim: int, head: nn.Module | None = None) -> None:
        super().__init__(shape, condition_dim, 1, head)

    @abstractmethod
    def step(self, state: Tensor, action: Tensor) -> Tensor:
        """`[N, *L]` and `[N, A']` give `[N, *L]`, before the head."""

    def predict(self, states: Tensor, actions: Tensor, memory: Memory, newest: bool) -> Tensor:
        return self.step(states[:, 0], actions[:, 0]).unsqueeze(1)
