"""DINO-WM: predict the patch tokens that a frozen image encoder gives of the next frame.

The encoder is any image recipe's run, or one of the Hub's (`encoder.source`, see `nets.frozen`), and is saved with the
model. The action and proprioception stand beside the features of every patch, and the robot's state is predicted
with them. Which of the recorded variables it is, is said with `condition.variables`.

Zhou et al., ICML 2025, arXiv:2411.04983.

signal     frames and blocks of 5 actions        target   the encoder itself, frozen
hiding     the next frame, teacher-forced        energy   L2, mean over patches and features
condition  actions and proprioception               guard    none: nothing that is trained could collapse

    openjepa collect two-rooms --episodes 1000 --out episodes
    openjepa train dino-wm --data episodes --encoder.source runs/images   # tiny, an encoder of ours
    openjepa train dino-wm --preset push-t --data push-t.h5 --condition.variables "[agent_x, agent_y]"

An arm that reaches for what a picture shows (`tiny`, 400 steps, 1.6 CPU minutes, three seeds, 100 episodes each, 0.25
to 0.4 s a plan): 16.3 % [12.6, 20.9] on LeJEPA's encoder, 2.0 [0.9, 4.3] on V-JEPA 2's; PLDM 72.3, chance 6.0.

`tiny` sees pictures alone: in our Two Rooms the recorded state is the answer. Pixels are normalised by 0.5 and 0.5, as
in the released code, though DINOv2 was trained with ImageNet's statistics (`--encoder.statistics source`).

Departures:
- Proprioception is given as z-scores (theirs: a trained embedding of 10 numbers, which is itself a target, so
  that a constant would do).
- Goals are compared by their patches (theirs: by proprioception at the goal as well).
- There is no decoder beside it. Whole episodes are held out (theirs: windows). One AdamW, without decay on biases and
  norms.
"""

from typing import Any, ClassVar, Literal

from openjepa.energies import L2, Energy
from openjepa.guards import Guard, NoGuard
from openjepa.hiding import Future
from openjepa.nets.dynamics.concat import ConcatPredictor
from openjepa.nets.dynamics.union import WorldPredictor
from openjepa.nets.frames import FrameNet
from openjepa.nets.frozen import FrozenNet
from openjepa.nets.heads import Head, NoHead
from openjepa.recipes.base import Training, register
from openjepa.recipes.worlds import WorldRecipe
from openjepa.signals.frames import FrameSignal
from openjepa.targets import Shared, Target
from openjepa.world_models.conditions import Proprioception, WorldCondition

DINOV2_S = {
    "kind": "transformers",
    "config": {
        "model_type": "dinov2",
        "hidden_size": 384,
        "num_hidden_layers": 12,
        "num_attention_heads": 6,
        "image_size": 518,
        "patch_size": 14,
    },
}
SMALL = {
    "kind": "ours",
    "signal": {"size": 64, "channels": 3, "patch": 8},
    "encoder": {"kind": "vit", "width": 96, "depth": 4, "heads": 3},
}
"""An encoder of ours on 64 px; whatever `encoder.source` names takes its place."""


@register("dino-wm")
class DINOWM(WorldRecipe):
    """DINO-WM's six choices; the defaults are the paper's for PushT."""

    paper: ClassVar[str] = "Zhou et al., ICML 2025, arXiv:2411.04983"
    measured: ClassVar[str] = "an arm and a goal picture: 16.3 % reached (PLDM 72.3, chance 6.0)"

    recipe: Literal["dino-wm"] = "dino-wm"
    preset: str = "push-t"
    signal: FrameSignal = FrameSignal(size=224, block=5, state_dim=4)
    hiding: Future = Future(frames=4)
    condition: WorldCondition = Proprioception()
    encoder: FrameNet = FrozenNet(
        source="hub:facebook/dinov2-small", size=196, statistics="half", architecture=DINOV2_S
    )
    head: Head = NoHead()
    predictor: WorldPredictor = ConcatPredictor()
    target: Target = Shared(stop_gradient=True)
    energy: Energy = L2()
    guard: Guard = NoGuard()
    train: Training = Training(
        steps=6_000_000,
        batch_size=32,
        lr=5e-4,
        schedule="constant",
        warmup=0.0,
        cooldown=0.0,
        weight_decay=0.01,
    )

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "push-t": {},
        "tiny": {
            "signal": {"size": 64, "block": 5},
            "condition": {"kind": "actions"},
            "encoder": {
                "kind": "frozen",
                "source": "",
                "size": None,
                "statistics": "source",
                "architecture": SMALL,
            },
            "predictor": {
                "kind": "concat",
                "depth": 3,
                "heads": 4,
                "head_width": 32,
                "hidden": 256,
                "dropout": 0.0,
            },
            "train": {
                "steps": 1000,
                "batch_size": 32,
                "lr": 1e-3,
                "schedule": "cosine",
                "warmup": 0.05,
                "precision": "fp32",
            },
        },
    }
