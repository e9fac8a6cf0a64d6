"""Verdicts against truths, thresholds fitted on half of the faults and tested on the other half."""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.verdicts.cases import OF, Case
from benchmarks.verdicts.measure import Truth
from openjepa.health import Verdict, judge
from openjepa.health.gains import TASKS, Gain, gain

TRUTHS = ("collapsed", "worse", "no better", "learned")
WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.4, 1.0)
"""Of a task in the score, tried on the half that is fitted."""
UNTRUE = 0.05
"""Of "better", allowed."""


@dataclass(frozen=True)
class Ended:
    """A run, what is true of it and what was said of it at each reading."""

    case: Case
    truth: Truth
    readings: list[dict[str, float]]
    verdicts: list[Verdict]

    @property
    def fitted(self) -> bool:
        """Whether its fault is of the half that thresholds may be fitted on: every other one."""
        return OF[self.case.recipe].index(self.case.fault) % 2 == 0

    @property
    def word(self) -> str:
        """The final verdict's."""
        return self.verdicts[-1].word

    @property
    def gain(self) -> Gain:
        """Of the tasks at the end."""
        found = gain(self.readings)
        assert found is not None
        return found

    def first(self, words: Iterable[str]) -> float | None:
        """The share of the run after which one of these words was first said."""
        words = set(words)
        step = next((v.step for v in self.verdicts if v.word in words), None)
        return None if step is None else step / self.readings[-1]["step"]


def ended(case: Case, found: dict[str, Any], config: dict[str, Any]) -> Ended:
    """From what `measure.result` gives."""
    told = found["readings"]
    total = int(told[-1]["step"])
    verdicts = [judge(told[:end], total, config) for end in range(1, len(told) + 1)]
    return Ended(case, Truth(**{name: _tuple(v) for name, v in found["truth"].items()}), told, verdicts)


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


ALARMS = ("collapsed", "dimensions dying")


def bars(runs: Sequence[Ended]) -> dict[str, Any]:
    """What is asked of a verdict, counted."""
    better = [run for run in runs if run.word == "better"]
    untrue = [run for run in better if run.truth.word != "learned"]
    collapsed = [run for run in runs if run.truth.word == "collapsed"]
    alarms = sorted(first for run in collapsed if (first := run.first(ALARMS)) is not None)
    named = [run for run in collapsed if run.word in (*ALARMS, "worse")]
    learned = [run for run in runs if run.truth.word == "learned"]
    return {
        "runs": len(runs),
        "better": len(better),
        "better, untrue": len(untrue),
        "better, and features lost": sum(run.truth.gain < 0 for run in untrue),
        "learned": len(learned),
        "learned, called better": sum(run.word == "better" for run in learned),
        "learned, called worse or collapsed": sum(not run.verdicts[-1].healthy for run in learned),
        "learned, stopped by --on-collapse stop": sum(
            run.first(["collapsed"]) is not None for run in learned
        ),
        "collapsed": len(collapsed),
        "collapsed, alarmed": len(alarms),
        "collapsed, named at the end": len(named),
        "first alarm, median share of the run": alarms[len(alarms) // 2] if alarms else None,
        "spearman": {
            recipe: spearman([r.gain.score for r in some], [r.truth.gain for r in some])
            for recipe in OF
            if len(some := [run for run in runs if run.case.recipe == recipe]) > 2
        },
    }


def confusion(runs: Sequence[Ended]) -> dict[str, Counter[str]]:
    """Final word to truths."""
    found: dict[str, Counter[str]] = {}
    for run in runs:
        found.setdefault(run.word, Counter())[run.truth.word] += 1
    return found


def fit(runs: Sequence[Ended]) -> dict[str, Any]:
    """Weights with the highest Spearman, least over recipes; the least score from which "better" is true enough."""
    tasks = sorted({name for run in runs for name in run.gain.parts})
    best: tuple[float, float, tuple[float, ...]] = (-2.0, 0.0, ())
    for weights in itertools.product(WEIGHTS, repeat=len(tasks)):
        if max(weights, default=0) != 1:
            continue
        told = dict(zip(tasks, weights, strict=True))
        least = min(
            spearman([weighted(r.gain, told) for r in some], [r.truth.gain for r in some])
            for recipe in OF
            if len(some := [run for run in runs if run.case.recipe == recipe]) > 2
        )
        best = max(best, (round(least, 3), -sum(weights), weights))
    told = dict(zip(tasks, best[2], strict=True))
    scores = sorted((weighted(run.gain, told), run.truth.word == "learned", run.truth.gain) for run in runs)
    return {
        "weights": told,
        "spearman": best[0],
        "better above": _threshold([(score, good) for score, good, _ in scores]),
        "scores": [(round(score, 4), good, round(change, 4)) for score, good, change in scores],
    }


def weighted(found: Gain, weights: dict[str, float]) -> float:
    """The score under other weights; that of what is not finite is the least."""
    gains = {name: TASKS[name].gain(first, now) for name, (first, now, _) in found.parts.items()}
    score = sum(weights[name] * value for name, value in gains.items()) / sum(weights[name] for name in gains)
    return score if math.isfinite(score) else -9.0


def _threshold(scores: Sequence[tuple[float, bool]]) -> float:
    """The least score from which on at most `UNTRUE` of all are not good."""
    for start in range(len(scores)):
        rest = scores[start:]
        if sum(not good for _, good in rest) <= UNTRUE * len(rest):
            return rest[0][0] if start == 0 else (scores[start - 1][0] + rest[0][0]) / 2
    return math.inf


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """Rank correlation; nan where there is nothing to compare."""
    from scipy.stats import spearmanr

    clean = [value if math.isfinite(value) else -9.0 for value in one]
    return float(spearmanr(clean, other).statistic)


def markdown(runs: Sequence[Ended]) -> str:
    """Tables of the half that was fitted, of the half that was not, and of every run."""
    parts = []
    for title, some in (
        ("Faults that nothing was fitted on", [run for run in runs if not run.fitted]),
        ("Faults that weights and thresholds were fitted on", [run for run in runs if run.fitted]),
    ):
        parts += [f"## {title}", "", *_confusion_table(some), "", *_bars_table(some), ""]
    parts += ["## Every run", "", *_runs_table(runs), ""]
    return "\n".join(parts)


def _confusion_table(runs: Sequence[Ended]) -> list[str]:
    lines = [f"| final verdict \\ truth | {' | '.join(TRUTHS)} |", "|---" * 5 + "|"]
    found = confusion(runs)
    return lines + [
        f"| {word} | {' | '.join(str(counts[truth]) for truth in TRUTHS)} |"
        for word, counts in sorted(found.items())
    ]


def _bars_table(runs: Sequence[Ended]) -> list[str]:
    lines = ["| asked | found |", "|---|---|"]
    for name, value in bars(runs).items():
        if isinstance(value, dict):
            value = ", ".join(f"{recipe} {number:.2f}" for recipe, number in value.items())
        lines.append(f"| {name} | {f'{value:.2f}' if isinstance(value, float) else value} |")
    return lines


def _runs_table(runs: Sequence[Ended]) -> list[str]:
    lines = [
        "| recipe | data | fault | fitted | true gain, points | truth | score | verdict | first alarm |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for run in sorted(runs, key=lambda run: (run.case.recipe, run.case.fault.name, run.case.data)):
        case, first = run.case, run.first(ALARMS)
        alarm = "–" if first is None else f"{first:.0%}"
        lines.append(
            f"| {case.recipe} | {case.data} | {case.fault.name} | {'yes' if run.fitted else 'no'} | "
            f"{100 * run.truth.gain:+.1f} ± {200 * run.truth.error:.1f} | {run.truth.word} | "
            f"{run.gain.score:+.3f} | {run.word} | {alarm} |"
        )
    return lines
