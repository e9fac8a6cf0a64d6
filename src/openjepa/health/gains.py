"""What tasks without labels say of the features, beside what they said at step 0."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from openjepa.health.trivial import Reading

TASKS = {
    "view": ("another view of a sample is found", 1.0),
    "turn": ("how a sample is turned is told", 1.0),
    "coarse": ("its coarse form is decoded", 1.0),
}
"""Name, in words, and its weight in the score."""
CLEARLY = 2.0
"""Standard errors beyond which a difference is one."""
BETTER = 0.01
WORSE = -0.01
"""Of the score."""
LOST = -0.01


@dataclass(frozen=True)
class Gain:
    """The tasks at one reading against those at step 0.

    Attributes:
        step: of the reading.
        parts: name of the task: its score at step 0, now, and the standard error of the difference.
    """

    step: int
    parts: dict[str, tuple[float, float, float]]

    @property
    def score(self) -> float:
        """The weighted sum of what each task gained."""
        return sum(TASKS[name][1] * (now - first) for name, (first, now, _) in self.parts.items())

    @property
    def error(self) -> float:
        """The score's standard error."""
        return math.sqrt(sum((TASKS[name][1] * error) ** 2 for name, (_, _, error) in self.parts.items()))

    @property
    def better(self) -> bool:
        return self.score > max(BETTER, CLEARLY * self.error)

    @property
    def worse(self) -> bool:
        return not self.score >= min(WORSE, -CLEARLY * self.error)  # also where it cannot be computed

    @property
    def lost(self) -> bool:
        """Whether there is any evidence that something was lost."""
        return not self.score >= LOST

    @property
    def words(self) -> str:
        """`another view of a sample is found: 0.31 (at step 0: 0.17)`, by task."""
        said = [
            f"{TASKS[name][0]}: {now:.2f} (at step 0: {first:.2f})"
            for name, (first, now, _) in self.parts.items()
        ]
        return ", ".join(said)


def gain(history: Sequence[Reading]) -> Gain | None:
    """The latest measurement of tasks against step 0; `None` where there are not both."""
    found = [reading for reading in history if any(f"task/{name}" in reading for name in TASKS)]
    if len(found) < 2 or found[0]["step"] != 0:
        return None
    return _between(found[0], found[-1])


def gain_at_best(history: Sequence[Reading]) -> Gain | None:
    """The best so far."""
    found = [reading for reading in history if any(f"task/{name}" in reading for name in TASKS)]
    gains = [_between(found[0], reading) for reading in found[1:]]
    return max(gains, key=lambda one: one.score, default=None)


def _between(first: Reading, now: Reading) -> Gain:
    keys = {name: {f"task/{name}", f"task/{name}_error"} for name in TASKS}
    names = [name for name in TASKS if keys[name] <= first.keys() & now.keys()]
    parts = {
        name: (
            first[f"task/{name}"],
            now[f"task/{name}"],
            math.hypot(first[f"task/{name}_error"], now[f"task/{name}_error"]),
        )
        for name in names
    }
    return Gain(int(now["step"]), parts)
