"""The predictors of world models that a recipe can choose from.

All are built alike, `config.build(width, actions, grid, head) -> Dynamics`: for latents of `width` numbers (at every
place of a `grid`, where there is one), actions of so many numbers a step, and what predictions end in.
"""

from typing import Annotated

from pydantic import Field

from openjepa.nets.blockcausal import BlockCausal
from openjepa.nets.concatenated import Concatenated
from openjepa.nets.conditioned import Conditioned
from openjepa.nets.maps import Maps
from openjepa.nets.perceptron import MLP
from openjepa.nets.recurrent import GRU

WorldPredictor = Annotated[
    GRU | MLP | Maps | Conditioned | Concatenated | BlockCausal, Field(discriminator="kind")
]
