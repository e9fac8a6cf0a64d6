"""V-JEPA 2.1: predict what is visible as well as what is hidden, at four levels, of clips and of images.

The tokens of a context are predicted too, the more their energy counts the nearer they are to what is hidden, and
targets are the outputs of four blocks. Features become dense: they tell what each patch shows, not the clip alone.
Images enter as images, by a stem of their own, beside the clips of a step.

Assran et al., 2026, arXiv:2603.14482.

signal     tubelets of clips, patches of images    target   EMA encoder's four levels, each layer-normalised
hiding     V-JEPA's tubes; 10 blocks of images     energy   L1, of hidden tokens and of visible ones
condition  target positions, rotary                guard    none beyond the target (`tiny`: a light VICReg)

    openjepa train v-jepa-2-1 --data clips                          # preset tiny; images are frames of the clips
    openjepa train v-jepa-2-1 --data clips --signal.images photos   # or others
    torchrun --nproc-per-node 8 -m openjepa train v-jepa-2-1 --preset vit-l16 --data films --signal.images photos

A quarter of `tiny` without its guard (`--guard none`, 200 steps, 5 CPU minutes, three seeds, CamVid's places): mIoU
24.7 % [23.1, 26.3], untrained 21.9, classical features 36.8, beside ours 36.3; with the labels of ten scenes 19.4,
17.6, 28.3 and 29.1. What the guard changes is not measured, nor what a clip shows (`python -m benchmarks.clips
--recipe v-jepa-2-1`). All of `tiny` takes 15 to 20 CPU minutes by the time a step takes.

Departures from the released code: a step has as many images as clips on every process, and they are a third of the
loss, one pair of three (theirs: some processes have clips alone, others more images alone, and gradients are averaged,
so that images count by their share of the processes, a half). The distance to the mask is in tokens at every
resolution. Contexts and what is to be predicted are cut to the batch's shortest by a random draw (see v-jepa). AdamW
and truncated normal weights in the place of RAdam and Xavier's; residual branches begin as large as others (see
v-jepa-2). Distillation into smaller encoders is not here; `vit-b16` is trained from scratch.
"""

from typing import Any, ClassVar, Literal

from openjepa.conditions import Condition, Positions
from openjepa.energies import L1, Energy
from openjepa.guards import Guard, NoGuard
from openjepa.hiding import DenseTubes
from openjepa.nets.levels import LevelsViT
from openjepa.nets.positions import RoPE
from openjepa.nets.predictor import Narrow
from openjepa.recipes.base import Training, register
from openjepa.recipes.tokens import TokenRecipe
from openjepa.signals.video.mixed import MixedSet, MixedSignal
from openjepa.signals.video.signal import UCF9
from openjepa.targets import EMA, Target

COOLDOWN: dict[str, Any] = {
    "signal": {"size": [384], "frames": 64, "image_size": 512},
    "train": {"steps": 12_000, "warmup": 0.0, "cooldown": 1.0, "final_lr": 1e-6 / 5.25e-4},
    "hiding": {"visible": {"start": 0.0, "full": 0.0}},
}
GIANT: dict[str, Any] = {
    "encoder": {"width": 1408, "depth": 40, "heads": 22, "mlp_ratio": 48 / 11, "levels": [9, 19, 29, 39]},
    "predictor": {"enter": 1408},
}
GIGANTIC: dict[str, Any] = {
    "encoder": {"width": 1664, "depth": 48, "heads": 26, "mlp_ratio": 64 / 13, "levels": [11, 23, 37, 47]},
    "predictor": {"enter": 1664},
}
TINY: dict[str, Any] = {
    "signal": {
        "size": [72, 96],
        "frames": 8,
        "stride": 4,
        "fps": None,
        "channels": 3,
        "tubelet": 2,
        "patch": 8,
        "image_size": 96,
        **UCF9,
    },
    "hiding": {"size": [32, 48], "image_size": [48, 64], "min_context": 0.15},
    "encoder": {
        "width": 96,
        "depth": 4,
        "heads": 4,
        "init": "xavier",
        "levels": [0, 1, 2, 3],
        "positions": {"grid": 12},
    },
    "predictor": {
        "width": 48,
        "depth": 2,
        "heads": 2,
        "init": "xavier",
        "enter": 96,
        "positions": {"grid": 12},
    },
    "target": {"kind": "ema", "norm": "layer", "half_life": 0.02, "levels": 4, "to_one": False},
    "guard": {"kind": "vicreg", "std": 0.1, "covariance": 0.004},
    "train": {
        "steps": 800,
        "batch_size": 64,
        "lr": 1e-3,
        "warmup": 0.1,
        "start_lr": 0.0,
        "cooldown": 0.1,
        "weight_decay": 0.05,
        "decay_mask_tokens": False,
    },
}


@register("v-jepa-2-1")
class VJEPA21(TokenRecipe):
    """V-JEPA 2.1's six choices; the defaults are the paper's ViT-L/16 before the last stage."""

    paper: ClassVar[str] = "Assran et al., 2026, arXiv:2603.14482"
    measured: ClassVar[str] = "places of street scenes: mIoU 24.7 % (untrained 21.9, classical 36.8)"

    recipe: Literal["v-jepa-2-1"] = "v-jepa-2-1"
    preset: str = "vit-l16"
    signal: MixedSignal = MixedSignal(size=(256,), frames=16, fps=4)
    hiding: DenseTubes = DenseTubes()
    condition: Condition = Positions()
    encoder: LevelsViT = LevelsViT(width=1024, depth=24, heads=16, positions=RoPE(grid=16))
    predictor: Narrow = Narrow(
        width=384,
        depth=24,
        heads=12,
        joint=True,
        mask_init="zero",
        mask_tokens="one",
        positions=RoPE(grid=16),
        enter=1024,
        context=True,
    )
    target: Target = EMA(norm="layer", levels=4, half_life=924, to_one=False)
    energy: Energy = L1()
    guard: Guard = NoGuard()
    train: Training = Training(
        steps=135_000,
        batch_size=3072,
        lr=5.25e-4,
        schedule="constant",
        warmup=12 / 135,
        start_lr=1e-4 / 5.25e-4,
        cooldown=0.0,
        weight_decay=0.04,
        decay_mask_tokens=True,
    )

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "vit-l16": {},
        "vit-b16": {
            "encoder": {"width": 768, "depth": 12, "heads": 12, "levels": [2, 5, 8, 11]},
            "predictor": {"enter": 768},
        },
        "vit-g16": GIANT,
        "vit-gigantic16": GIGANTIC,
        "vit-l16-cooldown": COOLDOWN,
        "vit-g16-cooldown": GIANT | COOLDOWN,
        "vit-gigantic16-cooldown": GIGANTIC | COOLDOWN,
        "tiny": TINY,
    }

    def open(self, data: Any, adapt: bool) -> Any:
        """Clips to train on, with the signal's images beside them."""
        clips: Any = super().open(data, adapt)
        return clips if isinstance(clips, MixedSet) else self.signal.beside(clips)
