"""The health of a world model of two levels: whether level 2 predicts what macro-actions lead to."""

import torch
from torch import Tensor

from openjepa.jepa import JEPA, evaluating
from openjepa.signals.frames import Window
from openjepa.world_models.hierarchy import HierarchicalJEPA
from openjepa.world_models.monitor import WorldMonitor


class HierarchyMonitor(WorldMonitor):
    """A `WorldMonitor`, which measures level 1, and besides, of the same windows, in level 2's energy over its states:

    - `level2/energy`: of its predictions from the macro-actions of the window at their mode;
    - `level2/persistence`: of the first state, copied;
    - `level2/permuted_actions`: of its predictions from another window's macro-actions.

    Energies of states at different steps of training compare with one another, not across steps: the states change.
    """

    batch: Window

    def _measure(self, model: JEPA, step: int) -> dict[str, float]:
        assert isinstance(model, HierarchicalJEPA)
        found, level = super()._measure(model, step), model.level2
        with evaluating(model), torch.no_grad():
            states, actions = model.far(self.batch.to(next(model.parameters()).device))
            s, z = level.encode(states), level.macro(actions).z

            def energy(prediction: Tensor) -> float:
                return float(level.config.energy.mean(prediction, s[:, 1:]))

            found["level2/energy"] = energy(level.predictor.unroll(s[:, :1], z))
            found["level2/persistence"] = energy(s[:, :1].expand_as(s[:, 1:]))
            found["level2/permuted_actions"] = energy(level.predictor.unroll(s[:, :1], z.roll(1, 0)))
        return found
