"""DMT-JEPA: predict of each hidden patch what the patches around it that look most like it show together.

Mo & Yun, "DMT-JEPA: Discriminative Masked Targets for Joint-Embedding Predictive Architecture", 2024, arXiv:2405.17995.

signal     image patches                        target   EMA of encoder and head: the 4 most similar neighbours
hiding     4 target blocks, 1 context block     energy   smooth-L1 (the paper: L2; the released code, followed here)
condition  target positions                     guard    none beyond the target (`tiny`: a light VICReg)

The head is attention of a query to tokens. For a target, the mean of the image's layer-normalised features asks those
of the 4 places in a window of 3 x 3 whose cosine with the place's own is largest. For a context, the mean of its tokens
asks all of them, and the answer is added to each before the predictor. What an image is then is I-JEPA's encoder.

    openjepa train dmt-jepa --preset tiny-cifar10 --data cifar10
    torchrun --nproc-per-node 8 -m openjepa train dmt-jepa --preset vit-b16 --data photos

Measured on the places of CamVid's street scenes (`tiny-cifar10` at their size, 200 steps, 1.5 CPU minutes, three
seeds): mean IoU 24.4 % [23.9, 25.0], untrained 21.1, I-JEPA at equal steps 24.6 [22.1, 27.2], classical features 36.8
[35.8, 37.7], beside ours 38.4 [37.7, 39.2] (beside I-JEPA's 38.8). What a whole image shows is not measured yet.

Departures from the released code (DMTJEPA/DMTJEPA), of which a name is missing, so that it cannot start: neighbours do
not wrap around borders, where a place has 3 or 5 of them. Every image is asked by its own mean; theirs gives patch n
of image b the mean of image (bN + n) mod B. The average of the head is in checkpoints. The paper's text has one layer
of attention (`--head.depth 1`) and L2 (`--energy l2`); the code, followed here, has two blocks with MLPs and smooth-L1.
Masks are I-JEPA's here, with its departures. `vit-h14` trains for 300 epochs, `vit-l16` and `vit-b16` for 600, in
batches of 2,048.

What was tried at small scale: docs/notebook/dmt-jepa.md.
"""

from typing import Any, ClassVar, Literal

from openjepa.conditions import Condition, Positions
from openjepa.energies import Energy, SmoothL1
from openjepa.guards import Guard, NoGuard
from openjepa.hiding import Blocks, Hiding
from openjepa.nets.aggregation import Aggregation
from openjepa.nets.encoders import Encoder
from openjepa.nets.heads import Head
from openjepa.nets.predictor import Narrow, Predictor
from openjepa.nets.transformer import ViT
from openjepa.recipes.base import Training, register
from openjepa.recipes.ijepa import IJEPA
from openjepa.recipes.images import ImageRecipe
from openjepa.signals.images.signal import ImageSignal
from openjepa.targets import Neighbours, Target


def _tiny(preset: str) -> dict[str, Any]:
    """I-JEPA's preset of this name with our target."""
    given = IJEPA.presets[preset]
    return {
        **given,
        "head": {"kind": "aggregation", "depth": 1, "heads": 4, "init": "xavier"},
        "target": {**given["target"], "kind": "neighbours", "norm": "none"},
    }


@register("dmt-jepa")
class DMTJEPA(ImageRecipe):
    """DMT-JEPA's six choices; the defaults are the paper's ViT-B/16."""

    paper: ClassVar[str] = "Mo & Yun, 2024, arXiv:2405.17995"
    measured: ClassVar[str] = (
        "places of street scenes: mIoU 24.4 % (untrained 21.1, I-JEPA 24.6, classical 36.8)"
    )

    recipe: Literal["dmt-jepa"] = "dmt-jepa"
    preset: str = "vit-b16"
    signal: ImageSignal = ImageSignal(patch=16)
    hiding: Hiding = Blocks()
    condition: Condition = Positions()
    encoder: Encoder = ViT(width=768, depth=12, heads=12)
    head: Head = Aggregation(heads=12)
    predictor: Predictor = Narrow(width=384, depth=6, heads=12)
    target: Target = Neighbours()
    energy: Energy = SmoothL1()
    guard: Guard = NoGuard()
    train: Training = Training(
        steps=375_000,
        batch_size=2048,
        lr=1e-3,
        warmup=40 / 600,
        start_lr=0.2,
        final_lr=1e-3,
        weight_decay=0.04,
        decay_mask_tokens=True,
        final_weight_decay=0.4,
    )

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "vit-b16": {},
        "vit-l16": {
            "encoder": {"width": 1024, "depth": 24, "heads": 16},
            "head": {"heads": 16},
            "predictor": {"depth": 12, "heads": 16},
        },
        "vit-h14": {
            "signal": {"patch": 14},
            "encoder": {"width": 1280, "depth": 32, "heads": 16},
            "head": {"heads": 16},
            "predictor": {"depth": 12, "heads": 16},
            "train": {"steps": 187_500, "warmup": 40 / 300},
        },
        "tiny": _tiny("tiny"),
        "tiny-cifar10": _tiny("tiny-cifar10"),
        "tiny-vit": _tiny("tiny-vit"),
    }
