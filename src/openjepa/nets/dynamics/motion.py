"""Proprioception, such as the pose of a robot's hand, that the actions themselves move."""

import torch
from torch import Tensor, nn

from openjepa.nets.dynamics.base import Dynamics, Memory


class Motion(nn.Module):
    """The motion of a robot: actions are added to its state, number by number; angles are composed.

    As V-JEPA 2-AC plans (`notebooks/utils/mpc_utils.py`, `compute_new_pose`): positions and the gripper's opening are
    sums, extrinsic Euler angles xyz are those of R(action) R(state). Theirs keeps the gripper within 0..1; ours keeps
    all but angles within what was recorded.

    Args:
        block: actions in one step of the model.
        mean, std: `[2, Q]` each, of the state and of one action, whose z-scores come in and go out.
        bounds: `[2, Q]`, least and greatest of each number of the state.
        angles: the number at which three angles begin, rad; `None`: there are none.
    """

    mean: Tensor
    std: Tensor
    bounds: Tensor

    def __init__(self, block: int, mean: Tensor, std: Tensor, bounds: Tensor, angles: int | None) -> None:
        super().__init__()
        self.block, self.angles = block, angles
        bounds = bounds.clone()
        if angles is not None:
            bounds[0, angles : angles + 3], bounds[1, angles : angles + 3] = -torch.inf, torch.inf
        for name, value in (("mean", mean), ("std", std), ("bounds", bounds)):
            self.register_buffer(name, value, persistent=False)  # the config has them

    def forward(self, proprio: Tensor, actions: Tensor) -> Tensor:
        """z-scores `[..., Q]` and `[..., block * Q]` give the z-scores after the actions."""
        pose = proprio * self.std[0] + self.mean[0]
        steps = actions.unflatten(-1, (self.block, -1)) * self.std[1] + self.mean[1]
        for step in steps.unbind(-2):
            moved = pose + step
            if self.angles is not None:
                where = slice(self.angles, self.angles + 3)
                turned = angles_of(rotation(step[..., where]) @ rotation(pose[..., where]))
                moved = torch.cat([moved[..., : where.start], turned, moved[..., where.stop :]], -1)
            pose = moved.clamp(self.bounds[0], self.bounds[1])
        return (pose - self.mean[0]) / self.std[0]


class Moved(Dynamics):
    """A predictor of features that takes proprioception beside every action.

    States are features with proprioception's Q numbers after them, the same at every token: `[..., D + Q]`. These are
    not predicted but moved by the actions.

    Args:
        inner: predicts features `[..., D]` from the action's numbers and then the Q.
        motion: how the actions move it.
        head: as of any `Dynamics`, of states `[..., D + Q]`.
    """

    def __init__(
        self, inner: Dynamics, motion: Motion, condition_dim: int, head: nn.Module | None = None
    ) -> None:
        self.size = inner.condition_dim - condition_dim
        super().__init__((*inner.shape[:-1], inner.shape[-1] + self.size), condition_dim, inner.history, head)
        self.inner, self.motion = inner, motion

    def memory(self) -> Memory:
        return self.inner.memory()

    def predict(self, states: Tensor, actions: Tensor, memory: Memory, newest: bool) -> Tensor:
        features, beside = states.split([states.shape[-1] - self.size, self.size], -1)
        proprio = beside if beside.dim() == 3 else beside[:, :, 0]
        predicted = self.inner.predict(features, torch.cat([actions, proprio], -1), memory, newest)
        proprio, actions = (proprio[:, -1:], actions[:, -1:]) if newest else (proprio, actions)
        return with_proprioception(predicted, self.motion(proprio, actions))


def with_proprioception(features: Tensor, proprio: Tensor) -> Tensor:
    """`[N, k, D]` or `[N, k, n, D]` with `[N, k, Q]` after the features of every token."""
    proprio = (
        proprio if features.dim() == proprio.dim() else proprio.unsqueeze(-2).expand(*features.shape[:-1], -1)
    )
    return torch.cat([features, proprio.to(features.dtype)], -1)


def rotation(angles: Tensor) -> Tensor:
    """Extrinsic Euler angles xyz, rad, `[..., 3]`, to rotation matrices `[..., 3, 3]`."""
    (ca, cb, cc), (sa, sb, sc) = angles.cos().unbind(-1), angles.sin().unbind(-1)
    rows = [
        [cb * cc, sa * sb * cc - ca * sc, ca * sb * cc + sa * sc],
        [cb * sc, sa * sb * sc + ca * cc, ca * sb * sc - sa * cc],
        [-sb, sa * cb, ca * cb],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def angles_of(matrix: Tensor) -> Tensor:
    """The inverse; the middle angle is in -pi/2..pi/2."""
    a = torch.atan2(matrix[..., 2, 1], matrix[..., 2, 2])
    b = torch.asin((-matrix[..., 2, 0]).clamp(-1, 1))
    c = torch.atan2(matrix[..., 1, 0], matrix[..., 0, 0])
    return torch.stack([a, b, c], -1)
