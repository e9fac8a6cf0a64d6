"""What tasks without labels say of the features, beside what they said at step 0."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from openjepa.health.trivial import Reading, is_world


@dataclass(frozen=True)
class FeatureTask:
    """How a task is told and counted.

    Attributes:
        words: what its score says.
        weight: in the score over all tasks.
        ratio: whether its gain is the logarithm of a ratio, not a difference: chance lies near 0.
    """

    words: str
    weight: float
    ratio: bool = False

    def gain(self, first: float, now: float) -> float:
        """How much it has risen from step 0 to now."""
        return math.log(max(now, 1e-9) / max(first, 1e-9)) if self.ratio else now - first

    def error(self, first: float, now: float, of_difference: float) -> float:
        """The gain's standard error."""
        return of_difference / math.sqrt(max(now * first, 1e-18)) if self.ratio else of_difference


TASKS = {
    "look": FeatureTask("neighbours look alike", 1.0),
    "view": FeatureTask("a part finds its whole", 0.05, ratio=True),
    "coarse": FeatureTask("the coarse form is decoded", 0.1),
}
OF_A_WORLD = {"coarse": "where things are is decoded"}
"""Words for what a world model's state is asked."""
CLEARLY = 2.0
"""Standard errors beyond which a difference is one."""
BETTER = 0.05
"""The score above which features are better ..."""
WORSE = -0.02
"""... and below which they are worse."""


@dataclass(frozen=True)
class Gain:
    """The tasks at one reading against those at step 0.

    Attributes:
        step: of the reading.
        parts: name of the task: its score at step 0, now, and the standard error of the difference.
        of_world: whether it is a world model that was asked.
    """

    step: int
    parts: dict[str, tuple[float, float, float]]
    of_world: bool = False

    @property
    def score(self) -> float:
        """The weighted mean of what each task gained."""
        gained = {name: TASKS[name].gain(first, now) for name, (first, now, _) in self.parts.items()}
        return sum(TASKS[name].weight * value for name, value in gained.items()) / self._weights

    @property
    def error(self) -> float:
        """The score's standard error."""
        errors = [TASKS[name].weight * TASKS[name].error(*part) for name, part in self.parts.items()]
        return math.hypot(*errors) / self._weights

    @property
    def _weights(self) -> float:
        return sum(TASKS[name].weight for name in self.parts)

    @property
    def better(self) -> bool:
        return self.score > max(BETTER, CLEARLY * self.error)

    @property
    def worse(self) -> bool:
        return not self.score >= min(WORSE, -CLEARLY * self.error)  # also where it cannot be computed

    @property
    def words(self) -> str:
        """`another view of a sample is found: 0.31 (at step 0: 0.17)`, by task."""
        words = OF_A_WORLD if self.of_world else {}
        told = {words.get(name, TASKS[name].words): part for name, part in self.parts.items()}
        return ", ".join(
            f"{words}: {now:.2f} (at step 0: {first:.2f})" for words, (first, now, _) in told.items()
        )


def gain(history: Sequence[Reading]) -> Gain | None:
    """The latest measurement of tasks against step 0; `None` where there are not both."""
    found = _asked(history)
    return _between(found[0], found[-1]) if len(found) > 1 and found[0]["step"] == 0 else None


def gain_at_best(history: Sequence[Reading]) -> Gain | None:
    """The best so far."""
    found = _asked(history)
    return max((_between(found[0], one) for one in found[1:]), key=lambda one: one.score, default=None)


def worse_since(history: Sequence[Reading]) -> int | None:
    """The step from which on every measurement was worse than at the start; `None` where the last is not."""
    found, since = _asked(history), None
    for reading in reversed(found[1:]):
        if not _between(found[0], reading).worse:
            break
        since = int(reading["step"])
    return since


def _asked(history: Sequence[Reading]) -> list[Reading]:
    return [reading for reading in history if any(f"task/{name}" in reading for name in TASKS)]


def _between(first: Reading, now: Reading) -> Gain:
    keys = {name: {f"task/{name}", f"task/{name}_error"} for name in TASKS}
    parts = {
        name: (first[f"task/{name}"], now[f"task/{name}"], _error(first, now, f"task/{name}"))
        for name in TASKS
        if keys[name] <= first.keys() & now.keys()
    }
    return Gain(int(now["step"]), parts, is_world(now))


def _error(first: Reading, now: Reading, key: str) -> float:
    """Standard error of the difference: over the same samples where both were asked by one monitor."""
    unpaired = math.hypot(first[f"{key}_error"], now[f"{key}_error"])
    return now.get(f"{key}_change", unpaired)
