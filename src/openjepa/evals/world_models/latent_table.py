"""The table of a latent variable's controls, each with its number, its bound and its verdict."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from openjepa.common.text import aligned
from openjepa.latents.controls import Point

COUNTS = (1, 2, 4, 8, 16)
"""K, of best-of-K."""


@dataclass(frozen=True)
class Control:
    """One number and what it says.

    Attributes:
        wanted: in words, e.g. `at least 2`.
        holds: whether it is so; `None` where it is a description rather than a test.
        verdict: one sentence.
    """

    name: str
    value: float
    wanted: str
    holds: bool | None
    verdict: str


@dataclass(frozen=True)
class BestOfK:
    """Errors of the best of K, for each K of `COUNTS`, by z and of K fixed vectors; of one prediction without z."""

    latent: tuple[float, ...]
    codebook: tuple[float, ...]
    deterministic: float


@dataclass(frozen=True)
class LatentTable:
    """All controls of one model.

    Attributes:
        transitions: held-out steps that they were measured on.
        curve: errors of predictions from z, of predictors fitted at other capacities, and of this model.
    """

    name: str
    transitions: int
    controls: tuple[Control, ...]
    best: BestOfK
    curve: tuple[Point, ...]

    @property
    def holds(self) -> bool:
        """Whether no control fails."""
        return all(control.holds is not False for control in self.controls)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self) | {"holds": self.holds, "counts": list(COUNTS)}

    def __str__(self) -> str:
        head = ["control", "value", "wanted", "", "verdict"]
        marks = {True: "holds", False: "FAILS", None: ""}
        rows = [[c.name, f"{c.value:.3g}", c.wanted, marks[c.holds], c.verdict] for c in self.controls]
        best = [["best of", *map(str, COUNTS)]]
        best += [["z", *_numbers(self.best.latent)], ["codebook", *_numbers(self.best.codebook)]]
        best += [["without z", f"{self.best.deterministic:.3g}", *[""] * (len(COUNTS) - 1)]]
        curve = [["capacity", "error", "share of what z can tell"]]
        curve += [[point.name, f"{point.error:.3g}", f"{point.share:.0%}"] for point in self.curve]
        title = f"Controls of z: {self.name}, {self.transitions:,} held-out steps"
        return "\n\n".join([title, *("\n".join(aligned(table)) for table in ([head, *rows], best, curve))])


def _numbers(values: Sequence[float]) -> list[str]:
    return [f"{value:.3g}" for value in values]
