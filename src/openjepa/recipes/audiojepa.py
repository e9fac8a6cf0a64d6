"""Audio-JEPA: predict a random 60 % of a spectrogram's patches, whose target encoder sees nothing but them.

Riou, Lattner, Hadjeres & Peeters, "Investigating Design Choices in Joint-Embedding Predictive Architectures for General
Audio Representation Learning", ICASSP 2024 workshops, arXiv:2405.08679. Another system, by Tuncay et al.
(arXiv:2507.02915), has the same name: it hides patches at random, too, and its target sees all of them.

signal     log-mel patches                         target   EMA encoder of the hidden patches, each standardised
hiding     random: 60 % of the patches             energy   smooth-L1
condition  positions of the hidden patches         guard    none beyond the target

    openjepa train audio-jepa --data recordings                                    # preset tiny: 2 CPU cores, minutes
    openjepa train audio-jepa --preset vit-b16 --data recordings                   # the paper's
    openjepa train audio-jepa --data recordings --hiding blocks                    # the paper's multi-block masks
    openjepa train audio-jepa --data recordings --hiding.along time                # its time masks
    openjepa train audio-jepa --data recordings --hiding.target-sees all

`python -m benchmarks.sound_choices` repeats the paper's comparison at small scale: masks, target views and durations.
With one speaker left out and a tenth of a CPU minute each, masks of whole times came to 63.2 % in the mean, blocks to
52.3, random patches to 49.6; what the target sees and the duration made less of a difference.

`tiny` is measured on four speakers of spoken digits alone, one left out, with a ridge classifier, L2 and a target that
sees all (250 steps, 24 CPU seconds, one seed): 68.1 / 56.3 (all labels / ten a class), untrained 69.3 / 55.1, k-means
codes 74.0 / 69.9; of its last map by frequency 67.8 / 52.3, untrained 63.4 / 50.9. Training saw all four,
without labels. The whole table is made by
`python -m benchmarks.sounds fsdd fsdd.tar.gz --out DIR --recipe audio-jepa`.

Departures: the target's momentum rises from .99995 to 1, not to .99999; targets are standardised with the biased
variance; mean and spread of the log-mels are measured on the training data; padding is no token, where theirs is
silence. Released is the unstructured mask alone; blocks are A-JEPA's early ones (I-JEPA's numbers), time masks hide
whole columns.
`tiny` is A-JEPA's but for mask, target view, energy, a slower target, a weaker equaliser and larger shifts of pitch.

What was tried: docs/notebook/a-jepa.md.
"""

from typing import Any, ClassVar, Literal

from openjepa.conditions import Condition, Positions
from openjepa.energies import Energy, SmoothL1
from openjepa.guards import Guard, NoGuard
from openjepa.hiding import RandomTokens
from openjepa.nets.heads import Head, NoHead
from openjepa.nets.predictor import Narrow
from openjepa.nets.transformer import ViT
from openjepa.recipes.base import Training, register
from openjepa.recipes.sounds import SoundEncoder, SoundHiding, SoundPredictor, SoundRecipe
from openjepa.signals.audio.signal import AudioSignal
from openjepa.targets import EMA, Target

TINY: dict[str, Any] = {
    "signal": {
        "seconds": 0.96,
        "bands": 40,
        "level": "frame",
        "patch": 8,
        "augment": {"gain": 6.0, "equaliser": 2.0, "crop": 0.6, "stretch": 1.15, "shift": 0.1, "views": 2},
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
    "target": {"kind": "ema", "norm": "layer", "half_life": 0.1, "layers": 2},
    "guard": {"kind": "vicreg", "std": 1.0, "covariance": 0.04},
    "train": {
        "steps": 600,
        "batch_size": 64,
        "lr": 2e-3,
        "beta2": 0.95,
        "weight_decay": 0.05,
        "warmup": 0.1,
    },
}


@register("audio-jepa")
class AudioJEPA(SoundRecipe):
    """Riou et al.'s six choices; the defaults are the paper's best."""

    paper: ClassVar[str] = "Riou et al., ICASSP-SASB 2024, arXiv:2405.08679"
    measured: ClassVar[str] = (
        "digits of a new speaker, 10 labels a class: 56.3 % (untrained 55.1, k-means codes 69.9; one seed)"
    )

    recipe: Literal["audio-jepa"] = "audio-jepa"
    preset: str = "vit-b16"
    signal: AudioSignal = AudioSignal(seconds=2.08, bands=80, low=50.0, fft=400)
    hiding: SoundHiding = RandomTokens(share=0.6, target_sees="hidden")
    condition: Condition = Positions()
    encoder: SoundEncoder = ViT(width=768, depth=12, heads=12, init="xavier")
    head: Head = NoHead()
    predictor: SoundPredictor = Narrow(width=512, depth=8, heads=16, init="xavier", joint=True)
    target: Target = EMA(norm="layer", half_life=13_863)
    energy: Energy = SmoothL1()
    guard: Guard = NoGuard()
    train: Training = Training(
        steps=279_000,
        batch_size=2048,
        lr=2.4e-3,
        warmup=20 / 300,
        weight_decay=0.05,
        beta2=0.95,
        clip=3.0,
    )

    presets: ClassVar[dict[str, dict[str, Any]]] = {"vit-b16": {}, "tiny": TINY}
