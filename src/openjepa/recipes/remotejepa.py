"""A JEPA for remote control: predict the representations of coming frames from two frames and the commands.

Girgis, Valcarce & Bennis, IEEE Internet of Things Journal 2026, arXiv:2406.04853, who call it TS-JEPA. No code is
published; followed is the paper's text.

signal     frames, two a state, and commands    target   EMA encoder, momentum 0.99
hiding     the future: a rollout from the       energy   cosine
           first state; no place of a frame     guard    none beyond the target and batch norm
condition  commands

    openjepa collect cart-pole --policy scripted --begin upright --difficulty "{target: [0, 0]}" \\
        --episodes 300 --steps 100 --out episodes
    openjepa train remote-jepa --data episodes # preset tiny: 3 to 6 minutes on one thread
    openjepa remote runs/remote-jepa-tiny-0    # success against transmissions sent

The predictor is an MLP, rolled out on its own predictions. A cosine leaves the length of states free, and so do we: all
have length sqrt(D) (`--head sphere`), or a rollout would leave the states it was trained on. The paper's semantic actor
is `openjepa.agent.semantic`, its channel `openjepa.agent.channel`.

Three seeds, 100 episodes of each: 92 % succeed where every state is sent; of every eighth, 47 % [42, 53] where the
receiver foresees and 12 % [9, 16] where it holds the last one (`python -m benchmarks.acting remote`).

`tiny` has strided convolutions, a predictor of changes that the command steers (FiLM), and inverse dynamics at a
weight of 0.1. Without them so short a training gave a predictor hardly better than copying the last state. With
coarser pixels and a weight of 1 the energy was lower still, and yet the actor failed: a low energy is not all.

Departures: the paper minimises "+ cosine", a slip; the two frames, whose stacking it does not say, are channels; square
frames of 64 or 128 px in colour (64 x 128), without jitter; residual blocks with max pooling for its ResNet; batch norm
at the end of the encoder too; AdamW for SGD at 0.2; steps of 20 ms (see `worlds.cartpole`) for 1 ms.
"""

from typing import Any, ClassVar, Literal

from openjepa.energies import Cosine, Energy
from openjepa.guards import Guard, NoGuard
from openjepa.hiding import Future
from openjepa.nets.convolutional import Conv
from openjepa.nets.frames import FrameNet
from openjepa.nets.heads import Head, Sphere
from openjepa.nets.perceptron import MLP
from openjepa.nets.world import WorldPredictor
from openjepa.recipes.base import Training, register
from openjepa.recipes.worlds import WorldRecipe
from openjepa.signals.frames import FrameSignal
from openjepa.targets import EMA, Target, half_life


@register("remote-jepa")
class RemoteJEPA(WorldRecipe):
    """Its six choices; the defaults are the paper's for the cart-pole."""

    paper: ClassVar[str] = "Girgis et al., IEEE IoT-J 2026, arXiv:2406.04853"

    recipe: Literal["remote-jepa"] = "remote-jepa"
    preset: str = "cart-pole"
    signal: FrameSignal = FrameSignal(size=128, stack=2)
    hiding: Future = Future(frames=16, forced=False, rollout=15)
    encoder: FrameNet = Conv(channels=(64, 128, 256), width=256, batch_norm=True, norm=False)
    head: Head = Sphere()
    predictor: WorldPredictor = MLP(hidden=(1024,))
    target: Target = EMA(half_life=half_life(0.99), to_one=False)
    energy: Energy = Cosine()
    guard: Guard = NoGuard()
    train: Training = Training(steps=10_000, batch_size=256, weight_decay=4e-4)

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "cart-pole": {},
        "tiny": {
            "signal": {"size": 64},
            "hiding": {"frames": 6, "rollout": 5},
            "encoder": {
                "kind": "conv",
                "patch": 2,
                "channels": [16, 32, 32],
                "halve": "stride",
                "blocks": 0,
                "width": 64,
            },
            "predictor": {"kind": "mlp", "hidden": [256, 256], "residual": True, "steer": "film"},
            "terms": {"inverse": 0.1},
            "train": {"steps": 1200, "batch_size": 64, "precision": "fp32"},
        },
    }
