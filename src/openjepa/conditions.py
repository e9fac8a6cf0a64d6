"""What the predictor is told about what it predicts, beside what the context shows.

A world model's conditions (actions, latent variables) are in `openjepa.world_models.conditions`.
"""

from typing import Annotated, Literal

from pydantic import Field

from openjepa.config import Choice


class Positions(Choice):
    """Where the hidden tokens lie."""

    kind: Literal["positions"] = "positions"


class Nothing(Choice):
    """Nothing."""

    kind: Literal["none"] = "none"


Condition = Annotated[Positions | Nothing, Field(discriminator="kind")]
