"""z when it is not observed: what a prediction needs to know and the context does not say.

One interface for all (`Latent`): inferred from the next state, sampled, enumerated, optimised. A predictor takes z as
the last numbers of its condition.
"""

from typing import Annotated

from pydantic import Field

from openjepa.latents.action import LatentAction as LatentAction
from openjepa.latents.base import Inferred as Inferred
from openjepa.latents.base import Latent as Latent
from openjepa.latents.base import Predict as Predict
from openjepa.latents.base import one_step as one_step
from openjepa.latents.mixture import Mixture as Mixture

LatentChoice = Annotated[LatentAction | Mixture, Field(discriminator="kind")]
