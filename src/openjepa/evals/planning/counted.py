"""A count of the predictions asked of a world model."""

from torch import Tensor, nn

from openjepa.agent.perception import proprio_dim_of
from openjepa.agent.protocols import Uncertain, WorldModel


class Counted(nn.Module):
    """A world model that counts the predictions asked of it for each problem."""

    def __init__(self, model: WorldModel) -> None:
        super().__init__()
        self.model, self.predictions = model, 0
        self.block, self.history = model.block, model.history
        self.horizon, self.actions = model.horizon, model.actions
        if isinstance(model, Uncertain):
            self.draw_z = model.draw_z  # what has several futures has them counted as well
        self.proprio_dim, self.action_repeat = proprio_dim_of(model), getattr(model, "action_repeat", False)

    def encode(self, frames: Tensor, actions: Tensor | None = None, *known: Tensor) -> Tensor:
        """As the model's."""
        return self.model.encode(frames, actions, *known)

    def rollout(
        self, state: Tensor, actions: Tensor, z: Tensor | None = None, past: Tensor | None = None
    ) -> Tensor:
        """As the model's."""
        self.predictions += actions.shape[1] * actions.shape[2]
        return self.model.rollout(state, actions, z=z, past=past)
