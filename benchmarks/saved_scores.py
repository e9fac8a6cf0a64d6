"""What one small saved run a recipe scores: a change of loading, features or evaluations is noticed by them.

python -m benchmarks.saved_scores           # compare all with tests/records/scores.json, in seconds
python -m benchmarks.saved_scores --renew   # train the runs anew, 50 steps each, and write that file

Nets are as small as they come, so that weights fit beside the tests: scores say nothing of what a recipe learns.
Images, clips, electrodes and sounds; worlds and agents are judged by other evaluations. Renew the record only in a
commit that is to change scores, and let it say why they change.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

import openjepa
from benchmarks.first_losses import BATCH, STEPS, drawn_samples
from benchmarks.record import write_json
from openjepa.common.rng import Rng
from openjepa.evals import probe
from openjepa.recipes import configure
from openjepa.signals.base import Labels
from openjepa.signals.parts import Relabelled, part

RECORDS = Path(__file__).parent.parent / "tests" / "records"
RECORD, RUNS = RECORDS / "scores.json", RECORDS / "runs"
SEEN = 16
"""Samples whose features and energy are recorded."""
VIT = {
    "encoder.width": "16",
    "encoder.depth": "1",
    "encoder.heads": "2",
    "encoder.mlp_ratio": "1",
    "target.layers": "1",
}
CONVNET = {"encoder.channels": "[8, 8, 8, 8]"}
NARROW = {
    "predictor.width": "16",
    "predictor.depth": "1",
    "predictor.heads": "2",
    "predictor.mlp_ratio": "1",
}
SMALL: dict[str, dict[str, str]] = {
    "a-jepa": CONVNET | NARROW,
    "i-jepa": CONVNET | NARROW,
    "lejepa": CONVNET | {"head.hidden": "16", "head.width": "16"},
    "signal-jepa": VIT | NARROW | {"encoder.width": "32", "predictor.width": "32"},
    "v-jepa": CONVNET | NARROW,
}
"""Options of each recipe that is recorded, beside its preset `tiny`."""


def main() -> None:
    torch.set_num_threads(1)
    if "--renew" in sys.argv:
        for name in recipes():
            train(name)
        write_json(RECORD, {name: scores(name) for name in recipes()})
        return
    recorded = json.loads(RECORD.read_text())
    changed = [name for name in recipes() if not close(scores(name), recorded.get(name, {}))]
    print(f"{len(recipes()) - len(changed)} of {len(recipes())} runs have the recorded scores", *changed)
    sys.exit(bool(changed))


def recipes() -> list[str]:
    """Those that are recorded."""
    return list(SMALL)


def train(name: str) -> None:
    """A run of 50 steps on generated samples; its model alone is kept."""
    changes = {
        "train.steps": str(STEPS),
        "train.batch_size": str(BATCH),
        "train.precision": "fp32",
        "train.health_every": "1",
        "train.save_every": "1",
        **SMALL[name],
    }
    out = RUNS / name
    shutil.rmtree(out, ignore_errors=True)
    data = drawn_samples(configure(name, "tiny", changes))
    openjepa.train(name, preset="tiny", data=data, options=changes, out=out)
    for path in out.iterdir():
        if path.name != "model":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def scores(name: str) -> dict[str, float]:
    """Features, energy and probes of the saved run on the samples that it was trained on."""
    model = openjepa.load(RUNS / name / "model")
    samples = model.signal.open(drawn_samples(model.config))
    batch = samples.read(range(SEEN))
    features = model.embed(batch).double()
    with torch.no_grad():
        energy = float(model(batch, Rng(0, 0)).terms["energy"])
    found = {"mean": features.mean().item(), "std": features.std().item(), "energy": energy}
    halves = labelled_halves(model, samples)
    table = probe(model, *halves, classical=[], kinds=("linear", "knn"), batch_size=SEEN)
    return found | {score.kind: score.mean for score in table.scores}


def labelled_halves(model: Any, samples: Any) -> tuple[Any, Any]:
    """Every second sample and the others, labelled by where the mean of their raw tokens lies along a direction."""
    rows = np.arange(len(samples))
    means = torch.cat([model.signal.tokenise(samples.read([row])).values.mean(1) for row in rows])
    values = means @ torch.sin(torch.arange(means.shape[1]) / 3.0)
    sides = (values > values.median()).long().numpy()
    known = Relabelled(samples, Labels(sides, ("low", "high")))
    return part(known, rows[::2]), part(known, rows[1::2])


def close(found: dict[str, float], recorded: dict[str, float]) -> bool:
    """Whether scores are the recorded ones, up to what processors differ by: two answers of a probe, rounding."""
    least = {"linear": 2 / 32, "knn": 2 / 32}
    return found.keys() == recorded.keys() and all(
        abs(found[key] - recorded[key]) <= 1e-4 + least.get(key, 1e-3 * abs(recorded[key])) for key in found
    )


if __name__ == "__main__":
    main()
