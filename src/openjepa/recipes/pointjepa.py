"""Point-JEPA: predict the representations of runs of groups of points from another run of the same cloud.

Saito, Kudeshia & Poovvancheri, WACV 2025, arXiv:2404.16432.

signal     64 groups of 32 points, in greedy order    target   EMA of the trunk, layer-normalised; stem is shared
hiding     4 contiguous runs, 1 run as context        energy   smooth-L1, beta 2
condition  centres of the hidden groups               guard    none beyond the target

    openjepa train point-jepa --data clouds                   # preset tiny: .ply, .off, .obj, .pcd, .las, .npz
    openjepa train point-jepa --preset vit-s --data shapenet  # the paper's model

Measured on ModelNet10 (`tiny`, 8 CPU minutes, three seeds): ten labels a class 78.1 [74.4, 81.8] %, untrained 71.1
[70.7, 71.6], 10-NN 75.3 and 61.6; all labels 88.0 [87.6, 88.5] and 88.2 [84.5, 91.9]. Distances to fixed anchors have
84.9 and 89.3, beside ours 84.4 and 90.5.

Departures from the released code (Ayumu-J-S/Point-JEPA): runs are drawn for each sample, and so are stretches, mirrors
and turns; theirs are one draw a batch. A cloud's points are drawn at random, not by farthest-point sampling from the
stored cloud. The stem sees the context's groups alone; theirs embeds all and then drops some, so that its batch norm
sees what is hidden. Targets come after the trunk's last norm. Attention's dropout is that of the other layers, 0.1;
theirs 0.05. The predictor has no drop path. The average's momentum rises from 0.995 to 1, as the paper says; the code
has 0.9995 to 0.99999. Biases and norms are not decayed. `tiny` is smaller, has no norm in its stem, turns clouds
little, scales targets over the batch and has a light VICReg.

What was tried: docs/notebook/point-jepa.md.
"""

from typing import Any, ClassVar, Literal

from openjepa.conditions import Condition, Positions
from openjepa.energies import Energy, SmoothL1
from openjepa.guards import Guard, NoGuard
from openjepa.hiding import Runs
from openjepa.nets.pointnet import PointNet
from openjepa.nets.positions import PlaceMLP
from openjepa.nets.predictor import Narrow
from openjepa.nets.transformer import ViT
from openjepa.recipes.base import Training, register
from openjepa.recipes.tokens import TokenRecipe
from openjepa.signals.points import PointSignal
from openjepa.targets import EMA, Target


@register("point-jepa")
class PointJEPA(TokenRecipe):
    """Point-JEPA's six choices; the defaults are the paper's."""

    paper: ClassVar[str] = "Saito et al., WACV 2025, arXiv:2404.16432"
    measured: ClassVar[str] = (
        "ModelNet10, 10 labels a class: 78.1 % (untrained 71.1, distances to anchors 84.9)"
    )

    recipe: Literal["point-jepa"] = "point-jepa"
    preset: str = "vit-s"
    data: str = ""
    """A folder of clouds or meshes, or a file of arrays."""
    signal: PointSignal = PointSignal()
    hiding: Runs = Runs()
    condition: Condition = Positions()
    encoder: ViT = ViT(
        width=384,
        depth=12,
        heads=6,
        dropout=0.1,
        drop_path=0.25,
        stem=PointNet(),
        positions=PlaceMLP(),
        positions_at="every",
    )
    predictor: Narrow = Narrow(width=192, depth=6, heads=6, positions=PlaceMLP())
    target: Target = EMA(average="trunk", norm="layer", half_life=138.3)
    energy: Energy = SmoothL1(beta=2.0)
    guard: Guard = NoGuard()
    train: Training = Training(
        steps=41_000, batch_size=512, lr=1e-3, warmup=0.06, start_lr=0.01, final_lr=1e-3, weight_decay=0.05
    )

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "vit-s": {},
        "tiny": {
            "signal": {"count": 512, "groups": 32, "size": 16, "turn": 15.0},
            "encoder": {
                "width": 96,
                "depth": 3,
                "heads": 4,
                "dropout": 0.0,
                "drop_path": 0.0,
                "init": "xavier",
                "stem": {"kind": "pointnet", "widths": [32, 64, 64, 96], "norm": "none"},
                "positions": {"kind": "mlp", "hidden": 64},
            },
            "predictor": {
                "width": 64,
                "depth": 2,
                "heads": 4,
                "init": "xavier",
                "positions": {"kind": "mlp", "hidden": 64},
            },
            "target": {"kind": "ema", "average": "trunk", "norm": "batch", "half_life": 0.02, "layers": 2},
            "guard": {"kind": "vicreg", "std": 0.1, "covariance": 0.004},
            "train": {
                "steps": 2000,
                "batch_size": 32,
                "lr": 1e-3,
                "warmup": 0.1,
                "start_lr": 0.0,
                "final_lr": 0.0,
                "clip": 1.0,
            },
        },
    }
