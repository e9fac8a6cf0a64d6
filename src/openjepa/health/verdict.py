"""What the measurements say, in words, and what to change.

The question is what a user of the features asks: are they better than at the start of the run? Tasks without labels
answer it (`tasks`, `gains`); where they were not measured, as in runs of before, the words claim less.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from openjepa.health import advice
from openjepa.health.advice import PlainConfig
from openjepa.health.gains import gain, gain_at_best, worse_since
from openjepa.health.symptoms import certain, suspect
from openjepa.health.trivial import IN_A_ROW, Reading, beats_trivial, trivial
from openjepa.health.unused import ignores
from openjepa.health.words import WORDS, Finding, Verdict


def judge(history: Sequence[Reading], total_steps: int, config: PlainConfig | None = None) -> Verdict:
    """The verdict on `Monitor.measure`'s readings, oldest first, of a run of `total_steps`.

    It says what is known at the last of them. A sign of loss is kept for `IN_A_ROW` measurements (`Verdict.step` says
    when it was seen): features that come and go are not healthy. After a rollback pass the history up to the step that
    the run went back to.

    Args:
        config: the recipe's dump, so that nothing is advised that the run has already.

    Raises:
        ValueError: an empty history.
    """
    if not history:
        raise ValueError("no measurement to judge: call Monitor.measure at least once")
    config = config or {}
    if history[-1]["step"] == 0:
        return _verdict(_untrained(history, config), history[-1])
    for end in range(len(history), max(1, len(history) - IN_A_ROW), -1):
        if found := _lost(history[:end], config):
            return _verdict(found, history[end - 1])
    return _verdict(_progress(history, total_steps, config), history[-1])


def judged(
    recorded: Mapping[str, Any], history: Sequence[Reading], total_steps: int, config: PlainConfig
) -> Verdict:
    """A verdict as a run wrote it down; judged anew where that was in words that are no longer used."""
    if recorded["word"] not in WORDS and history:
        return judge(
            [reading for reading in history if reading["step"] <= recorded["step"]], total_steps, config
        )
    return Verdict(recorded["word"], recorded["reason"], recorded["advice"], recorded["step"])


def _lost(history: Sequence[Reading], config: PlainConfig) -> Finding | None:
    """A sign at the last reading that features are being lost, and where tasks were measured, what these lost."""
    if found := certain(history, config):
        return found
    known = gain(history)
    if known is None:
        return suspect(history, config)
    if not known.worse or (found := suspect(history, config)) is None:
        return None
    word, reason, what = found
    return word, f"{reason}; {known.words}", what


def _untrained(history: Sequence[Reading], config: PlainConfig) -> Finding:
    """What is found at step 0, where only the data can be judged."""
    if found := certain(history, config):
        return "not trained yet", found[1], found[2]
    return "not trained yet", "no step has been taken, so there is nothing to judge", ""


def _progress(history: Sequence[Reading], total_steps: int, config: PlainConfig) -> Finding:
    known, ended = gain(history), history[-1]["step"] >= total_steps
    ignored = ignores(history, total_steps, config)
    if known is None:
        return ignored or _alive(history, ended)
    lost = f"worse than at the start since step {worse_since(history)}: {known.words}{_since(history)}"
    if known.worse and (ignored is None or ignored[0] != "not using the actions"):  # which are why
        return "worse", f"the features are {lost}", advice.against_loss(config)
    if ignored:
        word, reason, what = ignored
        return word, f"{reason}; {f'the features are {lost}' if known.worse else known.words}", what
    if known.better:
        return "better", f"the features are better than at the start: {known.words}", ""
    what = advice.against_nothing(config) if ended else ""
    return "no better", f"the features are no better than at the start: {known.words}{_since(history)}", what


def _since(history: Sequence[Reading]) -> str:
    """What was there and went."""
    best = gain_at_best(history)
    return f"; they were better at step {best.step}" if best is not None and best.better else ""


def _alive(history: Sequence[Reading], ended: bool) -> Finding:
    """Without tasks: what the energies say, and no more."""
    now = history[-1]
    known = trivial(now)
    which = "both" if len(known) == 2 else "all"
    beats = any(beats_trivial(reading) for reading in history[-IN_A_ROW:])
    numbers = ", ".join([f"energy {now['energy/model']:.3g}", *known])
    energy = f"the prediction {'beats' if beats else 'does not beat'} {which} trivial ones ({numbers})"
    reason = (
        f"the features vary (effective rank {now['rank/embedding']:.1f}) and {energy}; "
        "whether they are better than at the start was not measured"
    )
    return "alive", reason, "openjepa probe tells what they are worth" if ended else ""


def _verdict(found: Finding, now: Reading) -> Verdict:
    return Verdict(*found, int(now["step"]))
