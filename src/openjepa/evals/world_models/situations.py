"""Situations of recorded episodes for open-loop evaluation: what came before, the actions taken, and what came then."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openjepa.evals.features import Progress
from openjepa.evals.planning.cloning import encode_clips
from openjepa.evals.spaces import Components
from openjepa.world_models.model import WorldJEPA
from openjepa.worlds.episodes import Episodes

COMPONENTS = 256
"""Principal components of states that are compared, where states have more numbers."""
SAMPLED = 256
"""Windows that components are learned from."""
ENCODED = 64
"""Windows that are encoded at a time."""


class StateComponents:
    """What is compared of states `[..., *L]`: all their numbers, or of many the principal components, without
    proprioception, which a picture does not tell.

    Args:
        states: `[n, *L]`, that they are learned from.

    Attributes:
        notes: how much of the states' variance they hold, where that is not all.
    """

    def __init__(self, states: Tensor, proprio_dim: int) -> None:
        self._axes, self._proprio_dim = states.dim() - 1, proprio_dim
        flat = self._flat(states)
        self._mean, self._leading, self.notes = flat.mean(0), None, []
        if flat.shape[1] > COMPONENTS:
            leading = self._leading = Components.of(flat, COMPONENTS)
            share = float(leading.power.sum() / flat.var(0, correction=0).sum())
            self.notes = [
                f"States are compared by {len(leading.power)} principal components, which hold {share:.1%} of their "
                "variance."
            ]

    def __call__(self, states: Tensor) -> Tensor:
        """`[..., d]`."""
        flat = self._flat(states)
        return flat - self._mean if self._leading is None else self._leading.project(flat)

    def with_proprioception(self, states: Tensor) -> Tensor:
        """The same, with the proprioception that states hold beside it."""
        if not self._proprio_dim:
            return self(states)
        of_token = states if self._axes == 1 else states[..., 0, :]
        return torch.cat([self(states), of_token[..., -self._proprio_dim :]], -1)

    def _flat(self, states: Tensor) -> Tensor:
        seen = states[..., : -self._proprio_dim] if self._proprio_dim else states
        return seen.flatten(-self._axes).float()


@dataclass(frozen=True, eq=False)
class Situations:
    """N situations as they are compared, K steps ahead.

    Attributes:
        before, now: `[N, d]`, states a step before, and now.
        later: `[N, K, d]`.
        read_now, read_later: the same with what else is read off states.
        actions: `[N, K, block * A]`.
        known: `[N, 2 + K, P]`, physical variables before, now and later; NaN where they are not known.
        episode: `[N]`.
    """

    before: Tensor
    now: Tensor
    later: Tensor
    read_now: Tensor
    read_later: Tensor
    actions: Tensor
    known: Tensor
    episode: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.now)

    @property
    def groups(self) -> Tensor:
        """`[N]`, the episodes counted from 0."""
        return torch.from_numpy(np.unique(self.episode, return_inverse=True)[1])


Read = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""States up to now `[n, m, *L]` and later `[n, K, *L]`, actions between the former and those taken from now on,
physical variables `[n, T, P]`."""


class SituationWindows:
    """Windows of episodes, drawn by a seed, that begin with what the model looks back on.

    Attributes:
        ahead: K.
        episodes: how many they are of.

    Raises:
        UserError: no episode is long enough.
    """

    def __init__(self, model: WorldJEPA, episodes: Episodes, ahead: int, most: int, seed: int) -> None:
        self.model, self.ahead, self._stack = model, ahead, model.signal.stack - 1
        self._past = max(2 + self._stack, model.history)
        """Frames up to now; of two states at least, since regressions are given velocities."""
        self._windows = episodes.windows(self._past + ahead, model.block)
        order = np.random.default_rng([seed, len(episodes)]).permutation(len(self._windows))
        self._rows = np.sort(order[:most])
        self.episodes = len(np.unique(self._windows.episode[self._rows]))

    def read(self, rows: NDArray[np.int64]) -> Read:
        """The windows number `rows`."""
        window, first = self._windows.read(self._rows[rows]), self._stack
        states = encode_clips(self.model, window.frames, window.state)[:, first:]
        seen, actions = self._past - first, window.actions.to(states.device)
        past, taken = actions[:, first : self._past - 1], actions[:, self._past - 1 :]
        return states[:, :seen], states[:, seen:], past, taken, window.state

    def read_all(self) -> Iterator[Read]:
        """All windows, some at a time."""
        for start in range(0, len(self._rows), ENCODED):
            yield self.read(np.arange(start, min(start + ENCODED, len(self._rows))))

    def sample(self) -> Tensor:
        """States `[n, *L]` of some windows."""
        rows = np.unique(np.linspace(0, len(self._rows) - 1, SAMPLED).astype(int))
        parts = [self.read(some) for some in np.array_split(rows, -(-len(rows) // ENCODED))]
        return torch.cat([torch.cat([seen, later], 1).flatten(0, 1) for seen, later, *_ in parts])

    def situations(self, components: StateComponents, progress: Progress | None) -> Situations:
        parts, done = [], 0
        for seen, later, _, actions, known in self.read_all():
            parts.append(
                (
                    components(seen[:, -2]),
                    components(seen[:, -1]),
                    components(later),
                    components.with_proprioception(seen[:, -1]),
                    components.with_proprioception(later),
                    actions,
                    known[:, self._past - 2 :],
                )
            )
            done += len(seen)
            if progress is not None:
                progress("encoding windows", done, len(self._rows))
        joined = [torch.cat(side).cpu() for side in zip(*parts, strict=True)]
        return Situations(*joined, self._windows.episode[self._rows])
