"""Verdicts on real, tiny runs: those made to collapse are named within a fifth of their steps, healthy ones never.

A run that must collapse is stopped after that fifth. Images are drawn here, so that no data set is needed.
"""

import functools
import math
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from openjepa import recipes
from openjepa.common.rng import Rng
from openjepa.health import Monitor, Verdict, judge
from openjepa.jepa import JEPA

BATCH, HELD_OUT, EVERY = 48, 96, 12


@functools.cache
def pictures() -> Tensor:
    """`[768, 1, 28, 28]` uint8: two plane waves each, so that what is hidden follows from what is seen."""
    rng, count = Rng(seed=7, step=0), 768
    angle, phase = (2 * math.pi * rng.uniform(count, 2, 1, 1) for _ in range(2))
    frequency, strength = 0.05 + 0.15 * rng.uniform(count, 2, 1, 1), 0.2 + 0.8 * rng.uniform(count, 2, 1, 1)
    rows, columns = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    waves = strength * torch.sin(frequency * (angle.cos() * rows + angle.sin() * columns) + phase)
    return (waves.mean(1, keepdim=True) * 127 + 128).to(torch.uint8)


@dataclass
class Trial:
    """A recipe, what is changed in it, and how it is trained."""

    recipe: str
    changes: dict[str, str] = field(default_factory=dict)
    lr: float = 1e-3
    constant: bool = False

    def model(self, seed: int) -> JEPA:
        sizes = {"signal.patch": "7", "encoder.width": "48", "encoder.depth": "2"}
        if self.recipe == "i-jepa":
            sizes |= {"predictor.width": "32", "predictor.depth": "1"}
        else:
            sizes |= {"head.hidden": "96", "hiding.local_augment.size": "14", "guard.slices": "128"}
        if self.changes.get("guard") in ("none", "vicreg"):
            sizes.pop("guard.slices", None)
        return recipes.build(recipes.configure(self.recipe, "tiny-vit", sizes | self.changes), seed)


def verdicts(trial: Trial, seed: int, steps: int, stop: int) -> list[Verdict]:
    """Train up to step `stop` of `steps` (warm-up over a tenth, then cosine) and judge every `EVERY` steps."""
    model = trial.model(seed)
    images = pictures()
    if trial.constant:
        images = images[:1].expand_as(images)
    held_out, images = images[:HELD_OUT], images[HELD_OUT:]
    monitor, history, words = Monitor(held_out, lidar_views=2), [], []
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=trial.lr, weight_decay=0.05)
    for step in range(stop + 1):
        if step % EVERY == 0:
            history.append(monitor.measure(model, step))
            words.append(judge(history, steps))
        warm, cooled = min(1.0, 10 * (step + 1) / steps), 0.5 * (1 + math.cos(math.pi * step / steps))
        optimiser.param_groups[0]["lr"] = trial.lr * warm * cooled
        rng = Rng(seed, step)
        chosen = (rng.uniform(BATCH) * len(images)).long()
        model(images[chosen], rng).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        model.after_step(step, steps)
    return words


NO_GUARD = {"target": "shared"}
COPY = {"target.half_life": "0", "target.centre": "none"}
COLLAPSING = {
    "i-jepa, shared target with gradients": Trial("i-jepa", NO_GUARD),
    "i-jepa, the same, normalised": Trial(
        "i-jepa", NO_GUARD | {"target.norm": "layer", "target.centre": "position"}
    ),
    "i-jepa, learning rate too high": Trial("i-jepa", lr=0.3),
    "i-jepa, EMA momentum 0": Trial("i-jepa", COPY, lr=1e-2),
    "i-jepa, constant input": Trial("i-jepa", constant=True),
    "lejepa, no guard": Trial("lejepa", {"guard": "none"}),
    "lejepa, learning rate too high": Trial("lejepa", lr=1.0),
    "lejepa, constant input": Trial("lejepa", constant=True),
}
HEALTHY = {
    "i-jepa": Trial("i-jepa", lr=2e-3),
    "i-jepa, sigreg on a shared target": Trial("i-jepa", NO_GUARD | {"guard": "sigreg"}, lr=2e-3),
    "i-jepa, vicreg": Trial("i-jepa", {"guard": "vicreg"}, lr=2e-3),
    "lejepa": Trial("lejepa"),
}


@pytest.mark.parametrize("name", COLLAPSING)
def test_a_run_made_to_collapse_is_named_within_a_fifth_of_its_steps(name):
    words = verdicts(COLLAPSING[name], seed=0, steps=300, stop=60)
    named = [verdict for verdict in words if verdict.word in ("collapsed", "dimensions dying")]
    assert named, words[-1]
    assert words[-1] == named[-1], "a collapse that was named must not look healthy again"


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_is_never_accused_and_learns(name):
    words = verdicts(HEALTHY[name], seed=0, steps=144, stop=144)
    assert [verdict for verdict in words if not verdict.healthy] == []
    assert words[-1].word == "alive" and "beats" in words[-1].reason
