"""The ring: links in time, what is forgotten, what can be sampled."""

import pytest
import torch

from openjepa.agent import ShortTermMemory
from openjepa.errors import UserError


def episodes(capacity: int, lengths: list[int], over: bool = False) -> ShortTermMemory:
    """Interleaved episodes; the state is (episode, time), the cost 10 * episode + time, the action -time."""
    memory = ShortTermMemory(capacity)
    for time in range(max(lengths)):
        running = [e for e, length in enumerate(lengths) if time < length]
        states = torch.tensor([[float(e), float(time)] for e in running])
        costs = torch.tensor([10.0 * e + time for e in running])
        ends = [e for e in running if time == lengths[e] - 1]
        memory.write(running, states, costs, torch.full((len(running), 1), -float(time)))
        memory.end(ends, over)
    return memory


@pytest.mark.parametrize("capacity", [7, 20, 100])
@pytest.mark.parametrize("delta", [1, 3])
def test_pairs_are_delta_steps_apart_in_one_episode_also_when_the_ring_has_wrapped(
    capacity: int, delta: int
) -> None:
    memory = episodes(capacity, [9, 12, 6, 12])
    states, costs = memory.sample_pairs(300, delta, torch.Generator().manual_seed(0))
    torch.testing.assert_close(costs, 10 * states[:, 0] + states[:, 1] + delta)
    held = {tuple(s) for s in memory.states.tolist()}
    possible = {(e, t) for e, t in held if (e, t + delta) in held}
    assert {tuple(s) for s in states.tolist()} == possible


def test_the_ring_holds_the_newest() -> None:
    memory = episodes(10, [25])
    assert len(memory) == 10
    assert sorted(memory.states[:, 1].tolist()) == list(range(15, 25))
    assert sorted(memory.costs.tolist()) == list(range(15, 25))


def test_an_episode_that_paused_for_longer_than_the_ring_is_not_linked_to_what_replaced_it() -> None:
    memory = ShortTermMemory(4)
    memory.write([7], torch.zeros(1, 1), torch.zeros(1))
    for time in range(4):
        memory.write([8], torch.ones(1, 1), torch.tensor([float(time)]))
    memory.write([7], torch.zeros(1, 1), torch.tensor([99.0]))
    _, costs = memory.sample_pairs(50, 1, torch.Generator().manual_seed(0))
    assert 99.0 not in costs.tolist()


@pytest.mark.parametrize("over", [True, False])
def test_futures_are_what_came_next(over: bool) -> None:
    memory = episodes(50, [5, 3], over)
    futures = memory.futures(3)
    found = {}
    for i, (episode, time) in enumerate(futures.states.tolist()):
        known = futures.known[i]
        found[episode, time] = (
            futures.costs[i][known].tolist(),
            futures.last[i].tolist(),
            bool(futures.over[i]),
        )
        assert futures.costs[i][~known].sum() == 0
    expected = {
        (0, 0): ([1, 2, 3], [0, 3], False),
        (0, 1): ([2, 3, 4], [0, 4], over),
        (0, 2): ([3, 4], [0, 4], over),
        (0, 3): ([4], [0, 4], over),
        (1, 0): ([11, 12], [1, 2], over),
        (1, 1): ([12], [1, 2], over),
    }
    if over:  # a last state that nothing follows says that no cost is to come
        expected |= {(0, 4): ([], [0, 4], True), (1, 2): ([], [1, 2], True)}
    assert found == expected


def test_moments_without_an_action_or_a_goal_are_told_apart() -> None:
    memory = ShortTermMemory(10)
    memory.write([0], torch.zeros(1, 2), torch.zeros(1), torch.ones(1, 3))
    memory.write([0], torch.ones(1, 2), torch.zeros(1))
    memory.write([1], torch.ones(1, 2), torch.zeros(1), torch.ones(1, 3), goals=torch.ones(1, 2))
    states, goals, actions = memory.taken()
    assert states.tolist() == [[0, 0], [1, 1]] and actions.shape == (2, 3)
    assert goals is not None and goals.isnan().tolist() == [[True, True], [False, False]]


def test_what_cannot_be_sampled_is_said() -> None:
    generator = torch.Generator().manual_seed(0)
    memory = episodes(20, [3])
    with pytest.raises(UserError, match="no episode in memory goes on for 5 steps"):
        memory.sample_pairs(4, 5, generator)
    with pytest.raises(UserError, match="no two successive states"):
        episodes(20, [1]).futures(2)
    with pytest.raises(UserError, match="holds no actions"):
        ShortTermMemory(5).taken()
    with pytest.raises(UserError, match=r"states of shape \[3\] do not fit a memory of \[2\]"):
        memory.write([5], torch.zeros(1, 3), torch.zeros(1))
    with pytest.raises(UserError, match="capacity 2 cannot hold 3 episodes"):
        ShortTermMemory(2).write([0, 1, 2], torch.zeros(3, 1), torch.zeros(3))


def test_clearing_forgets_everything() -> None:
    memory = episodes(20, [5])
    memory.clear()
    assert len(memory) == 0
    memory.write([0], torch.zeros(1, 7), torch.zeros(1))
    assert memory.states.shape == (1, 7)
