"""What is said of a run first: what its probe found, and before there is one the verdict on its training."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from openjepa.health import Verdict, judged
from openjepa.report.record import Line, Record
from openjepa.report.scores import listed, probe_table, standings

Mood = Literal["good", "wait", "warn", "bad"]
MOODS: dict[str, Mood] = {
    "better": "good",
    "not trained yet": "wait",
    "alive": "wait",
    "no better": "wait",
    "worse": "bad",
    "collapsed": "bad",
}
"""Of a verdict's word; of any other `warn`."""


@dataclass(frozen=True)
class Headline:
    """A few words, why, what to change, the mood that colours them, and the verdicts that came before."""

    word: str
    reason: str
    advice: str
    mood: Mood
    history: str = ""


def headline(record: Record) -> Headline:
    """Raises UserError for a probe.json that is none."""
    verdicts = _verdicts(record)
    said = _of_training(verdicts)
    return said if record.probe is None else _of_probe(record.probe, said) or said


def _of_training(verdicts: Sequence[Verdict]) -> Headline:
    if not verdicts:
        reason = "Health has not been measured yet, so nothing can be said about this run."
        return Headline("no verdict yet", reason, "", "wait")
    last = verdicts[-1]
    return Headline(last.word, last.reason, last.advice, MOODS.get(last.word, "warn"), _history(verdicts))


def _of_probe(probe: dict[str, Any], training: Headline) -> Headline | None:
    """`None` where nothing was compared. Features that lose to any baseline in any probe are not praised."""
    found = standings(probe_table(probe))
    if not found:
        return None
    behind, level, beats = (
        list(dict.fromkeys(name for one in found for name in getattr(one, how)))
        for how in ("behind", "level", "beats")
    )
    mood: Mood
    if behind:
        word, mood = f"worse than {listed(behind)}", "bad"
    elif level:
        word, mood = f"no better than {listed(level)}", "warn"
    else:
        word, mood = f"better than {listed(beats)}", "good"
    reason = f"{' '.join(map(str, found))} On training: {training.word}: {training.reason}"
    advice = training.advice or (
        "" if mood == "good" else "train longer, or with more data or a larger encoder"
    )
    return Headline(word, reason, advice, mood, training.history)


def _verdicts(record: Record) -> list[Verdict]:
    """As they were written, or judged anew where words have changed since."""
    steps = (record.config.get("train") or {}).get("steps")
    readings = [
        {key: _number(v) for key, v in line.items() if key != "kind"} for line in record.kind("health")
    ]
    total = steps if isinstance(steps, int) else 0
    lines = [line for line in record.kind("verdict") if _is_verdict(line)]
    return [judged(line, readings, total, record.config) for line in lines]


def _is_verdict(line: Line) -> bool:
    return all(isinstance(line.get(name), str) for name in ("word", "reason", "advice"))


def _number(value: Any) -> Any:
    return math.nan if value is None else value


def _history(verdicts: Sequence[Verdict]) -> str:
    """`alive from step 0, better from step 300`."""
    changes: list[tuple[str, int]] = []
    for verdict in verdicts:
        if not changes or changes[-1][0] != verdict.word:
            changes.append((verdict.word, verdict.step))
    return ", ".join(f"{word} from step {step:,}" for word, step in changes) if len(changes) > 1 else ""
