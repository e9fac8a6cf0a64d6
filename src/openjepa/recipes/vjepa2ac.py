"""V-JEPA 2-AC: predict a frozen encoder's patches from actions and the robot's pose, one step ahead and by rollout.

Every frame is encoded alone. Its patches are layer-normalised without parameters, and so are predictions. The tokens of
a step are `[action, pose, patches]`; they see their own and earlier steps. A coming pose is the last one with the
actions added, angles composed, in a rollout of training as in planning. The energy is of patches alone.

Assran et al., 2025, arXiv:2506.09985, section 3.

signal     frames, differences of poses        target   the encoder itself, frozen
hiding     the next frame, teacher-forced,     energy   L1
           and a rollout of two steps          guard    none: nothing that is trained could collapse
condition  actions and the robot's pose

    openjepa collect arm --episodes 500 --policy scripted --out episodes
    openjepa train vjepa2-ac --data episodes --encoder.source runs/images   # tiny, an encoder of ours
    openjepa train vjepa2-ac --preset droid --data droid                    # V-JEPA 2 ViT-g; 305 M parameters to train

`tiny` takes 1,000 steps of 0.6 CPU seconds (0.3 in bf16). An arm that reaches for what a picture shows (400 steps on
encoders of 400 steps, three seeds, 100 episodes each, 0.2 to 0.6 s a plan): 35.3 % [30.1, 40.9] on LeJEPA's encoder,
12.7 [9.4, 16.9] on V-JEPA 2's; PLDM 72.3, behaviour cloning 60.3, chance 6.0 (`python -m benchmarks.acting arm`).
A real robot's joints one second ahead (`python -m benchmarks.robot`, one seed): rms 0.056, by copying 0.146, by ridge
regression 0.091 without actions and 0.029 with them.

Departures:
- In training the rollout is given poses to which actions were added (theirs: recorded poses, the same where actions are
  their differences).
- Actions and poses are z-scored (theirs: in metres and radians). Poses are kept within what was recorded (theirs: the
  gripper alone, within 0..1).
- The numbers of a rotary pair turn at one frequency (`--predictor.rotary tiled` is what was released).
- Biases and norms are not decayed. There is no token of the camera's pose.
- In planning, an action's numbers are clipped one by one, as in the released notebook (the paper: an L1 ball of 7.5
  cm). Its CEM has 10 elites (the paper: 800 samples, 10 iterations) and keeps 0.15 of the mean and 0.75 of the standard
  deviation: `--planner.momentum 0.15 --planner.momentum_std 0.75`. Theirs keeps 0.15 of the gripper's and never turns
  the hand.
"""

from typing import Any, ClassVar, Literal, Self

from openjepa.energies import L1, Energy
from openjepa.guards import Guard, NoGuard
from openjepa.hiding import Future
from openjepa.nets.dynamics.block_causal import BlockCausal
from openjepa.nets.dynamics.union import WorldPredictor
from openjepa.nets.frames import FrameNet
from openjepa.nets.frozen import FrozenNet
from openjepa.nets.heads import Head, NoHead
from openjepa.recipes.base import Training, register
from openjepa.recipes.dinowm import SMALL
from openjepa.recipes.worlds import WorldRecipe
from openjepa.signals.frames import FrameSignal
from openjepa.targets import Shared, Target
from openjepa.world_models.conditions import Proprioception, WorldCondition
from openjepa.world_models.windows import EpisodeWindows

VITG = {
    "kind": "transformers",
    "config": {
        "model_type": "vjepa2",
        "hidden_size": 1408,
        "num_hidden_layers": 40,
        "num_attention_heads": 22,
        "mlp_ratio": 48 / 11,
        "crop_size": 256,
        "patch_size": 16,
        "tubelet_size": 2,
    },
}


@register("vjepa2-ac")
class VJEPA2AC(WorldRecipe):
    """V-JEPA 2-AC's six choices; the defaults are those of the released `configs/train/vitg16/droid-256px-8f.yaml`."""

    paper: ClassVar[str] = "Assran et al., 2025, arXiv:2506.09985"
    measured: ClassVar[str] = "an arm and a goal picture: 35.3 % reached (PLDM 72.3, chance 6.0)"

    recipe: Literal["vjepa2-ac"] = "vjepa2-ac"
    preset: str = "droid"
    signal: FrameSignal = FrameSignal(size=256, action_dim=7, state_dim=7)
    hiding: Future = Future(frames=8, rollout=2)
    condition: WorldCondition = Proprioception(future="moved", angles=3)
    encoder: FrameNet = FrozenNet(
        source="hub:facebook/vjepa2-vitg-fpc64-256", norm="layer", architecture=VITG
    )
    head: Head = NoHead()
    predictor: WorldPredictor = BlockCausal()
    target: Target = Shared(stop_gradient=True)
    energy: Energy = L1()
    guard: Guard = NoGuard()
    train: Training = Training(
        steps=94_500,
        batch_size=256,
        lr=4.25e-4,
        schedule="constant",
        warmup=15 / 315,
        start_lr=0.75 / 4.25,
        cooldown=15 / 315,
        weight_decay=0.04,
    )

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "droid": {},
        "tiny": {
            "signal": {"size": 64, "block": 3, "action_dim": 3, "state_dim": 3},
            "hiding": {"frames": 4, "rollout": 2},
            "condition": {"angles": None},
            "encoder": {"kind": "frozen", "source": "", "norm": "layer", "architecture": SMALL},
            "predictor": {
                "kind": "block-causal",
                "width": 96,
                "depth": 3,
                "heads": 4,
                "history": 3,
                "state": 3,
            },
            "train": {"steps": 1000, "batch_size": 32, "lr": 1e-3, "precision": "fp32"},
        },
    }

    def adapt(self, samples: EpisodeWindows) -> Self:
        """The config for the episodes; the predictor's token of the pose takes its numbers."""
        adapted = super().adapt(samples)
        condition, predictor = adapted.condition, adapted.predictor
        if not isinstance(condition, Proprioception) or not isinstance(predictor, BlockCausal):
            return adapted
        size = condition.scores(adapted.signal).size if condition.future == "moved" else 0
        return adapted.model_copy(update={"predictor": predictor.model_copy(update={"state": size})})
