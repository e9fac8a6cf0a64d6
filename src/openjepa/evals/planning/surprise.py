"""Violation of expectation: is a world model surprised by what cannot be?

Surprise is the prediction error (LeWM, arXiv:2603.19312, section 5): at every step of a clip the squared distance, mean
over the state, between the state that the model predicts from the true ones so far and the state that came; of a clip,
the greatest. A clip is judged without knowing where in it something happens. A model that takes proprioception
is given it here too, and judged by what is seen alone: the number itself would give a jump away.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from openjepa.agent.perception import device_of, encode, proprio_dim_of
from openjepa.errors import UserError
from openjepa.evals.planning.clips import Violation, make_clips
from openjepa.evals.planning.cloning import encode_clips
from openjepa.evals.planning.protocol import check_fit
from openjepa.evals.runs import untrained
from openjepa.evals.table import Z95
from openjepa.world_models.model import WorldJEPA
from openjepa.worlds import World

if TYPE_CHECKING:
    from openjepa.worlds.third_party import ThirdParty

CLIPS_AT_ONCE = 64


@dataclass(frozen=True)
class Surprise:
    """The score of one measure in telling impossible clips from possible ones.

    Attributes:
        row: `model`; `last state`, which predicts no change; `random init`, the model untrained.
        violation: `teleport` or `wall`.
        auroc: chance that an impossible clip surprises more than a possible one; 0.5 is blind.
        possible, impossible: how many clips.
    """

    row: str
    violation: str
    auroc: float
    possible: int
    impossible: int

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval's ends."""
        return auroc_interval(self.auroc, self.possible, self.impossible)


@dataclass(frozen=True)
class SurpriseTable:
    """All scores, row by row."""

    scores: tuple[Surprise, ...]

    def score(self, row: str, violation: str) -> Surprise:
        """Raises KeyError where there is none."""
        return {(score.row, score.violation): score for score in self.scores}[row, violation]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the intervals included."""
        return {"scores": [asdict(score) | {"interval": list(score.interval)} for score in self.scores]}

    def __str__(self) -> str:
        lines = ["Surprise at what cannot be: AUROC of the greatest prediction error, 95 % intervals"]
        for score in self.scores:
            low, high = score.interval
            counts = f"{score.impossible} impossible, {score.possible} possible clips"
            lines.append(
                f"{score.violation:<10}{score.row:<13}{score.auroc:.3f} [{low:.3f}, {high:.3f}]  {counts}"
            )
        return "\n".join(lines)


def surprise(
    model: WorldJEPA,
    world: "World | ThirdParty",
    *,
    violations: Sequence[Violation] = ("teleport", "wall"),
    clips: int = 100,
    steps: int = 6,
    seed: int = 0,
    name: str = "the model",
) -> SurpriseTable:
    """Judge clips of a world by prediction error, beside two controls that know nothing of its dynamics.

    Args:
        clips: impossible ones, of each violation.
        steps: of the model in a clip.
        seed: of the clips and of the random initialisation.
        name: what errors call the model.

    Raises:
        UserError: a world that the model was not trained on, or none of our own; one that has other physical variables
            than those that hold the model's proprioception; see `make_clips`.
    """
    if not isinstance(world, World):
        raise UserError(
            f"{world.name} cannot be put into a state, as impossible clips need: leave surprise out"
        )
    check_fit(world, model, name)
    random, found = cast(WorldJEPA, untrained(model.config, seed)), []
    for number, violation in enumerate(violations):
        made = make_clips(world, violation, clips, steps, model.block, np.random.default_rng([seed, number]))
        measures = {
            "model": errors(model, made.frames, made.actions, made.state),
            "last state": changes(model, made.frames),
            "random init": errors(random, made.frames, made.actions, made.state),
        }
        for row, values in measures.items():
            score, possible = values.amax(1).numpy(), made.possible
            value = auroc(score[~possible], score[possible])
            found.append(Surprise(row, violation, value, int(possible.sum()), int((~possible).sum())))
    return SurpriseTable(tuple(found))


@torch.no_grad()
def errors(model: WorldJEPA, frames: Tensor, actions: Tensor, known: Tensor | None = None) -> Tensor:
    """One-step prediction errors `[N, T-1]` of clips `[N, T, C, H, W]` with actions `[N, T-1, block * A]`.

    Args:
        known: `[N, T, P]`, physical variables, for models that take proprioception.
    """
    sides = (frames, actions) if known is None else (frames, actions, known)
    parts = zip(*(side.split(CLIPS_AT_ONCE) for side in sides), strict=True)
    return torch.cat([_errors(model, *part) for part in parts]).cpu()


@torch.no_grad()
def changes(model: WorldJEPA, frames: Tensor) -> Tensor:
    """Distance of each state from the one before, `[N, T-1]`."""
    states = encode_clips(model, frames)
    return _apart(model, states[:, 1:], states[:, :-1]).cpu()


def auroc(positive: ArrayLike, negative: ArrayLike) -> float:
    """Chance that a positive's value exceeds a negative's; ties count half."""
    negative = np.sort(np.asarray(negative, np.float64))
    below = np.searchsorted(negative, positive, "left") + np.searchsorted(negative, positive, "right")
    return float(below.mean() / (2 * len(negative)))


def auroc_interval(value: float, positives: int, negatives: int, z: float = Z95) -> tuple[float, float]:
    """Score interval of an AUROC: all values whose own standard error reaches `value` (Newcombe, 2006, method 5).

    The variance is Hanley and McNeil's (1982) with both sizes replaced by their mean; unlike intervals around the
    estimate, this one has a width at 0 and 1.
    """
    mean = (positives + negatives) / 2

    def beyond(theta: float) -> bool:
        shape = 2 * mean - 1 - 3 * (mean - 1) / ((2 - theta) * (1 + theta))
        variance = theta * (1 - theta) * shape / (positives * negatives)
        return abs(theta - value) > z * max(variance, 0.0) ** 0.5

    def end(limit: float) -> float:
        inner, outer = value, limit
        if not beyond(outer):
            return outer
        for _ in range(60):
            middle = (inner + outer) / 2
            inner, outer = (inner, middle) if beyond(middle) else (middle, outer)
        return inner

    return end(0.0), end(1.0)


def _errors(model: WorldJEPA, frames: Tensor, actions: Tensor, known: Tensor | None = None) -> Tensor:
    device = device_of(model)
    states, actions, found = encode(model, frames.to(device), known), actions.to(device), []
    for t in range(states.shape[1] - 1):
        first = max(0, t + 1 - model.history)
        past = actions[:, first:t] if t > first else None
        found.append(model.rollout(states[:, first : t + 1], actions[:, None, t : t + 1], past=past)[:, 0, 0])
    return _apart(model, torch.stack(found, 1), states[:, 1:])


def _apart(model: WorldJEPA, one: Tensor, other: Tensor) -> Tensor:
    """Squared distance `[N, T]` of states `[N, T, *L]`, mean over them; without proprioception."""
    seen = slice(-proprio_dim_of(model) or None)
    return (one - other)[..., seen].square().flatten(2).mean(2)
