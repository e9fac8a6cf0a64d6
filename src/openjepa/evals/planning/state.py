"""Physical variables read off the states: ridge regression of each,  beside random initialisation and raw pixels.

Fitted on episodes that the model was trained on, tested on those that were held out from it: never on other windows of
the same episode. Where a model takes proprioception, it is left out: what is given need not be read off. The
strength of the ridge is chosen for each variable on a tenth of the fitting episodes.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from openjepa.errors import UserError
from openjepa.evals.features import Progress
from openjepa.evals.planning.cloning import encode_clips
from openjepa.evals.regression import GroupedRidge
from openjepa.evals.runs import untrained
from openjepa.evals.tasks import Variables, r_squared, resampled
from openjepa.signals.images.classical import PIXEL_SIDE
from openjepa.world_models.model import WorldJEPA
from openjepa.world_models.windows import EpisodeWindows


@dataclass(frozen=True)
class Fit:
    """The fit of one variable to one kind of feature.

    Attributes:
        row: `model`, `random init`, `raw pixels`.
        variable: its name; of angles sine and cosine are fitted.
        r2: of held-out episodes, 1 - SSE / SST; 0 is what their mean explains, negative is worse.
        low, high: 95 % interval, of resampled test episodes.
    """

    row: str
    variable: str
    r2: float
    low: float
    high: float


@dataclass(frozen=True)
class StateTable:
    """All fits, row by row.

    Attributes:
        frames: how many successive frames' features were given at a time.
        fitted, tested: episodes.
    """

    fits: tuple[Fit, ...]
    frames: int
    fitted: int
    tested: int

    def fit(self, row: str, variable: str) -> Fit:
        """Raises KeyError where there is none."""
        return {(fit.row, fit.variable): fit for fit in self.fits}[row, variable]

    def to_dict(self) -> dict[str, Any]:
        """Plain data; what is not a number is null."""
        fits = [
            {key: None if value != value else value for key, value in asdict(fit).items()}
            for fit in self.fits
        ]
        return asdict(self) | {"fits": fits}

    def __str__(self) -> str:
        lines = [
            f"Physical state from {self.frames} frame{'s' * (self.frames > 1)}: R² on {self.tested} held-out episodes "
            f"of a ridge regression on {self.fitted}, 95 % intervals over episodes"
        ]
        wide = max(len(fit.variable) for fit in self.fits)
        for fit in self.fits:
            lines.append(
                f"{fit.variable:<{wide}}  {fit.row:<12}{fit.r2:6.3f} [{fit.low:.3f}, {fit.high:.3f}]"
            )
        return "\n".join(lines)


StateFeatures = Callable[[Tensor], Tensor]
"""Features `[N, d]` of successive frames `[N, T, C, H, W]`."""


def probe_state(
    model: WorldJEPA,
    samples: EpisodeWindows,
    *,
    frames: int = 1,
    most: int = 10_000,
    seed: int = 0,
    progress: Progress | None = None,
) -> StateTable:
    """Fit and test.

    Args:
        samples: the run's episodes (see `cloning.open_windows`).
        frames: successive frames, a model step apart, whose features are joined: 2 where velocities matter.
        most: the most samples to fit on, and to test on; spread over as many episodes as there are.
        seed: of the random initialisation and of all draws.

    Raises:
        UserError: episodes without physical variables, or too few or too short for this.
    """
    if frames < 1:
        raise UserError(f"frames={frames}: at least 1 is looked at")
    if not samples.episodes.variables:
        raise UserError(f"{samples.name} records no physical variables: there is nothing to probe for")
    train, test = (
        _Part(samples, numbers.tolist(), model.block, frames, most, seed) for numbers in samples.split()
    )
    random = cast(WorldJEPA, untrained(model.config, seed))
    rows: dict[str, StateFeatures] = {
        "model": lambda x: _states(model, x),
        "random init": lambda x: _states(random, x),
        "raw pixels": _pixels,
    }
    fits: list[Fit] = []
    for done, (row, features) in enumerate(rows.items()):
        if progress is not None:
            progress("reading physical state", done, len(rows))
        ridge = GroupedRidge(
            train.features(features), torch.from_numpy(train.targets), torch.from_numpy(train.episode)
        )
        fits += _fits(row, train.names, ridge(test.features(features)), test)
    return StateTable(tuple(fits), frames, train.episodes, test.episodes)


class _Part:
    """Samples of some episodes: up to `most`, evenly from each.

    Attributes:
        targets: `[N, V]`, with sine and cosine in the place of angles.
        episode: `[N]`, counted from 0.
    """

    def __init__(
        self, samples: EpisodeWindows, numbers: list[int], block: int, frames: int, most: int, seed: int
    ) -> None:
        self._samples, self._numbers, self.episodes = samples, numbers, len(numbers)
        random, span = np.random.default_rng([seed, len(numbers)]), (frames - 1) * block
        share = max(1, most // len(numbers))
        self._offsets = np.arange(frames) * block
        self._starts, states, episode = [], [], []
        for i, number in enumerate(numbers):
            given = samples.episodes[number].state
            able = np.flatnonzero(np.isfinite(given).all(1))
            able = able[able >= span]  # of the last frame, whose variables are asked for
            chosen = np.sort(random.permutation(able)[:share])
            self._starts.append(chosen - span)
            states.append(given[chosen])
            episode.append(np.full(len(chosen), i))
        self.episode = np.concatenate(episode)
        if len(np.unique(self.episode)) < 2:
            raise UserError(
                f"{samples.name}: {len(np.unique(self.episode))} of {len(numbers)} episodes have {frames} frames with "
                "known state: give more or longer episodes"
            )
        self.names, self.targets = targets_of(samples.episodes.variables, np.concatenate(states))

    def features(self, features: StateFeatures) -> Tensor:
        """`[N, d]`."""
        found = []
        for number, start in zip(self._numbers, self._starts, strict=True):
            if len(start):
                rows = (start[:, None] + self._offsets).ravel()
                seen = torch.from_numpy(self._samples.episodes[number].frames[rows])
                found.append(features(seen.unflatten(0, (len(start), -1))).float())
        return torch.cat(found)


def targets_of(variables: Sequence[str], states: NDArray) -> tuple[list[str], NDArray]:
    """Names and values `[N, V']` of variables `[N, V]`, with sine and cosine in the place of angles."""
    names: list[str] = []
    columns: list[NDArray] = []
    for name, column in zip(variables, states.T.astype(np.float64), strict=True):
        if ("angle" in name and "veloc" not in name) or name == "theta":
            names += [f"sin {name}", f"cos {name}"]
            columns += [np.sin(column), np.cos(column)]
        else:
            names.append(name)
            columns.append(column)
    return names, np.stack(columns, 1)


def _pixels(frames: Tensor) -> Tensor:
    """Colours, averaged down to at most 32 rows and columns."""
    side = min(PIXEL_SIDE, *frames.shape[-2:])
    return adaptive_avg_pool2d(frames.flatten(0, 1).float() / 255, side).reshape(len(frames), -1)


def _states(model: WorldJEPA, frames: Tensor) -> Tensor:
    """All states of which every frame is there; of too few frames the last."""
    whole = min(model.config.signal.stack, frames.shape[1]) - 1
    return encode_clips(model, frames)[:, whole:].flatten(1).cpu()


def _fits(row: str, names: Sequence[str], predicted: Tensor, test: "_Part") -> list[Fit]:
    """R² and its 95 % interval, from resampled episodes, of each variable; NaN where it never changes."""
    parts = Variables().parts(predicted, torch.from_numpy(test.targets))
    values = r_squared(parts.sum(0)).tolist()
    ends = resampled(parts.numpy(), test.episode, lambda sums: r_squared(torch.from_numpy(sums)).numpy())
    return [Fit(row, name, *found) for name, *found in zip(names, values, *map(np.ravel, ends), strict=True)]
