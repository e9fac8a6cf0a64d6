"""Latent actions: infer what happened between two frames, through a narrow channel, and predict the second frame by it.

An inverse model sees two successive frames and infers a latent variable z. The predictor is given z and the first frame
and predicts the second. The inverse model sees the very frame that is to be predicted, so `condition.latent.capacity`
decides what z may tell: all (z is the frame), nothing, or what neither the past nor the actions say.
`openjepa controls` measures it. To plan, z is drawn (`Task(risk=...)`); without actions (`condition.video true`) z
takes their place.

Garrido et al., 2026, arXiv:2601.05230, "Learning Latent Action World Models In The Wild".

signal     frames; actions if given           target   the encoder itself, with gradients
hiding     the next frame, teacher-forced     energy   L1
condition  a latent z, limited by KL,         guard    SIGReg, of each time step's states over the batch
           sparsity or a codebook

    openjepa collect branch --policy perturbed-expert --episodes 4000 --steps 60 --size 32 --out branch
    openjepa train latent-action --data branch   # preset tiny, 6 to 7 core-minutes
    openjepa train latent-action --data branch --condition.latent.capacity codebook
    openjepa controls runs/latent-action-tiny-0

Measured where a river forks, three seeds (`python -m benchmarks.acting branch`): the error at forks of the best of K
predictions, over that of one prediction without z:

    best of two   0.64 to 1.03
    best of four  0.41 to 0.73

It has not acted yet.

Departures:
- There is no public code. Signs and squares of the paper's regularisers that are printed wrongly are mended (see
  `latents.capacity`).
- The paper's encoder is a frozen V-JEPA 2-L, whose states are patch tokens. Here the encoder is trained along, with
  LeWM's guard and projector, to one vector a frame. The optimiser is AdamW alone (theirs: Muon beside it).
- `tiny` has PLDM's states, rollout and terms, and takes the actions: z is left with what a fork in the world decides.
  A few of its nats are free (`free` of the KL), since forks are rare and otherwise z was never used in one seed of two.
  What was tried: docs/notebook/latent-action.md.
"""

from typing import Any, ClassVar, Literal

from openjepa.energies import L1, Energy
from openjepa.guards import Guard, SIGReg
from openjepa.hiding import Future
from openjepa.latents import LatentAction
from openjepa.nets.dynamics.actions import ActionMLP
from openjepa.nets.dynamics.adaln import AdaLN
from openjepa.nets.dynamics.union import WorldPredictor
from openjepa.nets.frames import FrameNet, PatchViT
from openjepa.nets.heads import Head, Projector
from openjepa.recipes import pldm
from openjepa.recipes.base import Training, register
from openjepa.recipes.worlds import WorldRecipe
from openjepa.signals.frames import FrameSignal
from openjepa.targets import Shared, Target
from openjepa.world_models.conditions import LatentCondition, WorldCondition

TINY: dict[str, Any] = {
    **pldm.STEERED,
    "signal": {**pldm.STEERED["signal"], "block": 3},
    "head": {"kind": "none"},
    "target": {"kind": "shared"},
    "energy": {"kind": "l2"},
    "train": pldm.STEERED["train"],
}
"""The options that `tiny` presets of recipes with a latent variable share."""


@register("latent-action")
class LatentActionRecipe(WorldRecipe):
    """The defaults are the paper's, as far as there is a number for it."""

    paper: ClassVar[str] = "Garrido et al., 2026, arXiv:2601.05230"
    measured: ClassVar[str] = (
        "where a river forks: the best of four guesses has 0.41 to 0.73 of one guess's error"
    )

    recipe: Literal["latent-action"] = "latent-action"
    preset: str = "wild"
    signal: FrameSignal = FrameSignal(size=256)
    hiding: Future = Future(frames=16)
    condition: WorldCondition = LatentCondition(video=True, latent=LatentAction())
    encoder: FrameNet = PatchViT(width=1024, depth=24, heads=16, patch=16)
    head: Head = Projector(hidden=2048, layers=1, width=1024)
    predictor: WorldPredictor = AdaLN(
        history=15, depth=24, hidden=4096, dropout=0.0, actions=ActionMLP(hidden=1024)
    )
    target: Target = Shared()
    energy: Energy = L1()
    guard: Guard = SIGReg(weight=0.09 / 1.09)
    train: Training = Training(steps=30_000, batch_size=1024, lr=6.25e-4, weight_decay=0.04)

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "wild": {},
        "tiny": {
            **TINY,
            "condition": {
                "kind": "latent",
                "video": False,
                "latent": {
                    "kind": "action",
                    "width": 4,
                    "hidden": 256,
                    "capacity": {"kind": "kl", "weight": 0.02, "free": 0.05},
                },
            },
        },
    }
