"""What the context does not see."""

from typing import Annotated

from pydantic import Field

from openjepa.hiding.blocks import Blocks
from openjepa.hiding.crops import Crops

Hiding = Annotated[Blocks | Crops, Field(discriminator="kind")]

__all__ = ["Blocks", "Crops", "Hiding"]
