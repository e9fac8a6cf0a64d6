"""What health reads off a case's weights, and how good its features truly are."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.verdicts.cases import Case
from benchmarks.verdicts.train import as_set, config_of, model_at, samples, steps
from openjepa.evals.probes import Logistic, standardise_
from openjepa.jepa import JEPA

FITTED, TESTED = 2500, 7500
"""Labelled samples of the test split."""
NEIGHBOURS, TEMPERATURE = 10, 0.07
ALIKE = 0.999
"""Mean cosine between the features of different test samples from which all have become the same."""


@dataclass(frozen=True)
class Truth:
    """Accuracies, 0..1, of linear and nearest-neighbour probes on features averaged over tokens."""

    linear: tuple[float, float]
    """Of the weights at step 0, and at the end."""
    neighbours: tuple[float, float]
    gain: float
    """The mean of both gains ..."""
    error: float
    """... and its standard error: the same test samples are asked before and after."""
    cosine: tuple[float, float]
    """Mean cosine between the features of different samples."""

    @property
    def word(self) -> str:
        """`collapsed`, `worse`, `no better`, `learned`."""
        if not math.isfinite(self.cosine[1]) or self.cosine[1] > max(ALIKE, self.cosine[0]):
            return "collapsed"
        if abs(self.gain) <= 2 * self.error:
            return "no better"
        return "learned" if self.gain > 0 else "worse"


def readings(case: Case, folder: Path, root: Path) -> list[dict[str, float]]:
    """As a training would have logged them."""
    images, _ = samples(case, "train", root)
    recipe, opened = config_of(case), as_set(images)
    _, held_out = recipe.hold_out(opened)
    monitor, found = recipe.monitor(held_out), []
    for step in steps(folder):
        found.append(monitor.measure(model_at(case, folder, step), step, found))
    return found


def truth(case: Case, folder: Path, root: Path) -> Truth:
    """Of the first weights and the last."""
    images, labels = samples(case, "test", root)
    images = images[: FITTED + TESTED]
    known = torch.as_tensor(labels[: FITTED + TESTED].astype(np.int64))
    ends = [
        _probe(model_at(case, folder, step), images, known) for step in (steps(folder)[0], steps(folder)[-1])
    ]
    right = torch.stack([torch.stack(end[:2]) for end in ends])  # [2 ends, 2 probes, TESTED]
    change = (right[1] - right[0]).mean(0)
    share = right.mean(2).tolist()
    return Truth(
        linear=(share[0][0], share[1][0]),
        neighbours=(share[0][1], share[1][1]),
        gain=float(change.mean()),
        error=float(change.std() / len(change) ** 0.5),
        cosine=(ends[0][2], ends[1][2]),
    )


def _probe(model: JEPA, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, float]:
    """Which test samples each probe gets right, and the mean cosine between different ones."""
    features = torch.cat([model.embed(part) for part in images.split(512)])
    unit = normalize(features)
    likeness, near = (unit[FITTED:] @ unit[:FITTED].T).topk(NEIGHBOURS, 1)
    classes = int(labels.max()) + 1
    votes = torch.zeros(TESTED, classes).scatter_add_(1, labels[near], (likeness / TEMPERATURE).exp())
    total = float(unit.double().sum(0).square().sum())
    cosine = (total - len(unit)) / (len(unit) * (len(unit) - 1))
    fit, test = features[:FITTED].clone(), features[FITTED:].clone()
    standardise_(fit, test)
    linear = Logistic(fit, labels[:FITTED], classes).solve(1.0).predict(test)
    wanted = labels[FITTED:]
    return (linear == wanted).double(), (votes.argmax(1) == wanted).double(), cosine


def result(case: Case, folder: Path, root: Path, again: bool) -> dict[str, Any]:
    """Readings and truth, kept in `folder`; `again` measures both anew."""
    kept = folder / "result.json"
    found: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    if again or "truth" not in found:
        found["truth"] = asdict(truth(case, folder, root))
    if again or "readings" not in found:
        found["readings"] = readings(case, folder, root)
    kept.write_text(json.dumps(found))
    return found
