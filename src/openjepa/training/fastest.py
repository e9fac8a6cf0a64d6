"""The fastest precision and attention for a run, found by measuring a few steps."""

import time
from collections.abc import Mapping
from contextlib import suppress

import torch

from openjepa.common.distributed import local_device, world_size
from openjepa.recipes import Recipe, build
from openjepa.signals.base import Samples
from openjepa.training.optim import adamw
from openjepa.training.precision import computes_in_bf16
from openjepa.training.step import NotFinite, Stepper

WARM, TIMED = 1, 3
"""Steps of each candidate: the first one allocates, the quickest of the others counts."""
MOST_SAMPLES = 128
"""Most samples of a batch that is measured: more only take longer."""


def chosen(config: Recipe, samples: Samples) -> tuple[Recipe, str]:
    """The config without `auto` for precision and attention, and what was measured, in a sentence.

    Where hardware and config leave several ways, each trains a copy of the model for a few steps, and the fastest is
    taken. On several processes nothing is measured, so that all of them choose the same. In fp32 only the fused
    attention is considered: a run in fp32 is the same on every machine of a kind.
    """
    training, device = config.train, local_device()
    several = computes_in_bf16(device)
    ways = [
        (precision, attention)
        for precision in (("bf16", "fp32") if several else ("fp32",))
        for attention in ("fused", "math")
        if training.precision in ("auto", precision)
        and training.attention in ("auto", attention)
        and (attention == "fused" or precision == "bf16" or training.attention == "math")
    ]
    if not ways:  # bf16 is asked for where the hardware lacks it
        ways = [("bf16", "fused" if training.attention == "auto" else training.attention)]
    candidates = [_with(config, {"precision": p, "attention": a}) for p, a in ways]
    if len(candidates) == 1 or world_size() > 1:
        return candidates[0], ""
    rates = [rate(candidate, samples, device) for candidate in candidates]
    best = max(range(len(rates)), key=rates.__getitem__)
    measured = ", ".join(
        f"{precision} with {attention} attention {r:.3g}"
        for (precision, attention), r in zip(ways, rates, strict=True)
    )
    precision, attention = ways[best]
    return candidates[
        best
    ], f"train.precision {precision} with {attention} attention; {samples.noun} a second: {measured}"


def way(config: Recipe) -> dict[str, str]:
    """A config's precision and attention, by name; each may be `auto`."""
    return {name: getattr(config.train, name) for name in ("precision", "attention")}


def as_chosen(config: Recipe, agreed: Mapping[str, str]) -> Recipe:
    """The config with the agreed `way` where its own is `auto`."""
    return _with(config, {name: agreed[name] for name, value in way(config).items() if value == "auto"})


def _with(config: Recipe, changes: Mapping[str, str]) -> Recipe:
    return config.model_copy(update={"train": config.train.model_copy(update=changes)})


def rate(config: Recipe, samples: Samples, device: torch.device) -> float:
    """Samples a second that a config's model trains on, by its quickest of a few steps; no random state is touched."""
    size = min(config.train.batch_size, MOST_SAMPLES, len(samples))
    training = config.train.model_copy(update={"batch_size": size, "accumulate": 1, "compile": False})
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        model = build(config).to(device)
        stepper = Stepper(model, adamw(model, training), training, 0)
        batch, times = samples.read(torch.arange(size)), []
        for step in range(WARM + TIMED):
            begun = time.perf_counter()
            with suppress(NotFinite):  # the run itself will say so; here time alone counts
                stepper(step, batch)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - begun)
    return size / min(times[WARM:])
