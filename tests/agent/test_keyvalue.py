"""The key-value memory follows its formulas."""

import math

import pytest
import torch
from torch import Tensor

from openjepa.agent import KeyValueMemory


def filled(gamma: float = 1.0, slots: int = 8) -> KeyValueMemory:
    memory = KeyValueMemory(1, slots=slots, gamma=gamma, width=1.0)
    for x, value in [(0.0, 1.0), (3.0, 2.0), (6.0, -1.0)]:
        memory.write(torch.tensor([[x, 0.0]]), torch.tensor([[value, 1.0]]))
    return memory


@pytest.mark.parametrize("gamma", [0.01, 1.0, 5.0])
def test_reading_is_the_soft_match_of_the_paper(gamma: float) -> None:
    memory = filled(gamma)
    query = torch.tensor([1.0, 0.5])
    similar = [math.exp(-((1.0 - x) ** 2 + 0.25) / 2) for x in (0.0, 3.0, 6.0)]
    total = gamma + sum(similar)
    expected = [
        sum(s * v for s, v in zip(similar, values, strict=True)) / total for values in [(1, 2, -1), (1, 1, 1)]
    ]
    torch.testing.assert_close(memory.read(query[None, None])[0, 0], torch.tensor(expected))
    torch.testing.assert_close(memory.familiarity(query[None, None])[0, 0], torch.tensor(expected[1]))


def test_far_from_every_key_the_answer_is_nothing() -> None:
    far = torch.tensor([[[100.0, 0.0]]])
    assert filled().read(far).abs().max() < 1e-6
    assert filled().familiarity(far).item() < 1e-6


def test_an_empty_memory_knows_nothing() -> None:
    assert KeyValueMemory(2).familiarity(torch.zeros(2, 3, 5)).tolist() == [[0.0] * 3] * 2


def test_writing_near_a_key_moves_its_value_by_its_share() -> None:
    memory = filled()
    memory.write(torch.tensor([[3.1, 0.0]]), torch.tensor([[10.0, 0.0]]))
    similar = [math.exp(-((3.1 - x) ** 2) / 2) for x in (0.0, 3.0, 6.0)]
    shares = [s / (1 + sum(similar)) for s in similar]
    before = torch.tensor([[1.0, 1.0], [2.0, 1.0], [-1.0, 1.0]])
    share = torch.tensor(shares)[:, None]
    assert memory.taken.item() == 3
    torch.testing.assert_close(memory.values[0, :3], share * torch.tensor([10.0, 0.0]) + (1 - share) * before)


def test_writing_far_from_every_key_takes_a_slot_and_moves_nothing() -> None:
    memory = filled()
    before = memory.values[0, :3].clone()
    memory.write(torch.tensor([[9.0, 0.0]]), torch.tensor([[7.0, 7.0]]))
    assert memory.taken.item() == 4
    assert torch.equal(memory.values[0, :3], before)
    assert memory.values[0, 3].tolist() == [7.0, 7.0]


def test_when_slots_run_out_the_oldest_gives_way() -> None:
    memory = filled(slots=2)
    assert sorted(memory.keys[0, :, 0].tolist()) == [3.0, 6.0]
    assert memory.familiarity(torch.tensor([[[0.0, 0.0], [6.0, 0.0]]]))[0].tolist() == pytest.approx(
        [0.011, 0.5], abs=0.01
    )


def test_problems_do_not_share_what_they_remember() -> None:
    together, generator = KeyValueMemory(3, width=1.0), torch.Generator().manual_seed(0)
    alone = [KeyValueMemory(1, width=1.0) for _ in range(3)]
    for step in range(20):
        keys, values = (3 * torch.randn(3, 2, generator=generator) for _ in range(2))
        rows = torch.tensor([0, 2]) if step % 2 else torch.arange(3)
        together.write(keys[rows], values[rows], rows)
        for row in rows.tolist():
            alone[row].write(keys[[row]], values[[row]])
    queries = torch.randn(3, 7, 2, generator=generator)
    expected = torch.cat([memory.read(queries[[row]]) for row, memory in enumerate(alone)])
    torch.testing.assert_close(together.read(queries), expected)
    torch.testing.assert_close(together.take(torch.tensor([2, 1])).read(queries[[2, 1]]), expected[[2, 1]])


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_without_a_width_the_length_of_a_step_sets_it(scale: float) -> None:
    memory = KeyValueMemory(1)
    walk = scale * torch.tensor([[x, 0.0] for x in range(6)])
    for key in walk:
        memory.write(key[None], torch.zeros(1, 1))
    here: Tensor = memory.familiarity(scale * torch.tensor([[[2.5, 0.0], [2.5, 3.0], [2.5, 20.0]]]))[0]
    assert here[0] > 0.55 > here[1] > here[2]
    assert here[2] < 1e-3
