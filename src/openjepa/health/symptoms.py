"""Signs that features are being lost, read from a run's numbers alone; certain ones and others.

Thresholds compare with the run's own first measurement (step 0) or its best one, so that they hold for any signal
and width; absolute bounds only keep a large share from being called small. They were set on 38 tiny I-JEPA and
LeJEPA runs (150 to 300 steps, width 64, Fashion-MNIST): healthy ones always kept over half of their best varying
share, 0.45 of their context's rank and 0.7 of their embedding's and target's; collapsed ones fell below 0.05 of the
share or to a rank below 1.5 within a fifth of their steps. Healthy runs elsewhere fell lower for a while, so a sign
counts only where tasks do not say that nothing was lost (`verdict`). Where the target is fixed, features may be alike
until the mean target is learned, and recover by themselves (SAR-JEPA's do): only what cannot recover counts.
"""

import itertools
import math
from collections.abc import Callable, Sequence

from openjepa.health.advice import PlainConfig, against_collapse, against_dying, chosen
from openjepa.health.trivial import IN_A_ROW, Reading, is_world
from openjepa.health.words import Finding
from openjepa.targets import FIXED

GONE = 0.1
"""A share of varying power below this part of its best value has collapsed ..."""
SHRINKING = 1 / 3
"""... and so has one below this part that fell at each of the last `IN_A_ROW` measurements ..."""
SMALL = 0.1
"""... where it is also below this in itself: a share that is large is not gone, whatever it was before."""
DROWNED = 0.05
"""Where the shares of context features and embedding both fall below this part of their best, nothing else counts: of
108 runs those whose features became one constant fell to 0.002 of either, those that learned kept 0.1 of one."""
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

Symptom = Callable[[Sequence[Reading], PlainConfig], Finding | None]


def _diverged(history: Sequence[Reading], config: PlainConfig) -> Finding | None:
    now = history[-1]
    broken = [k for k in ("energy/model", "share/embedding", "share/context") if not math.isfinite(now[k])]
    if not broken:
        return None
    reason = f"{' and '.join(broken)} cannot be computed: the features are not finite"
    advice = "lower the learning rate, lengthen the warm-up or clip gradients, and check the data for NaN"
    return "collapsed", reason, advice


def _same_samples(history: Sequence[Reading], config: PlainConfig) -> Finding | None:
    now = history[-1]
    if now["input/std"] <= SAME:
        reason = f"the held-out samples are all the same (their std is {now['input/std']:.1g} of the input's range)"
        return "collapsed", reason, "check how the data are read: there is nothing to tell apart"
    if now["share/embedding"] > SAME:
        return None
    reason = f"different samples get the same features (they differ by {now['share/embedding']:.1g} of their power)"
    return "collapsed", reason, against_collapse(config, _vanished(history))


def _drowned(history: Sequence[Reading], config: PlainConfig) -> Finding | None:
    """What differs between samples may still be decoded, but in most uses a constant hides it."""
    now, keys = history[-1], ("share/varying", "share/embedding")
    if any(now[key] > SMALL or _left(history, key) > DROWNED or _above_start(history, key) for key in keys):
        return None
    reason = f"{now['share/embedding']:.2%} of the embedding's power still differs between samples"
    before = max(reading["share/embedding"] for reading in history)
    return "collapsed", f"{reason} (at best {before:.1%})", against_collapse(config, _vanished(history))


def _constant_features(history: Sequence[Reading], config: PlainConfig) -> Finding | None:
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
    return "collapsed", reason, against_collapse(config, _vanished(history))


def _samples_alike(history: Sequence[Reading], config: PlainConfig) -> Finding | None:
    """Features that vary with the mask or the augmentation, but not with the sample."""
    best = max(reading["share/context"] for reading in history)
    if len(history) < IN_A_ROW or best < ALIKE:  # a share that was never there cannot have been lost
        return None
    if any(r["share/context"] > ALIKE * min(best, 0.2) for r in history[-IN_A_ROW:]):
        return None
    now = history[-1]
    reason = f"what is hidden decides the context features, not the sample ({now['share/context']:.1%} of their power)"
    return "collapsed", reason, against_collapse(config, _vanished(history))


def _one_direction(history: Sequence[Reading], config: PlainConfig) -> Finding | None:
    first, now = history[0], history[-1]
    rank, before = now["rank/embedding"], first["rank/embedding"]
    if rank > ONE_DIRECTION or rank > HALVED * before:
        return None
    reason = f"the embedding's effective rank is {rank:.2f}: it varies along one direction (at step 0: {before:.1f})"
    return "collapsed", reason, against_collapse(config, _vanished(history))


def _ranks_fell(history: Sequence[Reading], config: PlainConfig) -> Finding | None:
    first, now = history[0], history[-1]
    left = {
        key: now[f"rank/{key}"] / max(first[f"rank/{key}"], 1.0) for key in ("embedding", "target", "context")
    }
    outputs = max(left["embedding"], left["target"]) < HALVED and not _grew(history, "share/embedding")
    context = left["context"] < THIRD and not _grew(history, "share/varying")
    if not (outputs or context):
        return None
    ranks = ", ".join(f"{first[f'rank/{key}']:.1f} to {now[f'rank/{key}']:.1f} in the {key}" for key in left)
    return "dimensions dying", f"the effective rank fell from {ranks}", against_dying(config)


def _dimensions_died(history: Sequence[Reading], config: PlainConfig) -> Finding | None:
    first, now = history[0], history[-1]
    for name in ("context", "target"):
        key = f"std/{name}_dead"
        if now[key] - first[key] > DEAD:
            reason = f"{now[key]:.0%} of the {name}'s dimensions no longer vary (at step 0: {first[key]:.0%})"
            return "dimensions dying", reason, against_dying(config)
    return None


def certain(history: Sequence[Reading], config: PlainConfig) -> Finding | None:
    """What leaves no doubt at the last reading."""
    final = (_diverged, _same_samples)
    return _first(final if _fixed(config) else (*final, _drowned), history, config)


def suspect(history: Sequence[Reading], config: PlainConfig) -> Finding | None:
    """The gravest of what healthy runs have shown too, for a while."""
    if _fixed(config):
        return None
    signs = (_constant_features, _samples_alike, _one_direction, _ranks_fell, _dimensions_died)
    return _first(signs, history, config)


def _first(signs: Sequence[Symptom], history: Sequence[Reading], config: PlainConfig) -> Finding | None:
    return next((found for sign in signs if (found := sign(history, config))), None)


def _fixed(config: PlainConfig) -> bool:
    return chosen(config, "target.kind") in FIXED


def _left(history: Sequence[Reading], key: str) -> float:
    """The last value as a part of the best so far."""
    best = max(reading[key] for reading in history)
    return history[-1][key] / best if best > 0 else 1.0


def _above_start(history: Sequence[Reading], key: str) -> bool:
    """Whether a world model's reading is above its first.

    Its states begin nearly alike (a hundredth of their power varies): what rises above that for a while and returns has
    lost nothing. LeWM's did in its first fifth, and then learned."""
    return is_world(history[-1]) and history[-1][key] > history[0][key]


def _grew(history: Sequence[Reading], key: str) -> bool:
    return history[-1][key] > GREW * history[0][key]


def _vanishing(history: Sequence[Reading], key: str) -> bool:
    recent = [reading[key] for reading in history[-IN_A_ROW - 1 :]]
    if _above_start(history, key):
        return False
    falling = len(recent) > IN_A_ROW and all(b < a for a, b in itertools.pairwise(recent))
    return recent[-1] < SMALL and _left(history, key) < (SHRINKING if falling else GONE)


def _vanished(history: Sequence[Reading]) -> bool:
    return history[-1]["energy/model"] < VANISHED * max(reading["energy/model"] for reading in history)
