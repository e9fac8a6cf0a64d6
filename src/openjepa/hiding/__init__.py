"""What the context does not see."""

from typing import Annotated

from openjepa.config import OneOf
from openjepa.hiding.blocks import Blocks
from openjepa.hiding.crops import Crops
from openjepa.hiding.dense import DenseTubes
from openjepa.hiding.discs import Discs
from openjepa.hiding.future import Future
from openjepa.hiding.grid_blocks import GridBlocks
from openjepa.hiding.random import RandomTokens
from openjepa.hiding.runs import Runs
from openjepa.hiding.time_frequency import TimeFrequency
from openjepa.hiding.tubes import Tubes
from openjepa.hiding.windows import Windows

Hiding = Annotated[Blocks | Crops | Windows, OneOf("hiding")]

__all__ = [
    "Blocks",
    "Crops",
    "DenseTubes",
    "Discs",
    "Future",
    "GridBlocks",
    "Hiding",
    "RandomTokens",
    "Runs",
    "TimeFrequency",
    "Tubes",
    "Windows",
]
