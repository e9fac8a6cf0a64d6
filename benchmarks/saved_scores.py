"""What one small saved run a recipe scores: a change of loading, features or evaluations is noticed by them.

python -m benchmarks.saved_scores           # compare all with tests/records/scores.json, in seconds
python -m benchmarks.saved_scores --renew   # train the runs anew, 50 steps each, and write that file

Nets are as small as they come, so that weights fit beside the tests: scores say nothing of what a recipe learns.
Samples are split by what is seen in them, frames of episodes by the variables recorded with them. `--renew NAME ...`
renews some recipes alone. Renew the record only in a commit that is to change scores, and let it say why they change.
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
from openjepa.world_models.model import WorldJEPA

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
STEM = {
    "encoder.width": "16",
    "encoder.depth": "1",
    "encoder.heads": "2",
    "encoder.stem.channels": "[8, 8, 16]",
}
FRAMES = {
    "signal.size": "16",
    "encoder.channels": "[8, 8]",
    "encoder.blocks": "0",
    "encoder.width": "16",
    "hiding.frames": "5",
    "hiding.rollout": "3",
    "terms.inverse_hidden": "16",
}
DEPTH = {"predictor.depth": "1", "predictor.heads": "2"}
LATENT = {"condition.latent.hidden": "16"}
PLDM = FRAMES | {"predictor": "gru"}
FROZEN = DEPTH | {
    "signal.size": "16",
    "encoder.pretrained": "false",
    "encoder.architecture": json.dumps(
        {
            "kind": "ours",
            "signal": {"size": 16, "channels": 3, "patch": 4},
            "encoder": {"kind": "vit", "width": 16, "depth": 1, "heads": 2},
        }
    ),
}
SMALL: dict[str, dict[str, str]] = {
    "a-jepa": CONVNET | NARROW,
    "audio-jepa": CONVNET | NARROW,
    "dino-wm": FROZEN | {"predictor.head_width": "8", "predictor.hidden": "16"},
    "dmt-jepa": CONVNET | NARROW,
    "h-jepa": PLDM
    | {
        "level2.span": "2",
        "level2.steps": "2",
        "level2.lift.hidden": "[8]",
        "level2.lift.width": "4",
        "level2.macro.width": "2",
        "level2.macro.hidden": "[8]",
        "level2.predictor.hidden": "[8]",
    },
    "i-jepa": CONVNET | NARROW,
    "latent-action": FRAMES | LATENT | {"predictor.hidden": "[16]"},
    "lejepa": CONVNET | {"head.hidden": "16", "head.width": "16"},
    "lewm": DEPTH
    | {
        "signal.size": "16",
        "encoder.channels": "[8, 8]",
        "encoder.blocks": "0",
        "encoder.width": "16",
        "head.hidden": "16",
        "head.width": "8",
        "predictor.head_width": "8",
        "predictor.hidden": "16",
    },
    "mixture": FRAMES | LATENT | {"predictor.hidden": "[16]", "condition.latent.heads": "3"},
    "pldm": PLDM,
    "point-jepa": VIT
    | NARROW
    | {"signal.count": "96", "signal.groups": "16", "encoder.stem.widths": "[8, 16, 16, 16]"},
    "remote-jepa": FRAMES | {"predictor.hidden": "[16]"},
    "sar-jepa": NARROW
    | {"encoder.width": "16", "encoder.depth": "1", "encoder.heads": "2", "encoder.mlp_ratio": "1"},
    "signal-jepa": VIT | NARROW | {"encoder.width": "32", "predictor.width": "32"},
    "ts-jepa": VIT | {"encoder.stem.widths": "[8, 16]", "predictor.width": "16"},
    "v-jepa": CONVNET | NARROW,
    "v-jepa-2": STEM | NARROW | {"target.layers": "1"},
    "v-jepa-2-1": NARROW
    | {
        "encoder.width": "16",
        "encoder.depth": "2",
        "encoder.heads": "2",
        "encoder.mlp_ratio": "1",
        "encoder.levels": "[0, 1]",
        "target.levels": "2",
        "predictor.enter": "16",
    },
    "vjepa2-ac": FROZEN | {"predictor.width": "24"},
}
"""Options of each recipe that is recorded, beside its preset `tiny`."""


def main() -> None:
    torch.set_num_threads(1)
    recorded = json.loads(RECORD.read_text())
    if "--renew" in sys.argv:
        renewed = [name for name in recipes() if name in sys.argv] or recipes()
        for name in renewed:
            train(name)
        write_json(RECORD, {name: scores(name) if name in renewed else recorded[name] for name in recipes()})
        return
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
    data = drawn_samples(model.config)
    if isinstance(model, WorldJEPA):
        batch = model.config.open(data, adapt=False).read(range(SEEN))
        halves = model.config.samples(data, "train"), model.config.samples(data, "test")
        features = model.embed(halves[0].read(range(SEEN))).double()
    else:
        samples = model.signal.open(data)
        batch, halves = samples.read(range(SEEN)), labelled_halves(model, samples)
        features = model.embed(batch).double()
    with torch.no_grad():
        energy = float(model(batch, Rng(0, 0)).terms["energy"])
    found = {"mean": features.mean().item(), "std": features.std().item(), "energy": energy}
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
    """Whether scores are the recorded ones, up to what processors differ by: some answers of a probe, of nearest
    neighbours more, since rounding can decide between two of its settings; rounding."""
    least = {"linear": 2 / 32, "knn": 4 / 32}
    return found.keys() == recorded.keys() and all(
        abs(found[key] - recorded[key]) <= 1e-4 + least.get(key, 1e-3 * abs(recorded[key])) for key in found
    )


if __name__ == "__main__":
    main()
