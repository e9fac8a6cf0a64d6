"""What the measurements say, in words, and what to change.

Thresholds compare with the run's own first measurement (step 0) or its best one, so that they hold for any signal
and width; absolute bounds only keep a large share from being called small. They were set on 38 tiny I-JEPA and
LeJEPA runs (150 to 300 steps, width 64, Fashion-MNIST): healthy ones always kept over half of their best varying
share, 0.45 of their context's rank and 0.7 of their embedding's and target's; collapsed ones fell below 0.05 of the
share or to a rank below 1.5 within a fifth of their steps.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from openjepa.health.trivial import IN_A_ROW, Reading, beats_trivial, trivial
from openjepa.health.unused import Word, ignores

GONE = 0.1
"""A share of varying power below this part of its best value has collapsed ..."""
SHRINKING = 1 / 3
"""... and so has one below this part that fell at each of the last `IN_A_ROW` measurements ..."""
SMALL = 0.1
"""... where it is also below this in itself: a share that is large is not gone, whatever it was before."""
ALIKE = 0.05
"""Part of the best share of samples (at most 0.2) in the context features below which samples are alike."""
SAME = 1e-6
"""Relative variance between samples that is rounding: the samples (or their features) are equal."""
ONE_DIRECTION = 1.3
"""Effective rank of the embedding at which one direction holds all but a few per cent of the variance."""
HALVED = 0.5
"""Ranks of embedding and target below this part of the first measurement's are dying ..."""
THIRD = 1 / 3
"""... as is the pooled context's below this part: it falls further in healthy runs (to 0.45) before it recovers."""
GREW = 2.0
"""A rank that falls because the varying power grew by this factor, along few directions first, is no death."""
DEAD = 0.1
"""Dimensions that died since step 0, as a share of all."""
VANISHED = 0.4
"""An energy below this part of its largest value vanished together with the features: the trivial solution."""

AGAINST_DYING = (
    "add a guard (--guard sigreg or vicreg), lengthen the target's half-life, or lower the learning rate"
)


@dataclass(frozen=True)
class Verdict:
    """A word, why (one sentence with the numbers), what to change, and the step it was read at."""

    word: Word
    reason: str
    advice: str
    step: int

    @property
    def healthy(self) -> bool:
        """Whether nothing is known to be wrong."""
        return self.word in ("warming up", "learning")


def judge(history: Sequence[Reading], total_steps: int) -> Verdict:
    """The verdict on `Monitor.measure`'s readings, oldest first, of a run of `total_steps`.

    A symptom is kept for `IN_A_ROW` measurements (`Verdict.step` says when it was seen): features that come and go
    are not healthy. After a rollback pass the history up to the step that the run went back to.

    Raises ValueError for an empty history.
    """
    if not history:
        raise ValueError("no measurement to judge: call Monitor.measure at least once")
    for end in range(len(history), max(0, len(history) - IN_A_ROW), -1):
        for symptom in SYMPTOMS:
            if verdict := symptom(history[:end]):
                return verdict
    ignored = ignores(history, total_steps)
    return _progress(history) if ignored is None else _verdict(*ignored, history[-1])


def _diverged(history: Sequence[Reading]) -> Verdict | None:
    now = history[-1]
    broken = [k for k in ("energy/model", "share/embedding", "share/context") if not math.isfinite(now[k])]
    if not broken:
        return None
    reason = f"{' and '.join(broken)} cannot be computed: the features are not finite"
    advice = "lower the learning rate, lengthen the warm-up or clip gradients, and check the data for NaN"
    return _verdict("collapsed", reason, advice, now)


def _same_samples(history: Sequence[Reading]) -> Verdict | None:
    now = history[-1]
    if now["input/std"] <= SAME:
        reason = f"the held-out samples are all the same (their std is {now['input/std']:.1g} of the input's range)"
        return _verdict(
            "collapsed", reason, "check how the data are read: there is nothing to tell apart", now
        )
    if now["share/embedding"] > SAME:
        return None
    reason = f"different samples get the same features (they differ by {now['share/embedding']:.1g} of their power)"
    return _verdict("collapsed", reason, _against_collapse(history), now)


def _constant_features(history: Sequence[Reading]) -> Verdict | None:
    """A constant may also grow beside features that tell samples apart as before: in LeJEPA, whose projector takes it
    away again, healthy embeddings fell to 0.14 of their best varying share. So both must have lost."""
    now = history[-1]
    context, embedding = (_vanishing(history, key) for key in ("share/varying", "share/embedding"))
    if context and _left(history, "share/context") < SHRINKING:
        key, where = "share/varying", "context features'"
    elif embedding and _left(history, "share/context") < HALVED:
        key, where = "share/embedding", "embeddings'"
    else:
        return None
    reason = f"{now[key]:.2%} of the {where} power still varies, {_left(history, key):.1%} of the run's best"
    return _verdict("collapsed", reason, _against_collapse(history), now)


def _samples_alike(history: Sequence[Reading]) -> Verdict | None:
    """Features that vary with the mask or the augmentation, but not with the sample."""
    best = max(reading["share/context"] for reading in history)
    if len(history) < IN_A_ROW or best < ALIKE:  # a share that was never there cannot have been lost
        return None
    if any(r["share/context"] > ALIKE * min(best, 0.2) for r in history[-IN_A_ROW:]):
        return None
    now = history[-1]
    reason = f"what is hidden decides the context features, not the sample ({now['share/context']:.1%} of their power)"
    return _verdict("collapsed", reason, _against_collapse(history), now)


def _one_direction(history: Sequence[Reading]) -> Verdict | None:
    first, now = history[0], history[-1]
    rank, before = now["rank/embedding"], first["rank/embedding"]
    if rank > ONE_DIRECTION or rank > HALVED * before:
        return None
    reason = f"the embedding's effective rank is {rank:.2f}: it varies along one direction (at step 0: {before:.1f})"
    return _verdict("collapsed", reason, _against_collapse(history), now)


def _ranks_fell(history: Sequence[Reading]) -> Verdict | None:
    first, now = history[0], history[-1]
    left = {
        key: now[f"rank/{key}"] / max(first[f"rank/{key}"], 1.0) for key in ("embedding", "target", "context")
    }
    outputs = max(left["embedding"], left["target"]) < HALVED and not _grew(history, "share/embedding")
    context = left["context"] < THIRD and not _grew(history, "share/varying")
    if not (outputs or context):
        return None
    ranks = ", ".join(f"{first[f'rank/{key}']:.1f} to {now[f'rank/{key}']:.1f} in the {key}" for key in left)
    return _verdict("dimensions dying", f"the effective rank fell from {ranks}", AGAINST_DYING, now)


def _dimensions_died(history: Sequence[Reading]) -> Verdict | None:
    first, now = history[0], history[-1]
    for name in ("context", "target"):
        key = f"std/{name}_dead"
        if now[key] - first[key] > DEAD:
            reason = f"{now[key]:.0%} of the {name}'s dimensions no longer vary (at step 0: {first[key]:.0%})"
            return _verdict("dimensions dying", reason, AGAINST_DYING, now)
    return None


SYMPTOMS = (
    _diverged,
    _same_samples,
    _constant_features,
    _samples_alike,
    _one_direction,
    _ranks_fell,
    _dimensions_died,
)
"""Gravest first."""


def _progress(history: Sequence[Reading]) -> Verdict:
    now = history[-1]
    known = trivial(now)
    numbers = ", ".join([f"energy {now['energy/model']:.3g}", *known])
    which = "both" if len(known) == 2 else "all"
    if any(beats_trivial(reading) for reading in history[-IN_A_ROW:]):
        reason = f"the prediction beats {which} trivial ones ({numbers}), effective rank {now['rank/embedding']:.1f}"
        return _verdict("learning", reason, "nothing to change", now)
    reason = f"the features are alive, but the prediction does not beat {which} trivial ones yet ({numbers})"
    return _verdict("warming up", reason, "wait; if the run ends like this, train longer or faster", now)


def _left(history: Sequence[Reading], key: str) -> float:
    """The last value as a part of the best so far."""
    best = max(reading[key] for reading in history)
    return history[-1][key] / best if best > 0 else 1.0


def _grew(history: Sequence[Reading], key: str) -> bool:
    return history[-1][key] > GREW * history[0][key]


def _vanishing(history: Sequence[Reading], key: str) -> bool:
    recent = [reading[key] for reading in history[-IN_A_ROW - 1 :]]
    falling = len(recent) > IN_A_ROW and all(b < a for a, b in itertools.pairwise(recent))
    return recent[-1] < SMALL and _left(history, key) < (SHRINKING if falling else GONE)


def _against_collapse(history: Sequence[Reading]) -> str:
    """The likelier cause first: agreement on a constant makes the energy vanish, too large steps do not."""
    guard = "add a guard (--guard sigreg or vicreg) or a target without gradients (--target ema)"
    vanished = history[-1]["energy/model"] < VANISHED * max(reading["energy/model"] for reading in history)
    if vanished:
        return f"{guard}; if there is one, give it more weight"
    return f"lower the learning rate or lengthen its warm-up; if that does not help, {guard}"


def _verdict(word: Word, reason: str, advice: str, now: Reading) -> Verdict:
    return Verdict(word, reason, advice, int(now["step"]))
