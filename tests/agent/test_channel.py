"""The channel: when something is sent, what is lost, and what the far side believes meanwhile."""

import pytest
import torch
from torch import Tensor

from openjepa.agent.channel import Drift, Every, Link
from openjepa.agent.planners import streams
from openjepa.errors import UserError

from .worlds import SPEED, PointModel

COMMAND = torch.tensor([[0.5, 0.0], [0.0, -0.5], [1.0, 1.0]])


def link(schedule: Every | Drift, numbers: tuple[int, ...] = (0, 1, 2), **settings: object) -> Link:
    return Link(PointModel(), schedule, torch.ones(2), streams(0, numbers), **settings)  # ty: ignore[invalid-argument-type]


def walk(channel: Link, seen: Tensor) -> Tensor:
    """Beliefs `[T, N, 2]` where `seen`, `[T, N, 2]`, is; the commands are always the same."""
    commands = COMMAND[: seen.shape[1]]
    return torch.stack([channel.step(now, commands if t else None).clone() for t, now in enumerate(seen)])


def noise(steps: int, machines: int = 3) -> Tensor:
    return torch.rand(steps, machines, 2, generator=torch.Generator().manual_seed(0)) - 0.5


def test_always_is_what_is_seen() -> None:
    seen = noise(5)
    for between in ("predict", "last"):
        channel = link(Every(), between=between)
        assert torch.equal(walk(channel, seen), seen)
        assert channel.sent.tolist() == [5, 5, 5] and channel.lost.sum() == 0


def test_between_transmissions_the_receiver_predicts_or_keeps_the_last_state() -> None:
    seen = noise(7)
    channel = link(Every(steps=3))
    believed = walk(channel, seen)
    torch.testing.assert_close(believed[[0, 3, 6]], seen[[0, 3, 6]])
    torch.testing.assert_close(believed[1], seen[0] + SPEED * COMMAND)
    torch.testing.assert_close(believed[5], seen[3] + 2 * SPEED * COMMAND)
    assert channel.sent.tolist() == [3, 3, 3]
    kept = walk(link(Every(steps=3), between="last"), seen)
    assert torch.equal(kept, seen[[0, 0, 0, 3, 3, 3, 6]])


def test_drift_is_sent_when_the_receiver_is_wrong_alone() -> None:
    start = noise(1)[0]
    truth = torch.stack([start + t * SPEED * COMMAND for t in range(6)])
    truth[3:, 1] += 0.2  # something that the world model knows nothing of befell one machine
    channel = link(Drift(threshold=0.1))
    torch.testing.assert_close(walk(channel, truth), truth)
    assert channel.sent.tolist() == [1, 2, 1]
    blind = link(Drift(threshold=0.3))
    assert not torch.allclose(walk(blind, truth)[3:, 1], truth[3:, 1])
    assert blind.sent.tolist() == [1, 1, 1]


def test_drift_is_measured_in_spreads() -> None:
    channel = Link(PointModel(), Drift(threshold=1.0), torch.tensor([0.1, 0.2]), streams(0, 1))
    channel.step(torch.zeros(1, 2))
    assert channel.drift(torch.tensor([[0.1, 0.2]])).item() == pytest.approx(1.0)


def test_what_is_lost_does_not_arrive_and_was_sent() -> None:
    seen = noise(400)
    channel = link(Every(), loss=0.25)
    arrived = (walk(channel, seen) == seen).all(-1)
    assert arrived[0].all()  # a session begins with one that arrives
    assert channel.sent.tolist() == [400] * 3
    assert torch.equal(channel.lost, (~arrived).sum(0))
    assert 0.19 < channel.lost.sum() / 1200 < 0.31
    alone = walk(link(Every(), (1,), loss=0.25), seen[:, 1:2])
    assert torch.equal((alone == seen[:, 1:2]).all(-1)[:, 0], arrived[:, 1])


def test_a_drift_that_was_not_mended_is_sent_again() -> None:
    truth = torch.ones(40, 1, 2)
    truth[0] = 0
    channel = Link(PointModel(), Drift(threshold=0.5), torch.ones(2), streams(0, 1), between="last", loss=0.5)
    believed = walk(channel, truth)
    assert torch.equal(believed[-1], truth[-1]) and channel.sent.item() == 2 + channel.lost.item()


def test_machines_that_have_stopped_send_nothing() -> None:
    channel = link(Every())
    channel.step(noise(1)[0])
    channel.step(noise(1)[0], COMMAND, torch.tensor([True, False, True]))
    assert channel.sent.tolist() == [2, 1, 2]


def test_a_receiver_with_a_history_remembers_its_commands() -> None:
    class Slow(PointModel):
        """Moves by the command before the last one."""

        history = 2

        def rollout(
            self, state: Tensor, actions: Tensor, z: Tensor | None = None, past: Tensor | None = None
        ):
            before = torch.zeros_like(actions[:, 0, 0]) if past is None else past[:, -1]
            return (state[:, -1] + before)[:, None, None]

    channel = Link(Slow(), Every(steps=9), torch.ones(2), streams(0, 1))
    kept_commands = [None, torch.ones(1, 2), 3 * torch.ones(1, 2), torch.zeros(1, 2)]
    believed = [channel.step(torch.zeros(1, 2), command)[0, 0].item() for command in kept_commands]
    assert believed == [0, 0, 1, 4]


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match=r"loss=1\.5"):
        link(Every(), loss=1.5)
    channel = link(Every())
    channel.step(noise(1)[0])
    with pytest.raises(UserError, match="commands"):
        channel.step(noise(1)[0])
