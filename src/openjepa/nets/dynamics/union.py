"""The predictors of world models that a recipe can choose from.

All are built alike, `config.build(width, actions, grid, head) -> Dynamics`: for latents of `width` numbers (at every
place of a `grid`, where there is one), actions of so many numbers a step, and what predictions end in.
"""

from typing import Annotated

from openjepa.config import OneOf
from openjepa.nets.dynamics.adaln import AdaLN
from openjepa.nets.dynamics.block_causal import BlockCausal
from openjepa.nets.dynamics.concat import ConcatPredictor
from openjepa.nets.dynamics.gru import GRU
from openjepa.nets.dynamics.maps import Maps
from openjepa.nets.dynamics.mlp import MLP

WorldPredictor = Annotated[GRU | MLP | Maps | AdaLN | ConcatPredictor | BlockCausal, OneOf("dynamics")]
