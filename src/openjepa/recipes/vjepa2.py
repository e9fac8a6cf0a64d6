"""V-JEPA 2: V-JEPA with rotary positions, a constant average, and a last stage at full length and size.

Assran et al., 2025, arXiv:2506.09985.

signal     tubelets of 2 frames and 16 x 16 px     target   EMA encoder of constant momentum, layer-normalised
hiding     8 short-range and 2 long-range tubes    energy   L1
condition  target positions, rotary                guard    none beyond the target

    openjepa train v-jepa-2 --data clips      # preset tiny: folders of short films, a class a folder
    openjepa train v-jepa-2 --preset tiny-cooldown --data clips --init runs/v-jepa-2-tiny-0
    torchrun --nproc-per-node 8 -m openjepa train v-jepa-2 --preset vit-l16 --data films
    torchrun --nproc-per-node 8 -m openjepa train v-jepa-2 --preset vit-l16-cooldown --data films --init RUN

Training has two stages, each a run: the learning rate warms up and stays, then a second run that starts from the first
lets it fall to almost nothing, on longer and larger clips. Positions are rotary, so that both have the same weights.

Measured on nine actions in films (`tiny`, 834 clips, three seeds, 300 steps, 6 CPU minutes of a
busy core): linear 65.4 [52.1, 78.6] %, untrained 55.1 [44.7, 65.6]; 10-NN 51.3 [47.9, 54.7] and 39.4 [31.3, 47.6]; ten
labels a class 54.1 and 39.8. Fisher vectors of HOG have 78.4, and beside ours 75.7; with ten labels a class 62.8 and
63.1.

`tiny` has what taught the small V-JEPA (docs/notebook/v-jepa.md): context and target are different crops of a
film, of other times, a light guard, and convolutions before its two blocks. `tiny-vit` is the paper's way at that size.
What was tried: docs/notebook/v-jepa-2.md.

Departures from the released code: the two numbers of a rotary pair turn at one frequency, as is meant and as V-JEPA 2.1
does (`--encoder.positions.style tiled --predictor.positions.style tiled` is what V-JEPA 2 released). Contexts and
what is to be predicted are cut to the batch's shortest by a random draw (see v-jepa). Images are not mixed in as
films that stand still; v-jepa-2-1 takes them as images. Activations are not computed again in the backward pass. The
last layers of a block begin as large as others (theirs: smaller by the root of twice the block's number). The last
stage starts with the weights of the first alone (theirs: the optimiser's state too).
"""

from typing import Any, ClassVar, Literal

from openjepa.conditions import Condition, Positions
from openjepa.energies import L1, Energy
from openjepa.guards import Guard, NoGuard
from openjepa.hiding import Tubes
from openjepa.nets.positions import RoPE
from openjepa.nets.predictor import Narrow
from openjepa.nets.transformer import ViT
from openjepa.recipes.base import Training, register
from openjepa.recipes.tokens import TokenRecipe
from openjepa.signals.video.signal import UCF9, VideoSignal
from openjepa.targets import EMA, Target

HUGE: dict[str, Any] = {"width": 1280, "depth": 32, "heads": 16}
GIANT: dict[str, Any] = {"width": 1408, "depth": 40, "heads": 22, "mlp_ratio": 48 / 11}
COOLDOWN: dict[str, Any] = {
    "steps": 12_000,
    "warmup": 0.0,
    "cooldown": 1.0,
    "final_lr": 1e-6 / 5.25e-4,
}
LONG: dict[str, Any] = {"signal": {"frames": 64}, "train": COOLDOWN}
COLOURS: dict[str, Any] = {"flip": 0.5, "jitter": 0.8, "grey": 0.2}
TINY: dict[str, Any] = {
    "signal": {
        "size": [72, 96],
        "frames": 8,
        "stride": 4,
        "fps": None,
        "channels": 3,
        "tubelet": 2,
        "patch": 8,
        **UCF9,
    },
    "hiding": {
        "size": [32, 48],
        "frames": 4,
        "short": {"blocks": 4, "scale": 0.1},
        "long": {"blocks": 0},
        "min_context": 0.15,
        "augment": {"scale": [0.3, 1.0], **COLOURS},
        "target_augment": {"scale": [0.3, 1.0], "ratio": [0.75, 1.35], **COLOURS},
    },
    "encoder": {
        "width": 128,
        "depth": 2,
        "heads": 4,
        "init": "xavier",
        "stem": {
            "kind": "convnet",
            "channels": [32, 64, 128],
            "strides": [2, 2, 2],
            "blocks": [0, 0, 0],
        },
    },
    "predictor": {"width": 64, "depth": 1, "heads": 2, "init": "xavier"},
    "target": {"kind": "ema", "norm": "layer", "half_life": 0.02, "layers": 2, "to_one": False},
    "guard": {"kind": "vicreg", "std": 0.1, "covariance": 0.004},
    "train": {
        "steps": 300,
        "batch_size": 128,
        "lr": 1e-3,
        "beta2": 0.95,
        "warmup": 0.1,
        "start_lr": 0.0,
        "cooldown": 0.3,
        "weight_decay": 0.05,
        "decay_mask_tokens": False,
    },
}
TINY_VIT: dict[str, Any] = {
    "signal": TINY["signal"],
    "hiding": {"size": [32, 48], "min_context": 0.15},
    "encoder": {"width": 96, "depth": 4, "heads": 4, "init": "xavier"},
    "predictor": {"width": 48, "depth": 2, "heads": 2, "init": "xavier"},
    "target": {"kind": "ema", "norm": "layer", "half_life": 0.02, "layers": 4, "to_one": False},
    "train": {
        "steps": 3000,
        "batch_size": 64,
        "lr": 1e-3,
        "warmup": 0.1,
        "start_lr": 0.0,
        "weight_decay": 0.05,
        "decay_mask_tokens": False,
    },
}


@register("v-jepa-2")
class VJEPA2(TokenRecipe):
    """V-JEPA 2's six choices; the defaults are the paper's ViT-L/16 before the last stage."""

    paper: ClassVar[str] = "Assran et al., 2025, arXiv:2506.09985"
    measured: ClassVar[str] = "nine actions: 65.4 % (untrained 55.1, Fisher vectors 78.4)"

    recipe: Literal["v-jepa-2"] = "v-jepa-2"
    preset: str = "vit-l16"
    signal: VideoSignal = VideoSignal(size=(256,), frames=16, fps=4)
    hiding: Tubes = Tubes()
    condition: Condition = Positions()
    encoder: ViT = ViT(width=1024, depth=24, heads=16, positions=RoPE())
    predictor: Narrow = Narrow(
        width=384,
        depth=12,
        heads=12,
        joint=True,
        mask_init="zero",
        mask_tokens="one",
        positions=RoPE(),
    )
    target: Target = EMA(norm="layer", half_life=924, to_one=False)
    energy: Energy = L1()
    guard: Guard = NoGuard()
    train: Training = Training(
        steps=240_000,
        batch_size=3072,
        lr=5.25e-4,
        schedule="constant",
        warmup=12 / 240,
        start_lr=1e-4 / 5.25e-4,
        cooldown=0.0,
        weight_decay=0.04,
        decay_mask_tokens=True,
    )

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "vit-l16": {},
        "vit-h16": {"encoder": HUGE},
        "vit-g16": {"encoder": GIANT},
        "vit-l16-cooldown": LONG,
        "vit-h16-cooldown": {"encoder": HUGE, **LONG},
        "vit-g16-cooldown": {"encoder": GIANT, **LONG},
        "vit-g16-384-cooldown": {
            "encoder": GIANT,
            "signal": {"size": [384], "frames": 64},
            "train": COOLDOWN,
        },
        "tiny": TINY,
        "tiny-vit": TINY_VIT,
        "tiny-cooldown": {
            **TINY,
            "signal": {**TINY["signal"], "frames": 16, "stride": 2},
            "hiding": {**TINY["hiding"], "size": [48, 64], "frames": 8},
            "target": {**TINY["target"], "half_life": 0.02 * TINY["train"]["steps"]},  # as in the first stage
            "train": {**TINY["train"], "steps": 60, "warmup": 0.0, "cooldown": 1.0, "final_lr": 2e-3},
        },
    }
