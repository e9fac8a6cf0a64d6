"""The health of a world model with a latent variable: whether z is used, and whether anything else still is."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.jepa import Pair
from openjepa.world_models.latent import LatentWorldJEPA
from openjepa.world_models.model import WorldJEPA
from openjepa.world_models.monitor import WorldMonitor

DRAWS = 8
"""Values of z over which predictions are averaged."""


class LatentMonitor(WorldMonitor):
    """A `WorldMonitor` whose predictions are from the z that each window shows, since that is what is trained.

    Swapped states or actions go with the right z: where `energy/permuted` is no higher, z is the next frame itself.
    Without actions (`condition.video`) there is no `energy/permuted_actions`. Besides:

    - `energy/mean_z`: of the mean of predictions over values of z that are drawn at the true states: what is known
      without z (left out while nothing can be drawn);
    - `energy/permuted_z`: of the predictor given another window's z.
    """

    def _predictions(
        self, world: WorldJEPA, pairs: Sequence[Pair], s_x: list[Tensor], others: list[Tensor]
    ) -> dict[str, Tensor]:
        model = cast(LatentWorldJEPA, world)
        z, actions = model.shown(s_x, pairs), pairs[0].condition
        assert actions is not None
        found = {
            "model": model.follow(s_x, pairs, z)[0],
            "permuted": model.follow(others, pairs, z)[0],
            "permuted_z": model.follow(s_x, pairs, z.roll(1, 0))[0],
        }
        if model.config.condition.takes_actions:
            swapped = [replace(pairs[0], condition=actions.roll(1, 0))]
            found["permuted_actions"] = model.follow(s_x, swapped, z)[0]
        if model.latent.drawable:
            drawn = model.latent.sample(
                DRAWS, model.states(s_x[0])[:, :-1], Rng(self.seed, 0).generator()
            ).unbind(2)
            found["mean_z"] = torch.stack([model.follow(s_x, pairs, one)[0] for one in drawn]).mean(0)
        return found
