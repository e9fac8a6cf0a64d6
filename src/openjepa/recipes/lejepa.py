"""LeJEPA: views of one image agree, and random projections of their embeddings look Gaussian.

Balestriero & LeCun, 2025, arXiv:2511.08544.

signal     image patches                             target   the encoder itself, with gradients: the mean of the
hiding     2 global and 6 local views, augmented              global views' embeddings
condition  none                                      energy   L2
predictor  none                                      guard    SIGReg, (1 - 0.05) energy + 0.05 SIGReg

    openjepa train lejepa --preset tiny-cifar10 --data cifar10   # linear 74.9 ± 0.7 %, 10-NN 71.0 ± 0.1 %
    torchrun --nproc-per-node 8 -m openjepa train lejepa --preset vit-l14 --data photos

Measured over 3 seeds, 95 % intervals, 10 core-minutes in bf16; with 1 % of the labels 54.9 ± 1.2. Beside it k-means
patches (70.9, 59.3; 47.5), HOG (53.3, 56.5; 36.6), three untrained encoders (59.0, 59.0; 36.3), raw pixels (41.3, 50.5;
29.8). `tiny` on Fashion-MNIST: 92.1 ± 0.7, 91.2 ± 0.4, 83.6 ± 0.5 in 5.5 core-minutes.

The sizes are those of the released launch scripts and of the README beside them: a linear layer to 512 numbers, a
projector 2048-2048-512 with batch norm over all views and ReLU, drop path 0.1. SIGReg's pull grows with the global
batch (see `guards.SIGReg`): rescale `guard.weight` when the batch changes much.

Departures: our encoder has no class token, so the linear layer sees the mean over tokens, and features are the tokens
before it. Views have 224 px and all their patches, as in the README (the launch scripts: 238 px, 0.3 of the patches
hidden, an average of the weights beside); `vit-s16` is ours. The tiny presets have a smaller projector of their own (no
linear layer before it). `tiny` and `tiny-cifar10` have a convolutional encoder, two small views without blur and
solarisation, and a lighter guard; `tiny-vit` has half of SIGReg's knots, GELU in its projector, and shows a quarter of
the patches of each view.

What was tried at small scale: docs/notebook/lejepa.md.
"""

from typing import Any, ClassVar, Literal

from openjepa.conditions import Condition, Nothing
from openjepa.energies import L2, Energy
from openjepa.guards import Guard, SIGReg
from openjepa.hiding import Crops, Hiding
from openjepa.nets.encoders import Encoder
from openjepa.nets.heads import Head, Projector
from openjepa.nets.predictor import Identity, Predictor
from openjepa.nets.transformer import ViT
from openjepa.recipes.base import Training, register
from openjepa.recipes.images import ImageRecipe
from openjepa.signals.images.augment import Augment
from openjepa.signals.images.signal import CIFAR10, ImageSignal
from openjepa.targets import Shared, Target

TINY: dict[str, Any] = {
    "signal": {"size": 28, "channels": 1, "patch": 4, "mean": [0.286], "std": [0.353]},
    "hiding": {
        "kind": "crops",
        "global_views": 2,
        "local_views": 0,
        "global_augment": {"size": 20, "scale": [0.15, 1.0], "blur": 0, "solarize": 0},
    },
    "encoder": {"kind": "convnet", "strides": [2, 1, 2, 2]},
    "head": {"kind": "projector", "hidden": 512, "layers": 1, "width": 64, "embedding": None},
    "guard": {"kind": "sigreg", "weight": 0.02, "slices": 256},
    "train": {"steps": 3500, "batch_size": 128, "lr": 2e-3, "beta2": 0.95, "final_lr": 0.0},
}

TINY_VIT: dict[str, Any] = {
    "signal": {"size": 28, "channels": 1, "patch": 4, "mean": [0.286], "std": [0.353]},
    "hiding": {
        "kind": "crops",
        "global_views": 4,
        "local_views": 0,
        "drop": 0.75,
        "global_augment": {"scale": [0.15, 1.0], "blur": 0, "solarize": 0},
    },
    "encoder": {
        "kind": "vit",
        "width": 96,
        "depth": 4,
        "heads": 4,
        "init": "xavier",
        "position_scale": 0.2,
        "drop_path": 0.0,
    },
    "head": {"kind": "projector", "hidden": 512, "width": 32, "activation": "gelu", "embedding": None},
    "guard": {"kind": "sigreg", "slices": 256, "knots": 17},
    "train": {"steps": 3000, "batch_size": 128, "lr": 2e-3, "beta2": 0.95, "final_lr": 0.0},
}


@register("lejepa")
class LeJEPA(ImageRecipe):
    """LeJEPA's six choices; the defaults are the paper's ViT-L/14."""

    paper: ClassVar[str] = "Balestriero & LeCun, 2025, arXiv:2511.08544"
    measured: ClassVar[str] = "CIFAR-10: 74.9 % linear (untrained 59.0, k-means patches 70.9)"

    recipe: Literal["lejepa"] = "lejepa"
    preset: str = "vit-l14"
    signal: ImageSignal = ImageSignal(patch=14)
    hiding: Hiding = Crops(local_augment=Augment.lejepa(size=98, scale=(0.05, 0.3)))
    condition: Condition = Nothing()
    encoder: Encoder = ViT(width=1024, depth=24, heads=16, drop_path=0.1)
    head: Head = Projector(width=512, activation="relu", embedding=512)
    predictor: Predictor = Identity()
    target: Target = Shared()
    energy: Energy = L2()
    guard: Guard = SIGReg()
    train: Training = Training(
        steps=250_000, batch_size=512, lr=5e-4, warmup=0.1, final_lr=1e-3, weight_decay=0.05
    )

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "vit-l14": {},
        "vit-s16": {
            "signal": {"patch": 16},
            "hiding": {"kind": "crops", "local_augment": {"size": 96}},
            "encoder": {"kind": "vit", "width": 384, "depth": 12, "heads": 6},
        },
        "tiny": TINY,
        "tiny-cifar10": {
            **TINY,
            "signal": {"size": 32, "channels": 3, "patch": 4, **CIFAR10},
            "train": {**TINY["train"], "steps": 6400},
        },
        "tiny-vit": TINY_VIT,
        "tiny-cifar10-vit": {
            **TINY_VIT,
            "signal": {"size": 32, "channels": 3, "patch": 4, **CIFAR10},
            "train": {**TINY_VIT["train"], "steps": 1500, "precision": "fp32"},
        },
    }
