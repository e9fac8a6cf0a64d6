"""H-JEPA: a second level predicts states many steps ahead from macro-actions, and sets sub-goals for the first.

Level 1 is PLDM. Level 2 takes level 1's states for its frames and predicts over spans of many steps, from
macro-actions: the actions of a span as a few numbers. To plan, level 2 searches macro-actions; the first state that it
predicts is the goal of level 1.

LeCun, 2022, section 4.6. Level 2 after HWM: Zhang et al., 2026, arXiv:2604.03208, on PLDM's level 1 (arXiv:2502.14819).

signal     frames and actions                 target   the encoder itself, with gradients
hiding     the future: a rollout at each      energy   L2, mean over the rollout
           level, in steps and in spans       guard    VICReg, at each level
condition  actions; macro-actions             terms    level 1: PLDM's; level 2: similarity, the price of z

    openjepa collect maze --rooms 3 --size 32 --policy scripted --episodes 4000 --steps 100 --out maze
    openjepa train h-jepa --data maze   # preset tiny, 5 minutes on one thread
    openjepa plan runs/h-jepa-tiny-0 --level 2 --planner mppi --cost.prediction_error 2
    openjepa plan runs/h-jepa-tiny-0 --level 2 --planner mppi --cost.prediction_error 2 \\
        --higher.subgoals oracle

Measured in mazes, goals at least two turns away: success in % with 95 % intervals, three seeds of training, 200
episodes of each (`python -m benchmarks.acting maze --episodes 200`):

    two levels                        89.7 [87.0, 91.9]    behaviour cloning                       18.8 [15.9, 22.2]
    flat, level 1 alone               70.2 [66.4, 73.7]    chance                                   0.2 [0.0, 0.9]
    two levels, sub-goals from truth  88.3 [85.5, 90.7]    a planner on the true simulator        100.0 [99.4, 100.0]

Defaults are HWM's weights for Diverse Maze: spans of 10, six of them in a window, macro-actions of 8 numbers from an
MLP, level 2 on level 1's states, which it does not change. Encoder, inverse model, length and rate (7e-4 for a
batch of 256) are those of PLDM's training on Two-Rooms.

Departures:
- Both levels learn in one run: level 2 learns from level 1's states while these still change (theirs: one level after
  the other). Gradients pass down only with `level2.joint`.
- A divergence limits the capacity of macro-actions and is part of the loss (theirs: a layer norm alone).
- A vector, a GRU and an MLP stand for their maps and convolutions. Only frames and actions are seen (theirs: velocity).
- `tiny` gives level 2 states of its own (`level2.lift mlp`), whose guard is on how they vary within a window. So
  distance in them should follow the way there, not the straight line. Its episodes must come far within a window
  (`scripted`): of a random walk all features look alike in so short a time. What was tried: docs/notebook/h-jepa.md.
"""

from typing import Any, ClassVar, Literal, cast

from openjepa.energies import L2, Energy
from openjepa.errors import UserError
from openjepa.guards import Guard, NoGuard, VICReg
from openjepa.hiding import Future
from openjepa.jepa import Parts
from openjepa.nets.convolutional import Conv
from openjepa.nets.dynamics.gru import GRU
from openjepa.nets.dynamics.lift import Same
from openjepa.nets.dynamics.mlp import MLP
from openjepa.nets.dynamics.union import WorldPredictor
from openjepa.nets.frames import FrameEncoder, FrameNet
from openjepa.nets.heads import Head, NoHead
from openjepa.recipes import pldm
from openjepa.recipes.base import Training, register
from openjepa.recipes.worlds import Over, WorldRecipe
from openjepa.signals.frames import Window
from openjepa.targets import Shared, Target
from openjepa.world_models.conditions import Actions, WorldCondition
from openjepa.world_models.hierarchy import HierarchicalJEPA, Level2
from openjepa.world_models.hierarchy_monitor import HierarchyMonitor
from openjepa.world_models.model import StateLayout
from openjepa.world_models.terms import Terms, TermsOf


@register("h-jepa")
class HJEPA(WorldRecipe):
    """PLDM's six choices at level 1; those of level 2 in `level2`."""

    paper: ClassVar[str] = "LeCun, 2022; Zhang et al., 2026, arXiv:2604.03208"
    measured: ClassVar[str] = "mazes, goals two turns away and more: 89.7 % reached (one level alone 70.2)"

    recipe: Literal["h-jepa"] = "h-jepa"
    preset: str = "diverse-maze"
    hiding: Future = Future(frames=15, forced=False, rollout=14)
    condition: WorldCondition = Actions()
    encoder: FrameNet = Conv(width=512)
    head: Head = NoHead()
    predictor: WorldPredictor = GRU()
    target: Target = Shared()
    energy: Energy = L2()
    guard: Guard = VICReg(std=29.4, covariance=17.9 / 511)
    guard_over: Over = "first"
    terms: Terms = Terms(inverse=4.81, inverse_hidden=512, inverse_layers=1, motion=2.92)
    train: Training = Training(steps=31_200, batch_size=128, lr=7e-4 * 128 / 256, weight_decay=1e-6)
    level2: Level2 = Level2(
        lift=Same(),
        predictor=MLP(hidden=(512, 512), residual=True),
        guard=NoGuard(),
        similarity=0.0,
    )

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "diverse-maze": {},
        "tiny": {
            **pldm.STEERED,
            "train": {**pldm.STEERED["train"], "batch_size": 64, "steps": 5_000},
            "level2": {
                "span": 4,
                "steps": 4,
                "lift": {"kind": "mlp", "hidden": [256, 256], "width": 8},
                "predictor": {"kind": "mlp", "hidden": [256, 256], "residual": True},
                "guard": {"kind": "vicreg", "std": 16.0, "covariance": 8.0},
                "similarity": 4.0,
            },
        },
    }

    @property
    def window(self) -> int:
        """Long enough for both levels."""
        return max(self.hiding.frames, self.level2.frames)

    def monitor(self, held_out: Window) -> HierarchyMonitor:
        """States in a window that is long enough for both levels."""
        return HierarchyMonitor(held_out)

    def assemble(self, parts: Parts, layout: StateLayout, terms: TermsOf) -> HierarchicalJEPA:
        """Both levels.

        Raises:
            UserError: a condition other than actions, or a predictor of level 2 that does not take its states.
        """
        if self.condition.kind != "actions":
            raise UserError(f"h-jepa's levels take actions alone, not condition {self.condition.kind!r}")
        width = self.head.out(cast(FrameEncoder, parts.encoder).width)
        level2 = self.level2.build(layout, width, self.signal.action_width)
        return HierarchicalJEPA(self, parts, layout, terms, level2)
