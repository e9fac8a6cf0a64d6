"""Mixture of predictors: several heads each predict one possible future of a state; a router says how likely each is.

A single predictor gives the mean of all possible futures, which may be none of them. Of K heads only the one that came
nearest learns from a transition. A router learns from the state alone which head that was. To plan, heads are drawn by
the router at every state that is predicted (`Task(risk=...)`), or followed in their mean.

MoP-JEPA (also Branch-JEPA), 2026, arXiv:2607.05238.

signal     frames and actions                 target   moving average of the encoder
hiding     the next frame, teacher-forced     energy   cosine
condition  a latent z (which head), actions   guard    none

    openjepa collect branch --policy perturbed-expert --episodes 4000 --steps 60 --size 32 --out branch
    openjepa train mixture --data branch   # preset tiny, 9 to 11 core-minutes
    openjepa controls runs/mixture-tiny-0

Measured where a river forks, in % with 95 % intervals, three seeds of training, 100 episodes of each
(`python -m benchmarks.acting branch --recipes mixture`):

                                   reaches the goal     is in danger
    told to keep out of danger     97.0 [94.4, 98.4]     0.7 [0.2, 2.4]
    indifferent to danger          97.0 [94.4, 98.4]    37.0 [31.7, 42.6]
    PLDM (no z), told the same     99.7 [98.1, 99.9]    40.7 [35.3, 46.3]
    chance                         14.3 [10.8, 18.8]    11.0 [7.9, 15.0]

Departures:
- There is no public code, and the paper's encoder and schedule are not known to us; LeWM's encoder stands here.
- Predictions and targets are not normalised: the cosine does that. The balance of use has a gradient (see
  `latents.mixture`).
- `tiny` has PLDM's states, rollout and terms. It has L2 instead of cosine and moving average, so that distances to a
  goal can be planned with. What was tried: docs/notebook/mixture.md.
"""

from typing import Any, ClassVar, Literal

from openjepa.energies import Cosine, Energy
from openjepa.guards import Guard, NoGuard
from openjepa.hiding import Future
from openjepa.latents import Mixture
from openjepa.nets.dynamics.mlp import MLP
from openjepa.nets.dynamics.union import WorldPredictor
from openjepa.nets.frames import FrameNet, PatchViT
from openjepa.nets.heads import Head, Projector
from openjepa.nets.positions import Learned
from openjepa.recipes.base import Training, register
from openjepa.recipes.latentaction import TINY
from openjepa.recipes.worlds import WorldRecipe
from openjepa.targets import EMA, Target
from openjepa.world_models.conditions import LatentCondition, WorldCondition


@register("mixture")
class MixtureRecipe(WorldRecipe):
    """K = 8 heads, cosine, and a momentum of .996, as in the paper."""

    paper: ClassVar[str] = "MoP-JEPA, 2026, arXiv:2607.05238"
    measured: ClassVar[str] = "where a river forks: 97.0 % reached, 0.7 % in danger"

    recipe: Literal["mixture"] = "mixture"
    preset: str = "eight"
    hiding: Future = Future(frames=4)
    condition: WorldCondition = LatentCondition(latent=Mixture())
    encoder: FrameNet = PatchViT(width=192, depth=12, heads=3, patch=8, positions=Learned())
    head: Head = Projector(hidden=2048, layers=1, width=192)
    predictor: WorldPredictor = MLP(hidden=(1024, 1024))
    target: Target = EMA(half_life=173)
    energy: Energy = Cosine()
    guard: Guard = NoGuard()
    train: Training = Training(steps=100_000, batch_size=256, lr=3e-4, weight_decay=0.05)

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "eight": {},
        "tiny": {
            **TINY,
            "condition": {
                "kind": "latent",
                "latent": {"kind": "mixture", "heads": 4, "hidden": 256, "distance": "l2"},
            },
        },
    }
