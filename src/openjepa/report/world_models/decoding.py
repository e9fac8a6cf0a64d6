"""Tools to look at imagined states: a decoder of pictures, a linear reading of places, held-out windows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openjepa.evals.planning.cloning import encode_clips
from openjepa.evals.regression import Ridge
from openjepa.evals.world_models.decoder import Decoder, fit_decoder
from openjepa.signals.frames import Window
from openjepa.world_models.model import WorldJEPA
from openjepa.world_models.windows import EpisodeWindows

Progress = Callable[[str, int, int], None]

FRAMES = 2048
"""Frames that decoder and reading are fitted on, of episodes that were trained on."""
ROWS = 1024
"""Frames of these for the reading."""
PENALTY = 1e-3
"""Penalty of the reading's ridge, beside features of a total variance of 1."""
SEED = 0


class LinearReading:
    """Physical variables, read off states linearly.

    Args:
        states: `[N, *L]`.
        variables: `[N, V]`.
    """

    def __init__(self, states: Tensor, variables: NDArray) -> None:
        flat = states.flatten(1).double()
        self._mean, self._std = flat.mean(0), flat.std(0, correction=0) + 1e-6
        y = torch.from_numpy(variables.astype(np.float64))
        ridge = Ridge(self._features(flat), y)
        self._read = lambda features: ridge.predict(features, PENALTY)

    def __call__(self, states: Tensor) -> NDArray:
        """`[N, *L]` to `[N, V]`."""
        return self._read(self._features(states.flatten(1).double())).cpu().numpy()

    def _features(self, flat: Tensor) -> Tensor:
        return (flat - self._mean) / self._std / flat.shape[1] ** 0.5


@dataclass(frozen=True, eq=False)
class StateViewer:
    """Tools to look into a world model.

    Attributes:
        decoder: for looking only.
        reading: of the physical variables; `None` where the episodes record none.
        r2: of the reading, for each variable, on held-out windows.
        held_out: windows of episodes that were not trained on.
    """

    model: WorldJEPA
    decoder: Decoder
    reading: LinearReading | None
    r2: list[float]
    held_out: Window

    @classmethod
    def of(cls, model: WorldJEPA, samples: EpisodeWindows, progress: Progress | None = None) -> "StateViewer":
        """Fit what looks; the same every time. The model is left as it is.

        Raises:
            UserError: episodes that do not fit the model, or too few.
        """
        rows, held_out = samples.hold_out()
        count = max(1, FRAMES // samples.windows.steps)
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(SEED))
        window = samples.read(rows[order[:count]])
        if progress is not None:
            progress("fitting a decoder, for looking only", 0, 1)
        states = encode_clips(model, window.frames, window.state)
        decoder = fit_decoder(model, window.frames, states, seed=SEED)
        if not samples.episodes.variables:
            return cls(model, decoder, None, [], held_out)
        given, truth = _known(states, window)
        reading = LinearReading(given[:ROWS], truth[:ROWS])
        there, wanted = _known(encode_clips(model, held_out.frames, held_out.state), held_out)
        missed = np.square(reading(there) - wanted).sum(0)
        spread = np.square(wanted - wanted.mean(0)).sum(0)
        r2 = [1 - m / s if s > 0 else float("nan") for m, s in zip(missed, spread, strict=True)]
        return cls(model, decoder, reading, r2, held_out)

    def encode(self, frames: Any, known: Any) -> Tensor:
        """States `[T, *L]` of an episode's frames `[T, C, H, W]` and physical variables `[T, P]`."""
        return encode_clips(self.model, torch.as_tensor(frames)[None], torch.as_tensor(known)[None])[0]

    @torch.no_grad()
    def follow(self, states: Tensor, actions: Tensor, every: int) -> Tensor:
        """`[K+1, *L]`: imagined after the actions `[K, block * A]`, looking at the true states `[K+1, *L]` at the first
        and then at each `every`-th only."""
        found, history = [states[:1]], self.model.history
        for begin in range(0, len(actions), every):
            first = max(0, begin + 1 - history)
            past = actions[None, first:begin] if begin > first else None
            ahead = actions[None, None, begin : begin + every]
            found.append(self.model.rollout(states[None, first : begin + 1], ahead, past=past)[0, 0])
        return torch.cat(found)


def _known(states: Tensor, window: Window) -> tuple[Tensor, NDArray]:
    """States `[N, *L]` and variables `[N, V]` of all frames whose variables are known."""
    truth = window.state.flatten(0, 1)
    whole = truth.isfinite().all(1)
    return states.flatten(0, 1)[whole], truth[whole].numpy()
