"""A-JEPA: predict hidden blocks of a spectrogram, at first anywhere, later with their times hidden from the context.

Fei, Fan & Huang, 2023, arXiv:2311.15830 (not peer-reviewed; no code was released).

signal     log-mel patches                              target   EMA encoder of the whole spectrogram
hiding     time-frequency: a curriculum of blocks       energy   L2
condition  positions of the hidden tokens               guard    none beyond the target

    openjepa train a-jepa --data recordings                     # preset tiny: 2 CPU cores, two minutes
    openjepa train a-jepa --preset vit-b16 --data recordings    # the paper's
    openjepa train a-jepa --preset tiny-vit --data recordings --out runs/sounds
    openjepa finetune runs/sounds --data labelled --barred 0.1  # regularised masking of the paper, on a transformer

Measured on environmental sounds (ESC-10, its five folds with a seed each, 120 steps, 1.7 CPU minutes), all labels /
ten a class: 80.5 [77.3, 83.7] / 70.5 [69.0, 71.9], untrained 78.5 / 67.9, k-means codes 88.8 / 81.0, which beside ours
have 88.0 / 78.8. On spoken digits of a speaker left out, six in turn (600 steps, 3 CPU minutes; settings were chosen
on four of them): 74.3 [59.1, 89.5] / 58.9 [44.2, 73.5], untrained 71.2 / 57.3, k-means codes 78.5 / 66.2, which beside
ours have 83.0 / 64.9. Speakers differ by more than any of these rows; training gains little in such minutes.

No source that we could read says what a time-frequency-aware block is: here contexts lose all that is at the times of
its targets (`hiding.late.extend`, which also takes `frequency`, both or none). Nor does one name the moving average's
momentum, the weight decay or the norm of targets: I-JEPA's momentum is taken, and no norm. Blocks have sizes of their
own in every sample, within what there is of a padded one; all blocks of a sample are hidden from its context, and each
is predicted by itself. The pace is Platanios' root pacing, from which the paper's formula as transcribed differs by
less than .01. Gain is added to log-mels. Mel bands are triangles of sum 1, integrated over the axis, so that none of
128 is empty.

`tiny` departs from the paper in what little data asks for: a convolutional encoder, two views of each clip by gain,
equaliser, speed and pitch, the loudness of frames taken off, smaller blocks, a target of two layers, layer-normalised,
with a half-life of .02 of the run, and VICReg. `tiny-vit` has a small transformer in the place of the convolutions, as
regularised masking needs; it was not measured.

What was tried: docs/notebook/a-jepa.md.
"""

from typing import Any, ClassVar, Literal

from openjepa.conditions import Condition, Positions
from openjepa.energies import L2, Energy
from openjepa.guards import Guard, NoGuard
from openjepa.hiding import TimeFrequency
from openjepa.nets.heads import Head, NoHead
from openjepa.nets.predictor import Narrow
from openjepa.nets.transformer import ViT
from openjepa.recipes.base import Training, register
from openjepa.recipes.sounds import SoundEncoder, SoundHiding, SoundPredictor, SoundRecipe
from openjepa.signals.audio.augment import SoundAugment
from openjepa.signals.audio.signal import AudioSignal
from openjepa.targets import EMA, Target

TINY: dict[str, Any] = {
    "signal": {
        "seconds": 0.96,
        "bands": 40,
        "level": "frame",
        "patch": 8,
        "augment": {"gain": 6.0, "equaliser": 4.0, "crop": 0.6, "stretch": 1.15, "shift": 0.05, "views": 2},
    },
    "hiding": {
        "kind": "time-frequency",
        "early": {"target_scale": [0.06, 0.1], "context_scale": [1.0, 1.0]},
        "late": {"targets": 2, "target_scale": [0.06, 0.1], "context_scale": [1.0, 1.0], "extend": ["time"]},
    },
    "encoder": {"kind": "convnet", "channels": [32, 64, 128, 128], "strides": [2, 2, 2, 1]},
    "predictor": {
        "kind": "transformer",
        "width": 64,
        "depth": 1,
        "heads": 2,
        "init": "xavier",
        "position_scale": 0.2,
        "joint": True,
    },
    "target": {"kind": "ema", "norm": "layer", "half_life": 0.02, "layers": 2},
    "guard": {"kind": "vicreg", "std": 1.0, "covariance": 0.04},
    "train": {
        "steps": 600,
        "batch_size": 64,
        "lr": 2e-3,
        "beta2": 0.95,
        "weight_decay": 0.05,
    },
}
TINY_VIT: dict[str, Any] = {
    **TINY,
    "encoder": {
        "kind": "vit",
        "width": 96,
        "depth": 4,
        "heads": 4,
        "init": "xavier",
        "position_scale": 0.2,
    },
}


@register("a-jepa")
class AJEPA(SoundRecipe):
    """A-JEPA's six choices; the defaults are the paper's ViT-B/16."""

    paper: ClassVar[str] = "Fei, Fan & Huang, 2023, arXiv:2311.15830"
    measured: ClassVar[str] = "ESC-10, 10 labels a class: 70.5 % (untrained 67.9, k-means codes 81.0)"

    recipe: Literal["a-jepa"] = "a-jepa"
    preset: str = "vit-b16"
    signal: AudioSignal = AudioSignal(seconds=10.24, bands=128, low=20.0, augment=SoundAugment(gain=6.0))
    hiding: SoundHiding = TimeFrequency()
    condition: Condition = Positions()
    encoder: SoundEncoder = ViT(width=768, depth=12, heads=12)
    head: Head = NoHead()
    predictor: SoundPredictor = Narrow(width=512, depth=16, heads=16)
    target: Target = EMA()
    energy: Energy = L2()
    guard: Guard = NoGuard()
    train: Training = Training(steps=93_750, batch_size=512, lr=2e-4)

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "vit-b16": {},
        "vit-s16": {"encoder": {"kind": "vit", "width": 384, "depth": 12, "heads": 6}},
        "vit-l16": {"encoder": {"kind": "vit", "width": 1024, "depth": 24, "heads": 16}},
        "tiny": TINY,
        "tiny-vit": TINY_VIT,
    }
