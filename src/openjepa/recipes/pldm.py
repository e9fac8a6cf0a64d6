"""PLDM: predict the states that follow from actions; variance, covariance and inverse dynamics keep them informative.

Every frame has one state. From the first state and the actions the predictor rolls out the states that follow, and
these are compared with the encoder's states of the frames that came. The guard keeps states apart, and inverse dynamics
keeps in them what actions change.

Sobal et al., 2025, arXiv:2502.14819. Preset `eb-jepa`: Terver et al., 2026, arXiv:2602.03604, `ac_video_jepa`.

signal     frames and actions                 target   the encoder itself, with gradients
hiding     the future: a rollout from the     energy   L2, mean over the rollout
           first frame                        guard    VICReg's hinge and covariance, of states
condition  actions                            terms    temporal similarity, inverse dynamics, motion

    openjepa collect two-rooms --policy bold-walk --episodes 4000 --steps 100 --size 32 --out episodes
    openjepa train pldm --data episodes   # preset tiny, 9.6 core-minutes
    openjepa train pldm --preset eb-jepa --data episodes

Measured in two rooms with a wall and a door at random places: success in % with 95 % intervals, three seeds of
training, 100 episodes of each (`python -m benchmarks.acting two-rooms`):

    tiny, MPPI    97.0 [94.4, 98.4]    published, after seven times as many frames: 97
    tiny, CEM     93.7 [90.3, 95.9]    behaviour cloning 6.0, chance 2.3, a planner on the true simulator 100

`loss = energy + std hinge + covariance + similarity + inverse + motion`, each with its weight. The paper's code takes
variance and covariance of the first state over the batch, EB-JEPA of all states of all windows (`guard_over`). Both
divide the covariance by D (D - 1), our VICReg by D. So `guard.covariance` is their weight over D - 1: rescale it with
another `encoder.width`. PLDM's code multiplies its learning rate, 7e-4, by a 256th of the batch.

Departures:
- Actions are z-scored. Biases and norms are not decayed. Gradients are clipped by their norm as a whole (EB-JEPA:
  encoder and predictor each). The optimiser is AdamW (PLDM: Adam).
- Frames have 64 px and colours (theirs: 65 px, one channel for the dot and one for the wall).
- `tiny` sees 32 px and blocks of five actions, and has other weights: with EB-JEPA's weights the states of so short a
  training hold neither the dot nor the door. Actions steer its predictor (FiLM), since a predictor that has them beside
  the state learns far later that a wall holds. What was tried: docs/notebook/pldm.md.
- With latent maps (`--encoder.output map --predictor maps`) the guard counts the cells of a map as samples (theirs: as
  features). There is no ensemble.
"""

from typing import Any, ClassVar, Literal

from openjepa.energies import L2, Energy
from openjepa.guards import Guard, VICReg
from openjepa.hiding import Future
from openjepa.nets.convolutional import Conv
from openjepa.nets.dynamics.gru import GRU
from openjepa.nets.dynamics.union import WorldPredictor
from openjepa.nets.frames import FrameNet
from openjepa.nets.heads import Head, NoHead
from openjepa.recipes.base import Training, register
from openjepa.recipes.worlds import Over, WorldRecipe
from openjepa.targets import Shared, Target
from openjepa.world_models.terms import Terms

EB_JEPA: dict[str, Any] = {
    "hiding": {"frames": 17, "rollout": 8},
    "encoder": {"kind": "conv", "channels": [16, 32, 32], "width": 512},
    "guard": {"kind": "vicreg", "std": 16.0, "covariance": 8 / 511},
    "guard_over": "window",
    "terms": {"similarity": 12.0, "inverse": 1.0, "inverse_hidden": 256, "inverse_layers": 2, "motion": 0.0},
    "train": {"steps": 3_125, "batch_size": 384, "lr": 1e-3, "weight_decay": 1e-5, "clip": 2.0},
}
TINY: dict[str, Any] = {
    "signal": {"size": 32, "block": 5},
    "hiding": {"frames": 5, "forced": True, "rollout": 4},
    "encoder": {"kind": "conv", "patch": 2, "channels": [16, 32], "blocks": 1, "width": 128},
    "predictor": {"kind": "mlp", "hidden": [256, 256, 256, 256], "residual": True, "steer": "film"},
    "guard": {"kind": "vicreg", "std": 8.0, "covariance": 0.5},
    "guard_over": "window",
    "terms": {"similarity": 2.0, "inverse": 10.0, "inverse_hidden": 256, "inverse_layers": 2, "motion": 0.0},
    "train": {**EB_JEPA["train"], "batch_size": 128, "lr": 2e-3, "precision": "fp32", "steps": 4_500},
}
"""Preset `tiny`; LeWM's has its signal and encoder."""
PLAN: dict[str, str] = {
    "planner": "mppi",
    "planner.horizon": "18",
    "planner.samples": "96",
    "planner.iterations": "5",
    "planner.elites": "12",
    "planner.sigma": "1.0",
    "planner.action_repeat": "true",
    "cost.prediction_error": "2.0",
    "cost.prediction_error_width": "0.3",
}
"""How `tiny` plans: 18 steps ahead (in two rooms 90 actions, as EB-JEPA), each action repeated for a block; a
prediction error as dear as a state drawn at random, and narrow: steps are as long as a door is wide."""
STEERED: dict[str, Any] = {
    **TINY,
    "signal": {"size": 32, "block": 5, "block_actions": "mean", "mean": [0.75], "std": [0.25]},
    "encoder": {
        "kind": "conv",
        "patch": 2,
        "channels": [16, 32, 64],
        "halve": "stride",
        "blocks": 0,
        "width": 128,
        "norm": False,
    },
    "guard": {"kind": "vicreg", "std": 1.0, "covariance": 0.1},
    "terms": {"similarity": 0.0, "inverse": 2.0, "inverse_layers": 0, "motion": 0.0},
}
"""The start of `tiny` of h-jepa and of the recipes with a latent variable: the mean of five actions is given, and
inverse dynamics are linear, so that places lie in the states as coordinates do."""


@register("pldm")
class PLDM(WorldRecipe):
    """PLDM's six choices; the defaults are the paper's for Two-Rooms."""

    paper: ClassVar[str] = "Sobal et al., 2025, arXiv:2502.14819"
    measured: ClassVar[str] = "two rooms: 97.0 % reached (published 97)"

    recipe: Literal["pldm"] = "pldm"
    preset: str = "two-rooms"
    hiding: Future = Future(frames=16, forced=False, rollout=15)
    encoder: FrameNet = Conv(width=512)
    head: Head = NoHead()
    predictor: WorldPredictor = GRU()
    target: Target = Shared()
    energy: Energy = L2()
    guard: Guard = VICReg(std=3.98, covariance=6.92 / 511)
    guard_over: Over = "first"
    terms: Terms = Terms(similarity=0.742, inverse=1.07, inverse_hidden=512, inverse_layers=1, motion=0.245)
    train: Training = Training(steps=31_200, batch_size=64, lr=7e-4 * 64 / 256, weight_decay=1e-6)

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "two-rooms": {},
        "eb-jepa": EB_JEPA,
        "tiny": TINY,
    }
    plans: ClassVar[dict[str, dict[str, str]]] = {"tiny": PLAN}
