"""What the context does not see."""

from typing import Annotated

from pydantic import Field

from openjepa.hiding.blocks import Blocks
from openjepa.hiding.crops import Crops
from openjepa.hiding.discs import Discs
from openjepa.hiding.future import Future
from openjepa.hiding.random import RandomTokens
from openjepa.hiding.tubes import Tubes

Hiding = Annotated[Blocks | Crops, Field(discriminator="kind")]

__all__ = ["Blocks", "Crops", "Discs", "Future", "Hiding", "RandomTokens", "Tubes"]
