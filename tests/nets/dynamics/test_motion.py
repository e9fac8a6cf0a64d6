"""Where actions move proprioception, against an independent implementation, and a predictor that takes it."""

import math

import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from openjepa.nets.dynamics.adaln import AdaLN
from openjepa.nets.dynamics.motion import Motion, Moved, angles_of, rotation, with_proprioception


def motion(size: int, block: int = 1, limit: float = math.inf, angles: int | None = None) -> Motion:
    def both(state: float, action: float) -> Tensor:
        return torch.tensor([[state], [action]]).expand(2, size)

    return Motion(block, both(0.5, -0.1), both(2.0, 0.3), both(-limit, limit), angles)


def test_rotations_are_scipys() -> None:
    angles = torch.randn(50, 3, dtype=torch.double)
    expected = Rotation.from_euler("xyz", angles.numpy())
    torch.testing.assert_close(rotation(angles), torch.from_numpy(expected.as_matrix()))
    again = torch.from_numpy(Rotation.from_matrix(rotation(angles).numpy()).as_euler("xyz"))
    torch.testing.assert_close(angles_of(rotation(angles)), again)


def test_poses_move_as_the_official_code_moves_them() -> None:
    """`compute_new_pose`: xyz and gripper added, angles those of R(action) R(pose)."""
    pose, action = torch.randn(20, 7), 0.3 * torch.randn(20, 7)
    moved = motion(7, angles=3)((pose - 0.5) / 2, (action + 0.1) / 0.3) * 2 + 0.5
    turned = Rotation.from_euler("xyz", action[:, 3:6]) * Rotation.from_euler("xyz", pose[:, 3:6])
    expected = pose + action
    expected[:, 3:6] = torch.from_numpy(turned.as_euler("xyz")).float()
    torch.testing.assert_close(moved, expected, rtol=1e-4, atol=1e-4)


def test_a_block_is_its_actions_one_after_the_other_and_stays_in_bounds() -> None:
    one, two = motion(4, 1, 2.0, 1), motion(4, 2, 2.0, 1)
    proprio, actions = torch.randn(30, 4), torch.randn(30, 8)
    torch.testing.assert_close(two(proprio, actions), one(one(proprio, actions[:, :4]), actions[:, 4:]))
    pose = motion(2, limit=2.0)(torch.zeros(1, 2), torch.tensor([[100.0, -100.0]])) * 2 + 0.5
    assert pose.tolist() == [[2.0, -2.0]]


def predictor() -> Moved:
    torch.manual_seed(0)
    config = AdaLN(history=3, depth=1, heads=2, head_width=4, hidden=8)
    net = Moved(config.build(5, 2 + 2, (1, 3)), motion(2), 2)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return net.eval()


def test_the_predictor_is_told_the_state_and_does_not_predict_it() -> None:
    net = predictor()
    features, proprio, actions = torch.randn(2, 3, 3, 5), torch.randn(2, 3, 2), torch.randn(2, 3, 2)
    states = with_proprioception(features, proprio)
    found = net(states, actions)
    condition = torch.cat([actions, proprio], -1)
    torch.testing.assert_close(found[..., :5], net.inner(features, condition))
    torch.testing.assert_close(
        found[..., 5:], with_proprioception(features, net.motion(proprio, actions))[..., 5:]
    )


def test_a_rollout_moves_on_from_the_first_state() -> None:
    net = predictor()
    start, actions = (
        with_proprioception(torch.randn(2, 1, 3, 5), torch.randn(2, 1, 2)),
        torch.randn(2, 4, 5, 2),
    )
    found = net.unroll(start, actions)
    proprio = start[:, None, 0, 0, 5:].expand(2, 4, 2)
    for t in range(5):
        proprio = net.motion(proprio, actions[:, :, t])
        torch.testing.assert_close(found[:, :, t, :, 5:], proprio.unsqueeze(2).expand(2, 4, 3, 2))


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 4, 5)])
def test_own_numbers_stand_after_every_tokens_features(shape: tuple[int, ...]) -> None:
    features, proprio = torch.randn(shape), torch.randn(2, 3, 2)
    both = with_proprioception(features, proprio)
    assert torch.equal(both[..., :5], features)
    assert torch.equal(both[..., 5:].flatten(2, -2)[:, :, -1] if len(shape) == 4 else both[..., 5:], proprio)
